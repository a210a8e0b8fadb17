# SPDX-License-Identifier: GPL-2.0-or-later
"""pyghmi is loaded without what it does not need yet, and with its own words where it cannot be."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from types import ModuleType
from typing import Any, List

import pytest

from mailha.bmc import ipmi_loading

SESSION_PARENTS = ("pyghmi", "pyghmi.ipmi", "pyghmi.ipmi.private")


class Backends(ModuleType):
    """cryptography.hazmat.backends, as far as pyghmi asks it."""

    asked = 0

    def default_backend(self) -> str:
        """Be what takes so long."""
        self.asked += 1
        return "the backend"


class Finder:
    """Finds a pyghmi whose Session asks for the backend as soon as it is loaded."""

    def __init__(self, failure: str = "") -> None:
        self.failure = failure

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find that one module."""
        from importlib.machinery import ModuleSpec
        return ModuleSpec(name, self) if name == ipmi_loading.SESSION else None     # type: ignore

    def create_module(self, spec: Any) -> None:
        """Let an ordinary module be made."""

    def exec_module(self, module: Any) -> None:
        """Do what pyghmi's class body does."""
        if self.failure:
            raise ImportError(self.failure)
        module.backend = sys.modules["cryptography.hazmat.backends"].default_backend()


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> Backends:
    """A cryptography that counts, and nothing of pyghmi yet."""
    made = Backends("cryptography.hazmat.backends")
    for name in ("cryptography", "cryptography.hazmat", *SESSION_PARENTS):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        sys.modules[name].__path__ = []
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.delitem(sys.modules, ipmi_loading.SESSION, raising=False)
    for name in (ipmi_loading.BACKEND, ipmi_loading.CERTIFICATES):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return made


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forget what a test has loaded."""
    yield
    sys.modules.pop(ipmi_loading.SESSION, None)


def test_the_backend_is_not_asked_for_when_pyghmi_is_loaded(
        monkeypatch: pytest.MonkeyPatch, backends: Backends) -> None:
    monkeypatch.setattr(sys, "meta_path", [Finder()])
    assert ipmi_loading.session_module().backend is None and backends.asked == 0
    assert backends.default_backend() == "the backend", "others do not get it any more"


def test_a_pyghmi_that_cannot_be_loaded_says_so_and_leaves_the_library_as_it_was(
        monkeypatch: pytest.MonkeyPatch, backends: Backends) -> None:
    monkeypatch.setattr(sys, "meta_path", [Finder("no pyghmi here")])
    with pytest.raises(ImportError, match="no pyghmi here"):
        ipmi_loading.session_module()
    assert backends.default_backend() == "the backend"


def test_without_cryptography_it_is_pyghmi_that_says_what_it_lacks(
        monkeypatch: pytest.MonkeyPatch, backends: Backends) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.backends", None)
    monkeypatch.setattr(sys, "meta_path", [Finder("pyghmi lacks cryptography")])
    with pytest.raises(ImportError, match="pyghmi lacks cryptography"):
        ipmi_loading.session_module()


@pytest.mark.parametrize("broken", [False, True])
def test_the_backend_is_loaded_beside_without_the_certificates_that_it_names(
        monkeypatch: pytest.MonkeyPatch, backends: Backends, broken: bool) -> None:
    loaded = threading.Event()

    def load(name: str) -> Any:
        assert name == ipmi_loading.BACKEND
        names: Any = sys.modules[ipmi_loading.CERTIFICATES]
        assert isinstance(names.Certificate, type)
        with pytest.raises(AttributeError):
            names.__path__
        loaded.set()
        if broken:
            raise ImportError("broken")

    monkeypatch.setattr(ipmi_loading.importlib, "import_module", load)
    ipmi_loading.load_backend()
    assert loaded.wait(60)
    until = time.monotonic() + 60
    while ipmi_loading.CERTIFICATES in sys.modules and time.monotonic() < until:
        time.sleep(0.01)
    assert ipmi_loading.CERTIFICATES not in sys.modules, "others would get it"


def test_who_encrypts_waits_until_loading_has_ended_even_if_it_fails(
        monkeypatch: pytest.MonkeyPatch, backends: Backends) -> None:
    # Debian 11: the thread failed while the session had just begun to use what it was loading.
    said: List[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def load(name: str) -> Any:
        begun.set()
        assert go_on.wait(60)
        said.append("loaded")
        raise ImportError("no X.509")

    monkeypatch.setattr(ipmi_loading.importlib, "import_module", load)
    ipmi_loading.load_backend()
    assert begun.wait(60)
    ipmi_loading.load_backend()         # is under way
    threading.Timer(0.05, go_on.set).start()
    ipmi_loading.wait_for_backend()
    said.append("encrypting")
    assert said == ["loaded", "encrypting"]
    ipmi_loading.wait_for_backend()


@pytest.mark.parametrize("name", [ipmi_loading.CERTIFICATES, ipmi_loading.BACKEND])
def test_certificates_that_somebody_has_loaded_stay_as_they_are(
        monkeypatch: pytest.MonkeyPatch, backends: Backends, name: str) -> None:
    real = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, real)
    monkeypatch.setattr(ipmi_loading.importlib, "import_module", lambda wanted: pytest.fail(wanted))
    ipmi_loading._load_backend()
    assert sys.modules[name] is real


def test_without_a_thread_it_is_left_to_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    ipmi_loading.load_backend()
