# SPDX-License-Identifier: GPL-2.0-or-later
"""What each type of file system is, as far as mail that must not be lost is concerned.

A list of those that are known to be right, not of those that are known to be wrong: new network
file systems come every year, and what is not listed here is refused.

A recurring monitor loads this module.
"""

from __future__ import annotations


class Kind:
    """What file systems of a sort have in common.

    words: what such a file system is, after "it is". local: answers from this machine or from its
    block devices, so that a look at it waits for no server.
    """

    __slots__ = ("name", "words", "local")

    def __init__(self, name: str, words: str, local: bool) -> None:
        self.name = name
        self.words = words
        self.local = local

    def __repr__(self) -> str:
        return f"<Kind {self.name}>"


DISK = Kind("disk", "a file system on a block device", True)
CLUSTER = Kind("cluster", "a cluster file system on a block device", True)
POOL = Kind("pool", "a file system with disks of its own", True)
MEMORY = Kind("memory", "kept in memory and lost with the power", True)
IMAGE = Kind("image", "an image that nobody can write to", True)
FOREIGN = Kind("foreign", "a file system without the owners, links and locks of Unix", True)
OVERLAY = Kind("overlay", "layers of other file systems, where a file changes its identity when it "
               "is first written to", False)
NFS = Kind("nfs", "a network file system", False)
NETWORK = Kind("network", "a network file system", False)
FUSE = Kind("fuse", "served by a program (FUSE), which may fetch it from anywhere and may hang",
            False)
AUTOMOUNT = Kind("automount", "a trigger of the automounter, on which anything may be mounted at "
                 "the next look", False)
KERNEL = Kind("kernel", "no place for files but a view into the kernel", False)
UNKNOWN = Kind("unknown", "of no type that is known to be fit for mail", False)

_KINDS = {
    DISK: "ext2 ext3 ext4 xfs btrfs f2fs jfs nilfs2 reiserfs",
    CLUSTER: "gfs2 ocfs2",
    POOL: "zfs bcachefs",
    MEMORY: "tmpfs ramfs devtmpfs rootfs hugetlbfs",
    IMAGE: "squashfs erofs iso9660 udf cramfs romfs",
    FOREIGN: "vfat msdos exfat ntfs ntfs3 hfs hfsplus minix ufs affs",
    OVERLAY: "overlay overlayfs aufs unionfs ecryptfs",
    NFS: "nfs nfs4",
    NETWORK: "cifs smb3 smbfs smb2 ncpfs ncp 9p virtiofs vboxsf afs coda ceph lustre gfs gpfs mmfs "
             "beegfs fhgfs orangefs pvfs2 panfs acfs vxfs snfs stornext ibrix vmhgfs prl_fs "
             "glusterfs davfs hostfs",
    FUSE: "fuse fuseblk",
    AUTOMOUNT: "autofs",
    KERNEL: "proc sysfs cgroup cgroup2 devpts mqueue debugfs tracefs securityfs configfs bpf "
            "pstore efivarfs fusectl binfmt_misc nsfs rpc_pipefs nfsd selinuxfs dlmfs ocfs2_dlmfs",
}

KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
"""The kind of each known type. Use :func:`kind_of`, which knows FUSE's own names too."""


def kind_of(fstype: str) -> Kind:
    """Return what a file system is by the type that the kernel's table gives it.

    "fuse.nfs" and "fuseblk" are FUSE, whatever follows the dot: the program chooses the name.
    """
    if fstype.startswith("fuse."):
        return FUSE
    return KIND_OF.get(fstype, UNKNOWN)
