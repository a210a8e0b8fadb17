# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab as its users see it: bring it up, work in it, hurt it, take it down."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Union
from xml.etree import ElementTree

from twonode import (bmc, chassislog, configuration, idracaccess, image, launcher, layer, loop,
                     package, rootfs)
from twonode.bare import BareSandbox
from twonode.chassislog import Entry
from twonode.enter import KINDS, Door
from twonode.layer import Recipe
from twonode.plan import BMC_PASSWORD, BMC_USER, CLUSTER_LINKS, Places, Plan
from twonode.supervisor import MAXIMUM_REQUEST, OUTSIDE

Provision = Callable[[str, Path], None]

START_LIMIT = 30.0
"""Seconds until the supervisor has to be ready; it takes a tenth of one."""

ANSWER_LIMIT = 60.0
"""Seconds until the supervisor has to answer; taking power away takes a tenth of one."""


class LabError(Exception):
    """The lab cannot do what it was asked for; the text says why."""


@dataclass(frozen=True)
class Controller:
    """Where a node's management controller is, and who may use it."""

    address: str
    user: str = BMC_USER
    password: str = BMC_PASSWORD


class Lab:
    """A cluster of real machines, as far as the machines can tell."""

    def __init__(self, name: str = "default", *, suite: str = "bookworm",
                 nodes: Sequence[str] = ("alice", "bob"),
                 disks: Mapping[str, int] = {"kopano": 512, "mysql": 512},
                 layers: Sequence[Recipe] = (), post_seconds: float = 15.0,
                 provision: Iterable[Provision] = ()) -> None:
        """Describe a lab; `up` builds it.

        name: tells it from the labs beside it; 1 to 10 of a-z, 0-9 and -.
        suite: the Debian release of the nodes, one of image.SUITES.
        disks: name -> MiB of each shared disk; the nodes see it as /dev/san-NAME, with an ext4.
        layers: packages that the nodes have over the image, the uppermost first.
        post_seconds: how long the firmware takes at every power-on but the first.
        provision: called in order with each node's name and the directory that is its own disk,
            before its first boot; what they write there the node finds on its root.
        Raises plan.BadPlan for names that no machine could have.
        """
        self.name = name
        self.places = Places(name)
        self._recipes = tuple(layers)
        below = [str(layer.place(suite, recipe)) for recipe in self._recipes]
        self._wanted = Plan(name, suite, str(image.place(suite)), tuple(nodes), dict(disks),
                            post_seconds, (str(self.places.suite), *below))
        self._provision = list(provision)

    # -- life -------------------------------------------------------------------------------

    def up(self, wait: bool = True, progress: Callable[[str], None] = lambda line: None) -> None:
        """Build the lab and boot it. A lab that is up is left alone.

        wait: return only when all nodes are online in the cluster.
        progress: called with a line of text for each step.
        Raises LabError, image.ImageFailed, layer.LayerFailed, package.PackageFailed and whatever a
        provision raises; then nothing is left.
        """
        image.ensure(self._wanted.suite, progress)
        for recipe in self._recipes:
            layer.ensure(self._wanted.suite, recipe, progress)
        package.ensure(self._wanted.suite, progress)
        with launcher.alone(self.name):
            if launcher.supervisor(self.name) is not None:
                return
            launcher.sweep(self.name)
            try:
                self._prepare(progress)
                progress("booting")
                self._start_supervisor()
            except BaseException:
                launcher.kill(self.name)
                launcher.sweep(self.name)
                raise
        if wait:
            progress("waiting for the cluster")
            self.wait_online()

    def down(self) -> None:
        """End the lab and remove everything of it. A lab that is not there is fine.

        Raises launcher.StillThere.
        """
        with launcher.alone(self.name):
            launcher.kill(self.name)
            launcher.sweep(self.name)
            if self.places.log.exists():
                self.places.log.unlink()

    def is_up(self) -> bool:
        """Say whether the lab's supervisor lives; its nodes may be off."""
        return launcher.supervisor(self.name) is not None

    def wait_online(self, timeout: float = 90.0) -> None:
        """Wait until every node sees every node online in the cluster.

        Raises LabError at the timeout, or at once when a node has died while booting.
        """
        deadline = time.monotonic() + timeout
        for node in self.plan.nodes:
            while self.online(node) != set(self.plan.nodes):
                if self.status()["nodes"][node]["power"] == "off":
                    console = self.places.console(node)
                    said = console.read_text().strip() if console.exists() else ""
                    raise LabError(f"{node} is off instead of online; its console said: {said}")
                if time.monotonic() > deadline:
                    raise LabError(f"{node} does not see all nodes online after {timeout:.0f} s")
                time.sleep(0.1)

    def online(self, seen_by: str) -> set[str]:
        """Return the nodes that are online, as one of them sees it; none if it cannot say."""
        try:
            monitor = self.execute(seen_by, ["crm_mon", "-1", "--output-as=xml"], timeout=20,
                                   check=False)
        except (LabError, subprocess.TimeoutExpired):
            return set()
        return members(monitor.stdout)

    @property
    def plan(self) -> Plan:
        """What the lab is like: as it is running, or else as it was asked for."""
        try:
            return Plan.from_json(self.places.plan.read_text())
        except FileNotFoundError:
            return self._wanted

    def status(self) -> Dict[str, Any]:
        """Return how things stand: {"name", "suite", "nodes": {name: {"power", "controller",
        "cut", "address", "bmc"}}}. "power" is off, firmware, on or dying."""
        return self._ask(do="status")

    # -- work -------------------------------------------------------------------------------

    def execute(self, node: str, argv: Sequence[str], *, timeout: float,
                input: Union[bytes, str, None] = None, check: bool = True,
                environment: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        """Run a command on a node, as root; see Door.run. Raises LabError if the node is off."""
        with self.door(node) as door:
            return door.run(argv, timeout=timeout, input=input, check=check,
                            environment=environment)

    def client(self, *argv: str, timeout: float = 60.0, input: Union[bytes, str, None] = None,
               check: bool = True, environment: Mapping[str, str] = {},
               ) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine outside of the cluster, a mail client's or an
        administrator's, which is in the LAN and in the management network."""
        with self.door(OUTSIDE) as door:
            return door.run(argv, timeout=timeout, input=input, check=check,
                            environment=environment)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Put the calling thread into the outside machine's network for a while.

        A socket stays in the network that it was made in, so it can be taken out of this context.
        """
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        home = Door({"net": own})
        try:
            with self.door(OUTSIDE) as door:
                door.enter_network()
            try:
                yield
            finally:
                home.enter_network()
        finally:
            home.close()

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Return a TCP connection from the outside machine; raises OSError as connect does."""
        with self.network():
            return socket.create_connection((address, port), timeout)

    def copy_in(self, node: str, path: str, data: bytes, mode: int = 0o644) -> None:
        """Make `path` on a running node a file of root with this content, in one step."""
        script = ('mkdir -p "$(dirname "$1")" && umask 077 && cat > "$1.new" && '
                  'chmod "$2" "$1.new" && mv "$1.new" "$1"')
        self.execute(node, ["sh", "-c", script, "sh", path, f"{mode:o}"], timeout=30, input=data)

    def reinstall(self) -> None:
        """Make a package of the checkout as it is now, and upgrade every node that is on to it.

        Raises LabError and what package.ensure() raises.
        """
        made = package.ensure(self.plan.suite)
        arrived = f"{package.ARRIVED}/{made.name}"
        for node, facts in self.status()["nodes"].items():
            if facts["power"] == "on":
                self.copy_in(node, arrived, made.read_bytes())
                self.execute(node, [*package.INSTALL, arrived], timeout=package.LIMIT)

    def door(self, machine: str) -> Door:
        """Return the way into a machine, a node or "outside". Raises LabError if it is off."""
        descriptors = self._ask_with_descriptors(do="enter", machine=machine)[1]
        namespaces = dict(zip(KINDS, descriptors))
        return Door(namespaces, *descriptors[len(KINDS):])

    # -- harm -------------------------------------------------------------------------------

    def poweroff(self, node: str) -> None:
        """Take the node's power away; returns when nothing of it is left."""
        self._ask(do="power", node=node, action="off", until=["off"])

    def poweron(self, node: str) -> None:
        """Give the node power; it boots after what its firmware takes."""
        self._ask(do="power", node=node, action="on", until=["firmware", "on"])

    def reset(self, node: str) -> None:
        """Press the node's reset button; returns when the old system is gone."""
        self._ask(do="power", node=node, action="reset", until=["off", "firmware", "on"])

    def shutdown(self, node: str, timeout: float = 120.0) -> None:
        """Let the node shut itself down; returns when it is off. Raises LabError at the timeout."""
        self._ask(do="power", node=node, action="shutdown", until=["off"], timeout=timeout)

    def cut(self, node: str, link: Optional[str] = None) -> None:
        """Cut a node's cable: "lan", "interconnect" or "management"; without a name the first
        two, which are all that Corosync has."""
        self._ask(do="carrier", node=node, links=[link] if link else CLUSTER_LINKS, up=False)

    def heal(self, node: str, link: Optional[str] = None) -> None:
        """Mend what `cut` cut."""
        self._ask(do="carrier", node=node, links=[link] if link else CLUSTER_LINKS, up=True)

    def bmc(self, node: str) -> Controller:
        """Return where the node's management controller is and how to log in."""
        return Controller(self.plan.bmc_address(node))

    def bmc_off(self, node: str) -> None:
        """Take the node's management controller away; its address answers nothing any more."""
        self._ask(do="controller", node=node, present=False)

    def bmc_on(self, node: str) -> None:
        """Bring the node's management controller back; whether the node is on does not change."""
        self._ask(do="controller", node=node, present=True)

    def mute_ipmi(self, node: str) -> None:
        """Let the node's controller answer no IPMI any more, but SSH; `bmc_off` takes both.

        What is sent to it meanwhile it does when it is heard again, as one that hung for a while.
        """
        self._ask(do="mute", node=node, muted=True)

    def unmute_ipmi(self, node: str) -> None:
        """Undo `mute_ipmi`."""
        self._ask(do="mute", node=node, muted=False)

    def pull_plug(self, node: str) -> None:
        """Take the power from the node and from its management controller, as one plug does."""
        self.bmc_off(node)
        self.poweroff(node)

    def plug_in(self, node: str) -> None:
        """Undo `pull_plug`: the controller comes back, the node stays off until it is told."""
        self.bmc_on(node)

    def ipmitool(self, node: str, *arguments: str, timeout: float = 60.0,
                 check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ipmitool against a node's controller, from the outside machine."""
        controller = self.bmc(node)
        return self.client(*bmc.client_command(controller.address, list(arguments)),
                           timeout=timeout, check=check,
                           environment={"IPMI_PASSWORD": controller.password})

    def racadm(self, node: str, *words: str, timeout: float = 60.0,
               check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a racadm command in a node's iDRAC, from the outside machine by SSH."""
        return self.client(*idracaccess.client_command(self.bmc(node).address,
                                                       ["racadm", *words]),
                           timeout=timeout, check=check)

    def chassis_log(self, node: Optional[str] = None, since: float = 0.0) -> List[Entry]:
        """Return what was asked of the nodes' power, by whom, and what became of it, in order.

        node: only this one's. since: seconds since the epoch.
        """
        return [entry for entry in chassislog.read(self.places.chassis_log)
                if entry.when >= since and node in (None, entry.node)]

    # -- the inside -------------------------------------------------------------------------

    def _prepare(self, progress: Callable[[str], None]) -> None:
        """Write disks, plan and the machines' own disks."""
        plan, places = self._wanted, self.places
        places.runtime.mkdir(parents=True, mode=0o700)
        places.data.mkdir(parents=True, mode=0o700)
        places.plan.write_text(plan.to_json())
        for disk, size in plan.disks.items():
            loop.create_image(places.disk_image(disk), size)
        package.lay(Path(plan.image), [Path(each) for each in plan.layers[1:]], places.suite,
                    progress)
        progress("preparing disks")
        with BareSandbox(Path(plan.image)) as sandbox:
            secrets = idracaccess.make_secrets(sandbox, plan)
        authkey = os.urandom(256)
        for node in plan.nodes:
            disk_root = places.machine_disk(node)
            configuration.write_node(disk_root, node, plan, authkey)
            idracaccess.write_client(disk_root, plan, secrets)
            for provision in self._provision:
                provision(node, disk_root)
            rootfs.adopt_directories(disk_root, Path(plan.image),
                                     [Path(each) for each in plan.layers])
        outside = places.machine_disk(OUTSIDE)
        configuration.write_machine(outside, OUTSIDE, plan)
        idracaccess.write_servers(outside, plan, secrets)
        idracaccess.write_client(outside, plan, secrets)

    def _start_supervisor(self) -> None:
        """Start the launcher, which starts the supervisor, and wait until that is ready."""
        ready, report = os.pipe()
        with open(self.places.log, "wb") as log:
            subprocess.Popen([sys.executable, "-m", "twonode.supervisor", self.name, str(report)],
                             cwd=Path(__file__).resolve().parents[1], stdin=subprocess.DEVNULL,
                             stdout=log, stderr=log, pass_fds=(report,), start_new_session=True)
        os.close(report)
        try:
            said = os.read(ready, MAXIMUM_REQUEST).decode()
        finally:
            os.close(ready)
        if said != "ready":
            raise LabError(said or f"the supervisor died: {self.places.log.read_text().strip()}")

    def _ask(self, **request: Any) -> Dict[str, Any]:
        return self._ask_with_descriptors(**request)[0]

    def _ask_with_descriptors(self, timeout: float = ANSWER_LIMIT,
                              **request: Any) -> tuple[Dict[str, Any], List[int]]:
        """Send the supervisor a request; return its answer and the descriptors that came along."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(timeout)
            try:
                connection.connect(str(self.places.control))
                connection.send(json.dumps(request).encode())
                packet, descriptors = _receive(connection)
            except socket.timeout as error:
                raise LabError(f"lab {self.name}: {request} is not done after {timeout:.0f} s"
                               ) from error
            except OSError as error:
                raise LabError(f"lab {self.name} is not up") from error
        answer = json.loads(packet or b'{"error": "the lab went down"}')
        if "error" in answer:
            raise LabError(answer["error"])
        return answer, descriptors


def members(crm_mon: str) -> set[str]:
    """Return the nodes that XML of crm_mon shows as full members of the cluster.

    "online" alone does not mean that: a node that is still joining is "pending" as well, and if it
    is cut off at that moment the others see no reason to fence it.
    """
    try:
        nodes = ElementTree.fromstring(crm_mon).iterfind("nodes/node")
    except ElementTree.ParseError:
        return set()
    return {node.get("name", "") for node in nodes
            if node.get("online") == "true" and node.get("pending") == "false"}


def _receive(connection: socket.socket) -> tuple[bytes, List[int]]:
    """Return one packet and the open descriptors that came with it."""
    size = array.array("i").itemsize
    packet, attachments, _, _ = connection.recvmsg(MAXIMUM_REQUEST, socket.CMSG_SPACE(16 * size),
                                                   socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in attachments:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[:len(data) - len(data) % size])
    return packet, list(descriptors)
