# SPDX-License-Identifier: GPL-2.0-or-later
"""A file system in user space that the kernel shows as fuse.nfs, fuse.sshfs or whatever is wanted.

    lookalike.py SUBTYPE SOURCE MOUNT_POINT FILES RECORD

SUBTYPE: what follows "fuse." in the kernel's table. SOURCE: what is shown as the device, such as
"nas:/spool". FILES: the directory whose files are served; there are no directories in it. RECORD:
a file that gets one line for every request, so that a test can prove that nobody asked anything.

It says "ready" on stdout when it is mounted, and ends when it is unmounted. Stopped by SIGSTOP it
is a dead server: whoever touches the mount waits. Killed, it is gone, and whoever waits goes on.

This speaks the kernel's own protocol (<linux/fuse.h>), because a library in between would neither
choose the source nor tell of every request. It needs nothing but Python and runs on any node.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from typing import Callable, Dict

# <linux/fuse.h>; names as there, without FUSE_
LOOKUP, FORGET, GETATTR, SETATTR = 1, 2, 3, 4
SYMLINK, MKNOD, MKDIR, UNLINK, RENAME, LINK = 6, 8, 9, 10, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE = 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 20, 25, 26, 27, 28, 29
ACCESS, CREATE, INTERRUPT, DESTROY, BATCH_FORGET = 34, 35, 36, 38, 42

NAMES = {number: name for name, number in list(globals().items())
         if name.isupper() and isinstance(number, int)}

UNANSWERED = (FORGET, BATCH_FORGET, INTERRUPT)
ROOT_ID = 1
FATTR_SIZE = 1 << 3
KERNEL_VERSION, KERNEL_MINOR_VERSION = 7, 31
LARGEST_WRITE = 128 * 1024

# <linux/mount.h>
MS_NOSUID, MS_NODEV = 2, 4

IN_HEADER = struct.Struct("=IIQQIIIHH")     # len, opcode, unique, nodeid, uid, gid, pid, …
OUT_HEADER = struct.Struct("=IiQ")          # len, error, unique
INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")
ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
ENTRY_OUT = struct.Struct("=QQQQII")
ATTR_OUT = struct.Struct("=QII")
OPEN_OUT = struct.Struct("=QII")
READ_IN = struct.Struct("=QQIIQII")         # fh, offset, size, flags, lock_owner, flags, padding
STATFS_OUT = struct.Struct("=QQQQQIIII24x")
DIRECTORY_ENTRY = struct.Struct("=QQII")

BLOCK = 4096


class Refused(Exception):
    """A request that is answered with an error; number: as in <errno.h>."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Server:
    """One mounted file system."""

    def __init__(self, files: str, record: str) -> None:
        """Serve the files of a directory, and write down in `record` what is asked."""
        self._files = files
        self._record = open(record, "a", buffering=1, encoding="ascii")
        self._names: Dict[int, str] = {}
        self._numbers: Dict[str, int] = {}
        self._answers: Dict[int, Callable[[int, bytes], bytes]] = {
            INIT: self._init, LOOKUP: self._lookup, GETATTR: self._getattr,
            SETATTR: self._setattr, OPEN: self._open, OPENDIR: self._open, READ: self._read,
            WRITE: self._write, READDIR: self._readdir, CREATE: self._create,
            UNLINK: self._unlink, STATFS: self._statfs, RELEASE: _nothing,
            RELEASEDIR: _nothing, FSYNC: _nothing, FLUSH: _nothing, ACCESS: _nothing,
            DESTROY: _nothing}

    def serve(self, device: int) -> None:
        """Answer requests until the file system is unmounted; device: an open /dev/fuse."""
        while True:
            try:
                request = os.read(device, LARGEST_WRITE + BLOCK)
            except OSError as error:
                if error.errno == errno.ENODEV:     # unmounted
                    return
                if error.errno in (errno.EINTR, errno.ENOENT):     # the asker has gone away
                    continue
                raise
            _, operation, unique, node = IN_HEADER.unpack_from(request)[:4]
            self._record.write(f"{NAMES.get(operation, operation)}\n")
            if operation in UNANSWERED:
                continue
            number, answer = 0, b""
            try:
                answer = self._answers.get(operation, _unknown)(node, request[IN_HEADER.size:])
            except Refused as refused:
                number = refused.number
            except OSError as error:
                number = error.errno or errno.EIO
            try:
                os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(answer), -number, unique)
                         + answer)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise

    # -- requests ---------------------------------------------------------------------------

    def _init(self, node: int, body: bytes) -> bytes:
        return INIT_OUT.pack(KERNEL_VERSION, KERNEL_MINOR_VERSION, LARGEST_WRITE, 0, 12, 9,
                             LARGEST_WRITE, 1, LARGEST_WRITE // BLOCK, 0, 0)

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(_name(body))

    def _getattr(self, node: int, body: bytes) -> bytes:
        return ATTR_OUT.pack(0, 0, 0) + self._attributes(node)

    def _setattr(self, node: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("=IIQQ", body)
        if valid & FATTR_SIZE:
            os.truncate(self._path(node), size)
        return self._getattr(node, b"")

    def _open(self, node: int, body: bytes) -> bytes:
        self._attributes(node)
        return OPEN_OUT.pack(0, 0, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size = READ_IN.unpack_from(body)[:3]
        with open(self._path(node), "rb") as file:
            return os.pread(file.fileno(), size, offset)

    def _write(self, node: int, body: bytes) -> bytes:
        _, offset, size = READ_IN.unpack_from(body)[:3]
        with open(self._path(node), "r+b") as file:
            written = os.pwrite(file.fileno(), body[READ_IN.size:READ_IN.size + size], offset)
        return struct.pack("=II", written, 0)

    def _readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = READ_IN.unpack_from(body)[:3]
        answer = b""
        for number, name in enumerate(sorted(os.listdir(self._files)), 1):
            raw = os.fsencode(name)
            entry = DIRECTORY_ENTRY.pack(self._number(name), number, len(raw), stat.S_IFREG >> 12)
            entry += raw + bytes(-len(raw) % 8)
            if number > offset and len(answer) + len(entry) <= size:
                answer += entry
        return answer

    def _create(self, node: int, body: bytes) -> bytes:
        mode = struct.unpack_from("=II", body)[1]
        name = _name(body[16:])
        os.close(os.open(os.path.join(self._files, name), os.O_CREAT | os.O_WRONLY, mode & 0o777))
        return self._entry(name) + OPEN_OUT.pack(0, 0, 0)

    def _unlink(self, node: int, body: bytes) -> bytes:
        os.unlink(os.path.join(self._files, _name(body)))
        return b""

    def _statfs(self, node: int, body: bytes) -> bytes:
        return STATFS_OUT.pack(1 << 20, 1 << 19, 1 << 19, 1 << 16, 1 << 15, BLOCK, 255, BLOCK, 0)

    # -- files ------------------------------------------------------------------------------

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            number = ROOT_ID + 1 + len(self._numbers)
            self._numbers[name], self._names[number] = number, name
        return self._numbers[name]

    def _path(self, node: int) -> str:
        return self._files if node == ROOT_ID else os.path.join(self._files, self._names[node])

    def _entry(self, name: str) -> bytes:
        node = self._number(name)
        attributes = self._attributes(node)
        return ENTRY_OUT.pack(node, 0, 0, 0, 0, 0) + attributes

    def _attributes(self, node: int) -> bytes:
        facts = os.lstat(self._path(node))
        times = [int(moment) for moment in (facts.st_atime, facts.st_mtime, facts.st_ctime)]
        return ATTRIBUTES.pack(node, facts.st_size, facts.st_blocks, *times, 0, 0, 0, facts.st_mode,
                               facts.st_nlink, facts.st_uid, facts.st_gid, 0, BLOCK, 0)


def _name(body: bytes) -> str:
    """Return the name that a request begins with."""
    return os.fsdecode(body.partition(b"\0")[0])


def _nothing(node: int, body: bytes) -> bytes:
    """Answer a request that there is nothing to do for."""
    return b""


def _unknown(node: int, body: bytes) -> bytes:
    """Refuse what is not served."""
    raise Refused(errno.ENOSYS)


def mount(device: int, subtype: str, source: str, target: str) -> None:
    """Mount a file system whose requests come from an open /dev/fuse. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0,allow_other"
    if libc.mount(os.fsencode(source), os.fsencode(target), f"fuse.{subtype}".encode(),
                  ctypes.c_ulong(MS_NOSUID | MS_NODEV), options.encode()) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def main() -> None:
    """Mount what argv says and serve it."""
    subtype, source, target, files, record = sys.argv[1:]
    server = Server(files, record)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    mount(device, subtype, source, target)
    print("ready", flush=True)
    server.serve(device)


if __name__ == "__main__":
    main()
