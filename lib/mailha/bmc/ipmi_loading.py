# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading pyghmi's Session, and what it encrypts with, without waiting for either in vain.

More than half of the time in which fence_ipmi does not wait for the controller was loading: when
Session is loaded it asks the library cryptography for its OpenSSL backend, and that loads X.509 and
much else. A session needs no more of it than AES, and that only when its login is through. So the
backend is loaded while the controller answers.
"""

from __future__ import annotations

import _thread
import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SESSION = "pyghmi.ipmi.private.session"
BACKEND = "cryptography.hazmat.backends.openssl.backend"


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
    """Begin to load the backend, in a thread; whoever encrypts waits for the end of that."""
    try:
        _thread.start_new_thread(_load_backend, ())
    except RuntimeError:
        pass            # no thread is to be had: it is loaded when it is needed


def _load_backend() -> None:
    try:
        importlib.import_module(BACKEND)
    except Exception:
        pass            # then it is loaded when it is needed, and what is wrong with it is said
