# SPDX-License-Identifier: GPL-2.0-or-later
"""Try on a disk, with a file, what Cyrus relies on: the check that goes deeper than the type.

Cyrus locks a file between processes and maps it into the memory of one while another one writes to
it (lib/lock_fcntl.c, lib/map_shared.c); it replaces a file by renaming another one over it while it
is open (lib/mappedfile.c), gives one message to many mailboxes by links, and believes that what
fsync has written stays (lib/cyrusdb_twoskip.c). A disk does all of this in 3 ms. NFS, sshfs and
others fail at one of it: a file that is open cannot lose its name there and gets a silly one.

That it works proves little, since some of what must be refused passes too (mergerfs, tmpfs): this
comes after the verdict and never in its place, also because it touches the disk. So it happens in a
child with a deadline. A full disk or a quota leaves the question open, and is no reason to stop
mail that can still be read.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

PREFIX = ".mailha-probe."
"""Of the directory in which everything happens. What follows is chance: on a disk that survives its
node, the number of a process is soon that of another one."""

OLD = 3600
"""Seconds after which such a directory is what a killed probe has left."""

_PAGE = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHORT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""What this machine lacks, and not the disk."""

_HIDDEN = (".nfs", ".fuse_hidden", ".smb", ".cifs")
"""How the names begin that file systems without a notion of open files give to such as lose theirs:
silly rename."""


class Outcome:
    """What came of it.

    fault: what the disk does not do, as a sentence with the directory in it; "" if it does all.
    remedy: what to do then. warning: why it could not be tried; "" if it could.
    """

    __slots__ = ("fault", "remedy", "warning")

    def __init__(self, fault: str = "", remedy: str = "", warning: str = "") -> None:
        self.fault = fault
        self.remedy = remedy
        self.warning = warning


class _Wrong(Exception):
    """The disk has answered, and not as a disk does."""


def try_out(machine: Machine, directory: str, *, timeout: float, mount_point: str = "") -> Outcome:
    """Try a directory whose mount has been found fit, and leave nothing in it.

    mount_point: where its mount is. If the directory does not exist or is a file, the nearest one
    above it does, down to that. timeout: seconds.

    Raises patience.DiskSilent if the disk does not answer in time, system.children.ChildFailed if
    no child can be made, and errors.Failed if the child lacked memory or the like.
    """
    from mailha import errors
    from mailha.storage import patience

    def probe() -> bytes:
        step = ["make a directory"]
        try:
            _probe(machine.root, directory, mount_point or directory, step)
        except _Wrong as wrong:
            return b"wrong " + str(wrong).encode()
        except OSError as error:
            kind = "full" if error.errno in _FULL else \
                "short" if error.errno in _SHORT else "error"
            return f"{kind} cannot {step[0]}: {error.strerror}".encode()
        return b"good "

    kind, _, text = patience.touch(machine, directory, probe, timeout).decode().partition(" ")
    if kind == "full":
        return Outcome(warning=f"'{directory}' could not be tried, {text}")
    if kind == "short":
        raise errors.Failed(f"'{directory}' could not be tried, {text}",
                            remedy="see what this machine is short of: memory, processes, files")
    if kind == "wrong":
        return Outcome(f"'{directory}' is not like a disk: {text}", "move it to a block device")
    if kind == "error":
        return Outcome(f"'{directory}' does not do what Cyrus needs: {text}",
                       "see the kernel's log for errors of its disk, and check the file system")
    return Outcome()


def _probe(root: str, directory: str, mount_point: str, step: list[str]) -> None:
    """Do everything once. step: what is being done, for the message. Raises _Wrong and OSError."""
    above = _open_nearest(root, directory, mount_point)
    _remove_old(above)
    name = PREFIX + os.urandom(8).hex()
    os.mkdir(name, 0o700, dir_fd=above)
    where = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    try:
        _create_once(where, step)
        _share(where, step)
        _link(where, step)
        _replace(where, step)
    finally:
        # Quietly: what went wrong before says more.
        _remove(name, above)


