# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:cyrus, one complete Cyrus IMAP server of several that may share a node.

This is its declaration. What each action does stands in the module of that name, which is loaded
when the action is called; so do the parameters.
"""

from __future__ import annotations

from mailha.ocf import Action, Agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

    from mailha.errors import MailhaError
    from mailha.ocf import Parameter
    from mailha.ocf.call import Call
    from mailha.services.evidence import Sight
    from mailha.services.service import Group
    from mailha.system.machine import Machine


def _start(call: Call, machine: Machine | None = None) -> None:
    """Start the instance on this node."""
    from mailha.agents.cyrus.start import CyrusStart
    CyrusStart(call, machine or _machine()).run()


def _stop(call: Call, machine: Machine | None = None) -> None:
    """Stop the instance on this node, and nothing of another one."""
    from mailha.agents.cyrus.plan import bare_group, tidy_up
    from mailha.mailserver.stop import stop
    stop(call, machine or _machine(), bare=bare_group, tidy_up=tidy_up)


def _monitor(call: Call, machine: Machine | None = None) -> None:
    """Probe the instance, or watch it."""
    from mailha.mailserver.monitor import monitor
    monitor(call, machine or _machine(), unrecorded=_unrecorded, converse=_converse)


def _reload_agent(call: Call, machine: Machine | None = None) -> None:
    """Take over changed parameters: each action reads them anew, so there is nothing to do."""
    call.log.info("the changed parameters are in force")


def _findings(call: Call, machine: Machine | None = None) -> Iterable[MailhaError]:
    """Return what a start would find wrong on this node."""
    from mailha.agents.cyrus.local import findings as find
    return find(call, machine or _machine())


def _contradictions(values: Mapping[str, Any]) -> Iterable[str]:
    from mailha.agents.cyrus.parameters import contradictions
    return contradictions(values)


def _parameters() -> tuple[Parameter, ...]:
    from mailha.agents.cyrus.parameters import PARAMETERS
    return PARAMETERS


def _unrecorded(call: Call, machine: Machine) -> Group:
    """Return the instance on a node where no start has left its record."""
    from mailha.agents.cyrus.plan import unrecorded
    return unrecorded(call, machine)


def _converse(call: Call, machine: Machine, group: Group, seen: list[Sight]) -> None:
    """Read the greetings of an instance that serves by all other evidence."""
    from mailha.agents.cyrus.conversation import hold
    hold(call, machine, group, seen)


def _machine() -> Machine:
    from mailha.system.machine import Machine
    return Machine()


AGENT = Agent(
    "cyrus",
    short="Runs one Cyrus IMAP server of several that may share a node",
    long="""\
Runs one complete instance of Cyrus IMAP: a master process with its own imapd.conf and cyrus.conf,
on its own disk and its own floating address. Several instances, each at home on a node of its own,
are each other's buddies: when a node is dead, the next one runs both. Put it last into a group
behind ocf:mailha:fencing-guard, the Filesystem with its tree, ocf:mailha:cyrus-storage and the
IPaddr2 with its address.

start returns when every service of cyrus.conf greets on that address. Cyrus itself is silent about
what keeps two instances apart, so start looks first and names file and line: a listener on "*" or
localhost, which the other instance would lack or take away; a command without "-C FILE", which
would work on the data of the node's own /etc/imapd.conf; a path or a socket that another instance
on this node has; a port that is taken, or that /etc/services does not know; a START section that
does not recover the databases. It also refuses to start without working STONITH, over a tree that
is not mounted, without its address, with a user who has another number than the owner of the data,
and with software that is older than what last ran on the data. A newer release waits for 'mailha
accept-version RESOURCE'.

monitor looks at the unit, at the master process (its program and its configuration, never its
number alone) and at its listeners without connecting (depth 0), and reads the greetings of IMAP,
POP3, LMTP, sieve and HTTP (depth 10). A service whose maxchild processes are all in use does not
greet either; that is reported as "degraded", for a restart would cut all who work.

stop ends the master and every process of the instance, orphans of a crash included, proves that
nothing is left, and touches no other instance.

systemd runs mailha-cyrus@RESOURCE.service, which comes with this package and is never enabled. The
distribution's own cyrus-imapd.service must not run: it would listen on every address.""",
    parameters=_parameters,
    actions=(
        Action("start", _start, timeout=600),
        Action("stop", _stop, timeout=300),
        Action("monitor", _monitor, timeout=60, interval=30, depth=0),
        Action("monitor", _monitor, timeout=60, interval=120, depth=10),
        Action("reload-agent", _reload_agent, timeout=20),
    ),
    check=_contradictions,
    findings=_findings,
)
