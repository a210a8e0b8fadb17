# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demonstration has to know of a product: all that is not alike for all of them."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Sequence, Set, Tuple

from failover.mail import Postman
from twonode.lab import Lab
from twonode.layer import Recipe
from twonode.plan import Plan

Connect = Callable[[str, int, float], socket.socket]
"""Makes a TCP connection from outside of the cluster: address, port, timeout in seconds. Raises
OSError."""

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class CannotLook(Exception):
    """What is there at the end cannot be looked for; the text says why."""


class NodeFile(NamedTuple):
    """A file of the examples that lies on both nodes."""

    source: str     # below examples/
    place: str      # on a node, without the slash in front
    mode: int
    differences: Mapping[str, str] = {}     # what stands in the example -> in the laboratory


class Move(NamedTuple):
    """What an administrator orders: a group to a node.

    resource: the one of the group that runs last.
    """

    group: str
    resource: str
    node: str


class Product(ABC):
    """A mail server that the cluster keeps available.

    name: as in `lab/demo NAME`.
    introduction: what a spectator reads first: what is real here, and what is not.
    example: the folder below examples/ whose cluster.crm is loaded.
    over: further configurations in that folder, loaded with it. With one of them the configuration
        of the active node is replicated, and the nodes are paired for it.
    suite: the Debian release of the nodes if nobody asks for another.
    disks: name -> MiB of the shared disks.
    layers: packages that the nodes have over the image.
    differences: what stands in the example -> what stands in the laboratory.
    node_files: files of the examples that lie on both nodes, beside the password of the BMCs.
    main: the resource whose node loses its power; the mail server itself.
    everywhere: resources that run on every node.
    killed: the services that are killed one after the other.
    node_failure: how the first test is called.
    resource_failure: how the tests with killed services are called.
    moves_before, moves_after: what an administrator moves before and after the node failure.
    """

    name: str
    introduction: str
    example: str
    over: Sequence[str] = ()
    suite: str = "bookworm"
    disks: Mapping[str, int]
    layers: Tuple[Recipe, ...] = ()
    differences: Mapping[str, str]
    node_files: Tuple[NodeFile, ...] = ()
    main: str
    everywhere: FrozenSet[str] = frozenset()
    killed: Sequence[str]
    node_failure: str = "Node failure"
    resource_failure: str = "Resource failure"
    moves_before: Sequence[Move] = ()
    moves_after: Sequence[Move] = ()

    # -- before anything runs -----------------------------------------------------------------

    @abstractmethod
    def provision(self, node: str, disk: Path, plan: Plan) -> None:
        """Write on a node's disk, before it boots, what packages and an administrator would."""

    @abstractmethod
    def prepare_shared(self, lab: Lab, say: Callable[[str], None]) -> None:
        """Fill the shared disks, from one of the nodes that are up, and leave them unmounted."""

    # -- mail ---------------------------------------------------------------------------------

    @abstractmethod
    def postmen(self, connect: Connect) -> List[Postman]:
        """Return who is to deliver mail from outside, all the while; none is started yet."""

    @abstractmethod
    def look_for(self, wanted: Set[str], lab: Lab, places: Mapping[str, str], connect: Connect,
                 say: Callable[[str], None]) -> Set[str]:
        """Return which messages are there at the end, in every way in which they can be looked for.

        wanted: Message-IDs of what was acknowledged.
        places: resource -> the one node on which it runs.
        Raises CannotLook.
        """

    def load(self, lab: Lab, node: str) -> str:
        """Return what a node carries alone after the other one has died, "" for nothing to say."""
        return ""

    # -- configuration -------------------------------------------------------------------------

    def change_configuration(self, lab: Lab, node: str) -> str:
        """Change something on the active node; return what was changed once it is acknowledged.

        Returns "" where no configuration is replicated.
        """
        return ""

    def serves_with_it(self, connect: Connect) -> bool:
        """Say whether the mail server that answers now works with what was changed."""
        return True

    # -- services -----------------------------------------------------------------------------

    def resource_of(self, service: str) -> str:
        """Return the resource that has to notice when a service is killed."""
        return self.main

    def is_optional(self, service: str) -> bool:
        """Say whether the cluster only says that it is gone, and goes on without it."""
        return False

    def kill(self, lab: Lab, node: str, service: str) -> None:
        """Kill a service's main process with signal 9, and that only."""
        lab.execute(node, ["systemctl", "kill", "--kill-who=main", "--signal=KILL", service],
                    timeout=20)

    def processes(self, lab: Lab, node: str, service: str) -> Set[str]:
        """Return the process numbers of a service, that are other ones after a recovery."""
        said = lab.execute(node, ["systemctl", "show", "--property=MainPID", "--value", service],
                           timeout=20).stdout
        return set(said.split()) - {"0"}


def places(active: Mapping[str, FrozenSet[str]]) -> Dict[str, str]:
    """Return the place of each resource that runs in just one."""
    return {name: next(iter(nodes)) for name, nodes in active.items() if len(nodes) == 1}
