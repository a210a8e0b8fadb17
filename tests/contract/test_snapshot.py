# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor has loaded is there for the next one, and never in place of what is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "lib" / "mailha"

# Does what a monitor does: restores, loads, keeps; and says what became of it.
MONITOR = """
import sys
library, directory, *more = sys.argv[1:]
sys.path.insert(0, library)
from mailha import snapshot
before = set(sys.modules)
restored = snapshot.restore("kopano", directory)
early = sorted(name for name in set(sys.modules) - before if name.startswith("mailha"))
if more: exec(more[0])
from mailha.agents.kopano import AGENT
from mailha.mailserver.monitor import monitor
import mailha.system.systemd, mailha.services, json
ours = [name for name in sys.modules if name.startswith("mailha.")]
assert all(getattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2])
           is sys.modules[name] for name in ours)
from mailha.storage import mountinfo        # what was not in it is found beside it
print(json.dumps({"restored": restored, "early": early, "name": AGENT.name,
                  "kept": snapshot.keep("kopano", directory)}))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the library in which what a monitor loads is compiled."""
    made = tmp_path_factory.mktemp("compiled") / "lib"
    shutil.copytree(SOURCE, made / "mailha", ignore=shutil.ignore_patterns("__pycache__"))
    run(made)
    return made


@pytest.fixture
def library(compiled: Path, tmp_path: Path) -> Path:
    """A copy of the library that a test may change."""
    shutil.copytree(compiled, tmp_path / "lib")
    return tmp_path / "lib"


def run(library: Path, more: str = "") -> dict[str, Any]:
    """Return what a monitor says of itself."""
    directory = library.parent / "run" / "loaded"
    arguments = [sys.executable, "-IS", "-c", MONITOR, str(library), str(directory)]
    done = subprocess.run(arguments + ([more] if more else []), capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["name"] == "kopano"
    return found


def kept(library: Path) -> Path:
    """Return the file."""
    return library.parent / "run" / "loaded" / "kopano"


def test_the_first_monitor_keeps_and_the_next_restores(library: Path) -> None:
    first = run(library)
    assert (first["restored"], first["early"], first["kept"]) == (False, [], True)
    assert kept(library).stat().st_mode & 0o777 == 0o600
    assert kept(library).parent.stat().st_mode & 0o777 == 0o700
    second = run(library)
    assert (second["restored"], second["kept"]) == (True, False)
    assert {"mailha.errors", "mailha.mailserver.monitor", "mailha.system.systemd"} <= set(
        second["early"])


def test_nothing_is_left_beside_it(library: Path) -> None:
    run(library)
    assert os.listdir(kept(library).parent) == ["kopano"]


def test_a_source_file_that_has_changed_is_loaded_anew(library: Path) -> None:
    run(library)
    file = library / "mailha" / "errors.py"
    file.write_text(file.read_text() + "\n")
    assert run(library)["restored"] is False
    assert run(library)["restored"] is True, "the new state was not kept"


def test_a_package_of_the_same_size_and_time_is_another_one(library: Path) -> None:
    """Distributions clamp the times of files to that of the last change of the package."""
    run(library)
    file = library / "mailha" / "errors.py"
    before = file.stat()
    file.with_suffix(".new").write_text(file.read_text().replace("reason", "raesno", 1))
    os.utime(file.with_suffix(".new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    os.rename(file.with_suffix(".new"), file)
    assert file.stat().st_mtime_ns == before.st_mtime_ns and file.stat().st_size == before.st_size
    assert run(library)["restored"] is False


def test_a_source_file_that_is_gone_ends_its_use(library: Path) -> None:
    run(library)
    (library / "mailha" / "agents" / "fencing_guard.py").unlink()
    assert run(library)["restored"] is True, "it was never part of it"
    os.rename(library / "mailha" / "system" / "dbus.py", library / "mailha" / "system" / "dbus")
    more = "import os; os.rename(library + '/mailha/system/dbus'," \
           " library + '/mailha/system/dbus.py')"
    assert run(library, more)["restored"] is False


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "other interpreter", "fifo",
                                    "directory", "link", "writable"])
def test_what_does_not_fit_is_replaced(library: Path, damage: str) -> None:
    run(library)
    file = kept(library)
    data = file.read_bytes()
    if damage == "writable":
        file.chmod(0o666)
    else:
        file.unlink()
    if damage == "directory":
        file.mkdir()
    elif damage == "fifo":
        os.mkfifo(file)
    elif damage == "link":
        other = file.with_name("elsewhere")
        other.write_bytes(data)
        file.symlink_to(other)
    elif damage != "writable":
        file.write_bytes({"empty": b"", "garbage": b"\xfb" * 5000, "cut": data[:-1000],
                          "other interpreter": data.replace(b"snapshot 1\n3", b"snapshot 1\n2")
                          }[damage])
    found = run(library)
    assert found["restored"] is False
    assert found["kept"] is (damage != "directory")
    assert run(library)["restored"] is (damage != "directory")


def test_one_that_breaks_off_half_way_leaves_nothing_behind(library: Path) -> None:
    file = library / "mailha" / "system" / "units.py"
    file.write_text(file.read_text() + "import sys\nassert sys.modules[__name__].__spec__, 'no'\n")
    assert run(library)["kept"] is True
    found = run(library)
    assert found["restored"] is False and found["early"] == []


def test_where_it_cannot_be_written_all_goes_on_without(library: Path) -> None:
    (library.parent / "run").write_text("no directory")
    assert run(library)["kept"] is False
    assert run(library)["restored"] is False


def test_on_a_full_disk_all_goes_on_without(library: Path) -> None:
    """A limit on the size of files stands for the disk."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);" \
            " resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); sys.dont_write_bytecode = 1"
    assert run(library, limit)["kept"] is False
    assert os.listdir(kept(library).parent) == []
