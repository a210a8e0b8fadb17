# SPDX-License-Identifier: GPL-2.0-or-later
"""Extended attributes and access control lists of an open file: read, compared and set."""

from __future__ import annotations

import errno
import os
from typing import Mapping

from mailha import errors
from mailha.sync.files import acl
from mailha.sync.files.entry import UNCOUNTED, travels
from mailha.sync.files.owners import Owners

_NONE_HERE = (errno.ENOTSUP, errno.ENOSYS)


def read(descriptor: int, owners: Owners) -> dict[str, bytes]:
    """Return the attributes that are carried. Raises OSError."""
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno in _NONE_HERE:
            return {}
        raise
    found = {}
    for name in names:
        if travels(name):
            try:
                value = os.getxattr(descriptor, name)
            except OSError as error:
                if error.errno == errno.ENODATA:
                    continue            # gone between the two calls
                raise
            found[name] = acl.portable(value, owners) if name in acl.NAMES else value
    return found


def write(descriptor: int, wanted: Mapping[str, bytes], owners: Owners) -> None:
    """Make the carried attributes of an open file those that are wanted.

    Raises errors.Failed for one that cannot be kept here, OwnerUnknown, and OSError.
    """
    try:
        present = [name for name in os.listxattr(descriptor) if travels(name)]
    except OSError as error:
        if error.errno not in _NONE_HERE:
            raise
        present = []
    for name in present:
        if name not in wanted and name not in UNCOUNTED:
            os.removexattr(descriptor, name)
    for name, value in wanted.items():
        native = acl.native(value, owners) if name in acl.NAMES else value
        try:
            if name in present and os.getxattr(descriptor, name) == native:
                continue
            os.setxattr(descriptor, name, native)
        except OSError as error:
            if name in UNCOUNTED:
                continue                # the policy of this node decides
            if error.errno in (*_NONE_HERE, errno.EPERM, errno.EINVAL, errno.ENOSPC, errno.E2BIG):
                raise errors.Failed(
                    f"the attribute {name} cannot be kept here: {error.strerror}",
                    remedy="use the same file system on both nodes") from None
            raise
