# SPDX-License-Identifier: GPL-2.0-or-later
"""The start of ocf:mailha:cyrus: what Cyrus adds to that of every mail server."""

from __future__ import annotations

import os

from mailha import errors
from mailha.agents.cyrus.local import CyrusExamination
from mailha.agents.cyrus.plan import NAME, PID_DIRECTORY, RUN_DIRECTORY
from mailha.mailserver.patience import share
from mailha.mailserver.release import Release
from mailha.mailserver.start import SHARE_OF_LOCK, MailServerStart
from mailha.products.cyrus import installed, last_words
from mailha.profiles import cyrus as profile
from mailha.services import lock
from mailha.services.managers import output_path
from mailha.services.service import DIRECT, Group
from mailha.system.child_failures import ChildFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from mailha.ocf import Call
    from mailha.services.service import Service
    from mailha.system.files import FileLock
    from mailha.system.machine import Machine

SOCKETS_MODE = 0o750
"""Of a directory for sockets that has to be made: the user of Cyrus and its group, as in Debian."""


class CyrusStart(MailServerStart):
    """One start of one instance."""

    def __init__(self, call: Call, machine: Machine) -> None:
        super().__init__(call, machine)
        self._examination = CyrusExamination(call, machine)
        self._common: FileLock | None = None

    def run(self) -> None:
        """Start the instance; raises as any start of a mail server does.

        Two instances that share a path by mistake may be started in the same second: the one that
        comes second waits with its look at the others until the first one can be seen.
        """
        try:
            super().run()
        finally:
            self.prepared()

    def prepared(self) -> None:
        """Let the next instance look: ours can be seen by its record."""
        if self._common is not None:
            self._common.release()
            self._common = None

    def complete(self, recorded: set[str]) -> bool:
        """Tell whether what a start has recorded is the one service of the resource."""
        return recorded == {NAME}

    def touches_data(self) -> bool:
        """Tell that two of it would damage the data."""
        return True

    def examine(self) -> Group:
        """Return the group as this node would run it, and keep what was read for it."""
        if self._common is None:
            self._common = lock.take_common(self._machine, profile.SOFTWARE,
                                            self._call.left() * SHARE_OF_LOCK)
        self._examination = CyrusExamination(self._call, self._machine)
        return self._examination.examine()

    def release(self, group: Group) -> Release:
        """Return the version of the master that would run."""
        its = self._examination.instance
        version = installed.version(self._machine, its.program, its.configuration,
                                    share(self._call))
        return Release(self._call, self._machine, version, product="Cyrus",
                       software=profile.SOFTWARE, directory=its.data)

    def environment(self) -> Mapping[str, str]:
        """Return what a master that no unit runs is given."""
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C", "CYRUS_USER": self._call.parameters["user"]}

    def make_room(self, group: Group) -> None:
        """Make directories that Cyrus expects, and tell the unit what to run."""
        machine, its = self._machine, self._examination.instance
        self._make_directories()
        for directory in (RUN_DIRECTORY, PID_DIRECTORY):
            machine.files.make_directory(directory, 0o755)
        lines = {"MASTER": its.program, "IMAPD_CONF": its.configuration,
                 "CYRUS_CONF": its.services, "PID_FILE": its.pid_file,
                 "CYRUS_USER": self._call.parameters["user"]}
        text = "".join(f"{name}={_quoted(value)}\n" for name, value in lines.items())
        machine.files.write_atomic(its.variables, text.encode("utf-8", "surrogateescape"))

    def explain(self, service: Service, release: Release | None) -> str:
        """Return what the master logged before it ended."""
        output = output_path(self._call.resource, service) \
            if self._call.parameters["manager"] == DIRECT else ""
        return last_words.last_words(self._machine, service, since=self.begin, output=output)

    def _make_directories(self) -> None:
        """Make what is missing of the directories in which the master shall make sockets.

        Without one it leaves out the service with a line in its log. In /run they are gone after
        each boot; in configdirectory a new instance has none. Raises errors.Failed.
        """
        machine, user = self._machine, self._call.parameters["user"]
        imapd = self._examination.reading.imapd
        wanted = {place.path.rpartition("/")[0] for place in self._examination.reading.places
                  if place.path}
        if imapd is not None:
            # Where its databases have their stamps, and idled and the others their sockets.
            wanted |= {imapd.directory + "/db", imapd.directory + "/socket"}
            # Cyrus makes the last part of a path itself, which in /run is not enough.
            wanted |= {use.path.rpartition("/")[0] for use in imapd.uses
                       if use.path.startswith(profile.MEMORY)}

        def make() -> bytes:
            import pwd
            entry = pwd.getpwnam(user)
            for directory in sorted(wanted):
                _make(machine.root + directory, entry.pw_uid, entry.pw_gid)
            return b""

        try:
            machine.children.bounded(make, timeout=share(self._call))
        except ChildFailed as error:
            raise errors.Failed(f"cannot make the directories {', '.join(sorted(wanted))}: "
                                f"{error.reason}", remedy="see whether the disk is full or "
                                "read-only") from None


def _make(directory: str, user: int, group: int) -> None:
    """Make a directory, and those above it, for the user; one that is there stays as it is."""
    if os.path.isdir(directory):
        return
    above = directory.rpartition("/")[0]
    if above and not os.path.isdir(above):
        _make(above, user, group)
    os.mkdir(directory)
    # After it is made, because Pacemaker runs agents with umask 026.
    os.chmod(directory, SOCKETS_MODE)
    os.chown(directory, user, group)


def _quoted(value: str) -> str:
    """Return a value as systemd reads it in an EnvironmentFile=; quotes no value has."""
    return '"' + value.replace("\\", "\\\\").replace("$", "\\$") + '"'
