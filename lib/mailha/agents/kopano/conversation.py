# SPDX-License-Identifier: GPL-2.0-or-later
"""The deeper depths of the monitor: greetings (10), logon and a store (20).

LMTP's greeting is the proof from end to end: the dagent says "220" only after it has opened a
session with the server, which asks the database. The greetings of IMAP, POP3 and CalDAV prove their
own service and nothing behind it.

Whose fault it is decides what the cluster does. A database that cannot be reached is no fault of
Kopano, which finds it again by itself; restarting Kopano would fail until it is back and then keep
Kopano from this node. So that is "degraded". Only if the database answers and LMTP still does not,
Kopano has failed.
"""

from __future__ import annotations

from mailha import errors
from mailha.mailserver import conversation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.products.kopano.configuration import Database
    from mailha.services.evidence import Sight
    from mailha.services.service import Group, Service
    from mailha.storage.version import Version
    from mailha.system.machine import Machine

# Seconds that have to be left for a logon at a server that does not greet.
LEAST_FOR_SERVER = 3.0
# Whose silence or refusal can come from the database.
BEHIND_DATABASE = ("server", "dagent")


def hold(call: Call, machine: Machine, group: Group, seen: list[Sight]) -> None:
    """Talk to every service that serves by all other evidence.

    Raises errors.Degraded when the database cannot be reached, or only optional services do not
    answer, and errors.Failed when Kopano itself is at fault.
    """
    services = [sight.service for sight in seen if sight.serves]
    unfit = conversation.greet(call, machine, services)
    database_answers = False
    if unfit:
        if any(service.name in BEHIND_DATABASE for service, _ in unfit):
            # Once in a monitor: each question leaves a line in the database's log.
            database_answers = _ask_database(call, machine)
        unfit = conversation.insist(call, machine, unfit)

    def explain(text: str) -> str:
        if database_answers and any(service.name in BEHIND_DATABASE for service, _ in unfit):
            _ask_server_for_database(call, machine, services)
            text += "; the database answers"
        return text

    conversation.judge(group, unfit, explain)
    if call.check_level >= 20:
        _log_on(call, machine, services)


def _ask_database(call: Call, machine: Machine) -> bool:
    """Tell whether the database answers; raise errors.Degraded if it cannot be reached.

    False where the configuration does not tell which database it is: nothing is blamed on it.
    """
    from mailha.products.kopano import database
    version = _version(call, machine)
    its = None if version is None else _database(call, machine, version)
    if its is None:
        return False
    try:
        database.reach(machine, its, min(10.0, max(1.0, call.left() / 4)))
        return True
    except database.DatabaseUnreachable as error:
        raise _degraded(error) from None


def _ask_server_for_database(call: Call, machine: Machine, services: list[Service]) -> None:
    """Raise errors.Degraded if the server itself says that it cannot use its database.

    One that greets us may yet let nobody in: with all max_connections taken MariaDB refuses after
    the login only.
    """
    if call.left() < LEAST_FOR_SERVER:
        return
    try:
        _log_on(call, machine, services)
    except errors.Failed:
        pass


def _log_on(call: Call, machine: Machine, services: list[Service]) -> None:
    """Log on at the server and open a store, through its unix socket."""
    from mailha.products.kopano import database, soap
    pipes = [service.pipes[0] for service in services
             if service.name == "server" and service.pipes]
    version = _version(call, machine)
    if not pipes or version is None:
        return
    try:
        soap.log_on(machine, pipes[0], version, min(15.0, max(1.0, call.left() / 2)),
                    database=_database(call, machine, version))
    except database.DatabaseUnreachable as error:
        raise _degraded(error) from None
    except soap.LogonRefused as error:
        # The administrator's choice (local_admin_users), and no reason to take mail down.
        call.log.warning(str(error))
    except soap.ServerMute:
        # A database whose address swallows every packet makes the server mute, too.
        _ask_database(call, machine)
        raise


def _database(call: Call, machine: Machine, version: Version) -> Database | None:
    """Return where the server's database is, None where its configuration does not tell."""
    from mailha.agents.kopano import plan
    found, _ = plan.configurations(call, machine, version, ["server"])
    return found["server"].database if "server" in found else None


def _degraded(error: errors.MailhaError) -> errors.Degraded:
    return errors.Degraded(f"{error.reason}; Kopano serves again by itself when it is back",
                           remedy=error.remedy)


def _version(call: Call, machine: Machine) -> Version | None:
    from mailha.products.kopano import installed
    try:
        return installed.installed_version(machine, max(1.0, call.left() / 4))
    except errors.MailhaError as error:
        call.log.warning(str(error))
        return None
