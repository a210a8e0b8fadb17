# SPDX-License-Identifier: GPL-2.0-or-later
"""The parameters of ocf:mailha:cyrus-storage.

All of them can be changed while the mail runs: every action reads them anew.
"""

from __future__ import annotations

from mailha.ocf.declaration import Parameter
from mailha.profiles.cyrus import CONFIGURATION, PARTITIONS, PROFILES, USUAL
from mailha.storage.rules import SPLIT, STRICT
from mailha.validation.storage import Devices, Paths
from mailha.validation.text import Boolean, Choice, Path

PARAMETERS = (
    Parameter("policy", Choice(STRICT, SPLIT), default=STRICT, reloadable=True,
              short="what may be on NFS: nothing, or all but the metadata",
              long="""\
strict: all that lasts must be on block devices, as BlueMind's English documents demand of
/var/spool/cyrus and /var/lib/cyrus. split: only Cyrus's metadata (metapartition-*) must be, as the
French ones say; messages, archive and configdirectory may be on NFS. A partition counts as free of
metadata only if metapartition_files in imapd.conf names all of them and the partition has a
metapartition of its own; else it must be on a block device, too. Cyrus itself advises against NFS
for any of it."""),
    Parameter("imapd_conf", Path(), default=CONFIGURATION, reloadable=True,
              short="Cyrus's configuration file",
              long="""\
The imapd.conf from which the paths are taken: configdirectory, every partition, metapartition,
archive and search partition, every *_db_path, sievedir, and the directories for locks, proc and
temporary files. The same path as in the option -C of Cyrus's master."""),
    Parameter("partitions_file", Path(), default=PARTITIONS, reloadable=True,
              short="BlueMind's file with more partitions",
              long="""\
A file with further partitions in the form of imapd.conf, which BlueMind writes. It is read if it is
there and not included by imapd_conf."""),
    Parameter("profile", Choice(*PROFILES), default=USUAL, reloadable=True,
              short="the product that Cyrus is part of",
              long="""\
cyrus: nothing but what imapd.conf names. bluemind3, bluemind4: also what BlueMind's documents name
where imapd.conf names nothing in it: /var/spool/cyrus and /var/lib/cyrus (strict), or
/var/spool/cyrus/meta (split); the archive may be on NFS whatever the policy. bluemind4: also
/var/spool/bm-elasticsearch and /var/lib/postgresql, which the table of services wants on block
devices. bluemind3 knows that Cyrus 2.4 has fewer metapartition_files."""),
    Parameter("paths", Paths(), reloadable=True,
              short="further paths that must be on block devices",
              long="""\
Absolute paths, separated by blanks or commas, that must be on block devices besides those that
imapd.conf names."""),
    Parameter("device", Devices(), reloadable=True,
              short="what must be mounted there",
              long="""\
The right disk, so that the disk of another server is refused: a path in /dev or UUID=... for all
paths of imapd.conf that must be on a block device. For more than one disk, PATH=DEVICE for what
lies at or below PATH; the longest PATH counts, and one that holds for no path is refused. LABEL=,
PARTUUID= and PARTLABEL= do as well. Of a path on NFS, SERVER:/EXPORT. Separated by blanks or
commas. Not set: any fit device that is not the disk of the operating system; so name it where the
mail's disk is mounted below another one of this node, whose directory would do as well."""),
    Parameter("require_mount", Boolean(), default="true", reloadable=True,
              short="require that something is mounted there",
              long="""\
Whether all that lasts must be on something that is mounted for it. Without a mount a path is a
directory on the disk of the operating system, and after a changeover the mail is not there. Say
false only where the data really is on that disk; what does not exist is refused then, as nothing
else would show that it is missing."""),
)
