# SPDX-License-Identifier: GPL-2.0-or-later
"""Small files of this machine, read whole and written atomically.

Only for paths that cannot hang: /run, /proc, /sys, /etc. What may stand on a dead file system is
touched in a child (Children.bounded).
"""

from __future__ import annotations

import errno
import os

from mailha import errors

# As in <sys/stat.h>; the module `stat` costs a monitor 1 ms.
_KIND, _FIFO, _DEVICES = 0o170000, 0o010000, (0o020000, 0o060000)

_REMEDIES = {errno.ENOSPC: "free space on that file system",
             errno.EDQUOT: "raise the quota or free space",
             errno.EROFS: "remount it read-write and find out why it is not",
             errno.EACCES: "run as root",
             errno.EPERM: "run as root, and see whether the file is immutable (lsattr)",
             errno.EIO: "look for disk errors in the kernel's log",
             errno.EMFILE: "raise the limit of open files",
             errno.ENOENT: "create its directory"}


class FileLock:
    """A lock that this process holds."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Files:
    """Files under the machine's root."""

    def __init__(self, root: str = "") -> None:
        self._root = root

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """Return the whole file.

        Raises OSError (FileNotFoundError...) as it comes, because what a missing file means is
        the caller's to say, and errors.Failed when the file is larger than limit bytes.
        """
        descriptor = os.open(self._root + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if os.fstat(descriptor).st_mode & _KIND == _FIFO:
                # It would look empty to us, and others would wait in it for ever.
                raise OSError(errno.EINVAL, "it is no file but a FIFO", path)
            pieces: list[bytes] = []
            total = 0
            while True:
                piece = os.read(descriptor, min(limit + 1 - total, 1 << 17))
                if not piece:
                    return b"".join(pieces)
                pieces.append(piece)
                total += len(piece)
                if total > limit:
                    raise errors.Failed(f"{path} is larger than {limit} bytes",
                                        remedy="look what wrote it")
        finally:
            os.close(descriptor)

    def write_atomic(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Replace the file by the data: after a crash there is the old file or the new one.

        mode: exactly this, whatever the umask (Pacemaker's is 026). Raises errors.Failed; nothing
        is left behind then.
        """
        real = self._root + path
        directory, name = os.path.split(real)
        temporary = f"{directory}/.{name}.{os.getpid()}.new"
        made = False
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                                 | os.O_CLOEXEC, 0o600)
            made = True
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view):]
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, real)
            made = False
            self._sync(directory)
        except OSError as error:
            if made:
                try:
                    os.unlink(temporary)
                except OSError:
                    pass
            raise failure("write", path, error) from None

    def remove(self, path: str) -> bool:
        """Remove the file; False if it was not there. Raises errors.Failed."""
        try:
            os.unlink(self._root + path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise failure("remove", path, error) from None
        return True

    def exists(self, path: str) -> bool:
        """Tell whether something is there; a link that leads nowhere counts.

        Raises errors.Failed when it cannot be told.
        """
        try:
            os.lstat(self._root + path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise failure("look at", path, error) from None
        return True

    def modified(self, path: str) -> float | None:
        """Return when the file was last written, in seconds since 1970; None if it is not there."""
        try:
            return os.stat(self._root + path).st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failure("look at", path, error) from None

    def inode(self, path: str) -> int:
        """Return the number of the file's inode; 0 if it is not there or cannot be looked at."""
        try:
            return os.stat(self._root + path).st_ino
        except OSError:
            return 0

    def link(self, path: str) -> str:
        """Return where the symbolic link points, as it is written; "" if there is no link there.

        Raises errors.Failed when it cannot be told.
        """
        try:
            return os.readlink(self._root + path)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                return ""
            raise failure("read the link", path, error) from None

    def block_device(self, path: str) -> str:
        """Return the number ("8:17") of the block device at the path, "" if there is none."""
        try:
            found = os.stat(self._root + path)
        except OSError:
            return ""
        number = found.st_rdev
        return f"{os.major(number)}:{os.minor(number)}" if found.st_mode & _KIND == _DEVICES[1] \
            else ""

    def is_device(self, path: str) -> bool:
        """Tell whether the path leads to a device, such as /dev/null, which nobody may remove."""
        try:
            return os.stat(self._root + path).st_mode & _KIND in _DEVICES
        except OSError:
            return False

    def names(self, path: str) -> list[str]:
        """Return the names in the directory, sorted; empty if it is not there."""
        try:
            return sorted(os.listdir(self._root + path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise failure("list", path, error) from None

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make the directory and those above it, each with exactly this mode if it is new.

        One that exists stays as it is. Raises errors.Failed.
        """
        missing = []
        while path not in ("", "/") and not os.path.isdir(self._root + path):
            missing.append(path)
            path = os.path.dirname(path)
        for directory in reversed(missing):
            try:
                os.mkdir(self._root + directory, mode)
                os.chmod(self._root + directory, mode)
            except FileExistsError:
                if not os.path.isdir(self._root + directory):
                    raise errors.Failed(f"cannot make directory {directory}: a file is there",
                                        remedy="move it away") from None
            except OSError as error:
                raise failure("make directory", directory, error) from None

    def lock(self, path: str) -> FileLock | None:
        """Lock the file, which is made if it is not there; None if another process holds it.

        The lock is the kernel's (fcntl): it ends with the process that holds it, however that
        ends, so it is never stale; and unlike flock(2) it is not inherited by a forked child, which
        may hang on a dead disk for hours. Raises errors.Failed.
        """
        import fcntl
        try:
            descriptor = os.open(self._root + path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise failure("make the lock", path, error) from None
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return None
            raise failure("lock", path, error) from None
        return FileLock(descriptor)

    @staticmethod
    def _sync(directory: str) -> None:
        descriptor = os.open(directory or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def of_resource(directory: str, resource: str) -> str:
    """Return the path of the file in a directory that belongs to a resource of the cluster.

    resource: OCF_RESOURCE_INSTANCE; the number of a clone's instance (":0") is part of it. Raises
    errors.Failed for a name that no resource has, and that might lead out of the directory.
    """
    if not resource or resource.startswith(".") or "/" in resource or "\0" in resource:
        raise errors.Failed(f"'{resource}' is no name of a resource",
                            remedy="use one that 'crm_resource --list' shows; an agent that is "
                                   "called by hand takes it from OCF_RESOURCE_INSTANCE")
    return f"{directory}/{resource}"


def failure(verb: str, path: str, error: OSError) -> errors.Failed:
    return errors.Failed(f"cannot {verb} {path}: {error.strerror}",
                         remedy=_REMEDIES.get(error.errno or 0, ""))
