# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor has loaded, kept for those after it: ``/run/mailha/loaded/AGENT``.

A monitor loads some thirty modules, and for each of them the interpreter walks through its finders,
lists a directory, opens a file, asks it four questions and compares two times: a third of what the
whole monitor costs. So the first recurring monitor after a boot or an update writes the compiled
code of all that it has loaded into one file, and the next ones take it from there, provided that
not one of the source files has changed. Without the file, or with one that does not fit, everything
is loaded as always; nothing ever depends on it.

Only root can write the file, who could as well write the .pyc files that Python itself trusts.

This is loaded before anything else, and by the slow way: no imports but what the interpreter has.
"""

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType

DIRECTORY = "/run/mailha/loaded"

# What was there before the first module of ours: the interpreter's own, and this one.
_BEFORE = frozenset(sys.modules) | {__name__}

# Whether a monitor asked for a snapshot that was not there.
_missed = False


def restore(agent: str, directory: str = DIRECTORY) -> bool:
    """Load what the last monitor of this agent has loaded; tell whether that was possible."""
    global _missed
    gc.disable()  # nothing that ends after 20 ms has garbage worth looking for
    try:
        entries = _read(f"{directory}/{agent}")
        _load(entries)
        return True
    except Exception:  # whatever is wrong with it, there is another way
        _missed = True
        return False


def keep(agent: str, directory: str = DIRECTORY) -> bool:
    """Write what has been loaded by now, if restore() had nothing; tell whether it was written.

    Raises nothing: a monitor of a service that serves is a success on a full disk, too.
    """
    if not _missed:
        return False
    try:
        import marshal
        os.makedirs(directory, 0o700, exist_ok=True)
        # It has no name until it is whole, so that a monitor that is killed leaves nothing.
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            data = _HEADER + marshal.dumps([_entry(module) for module in _loaded()])
            while data:
                data = data[os.write(descriptor, data):]
            path = f"{directory}/{agent}"
            if os.path.lexists(path):
                os.unlink(path)
            # Only with a directory does Python follow the link, as it is told (bpo-37612).
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor,
                    follow_symlinks=True)
        finally:
            os.close(descriptor)
        return True
    except Exception:
        return False


# A snapshot is of use to the very same interpreter and library alone.
_HEADER = f"mailha snapshot 1\n{sys.version}\n{__file__}\n".encode()


def _read(path: str) -> "list[tuple[str, str, int, int, int, bool, CodeType]]":
    """Return the entries of the snapshot, none of which is out of date; else raise anything."""
    import marshal
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = os.fstat(descriptor)
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise PermissionError(path)
        data = os.read(descriptor, info.st_size)
    finally:
        os.close(descriptor)
    if not data.startswith(_HEADER):
        raise ValueError(path)
    entries: list[tuple[str, str, int, int, int, bool, CodeType]] = marshal.loads(
        memoryview(data)[len(_HEADER):])
    for _, file, *identity, _, _ in entries:
        if _identity(file) != identity:
            raise ValueError(file)
    return entries


def _load(entries: "list[tuple[str, str, int, int, int, bool, CodeType]]") -> None:
    """Make the modules, in the order in which they were finished; all of them or none."""
    kind = type(sys)
    modules = sys.modules
    try:
        for name, file, _, _, _, is_package, _ in entries:
            module = modules[name] = kind(name)
            module.__file__ = file
            if is_package:
                module.__path__ = [os.path.dirname(file)]
                module.__package__ = name
            else:
                module.__package__ = name.rpartition(".")[0]
        for name, *_, code in entries:
            exec(code, modules[name].__dict__)
            parent, _, leaf = name.rpartition(".")
            if parent:
                setattr(modules[parent], leaf, modules[name])
    except BaseException:
        for name, *_ in entries:
            modules.pop(name, None)
        raise


def _loaded() -> "list[ModuleType]":
    """Return the modules that came from source files since this one.

    sys.modules holds them in the order in which they were finished: the import system moves each to
    its end then (importlib._bootstrap._load_unlocked).
    """
    return [module for name, module in sys.modules.items()
            if name not in _BEFORE and getattr(module.__spec__, "has_location", False)
            and str(module.__file__).endswith(".py")]


def _entry(module: "ModuleType") -> "tuple[str, str, int, int, int, bool, CodeType]":
    spec, file = module.__spec__, module.__file__
    assert spec is not None and file is not None
    code = spec.loader.get_code(spec.name)  # type: ignore[union-attr]
    mtime, size, inode = _identity(file)
    return spec.name, file, mtime, size, inode, spec.submodule_search_locations is not None, code


def _identity(file: str) -> "list[int]":
    """Return what changes with every change of a file."""
    info = os.stat(file)
    return [info.st_mtime_ns, info.st_size, info.st_ino]
