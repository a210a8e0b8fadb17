# SPDX-License-Identifier: GPL-2.0-or-later
"""Is the data there, and not merely the empty directory on which it should be mounted?

Mail software makes what it does not find. Kopano creates a new attachments directory on the node's
own disk, and a failover later nobody knows where which mail is.
"""

from __future__ import annotations

import os

from mailha import errors
from mailha.storage import mountinfo, patience, symlinks
from mailha.system.child_failures import ChildFailed
from mailha.system.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.storage.mountinfo import Mount

MARKER = ".mailha-data"
"""A file of this name says: this directory is the data, though it is no mount point."""


class NotMounted(errors.Failed):
    """A directory that should hold the data does not."""


def require(machine: Machine, directory: str, *, timeout: float) -> str:
    """Return where the disk is mounted that the data lies on.

    The directory must be a mount point, and not one for a directory of the node's own root file
    system, or have the marker in it; and one can write to it.

    Symbolic links on the way to it are followed on local file systems only. timeout: seconds for
    everything that touches a disk.

    Raises NotMounted, errors.Failed for a wrong path, and patience.DiskSilent.
    """
    real = symlinks.resolve(machine, directory, timeout=timeout,
                            accept=lambda mount: symlinks.is_local(mount)
                            or mount.mount_point == mountinfo.lexical(directory))
    mount = mountinfo.mount_of(machine, real)
    at = f"'{directory}'" if real == directory else f"'{directory}' (in truth '{real}')"
    if mount.mount_point != real and not _is_marked(machine, real, timeout):
        raise NotMounted(
            f"{at} is no mount point: it lies on {mount.source} ({mount.fstype}), mounted at "
            f"'{mount.mount_point}', and has no file {MARKER}",
            remedy="let the cluster mount the data there first (ocf:heartbeat:Filesystem, earlier "
                   f"in the group), or, where this disk is the data's, create '{real}/{MARKER}' "
                   "while it is mounted")
    if mount.mount_point == real != "/" and _is_of_the_node(machine, mount) \
            and not _is_marked(machine, real, timeout):
        raise NotMounted(
            f"{at} is '{mount.root}' of this node's own root file system, bound there: it was "
            "bound before the disk was mounted that it is meant to come from",
            remedy="let the cluster mount the disk first and then bind the directory "
                   "(ocf:heartbeat:Filesystem for both, not /etc/fstab), or, where the data is "
                   f"meant to be on the node's own disk, create '{real}/{MARKER}'")
    if mount.read_only:
        raise NotMounted(f"{at} is mounted read-only from {mount.source}",
                         remedy="find out why in the kernel's log, check the file system, and "
                                "mount it again")
    if mount.deleted:
        raise NotMounted(f"the directory that is mounted at {at} has been removed",
                         remedy="unmount it and mount the data again")
    return mount.mount_point


def _is_of_the_node(machine: Machine, mount: Mount) -> bool:
    """Tell whether what is mounted is a part of the file system of "/"."""
    return mountinfo.mount_of(machine, "/").device == mount.device


def _is_marked(machine: Machine, directory: str, timeout: float) -> bool:
    """Say whether the marker is there."""
    def marker() -> bytes:
        return b"yes" if machine.files.exists(os.path.join(directory, MARKER)) else b"no"

    try:
        return patience.touch(machine, directory, marker, timeout) == b"yes"
    except ChildFailed as error:
        raise NotMounted(f"cannot look into '{directory}': {error.reason}") from None
