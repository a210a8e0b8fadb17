# SPDX-License-Identifier: GPL-2.0-or-later
"""A fence agent loads of its library what was there when it began, whatever is done to that."""

from __future__ import annotations

import compileall
import os
import shutil
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from mailha import whole

NAME = "trialhouse"
"""What the library of these tests is called."""

FILES = {"__init__.py": "", "errors.py": "WHO = 'old'", "agents/__init__.py": "",
         "bmc/__init__.py": "", "bmc/line.py": f"from {NAME} import errors\nWHO = errors.WHO",
         "fencing/__init__.py": "'''Of fencing.'''", "fencing/late.py": "WHO = 'old'",
         "validation/__init__.py": "", "cli/__init__.py": "WHO = 'old'"}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a small library; what was loaded of it, and how, is forgotten at the end."""
    top = tmp_path / NAME
    for path, text in FILES.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield top
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


class Clock:
    """A clock that is far from the times of the files, unless a test sets it."""

    def __init__(self, now: float = 1e10) -> None:
        self.now = now
        self.slept: List[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def hold(library: Path, clock: "Clock | None" = None) -> None:
    """Hold the library, by default one that has not changed for long."""
    clock = clock or Clock()
    assert whole.hold(str(library), clock=clock, sleep=clock.sleep)


def load(name: str) -> str:
    """Import a module and return what it says that it is."""
    __import__(f"{NAME}.{name}")
    return str(sys.modules[f"{NAME}.{name}"].WHO)


def replace(library: Path) -> None:
    """Put modules of another release into the place of all."""
    for path in library.rglob("*.py"):
        path.write_text("WHO = 'new'")


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_loaded_late_is_of_the_release_that_it_began_with(library: Path,
                                                                  compiled: bool) -> None:
    if compiled:
        compileall.compile_dir(library, quiet=1)
    hold(library)
    replace(library)
    assert (load("bmc.line"), load("fencing.late")) == ("old", "old")


def test_what_is_loaded_late_is_there_when_the_package_is_gone(library: Path) -> None:
    hold(library)
    shutil.rmtree(library)
    assert load("fencing.late") == "old"


def test_what_no_fence_agent_needs_is_loaded_as_always(library: Path) -> None:
    hold(library)
    assert load("cli") == "old"
    assert "Held" not in type(sys.modules[f"{NAME}.cli"].__loader__).__name__


def test_a_module_is_what_it_would_be_without(library: Path) -> None:
    hold(library)
    load("bmc.line")
    package, module = sys.modules[f"{NAME}.bmc"], sys.modules[f"{NAME}.bmc.line"]
    assert module.__file__ == str(library / "bmc/line.py")
    assert (module.__package__, package.__package__) == (f"{NAME}.bmc", f"{NAME}.bmc")
    assert list(package.__path__) == [str(library / "bmc")] and package.line is module
    assert not hasattr(module, "__path__")


def test_a_compiled_module_of_another_source_is_not_taken_for_that_of_this_one(
        library: Path) -> None:
    late = library / "fencing/late.py"
    late.write_text("WHO = 'bad'")
    compileall.compile_dir(library, quiet=1)
    late.write_text("WHO = 'old'")
    os.utime(late, (1, 1))
    hold(library)
    assert load("fencing.late") == "old"


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 300])
def test_a_damaged_compiled_module_is_left_alone(library: Path, damage: bytes) -> None:
    compileall.compile_dir(library, quiet=1)
    for path in library.rglob("*.pyc"):
        path.write_bytes(damage)
    hold(library)
    assert load("fencing.late") == "old"


def test_a_library_that_has_just_changed_is_read_again_when_that_is_over(
        library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upgrade has come as far as errors.py when the agent begins, and goes on meanwhile."""
    clock = Clock((library / "fencing").stat().st_ctime + 0.1)
    (library / "errors.py").write_text("WHO = 'new'")
    pause = clock.sleep

    def sleep(seconds: float) -> None:
        pause(seconds)
        replace(library)

    monkeypatch.setattr(clock, "sleep", sleep)
    hold(library, clock)
    assert clock.slept and sum(clock.slept) <= whole.QUIET + 0.1
    assert (load("errors"), load("bmc.line"), load("fencing.late")) == ("new", "new", "new")


def test_it_waits_for_an_upgrade_in_a_folder_of_which_it_needs_nothing(library: Path) -> None:
    (library / "cli/new.py").touch()
    clock = Clock((library / "cli").stat().st_ctime + 0.1)
    hold(library, clock)
    assert clock.slept


def test_it_does_not_wait_for_ever(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(whole, "_last_change", lambda library: clock.now)
    hold(library, clock)
    assert whole.LONGEST_WAIT <= sum(clock.slept) < whole.LONGEST_WAIT + whole.QUIET


@pytest.mark.parametrize("seconds", [-3600.0, 10.0])
def test_it_does_not_wait_for_a_change_of_long_ago_nor_for_one_in_the_future(
        library: Path, seconds: float) -> None:
    clock = Clock((library / "fencing").stat().st_ctime + seconds)
    hold(library, clock)
    assert clock.slept == []


def test_what_python_itself_writes_is_no_change(library: Path) -> None:
    before = whole._last_change(str(library))
    (library / "fencing/__pycache__").mkdir()
    clock = Clock(max((library / "fencing").stat().st_ctime, before) + 10)
    (library / "fencing/__pycache__/late.pyc").touch()
    hold(library, clock)
    assert clock.slept == []


def test_a_library_that_cannot_be_read_is_loaded_as_always(tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    finders = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", list(finders))
    assert not whole.hold(str(tmp_path / "gone"))
    assert sys.meta_path == finders


# -- the time of the action ---------------------------------------------------------------------

@pytest.mark.parametrize("before, is_taken", [(0.3, True), (1000.0, False), (-5.0, False)])
def test_the_second_call_has_the_time_that_the_first_has_left(
        monkeypatch: pytest.MonkeyPatch, before: float, is_taken: bool) -> None:
    told = whole.BEGUN - before
    monkeypatch.setenv("MAILHA_BEGUN", str(told))
    assert whole.begun() == (told if is_taken else whole.BEGUN)
    assert "MAILHA_BEGUN" not in os.environ


@pytest.mark.parametrize("told", ["", "soon", "nan", "inf"])
def test_a_beginning_that_is_none_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch,
                                                          told: str) -> None:
    monkeypatch.setenv("MAILHA_BEGUN", told)
    assert whole.begun() == whole.BEGUN
