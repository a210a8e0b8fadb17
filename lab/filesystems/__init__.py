# SPDX-License-Identifier: GPL-2.0-or-later
"""filesystems: what the storage rules are tried on, all of it real to the kernel that shows it.

============  =====================================================================
recipe        the packages that the tests of storage need over the image
lookalike     a file system in user space that is called, and fails, like NFS
autofs        a mount point that waits for an automounter which never answers
guest         a whole machine with a kernel of its own, which has NFS, DRBD, NBD…
guestinit     what that machine runs
============  =====================================================================
"""
