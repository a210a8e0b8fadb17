# SPDX-License-Identifier: GPL-2.0-or-later
"""Where Cyrus keeps its programs, and products that bring it their data, with what is said of it.

BlueMind's pages on high availability disagree by language, not by version: the English ones forbid
NFS for /var/spool/cyrus and /var/lib/cyrus (the policy "strict"), the French ones for
/var/spool/cyrus/meta alone ("split"). The table of services of 4.x wants two more directories on
block devices.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.storage.rules import SPLIT, STRICT

SOFTWARE = "cyrus"

CONFIGURATION = "/etc/imapd.conf"
"""What a program of Cyrus reads that is not told otherwise with -C."""

USER = "cyrus"

MEMORY = ("/run/", "/var/run/", "/dev/shm/")
"""Where what means nothing after a restart may be; Cyrus's documents advise it."""

PROGRAM_DIRECTORIES = ("/usr/lib/cyrus/bin", "/usr/libexec/cyrus-imapd", "/usr/lib/cyrus-imapd",
                       "/usr/libexec/cyrus", "/usr/cyrus/libexec", "/usr/cyrus/bin")
"""Of Debian, of Red Hat and SUSE today and before, of upstream today and before."""

MASTERS = ("master", "cyrus-master", "cyrmaster")
"""Of upstream, BlueMind and Debian (whose cyrmaster is a link to it), of Red Hat and SUSE."""

DAEMONS = ("imapd", "pop3d", "lmtpd", "timsieved", "httpd", "nntpd", "idled", "notifyd", "smmapd",
           "sync_server", "sync_client", "backupd", "calalarmd", "mupdate", "ptloader", "fud",
           "promstatsd", "proxyd", "pop3proxyd", "lmtpproxyd", "squatter", "saslperfd")
"""What a master keeps running, or starts for a connection. A rolling squatter is one of them."""

TOOLS = ("ctl_cyrusdb", "ctl_conversationsdb", "ctl_deliver", "ctl_mboxlist", "ctl_zoneinfo",
         "ctl_backups", "cyr_expire", "cyr_backup", "cyr_dbtool", "cyr_virusscan", "cyr_synclog",
         "tls_prune", "chk_cyrus", "reconstruct", "quota", "ipurge", "ptexpire", "unexpunge",
         "cvt_cyrusdb", "cvt_xlist_specialuse", "relocate_by_id", "restore", "fetchnews",
         "mbexamine", "arbitron", "dav_reconstruct", "sync_reset", "undohash", "rehash",
         "compile_sieve", "sievec", "masssievec", "deliver", "makedirs", "expire", "check")
"""What works on the data for a while and ends: called by a master, or by hand."""

PROGRAMS = frozenset((*DAEMONS, *TOOLS))
PARTITIONS = "/etc/cyrus-partitions"
"""Written by BlueMind: the partitions of each domain."""


def unit(resource: str) -> str:
    """Return the unit, of the template in units/, that runs the instance of a resource."""
    return f"mailha-cyrus@{resource}.service"


class StorageProfile:
    """What a product's documents say about its storage.

    documented: by policy, directories that must be on a block device even where imapd.conf names
    nothing in them yet. further: directories of other services for which the same is demanded.
    metadata_files: the values that metapartition_files has in the Cyrus that the product brings.
    archive_anywhere: whether old messages may be on NFS whatever the policy.
    """

    __slots__ = ("documented", "further", "metadata_files", "archive_anywhere")

    def __init__(self, documented: dict[str, tuple[str, ...]], further: tuple[str, ...],
                 metadata_files: tuple[str, ...], *, archive_anywhere: bool) -> None:
        self.documented = documented
        self.further = further
        self.metadata_files = metadata_files
        self.archive_anywhere = archive_anywhere


_BLUEMIND = {STRICT: ("/var/spool/cyrus", "/var/lib/cyrus"), SPLIT: ("/var/spool/cyrus/meta",)}

_CYRUS_2_4 = ("header", "index", "cache", "expunge")
_CYRUS_3 = (*_CYRUS_2_4, "annotations", "lock", "dav", "archivecache")

PROFILES = {
    "cyrus": StorageProfile({}, (), _CYRUS_3, archive_anywhere=False),
    # BlueMind 3.x brings Cyrus 2.4, which refuses the names that came later.
    "bluemind3": StorageProfile(_BLUEMIND, (), _CYRUS_2_4, archive_anywhere=True),
    # The archive is "NFS or a local mount on /var/spool/bm-hsm" (Archivage).
    "bluemind4": StorageProfile(_BLUEMIND, ("/var/spool/bm-elasticsearch", "/var/lib/postgresql"),
                                _CYRUS_3, archive_anywhere=True),
}

USUAL = "cyrus"
