# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages that the tests of storage need over the root image."""

from __future__ import annotations

from twonode.layer import Recipe

# user-mode-linux keeps its modules apart, so that they are not taken for the host's own.
_MODULES = r"""
for modules in /usr/lib/uml/modules/*; do
    version=${modules##*/}
    mkdir -p /lib/modules
    ln -s "$modules" "/lib/modules/$version"
    depmod "$version"
done
"""

STORAGE = Recipe("storage", (
    # a kernel that runs as a process, with NFS, NBD, DRBD, device mapper, GFS2 and OCFS2
    "user-mode-linux", "nfs-kernel-server", "nbd-server", "nbd-client", "dmsetup",
    "gfs2-utils", "ocfs2-tools",
    # file systems that the host's kernel has as well
    "xfsprogs", "btrfs-progs", "squashfs-tools",
), after=_MODULES)
