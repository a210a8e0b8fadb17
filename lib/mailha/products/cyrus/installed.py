# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Cyrus an instance would run: the path of its master, and the version of it."""

from __future__ import annotations

import os
import re

from mailha import errors
from mailha.profiles import cyrus as profile
from mailha.storage import symlinks
from mailha.storage.version import Version
from mailha.system.child_failures import ChildFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from mailha.system.machine import Machine

# The package that has the master, by distribution.
_QUERIES = (("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}\\n", "cyrus-common"),
            ("rpm", "-q", "--qf", "installed %{VERSION}-%{RELEASE}\\n", "cyrus-imapd"))
_PRINTED = re.compile(r"(?:cyrus-imapd |v)([0-9][0-9A-Za-z.+~^_-]*)")


def master(machine: Machine, directories: Sequence[str], timeout: float) -> str:
    """Return the path of the first master in the directories, with all links followed.

    That is how the kernel names it to whoever looks at the process; Debian's cyrmaster is a link.
    timeout: seconds for the disk. Raises errors.NotInstalled, and errors.Failed.
    """
    def first() -> bytes:
        for directory in directories:
            for name in profile.MASTERS:
                path = f"{directory}/{name}"
                if machine.files.exists(path):
                    return os.fsencode(path)
        return b""

    try:
        found = os.fsdecode(machine.children.bounded(first, timeout=timeout))
    except ChildFailed as error:
        raise errors.Failed(f"cannot look for Cyrus's master in {directories[0]}: {error.reason}",
                            remedy="look for a dead disk below it") from None
    if not found:
        raise errors.NotInstalled(f"there is no master of Cyrus in {' or '.join(directories)}",
                                  remedy="install Cyrus on this node, or set binary_dir")
    return symlinks.resolve(machine, found, timeout=timeout)


def version(machine: Machine, program: str, configuration: str, timeout: float) -> Version:
    """Return the version of the Cyrus to which a master belongs.

    cyr_info is asked, which lies beside the master and ends at once (a master of 2.4 that is asked
    with -V starts). Where it does not say, the package database is, if the master is the
    distribution's. configuration: the instance's imapd.conf. timeout: seconds for all of it.

    Raises errors.Failed if nobody tells.
    """
    home = program.rpartition("/")[0]
    share = timeout / (len(_QUERIES) + 1)
    said = _ask(machine, [f"{home}/cyr_info", "-C", configuration, "version"], share)
    match = _PRINTED.search(said)
    texts = [match.group(1)] if match else []
    if not texts and home in profile.PROGRAM_DIRECTORIES:
        for query in _QUERIES:
            texts += [line.partition(" ")[2] for line in _ask(machine, query, share).splitlines()
                      if not line.startswith(("not-installed", "config-files", "package "))]
    for text in texts:
        try:
            return Version(text)
        except errors.MailhaError:
            continue
    raise errors.Failed(f"nobody tells the version of {program}: '{home}/cyr_info version' does "
                        "not", remedy="run it by hand; libraries may be missing")


def _ask(machine: Machine, command: Sequence[str], timeout: float) -> str:
    """Return what a command prints, "" where it cannot be run."""
    try:
        # What counts is what it prints.
        finished = machine.children.run(command, timeout=timeout, accept=range(256))
    except ChildFailed:
        return ""
    return finished.stdout.decode("utf-8", "replace")