def _open_nearest(root: str, directory: str, mount_point: str) -> int:
    """Open the directory, or the nearest one above it down to the mount point."""
    while True:
        try:
            return os.open(root + directory, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            if directory in (mount_point, "/"):
                raise
            directory = directory.rpartition("/")[0] or "/"


def _create_once(where: int, step: list[str]) -> None:
    """Of two who create a file, one must fail; what was written must reach the disk."""
    step[0] = "create a file"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    file = os.open("shared", flags, 0o600, dir_fd=where)
    step[0] = "write"
    if os.write(file, b"." * 2 * _PAGE) != 2 * _PAGE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    step[0] = "write through to the disk (fsync)"
    os.fsync(file)
    os.fsync(where)
    os.close(file)
    step[0] = "create a file"
    try:
        os.open("shared", flags, 0o600, dir_fd=where)
    except FileExistsError:
        return
    raise _Wrong("the same file can be created twice (O_EXCL)")


def _share(where: int, step: list[str]) -> None:
    """A lock must keep another process out, and one must see what the other one writes."""
    import fcntl
    import mmap
    file = os.open("shared", os.O_RDWR | os.O_NOFOLLOW, dir_fd=where)
    step[0] = "map a file into memory"
    memory = mmap.mmap(file, 2 * _PAGE)
    step[0] = "lock a file"
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    step[0] = "start another process"
    child = os.fork()
    if child == 0:
        try:
            code = _share_as_other(where)
        except OSError as error:
            code = _ERRORS + min(error.errno or 0, 255 - _ERRORS)
        except BaseException:
            code = _ERRORS
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    step[0] = "use a file from two processes"
    if code == _GOT_LOCK:
        raise _Wrong("a lock of one process does not keep another one out (fcntl)")
    if code:
        number = max(code - _ERRORS, 0) or errno.EIO
        raise OSError(number, os.strerror(number))
    if memory[:4] != b"file":
        raise _Wrong("what one process writes to a file is not in the memory of another that has "
                     "mapped it (mmap)")
    if os.pread(file, 4, _PAGE) != b"maps":
        raise _Wrong("what one process writes to its mapping is not in the file for another (mmap)")
    memory.close()
    os.close(file)


_GOT_LOCK = 1
_ERRORS = 16
"""An exit code from here on is an error number, and so much more."""


def _share_as_other(where: int) -> int:
    """Be the other process: try for the lock, write to the file and to a mapping of it."""
    import fcntl
    import mmap
    file = os.open("shared", os.O_RDWR | os.O_NOFOLLOW, dir_fd=where)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
    else:
        return _GOT_LOCK
    memory = mmap.mmap(file, 2 * _PAGE)
    memory[_PAGE:_PAGE + 4] = b"maps"
    memory.flush()
    os.pwrite(file, b"file", 0)
    os.fdatasync(file)
    return 0


def _link(where: int, step: list[str]) -> None:
    """One file may have two names (singleinstancestore)."""
    step[0] = "give a file a second name (link)"
    os.link("shared", "linked", src_dir_fd=where, dst_dir_fd=where)
    if os.stat("shared", dir_fd=where).st_nlink != 2:
        raise _Wrong("a file with two names does not count them (link)")
    os.unlink("linked", dir_fd=where)


def _replace(where: int, step: list[str]) -> None:
    """A file that is open must stay readable when another one takes its name."""
    step[0] = "replace a file that is open (rename)"
    file = os.open("shared", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=where)
    new = os.open("new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=where)
    os.write(new, b"new")
    os.fsync(new)
    os.close(new)
    os.rename("new", "shared", src_dir_fd=where, dst_dir_fd=where)
    os.fsync(where)
    names = os.listdir(where)
    if [name for name in names if name.startswith(_HIDDEN)] or os.fstat(file).st_nlink != 0:
        raise _Wrong("a file that is open keeps a hidden name when another one replaces it "
                     "(silly rename)")
    if os.pread(file, 4, 0) != b"file":
        raise _Wrong("a file that is open cannot be read when another one has replaced it (rename)")
    os.close(file)


def _remove_old(above: int) -> None:
    """Remove what probes have left that were killed."""
    import time
    for name in os.listdir(above):
        if not name.startswith(PREFIX):
            continue
        try:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            continue        # that of another probe, which has just finished
        if found.st_uid == os.geteuid() and found.st_mtime < time.time() - OLD:
            _remove(name, above)


def _remove(name: str, above: int) -> None:
    """Remove a directory of ours with what is in it, as far as that is possible."""
    try:
        where = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        try:
            for each in os.listdir(where):
                os.unlink(each, dir_fd=where)
        finally:
            os.close(where)
        os.rmdir(name, dir_fd=above)
    except OSError:
        pass
