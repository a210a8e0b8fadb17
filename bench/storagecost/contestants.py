# SPDX-License-Identifier: GPL-2.0-or-later
"""Who competes, as data: what is asked about one and the same path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from monitorcost.contestants import Command, agent, program

COUNTS = (30, 1000, 20000)
"""Mounts of the machine: a small one, one with containers, one with as many as anybody has."""

SPOOL, STATE = "/var/spool/cyrus", "/var/lib/cyrus"
"""Where disks are mounted for the mail."""

PARTITION = SPOOL + "/data/default"
"""The path that is asked about: not a mount point itself, so that somebody has to look for it."""

CONFIGURATION = f"""\
configdirectory: {STATE}
defaultpartition: default
partition-default: {PARTITION}
metapartition-default: {SPOOL}/meta/default
metapartition_files: header index cache expunge squat annotations lock dav archivecache
archivepartition-default: {SPOOL}/archive/default
sievedir: {STATE}/sieve
duplicate_db_path: /run/cyrus/duplicate.db
mboxname_lockpath: /run/cyrus/lock
proc_path: /run/cyrus/proc
"""
"""An imapd.conf as it is usual: the monitor examines every path of it."""


@dataclass(frozen=True)
class Contestant:
    """Something that is run. command: argv and environment; it has to end with code 0."""

    name: str
    command: Command


BARE = Contestant("python3 -I -c pass", program("/usr/bin/python3", "-I", "-c", "pass"))

BAREST = Contestant("python3 -IS -c pass", program("/usr/bin/python3", "-IS", "-c", "pass"))
"""What mailha's executables are started with: without the module `site`, but also without `os`."""

MONITOR = Contestant("ocf:mailha:cyrus-storage monitor", agent("mailha", "cyrus-storage"))

FINDMNT = Contestant("findmnt -T", program("/usr/bin/findmnt", "-T", PARTITION))

DF = Contestant("df", program("/usr/bin/df", PARTITION))

FILESYSTEM = Contestant("ocf:heartbeat:Filesystem monitor", agent(
    "heartbeat", "Filesystem", device="tmpfs", directory="/srv/tmpfs", fstype="tmpfs"))

ALL: Tuple[Contestant, ...] = (BARE, BAREST, MONITOR, FINDMNT, DF, FILESYSTEM)

MASTER = "/usr/lib/cyrus/bin/master"
"""The place of Cyrus's master."""

VERDICT = "the verdict, in process"
FURTHER = "one path more, in process"
"""Rows that are no program: what the monitor does between its beginning and its end."""
