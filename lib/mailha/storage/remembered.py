# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel remembers of a path, asked in a way that never looks at a disk.

openat2(2) with RESOLVE_CACHED (Linux 5.12) walks a path through the kernel's memory of names alone
and fails at once (EAGAIN) where that does not suffice. Python has no function for it, and its
module `ctypes` costs a monitor 4 ms; what `ctypes` itself is made of costs half of one.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# As in <asm-generic/unistd.h>, the same on every architecture, and <linux/openat2.h>.
OPENAT2 = 437
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_CACHED = 0x20

_AT_FDCWD = -100
_RTLD_NOW = 2

_made: list[Any] = []
"""syscall(2) and the function that tells its error, once they have been asked for."""


def has_no_links(path: str) -> bool:
    """Say whether the path, as far as it exists, has no symbolic link in it.

    False if there is one, or if the kernel does not remember all of it. An older kernel and a
    Python without these parts of `ctypes` remember nothing.
    """
    try:
        if not _made:
            _made.extend(_make())
        call, error_of_call = _made
        # struct open_how: flags, mode, resolve
        how = b"".join(number.to_bytes(8, sys.byteorder) for number in (
            os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS | RESOLVE_CACHED))
        descriptor: int = call(OPENAT2, _AT_FDCWD, os.fsencode(path) + b"\0", how, len(how))
        if descriptor < 0:
            # What does not exist hides no link: a link before it would have been met first.
            return bool(error_of_call() == errno.ENOENT)
    except Exception:  # whatever is missing, there is another way
        return False
    os.close(descriptor)
    return True


def _make() -> tuple[Any, Any]:
    library: Any = __import__("_ctypes")    # what is in it, typeshed does not know
    long = type("long", (library._SimpleCData,), {"_type_": "l"})
    call = type("call", (library.CFuncPtr,), {
        "_flags_": library.FUNCFLAG_CDECL | library.FUNCFLAG_USE_ERRNO, "_restype_": long})
    function: Any = call
    return (function(library.dlsym(library.dlopen(None, _RTLD_NOW), "syscall")),
            library.get_errno)
