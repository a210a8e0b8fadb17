# SPDX-License-Identifier: GPL-2.0-or-later
"""The right node: whose controller this is, and who may not be switched off.

Pacemaker asks a device without pcmk_host_list and pcmk_host_map whether it can fence a node by the
action status, with the node's name; an agent that does not know whose controller it talks to says
yes for every node, and the wrong one is switched off. The option node closes that: status, and all
that switches, fail for every other name.
"""

from __future__ import annotations

import os

from mailha.fencing.failures import WrongNode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from mailha.fencing.settings import Settings

ABOUT_A_NODE = ("on", "off", "reboot", "status")
"""The actions that concern a node. monitor is about the device."""

FENCER = "pacemaker-fenced"


def called_by_fencer(environment: Mapping[str, str]) -> bool:
    """Tell whether Pacemaker's fencer has started us; it hands this variable to its children."""
    return environment.get("PCMK_service") == FENCER


def require(settings: Settings, action: str, *, by_fencer: bool, hostname: str = "") -> None:
    """Raise WrongNode if the action must not be done.

    hostname: of the machine on which we run; by default it is asked for. By hand, nobody means to
    switch off the machine where the command is typed; when the fencer calls, it is its decision.
    """
    if action not in ABOUT_A_NODE:
        return
    ours = settings["node"]
    wanted = settings.nodename
    # Pacemaker compares the names of nodes without regard to case.
    if ours and wanted and ours.lower() != wanted.lower():
        raise WrongNode(f"{action} is asked for node {wanted}, but the controller at "
                        f"{settings.address()} is that of node {ours}: nothing was done",
                        remedy="set pcmk_host_list to the node that the device is for")
    if action in ("off", "reboot") and not by_fencer:
        here = hostname or os.uname().nodename
        for name in (ours, wanted):
            if name and _is_same_machine(name.lower(), here.lower()):
                raise WrongNode(f"{action} is asked for by hand on node {name} itself: nothing was "
                                "done", remedy="run it on another node, or use systemctl")


def _is_same_machine(one: str, other: str) -> bool:
    """Tell whether two names may be of one machine; one of them may lack the domain."""
    if "." in one and "." in other:
        return one == other
    return one.partition(".")[0] == other.partition(".")[0]
