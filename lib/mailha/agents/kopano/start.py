# SPDX-License-Identifier: GPL-2.0-or-later
"""The start of ocf:mailha:kopano: what Kopano adds to that of every mail server."""

from __future__ import annotations

from mailha import errors
from mailha.agents.kopano import local
from mailha.mailserver.release import Release
from mailha.mailserver.start import MailServerStart
from mailha.products.kopano import database, last_words, leftovers
from mailha.profiles import kopano as profile
from mailha.services import lock
from mailha.services.managers import output_path
from mailha.services.service import DIRECT, Group, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from mailha.ocf import Call
    from mailha.products.kopano.configuration import Configuration
    from mailha.system.machine import Machine

# Seconds between two questions to a database that is not there. It counts connections that it does
# not understand and bans whoever makes too many (max_connect_errors), so it is not hammered.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0
# Seconds that one question needs; with less than that left there is no further one.
LEAST_FOR_DATABASE = 1.0


class KopanoStart(MailServerStart):
    """One start of Kopano."""

    def __init__(self, call: Call, machine: Machine) -> None:
        super().__init__(call, machine)
        self._read: dict[str, Configuration] = {}

    def touches_data(self) -> bool:
        """Tell whether two of this resource would damage the data."""
        return any(profile.SERVICES[name].touches_data
                   for name in self._call.parameters["services"])

    def examine(self) -> Group:
        """Return the group as this node would run it, and keep its configuration."""
        examination = local.KopanoExamination(self._call, self._machine)
        group = examination.examine()
        self._read = examination.read
        return group

    def release(self, group: Group) -> Release | None:
        """Return the version: the server alone upgrades the database."""
        version = local.installed_version(self._call, self._machine)
        if not _runs_server(group):
            return None
        return Release(self._call, self._machine, version, product="Kopano",
                       software=profile.SOFTWARE)

    def environment(self) -> Mapping[str, str]:
        """Return what Kopano's init scripts give to the services."""
        if self._call.parameters["manager"] != DIRECT:
            return {}
        return leftovers.environment(self._machine)

    def make_room(self, group: Group) -> None:
        """Remove what the dead have left, and make the directory of the sockets."""
        leftovers.clear(self._machine, list(group.services))
        leftovers.make_run_directory(self._machine)

    def wait(self, group: Group) -> bool:
        """Return when the server's database answers; tell whether it had to be waited for.

        A server that is started without its database gives up after 90 s; and while it waits it
        has open ports, no pid file, and dies from a SIGTERM without a word.

        Raises errors.BudgetSpent at the deadline, and errors.Failed when a stop is ordered
        meanwhile.
        """
        if not _runs_server(group):
            return False
        call, machine, its = self._call, self._machine, self._read["server"].database
        if its is None:
            return False
        begin = machine.clock.monotonic()
        pause = FIRST_PAUSE
        while True:
            left = self.deadline - machine.clock.monotonic()
            try:
                database.reach(machine, its, max(LEAST_FOR_DATABASE, min(10.0, left)))
                return pause > FIRST_PAUSE
            except database.DatabaseUnreachable as error:
                if machine.clock.monotonic() + pause + LEAST_FOR_DATABASE >= self.deadline:
                    waited = machine.clock.monotonic() - begin
                    raise errors.BudgetSpent(f"{error.reason} (waited {waited:.0f} s for it)",
                                             remedy=error.remedy) from None
                if pause == FIRST_PAUSE:
                    call.log.info(f"{error.reason}; waiting for it")
            next_try = machine.clock.monotonic() + pause
            while machine.clock.monotonic() < next_try:
                lock.give_way(machine, call.resource)
                machine.clock.sleep(min(0.5, pause))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def explain(self, service: Service, release: Release | None) -> str:
        """Return the last words of a dead service; raise what they mean where that is known."""
        read = self._read.get(service.name)
        path = read.log_file if read is not None else ""
        output = output_path(self._call.resource, service) \
            if self._call.parameters["manager"] == DIRECT else ""
        words = last_words.last_words(self._machine, service, since=self.begin, log_file=path,
                                      output=output)
        if last_words.newer_data(words):
            # Its exit code is 0 when it runs in the background, so only its log tells.
            if release is not None:
                release.retract()
            raise errors.NotAllowedHere(
                f"{service.name} refuses data of a newer version: {words}",
                remedy="update Kopano on this node to the version of the other one")
        if last_words.wrong_configuration(words) and read is not None:
            raise errors.NotAllowedHere(
                f"{service.name} refuses its configuration {read.path}: {words}",
                remedy="correct it there, on every node")
        return words


def _runs_server(group: Group) -> bool:
    """Tell whether the server is in the group."""
    return any(service.name == "server" for service in group.services)
