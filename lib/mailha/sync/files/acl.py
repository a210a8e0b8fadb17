# SPDX-License-Identifier: GPL-2.0-or-later
"""Access control lists, between the kernel's form and one that means the same on another node.

The kernel keeps a list as an extended attribute that names users by number (posix_acl_xattr.h): a
version, then for each line a tag, permissions and a number, all little-endian. On the way users and
groups have names, as every owner has.
"""

from __future__ import annotations

import struct

from mailha.sync.files.owners import Owners, OwnerUnknown
from mailha.sync.trouble import ProtocolError

NAMES = ("system.posix_acl_access", "system.posix_acl_default")

_VERSION = 2                    # POSIX_ACL_XATTR_VERSION
_HEADER = struct.Struct("<I")
_LINE = struct.Struct("<HHI")
_USER, _GROUP = 0x02, 0x08      # ACL_USER, ACL_GROUP: the tags that have a number
_TAGS = (0x01, _USER, 0x04, _GROUP, 0x10, 0x20)
_NOBODY = 0xFFFFFFFF            # ACL_UNDEFINED_ID


def portable(value: bytes, owners: Owners) -> bytes:
    """Return the text of a list as the kernel gives it: a line for each entry, "tag:rights:who".

    who: a name, "#" and a number, or nothing. A list of a version that is not known here stays as
    it is, after a "?".
    """
    if len(value) < 4 or _HEADER.unpack_from(value)[0] != _VERSION or (len(value) - 4) % 8:
        return b"?" + value
    lines = []
    for tag, rights, number in _LINE.iter_unpack(value[4:]):
        who = ""
        if tag in (_USER, _GROUP):
            name = owners.user_name(number) if tag == _USER else owners.group_name(number)
            who = name or f"#{number}"
        lines.append((tag, who, rights, number))
    # The kernel sorts by number, which is not the same on two nodes.
    lines.sort(key=lambda line: line[:2])
    # The number goes along for a name that is unknown on the other side, for the message there.
    return "\n".join(f"{tag}:{rights}:{who}" for tag, who, rights, _ in lines).encode(
        "utf-8", "surrogateescape")


def native(text: bytes, owners: Owners) -> bytes:
    """Return the kernel's form of a list on this node.

    Raises ProtocolError, and OwnerUnknown for a user or group that is not here.
    """
    if text[:1] == b"?":
        return text[1:]
    lines = []
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(":", 2)
        if len(fields) != 3 or not (fields[0].isdecimal() and fields[1].isdecimal()):
            raise ProtocolError(f"'{line[:60]}' is no line of an access control list")
        tag, rights, who = int(fields[0]), int(fields[1]), fields[2]
        if tag not in _TAGS or rights > 7 or bool(who) != (tag in (_USER, _GROUP)):
            raise ProtocolError(f"'{line[:60]}' is no line of an access control list")
        lines.append((tag, _number(tag, who, owners), rights))
    lines.sort()
    return _HEADER.pack(_VERSION) + b"".join(_LINE.pack(tag, rights, number)
                                             for tag, number, rights in lines)


def _number(tag: int, who: str, owners: Owners) -> int:
    if not who:
        return _NOBODY
    look_up = owners.user if tag == _USER else owners.group
    if not who.startswith("#"):
        return look_up(who, 0)
    if not who[1:].isdecimal() or int(who[1:]) >= _NOBODY:
        raise OwnerUnknown(f"'{who[:60]}' is nobody's number")
    return look_up("", int(who[1:]))
