# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sender is told by the start of its resource: ``/run/mailha/sync/RESOURCE/settings``.

The sender is a unit of systemd and no child of the agent, and systemd starts it again if it dies.
So what the cluster's configuration says is handed over in a file of this boot. Without the file the
unit does not start: nothing but a start of the resource makes a node send.
"""

from __future__ import annotations

import json

from mailha import errors
from mailha.sync.places import RUN_DIRECTORY, Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mailha.system.machine import Machine

FORMAT = 1
LARGEST = 1 << 20


class Settings:
    """What one sender does.

    resource: OCF_RESOURCE_INSTANCE. node: this node's name in the cluster. generation: of this
    start; a receiver that has seen a newer one takes nothing. profile: a key of
    mailha.profiles.configuration.PROFILES, or "". include, exclude: what the administrator adds and
    takes away. floating: addresses that move with the service. peers: names of the nodes that get
    it; none means every node that this one is paired with. apply_sysctl: whether the peers load
    changed settings of the kernel. in_cluster: whether there is a Pacemaker that shows attributes.
    """

    __slots__ = ("resource", "node", "generation", "profile", "include", "exclude", "floating",
                 "peers", "apply_sysctl", "in_cluster")

    def __init__(self, resource: str, node: str, generation: int, *, profile: str = "",
                 include: Sequence[str] = (), exclude: Sequence[str] = (),
                 floating: Sequence[str] = (), peers: Sequence[str] = (),
                 apply_sysctl: bool = False, in_cluster: bool = False) -> None:
        self.resource = resource
        self.node = node
        self.generation = generation
        self.profile = profile
        self.include = tuple(include)
        self.exclude = tuple(exclude)
        self.floating = tuple(floating)
        self.peers = tuple(peers)
        self.apply_sysctl = apply_sysctl
        self.in_cluster = in_cluster

    def write(self, machine: Machine) -> None:
        """Hand them over. Raises errors.Failed."""
        places = Places(self.resource)
        machine.files.make_directory(RUN_DIRECTORY, 0o755)
        machine.files.make_directory(places.run_directory, 0o700)
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        machine.files.write_atomic(path(self.resource), json.dumps(
            {"format": FORMAT, **values}, indent=1).encode() + b"\n", 0o600)


def path(resource: str) -> str:
    """Return the path of a resource's file. Raises errors.Failed for what is no resource."""
    return Places(resource).run_directory + "/settings"


def read(machine: Machine, resource: str) -> Settings:
    """Return what was handed over. Raises errors.Failed if it is not there or is damaged."""
    file = path(resource)
    try:
        found = json.loads(machine.files.read(file, LARGEST))
        if found["format"] != FORMAT:
            raise errors.Failed(f"{file} has the format {found['format']!r}, and this release of "
                                f"mailha knows {FORMAT}", remedy=f"restart {resource}")
        lists = {name: [str(each) for each in found[name]]
                 for name in ("include", "exclude", "floating", "peers")}
        return Settings(str(found["resource"]), str(found["node"]), int(found["generation"]),
                        profile=str(found["profile"]), apply_sysctl=bool(found["apply_sysctl"]),
                        in_cluster=bool(found["in_cluster"]), **lists)
    except FileNotFoundError:
        raise errors.Failed(f"{resource} is not started on this node: there is no {file}",
                            remedy="start the resource in the cluster") from None
    except OSError as error:
        raise errors.Failed(f"cannot read {file}: {error.strerror}",
                            remedy=f"restart {resource}") from None
    except (ValueError, KeyError, TypeError):
        raise errors.Failed(f"{file} is damaged", remedy=f"restart {resource}") from None


def remove(machine: Machine, resource: str) -> None:
    """Take it away: from now on no sender starts here. Raises errors.Failed."""
    if machine.files.exists(path(resource)):
        machine.files.remove(path(resource))
