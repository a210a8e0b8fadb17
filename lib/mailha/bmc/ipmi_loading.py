# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading pyghmi's Session, and what it encrypts with, without waiting for either in vain.

More than half of the time in which fence_ipmi does not wait for the controller was loading: when
Session is loaded it asks the library cryptography for its OpenSSL backend, and before version 41
that loads all of X.509, for the annotations of methods that no session calls. A session needs no
more of it than AES, and that only when its login is through. So the backend is loaded while the
controller answers, and X.509 is left out (fencing took 0.57 of fence_ipmilan's time with it, and
0.43 without).
"""

from __future__ import annotations

import _thread
import importlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SESSION = "pyghmi.ipmi.private.session"
BACKEND = "cryptography.hazmat.backends.openssl.backend"
CERTIFICATES = "cryptography.x509"

_loading = _thread.allocate_lock()      # held while the backend is being loaded


class _Names(type(sys)):                # type: ignore[misc]  # a module, without loading types
    """A module that has a class for every name, as annotations want it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def session_module() -> Any:
    """Return pyghmi's module, loaded without the backend. Raises ImportError.

    pyghmi hands the backend to Cipher, which looks for it by itself where it is given none (since
    cryptography 3.1 of 2020; the oldest in a supported distribution is 3.2).
    """
    try:
        backends: Any = importlib.import_module("cryptography.hazmat.backends")
    except ImportError:
        return importlib.import_module(SESSION)     # which says itself what it lacks
    given = backends.default_backend
    backends.default_backend = lambda: None
    try:
        return importlib.import_module(SESSION)
    finally:
        backends.default_backend = given


def load_backend() -> None:
    """Begin to load the backend, in a thread; wait_for_backend() before it is needed."""
    if not _loading.acquire(False):
        return          # it is being loaded already
    try:
        _thread.start_new_thread(_load_in_thread, ())
    except RuntimeError:
        _loading.release()      # no thread is to be had: it is loaded when it is needed


def wait_for_backend() -> None:
    """Return when nothing is being loaded any more.

    Without that, whoever encrypts while the thread fails is handed the rest of a module: with
    cryptography 3.3 (Debian 11), which cannot do without X.509, every third monitor lost its
    session so.
    """
    with _loading:
        pass


def _load_in_thread() -> None:
    try:
        _load_backend()
    finally:
        _loading.release()


def _load_backend() -> None:
    if CERTIFICATES in sys.modules or BACKEND in sys.modules:
        return
    sys.modules[CERTIFICATES] = _Names(CERTIFICATES)
    try:
        importlib.import_module(BACKEND)
    except Exception:
        pass            # then it is loaded, with all that belongs to it, when it is needed
    finally:
        del sys.modules[CERTIFICATES]
