# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of one path: everything that has to be equal on both nodes, and when it changed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, Mapping

from mailha.sync.trouble import ProtocolError

FILE, DIRECTORY, SYMLINK = "file", "directory", "symlink"
KINDS = (FILE, DIRECTORY, SYMLINK)

LONGEST_PATH = 4095
"""Bytes (PATH_MAX less its NUL)."""
LONGEST_NAME = 255
LARGEST_FILE = 64 << 20
"""Bytes. Nothing that is larger is configuration."""
LARGEST_ATTRIBUTE = 65536
"""Bytes (XATTR_SIZE_MAX)."""
MOST_ATTRIBUTES = 64

_LARGEST_NUMBER = 2 ** 32 - 2       # (uid_t) -1 means "leave it" to chown(2)
_LARGEST_TIME = 2 ** 63 - 1
_NO_NAMES = frozenset({b"", b".", b".."})
_NOT_IN_OWNERS = frozenset("\0\n:/")
_HEXADECIMAL = frozenset("0123456789abcdef")

# The label is decided by the policy of each node; it is carried, and no difference.
UNCOUNTED = frozenset({"security.selinux"})


class Entry:
    """A file, directory or symbolic link.

    path: absolute. kind: FILE, DIRECTORY or SYMLINK. mode: permission bits, with set-user-ID and
    the like; 0o777 for a link. owner, group: names, "" where the node's files have none. uid, gid:
    the numbers. attributes: extended attributes by name; access control lists in the form of
    mailha.sync.files.acl. size: bytes. digest: SHA-256 of the content as hexadecimal digits, "" for
    what has none. target: where a link points. mtime: nanoseconds since 1970.
    """

    __slots__ = ("path", "kind", "mode", "owner", "uid", "group", "gid", "attributes", "size",
                 "digest", "target", "mtime", "_fingerprint")

    def __init__(self, path: str, kind: str, *, mode: int, owner: str, uid: int, group: str,
                 gid: int, attributes: Mapping[str, bytes] | None = None, size: int = 0,
                 digest: str = "", target: str = "", mtime: int = 0) -> None:
        self.path = path
        self.kind = kind
        self.mode = mode
        self.owner = owner
        self.uid = uid
        self.group = group
        self.gid = gid
        self.attributes = dict(attributes or {})
        self.size = size
        self.digest = digest
        self.target = target
        self.mtime = mtime
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """One text for everything that has to be equal: same fingerprint, same file.

        An owner counts by name, else by number; times and the size of a directory do not count.
        """
        if not self._fingerprint:
            parts = [self.kind, f"{self.mode:o}", self.owner or f"#{self.uid}",
                     self.group or f"#{self.gid}", self.digest, self.target]
            for name in sorted(self.attributes):
                if name not in UNCOUNTED:
                    parts += [name, self.attributes[name].hex()]
            text = "\0".join(parts).encode("utf-8", "surrogateescape")
            self._fingerprint = hashlib.sha256(text).hexdigest()
        return self._fingerprint

    def __repr__(self) -> str:
        return f"<{self.kind} {self.path}>"

    def to_message(self) -> dict[str, Any]:
        """Return the entry as it goes over the wire; what is empty stays at home."""
        message: dict[str, Any] = {"path": self.path, "kind": self.kind, "mode": self.mode,
                                   "owner": [self.owner, self.uid],
                                   "group": [self.group, self.gid], "mtime": self.mtime}
        if self.attributes:
            message["attributes"] = {name: base64.b64encode(value).decode("ascii")
                                     for name, value in self.attributes.items()}
        if self.kind == FILE:
            message["size"] = self.size
            message["digest"] = self.digest
        elif self.kind == SYMLINK:
            message["target"] = self.target
        return message

    @classmethod
    def from_message(cls, message: Any) -> Entry:
        """Return the entry that a message describes. Raises ProtocolError for anything odd."""
        if not isinstance(message, dict):
            raise ProtocolError("what should describe a file is no object")
        path = check_path(message.get("path"))
        kind = message.get("kind")
        if kind not in KINDS:
            raise ProtocolError(f"{path} has the kind {str(kind)[:40]!r}")
        owner, uid = _who(message.get("owner"), path)
        group, gid = _who(message.get("group"), path)
        entry = cls(path, kind, mode=_number(message.get("mode"), 0o7777, path, "mode"),
                    owner=owner, uid=uid, group=group, gid=gid,
                    attributes=_attributes(message.get("attributes"), path),
                    mtime=_number(message.get("mtime"), _LARGEST_TIME, path, "mtime",
                                  -_LARGEST_TIME))
        if kind == FILE:
            entry.size = _number(message.get("size"), LARGEST_FILE, path, "size")
            entry.digest = check_digest(message.get("digest"), path)
        elif kind == SYMLINK:
            target = message.get("target")
            if not isinstance(target, str) or not target or "\0" in target \
                    or len(_bytes(target, path)) > LONGEST_PATH:
                raise ProtocolError(f"the target of the link {path} is not one")
            entry.target = target
        return entry


