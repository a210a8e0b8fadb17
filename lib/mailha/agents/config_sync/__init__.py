# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:config-sync: configuration follows the active node.

This is its declaration. What each action does stands in the module of that name, which is loaded
when the action is called; so do the parameters.
"""

from __future__ import annotations

from mailha.ocf.declaration import Action, Agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from mailha.errors import MailhaError
    from mailha.ocf.call import Call
    from mailha.ocf.declaration import Parameter
    from mailha.system.machine import Machine


def _start(call: Call, machine: Machine | None = None) -> None:
    """Let this node be the one that sends."""
    from mailha.agents.config_sync.start import start as act
    act(call, machine or _machine())


def _stop(call: Call, machine: Machine | None = None) -> None:
    """Let this node send no longer."""
    from mailha.agents.config_sync.stop import stop as act
    act(call, machine or _machine())


def _monitor(call: Call, machine: Machine | None = None) -> None:
    """Probe the sender, or let it compare both sides."""
    from mailha.agents.config_sync.monitor import monitor as act
    act(call, machine or _machine())


def _reload_agent(call: Call, machine: Machine | None = None) -> None:
    """Hand changed parameters over to the sender."""
    from mailha.agents.config_sync.start import reload as act
    act(call, machine or _machine())


def _findings(call: Call, machine: Machine | None = None) -> Iterable[MailhaError]:
    """Return what a start on this node would be refused for."""
    from mailha.agents.config_sync.validate import findings as find
    return find(call, machine or _machine())


def _contradictions(values: Mapping[str, Any]) -> Iterable[str]:
    from mailha.agents.config_sync.parameters import contradictions
    return contradictions(values)


def _parameters() -> tuple[Parameter, ...]:
    from mailha.agents.config_sync.parameters import PARAMETERS
    return PARAMETERS


def _machine() -> Machine:
    """Return this machine."""
    from mailha.system.machine import Machine
    return Machine()


AGENT = Agent(
    "config-sync",
    short="Keeps the passive node's configuration as the active one's",
    long="""
A mail server that changes over needs its configuration on the other node: what was changed on the
active node must be there before the node dies. This resource replicates it, at every change, within
milliseconds, and in one direction only: from the node on which it runs to the others. Put it beside
the group of the mail service, colocated with it and ordered after it, so that it runs where the
mail runs and a trouble of it is never one of the mail.

It replicates what the profile of the product names, and what the parameter include adds. It never
replicates what makes a node itself: host name, network, disks, cluster, boot, accounts, keys of the
SSH server, which services start at boot. A file that holds this node's full name or one of its
fixed addresses is withheld, unless include names it. 'mailha sync diff' shows what differs and why
it is not sent.

Before the first start pair the nodes: 'mailha sync pair NODE', once. That gives each of them a key
which can do nothing on the other but this; as this decides over the configuration of the other,
/etc/mailha/sync/key is worth as much as root's password there.

There is no daemon on the passive node: the sender keeps one SSH connection open, whose other end
applies the changes: a file is written beside its destination, gets owner, mode, attributes and
time, is on the disk, and is then renamed into place. What it replaces is
kept, and 'mailha sync restore' brings it back.

A number that is raised at each start keeps a node that was active before from overwriting anything
when it comes back. What it had not sent is set aside there and reported. The number is a file on
the shared disk (generation_dir) or a property in the cluster's configuration.

start succeeds without a peer, because mail must not wait for it. monitor lets the sender compare
the whole content on both sides. Anything that is wrong with a peer, a file that differs, a change
that is not acknowledged, a connection that is refused, is "degraded" (190) and never a failure;
only a dead sender is one. stop waits 5 seconds for what has not been acknowledged, and not at all
if no peer can be reached. 'crm_mon -A' shows the state of each peer, the age of the oldest change
that was not acknowledged, and the number of differences and conflicts.

It pauses by itself while a package manager works, and as long as the packages of the product differ
between the nodes.

So that nothing of this ever moves the mail, give it the meta-attribute critical=false (Pacemaker
2.1 and later). For Pacemaker 2.0 leave it out of the group and colocate it with the group by a
finite score, as the examples show.
""",
    parameters=_parameters,
    actions=(
        Action("start", _start, timeout=60),
        Action("stop", _stop, timeout=40),
        Action("monitor", _monitor, timeout=60, interval=30),
        Action("reload-agent", _reload_agent, timeout=40),
    ),
    check=_contradictions,
    findings=_findings,
)
