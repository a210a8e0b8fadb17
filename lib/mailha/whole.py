# SPDX-License-Identifier: GPL-2.0-or-later
"""The library as it was in one moment: what a fence agent loads later is of the same release.

A fence agent loads half of its modules when it knows what to do, and some not before the controller
has answered. Meanwhile the package may be upgraded. A resource agent makes such a call once more
(:mod:`mailha.replaced`); a fence agent must not, because its definition has been read from stdin
and is gone, and because its order may have been sent. So it reads the code of all that it may need
before anything else, in one go, and loads it from there. If the library has just changed it waits
until that is over and reads it again.

This is loaded before anything else, and by the slow way: no imports but what the interpreter has.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any, Callable, Iterator, Mapping

BEGUN = time.monotonic()
"""When this process began, by the clock that all processes share: what is waited for here is a part
of the action's time."""

FOLDERS = ("", "/agents", "/bmc", "/fencing", "/validation")
"""What a fence agent may load, below the library; of each folder the modules, not what is below."""

QUIET = 0.5
"""Seconds without a change after which the package is taken to be whole. dpkg renames a file after
the other and syncs each before, which takes a slow disk a tenth of a second."""

LONGEST_WAIT = 3.0
"""Seconds that are waited for that; then an agent that fences perhaps is better than none."""

LIBRARY = os.path.dirname(os.path.abspath(__file__))

_HEADER = 16        # bytes of a compiled module before its code: number, flags, time, size


def hold(library: str = LIBRARY, *, clock: "Callable[[], float]" = time.time,
         sleep: "Callable[[float], None]" = time.sleep) -> bool:
    """Let everything be loaded from what is in the library now; tell whether that was possible.

    clock: seconds of the wall clock, as the times of files are. Raises nothing: what cannot be held
    is loaded as always.
    """
    try:
        end = clock() + LONGEST_WAIT
        while True:
            held = _Held(dict(_read(library)))
            waited = clock() - _last_change(library)
            # A change in the future is that of a clock that was put back.
            if not 0 <= waited < QUIET or clock() >= end:
                break
            sleep(min(QUIET - waited, end - clock()) + 0.01)
        sys.meta_path.insert(0, held)
        return True
    except Exception:
        return False


def begun(most: float = LONGEST_WAIT) -> float:
    """Return when this call began, in seconds of the monotonic clock.

    most: seconds by which a first call may be older than this process. The executable, which finds
    no library in the middle of an upgrade and executes itself once more, says when it began.
    """
    try:
        told = float(os.environ.pop("MAILHA_BEGUN", ""))
    except ValueError:
        return BEGUN
    return told if BEGUN - most < told < BEGUN else BEGUN


class _Held:
    """A finder and loader of modules whose code lies in memory."""

    def __init__(self, found: "Mapping[str, tuple[str, bytes, bool]]") -> None:
        """Take name -> path of the source, content of a file, whether that is compiled."""
        self._found = found

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Return where a module comes from, None if it is none of ours."""
        if name not in self._found:
            return None
        source = self._found[name][0]
        package = source.endswith("/__init__.py")
        kind: "Any" = type(sys.__spec__)        # importlib.machinery.ModuleSpec
        spec = kind(name, self, origin=source, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations.append(os.path.dirname(source))
        return spec

    def create_module(self, spec: "Any") -> None:
        """Let the interpreter make the module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the code of a module in it."""
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, name: str) -> "CodeType":
        """Return the code of a module."""
        source, content, compiled = self._found[name]
        if compiled:
            import marshal
            code: CodeType = marshal.loads(memoryview(content)[_HEADER:])
            return code
        made: CodeType = compile(content, source, "exec", dont_inherit=True)
        return made


def _read(library: str) -> "Iterator[tuple[str, tuple[str, bytes, bool]]]":
    """Yield name, path, content, and whether that is compiled, of every module that may be needed.

    A module that vanishes while it is read is left out: then there has been a change just now.
    """
    top = os.path.basename(library)
    for folder in FOLDERS:
        package = (top + folder).replace("/", ".")
        for file in os.listdir(library + folder):
            if not file.endswith(".py"):
                continue
            path = f"{library}{folder}/{file}"
            name = package if file == "__init__.py" else f"{package}.{file[:-3]}"
            try:
                yield name, (path, *_content(path, f"{library}{folder}/__pycache__/{file[:-3]}"))
            except FileNotFoundError:
                pass


def _content(path: str, compiled: str) -> "tuple[bytes, bool]":
    """Return the compiled module if it is that of the source, else the source."""
    facts = os.stat(path)
    try:
        content = _bytes(f"{compiled}.{sys.implementation.cache_tag}.pyc")
    except OSError:
        content = b""
    # As importlib looks at it: a number for the release of Python, 0 for a module that is known by
    # its source's time and size, and these.
    times = b"".join((number & 0xffffffff).to_bytes(4, "little")
                     for number in (0, int(facts.st_mtime), facts.st_size))
    import _frozen_importlib_external as external   # type: ignore[import]
    if content[:4] == external.MAGIC_NUMBER and content[4:_HEADER] == times:
        return content, True
    return _bytes(path), False


def _bytes(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def _last_change(library: str) -> float:
    """Return when a file was last put into any folder of the library or taken out of it.

    Anywhere: an upgrade goes through the folders in their order, and may be in another one.
    """
    last = os.stat(library).st_ctime
    with os.scandir(library) as entries:
        for entry in entries:
            # Python itself writes there, at any time.
            if entry.name != "__pycache__" and entry.is_dir(follow_symlinks=False):
                last = max(last, _last_change(entry.path))
    return last