def check_path(path: Any) -> str:
    """Return the path if it is absolute and says what it means. Raises ProtocolError.

    No empty part, no "." and no "..": whatever is opened below a directory stays below it.
    """
    if not isinstance(path, str) or path[:1] != "/" or path == "/" or "\0" in path:
        raise ProtocolError(f"{str(path)[:80]!r} is no absolute path of a file")
    data = _bytes(path, path)
    if len(data) > LONGEST_PATH:
        raise ProtocolError(f"a path has more than {LONGEST_PATH} bytes")
    parts = data.split(b"/")[1:]
    if not _NO_NAMES.isdisjoint(parts) or len(max(parts, key=len)) > LONGEST_NAME:
        raise ProtocolError(f"the path {path[:200]!r} has a part that no file is called")
    return path


def check_digest(digest: Any, path: str) -> str:
    """Return the digest if it is one of SHA-256. Raises ProtocolError."""
    if not isinstance(digest, str) or len(digest) != 64 or not _HEXADECIMAL.issuperset(digest):
        raise ProtocolError(f"the digest of {path} is none")
    return digest


def _bytes(text: str, path: str) -> bytes:
    """Return the bytes of a name, which need not be UTF-8. Raises ProtocolError."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ProtocolError(f"{path[:80]!r} has a character that no name has") from None


def _number(value: Any, largest: int, path: str, what: str, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= largest:
        raise ProtocolError(f"the {what} of {path} is {str(value)[:40]!r}")
    return value


def _who(value: Any, path: str) -> tuple[str, int]:
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        raise ProtocolError(f"an owner of {path} is {str(value)[:40]!r}")
    name = value[0]
    if len(_bytes(name, path)) > LONGEST_NAME or not _NOT_IN_OWNERS.isdisjoint(name):
        raise ProtocolError(f"an owner of {path} is called {name[:40]!r}")
    return name, _number(value[1], _LARGEST_NUMBER, path, "owner")


def _attributes(value: Any, path: str) -> dict[str, bytes]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_ATTRIBUTES:
        raise ProtocolError(f"the attributes of {path} are none")
    found = {}
    for name, text in value.items():
        if not travels(name) or "\0" in name or len(_bytes(name, path)) > LONGEST_NAME \
                or not isinstance(text, str):
            raise ProtocolError(f"{path} has an attribute {name[:60]!r}, which is not carried")
        try:
            found[name] = base64.b64decode(text.encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise ProtocolError(f"the attribute {name[:60]!r} of {path} is not base64") from None
        if len(found[name]) > LARGEST_ATTRIBUTE:
            raise ProtocolError(f"the attribute {name[:60]!r} of {path} is too large")
    return found


def travels(name: str) -> bool:
    """Tell whether an extended attribute is carried.

    The others are a file system's own (trusted.overlay.*, system.nfs4_acl), or sealed with a key
    of the node (security.ima, security.evm).
    """
    return name.startswith("user.") or name in (
        "security.capability", "security.selinux", "system.posix_acl_access",
        "system.posix_acl_default")
