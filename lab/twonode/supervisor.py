# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor: the one process that a lab lives and dies with.

It is process 1 of a pid namespace, with networks and mounts of its own. Kill it, and the kernel
ends everything of the lab: nodes, controllers, networks, mounts, loop devices. All that can stay is
empty directories and files, which the launcher, its parent, sweeps up.

One thread does everything: it waits for a request, the end of a child, a timer or a sysrq, and none
of what it then does waits for a node.

A request is one JSON object in one packet on the control socket, and so is the answer. Its "do"
names a method ``do_...`` of Supervisor; an answer with "error" says what was wrong with it.
"""

from __future__ import annotations

import array
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from twonode import bmc, boot, cgroup, chassislog, enter, launcher, linux, network
from twonode.chassislog import ChassisLog
from twonode.controllers import Controller
from twonode.events import Events
from twonode.plan import NETWORKS, BadPlan, Places, Plan
from twonode.power import Node

OUTSIDE = "outside"
"""The machine that is not in the cluster: mail client, administrator, home of the controllers."""

MAXIMUM_REQUEST = 65536

Request = Dict[str, Any]
Answer = Dict[str, Any]


class Supervisor:
    """Nodes, controllers and networks of one lab, and the requests that they are moved by."""

    def __init__(self, plan: Plan, events: Events, groups: Path) -> None:
        """Take up the plan; nothing runs before `start`.

        groups: where the lab's cgroups are to be made.
        """
        self.plan = plan
        self.places = Places(plan.name)
        self.events = events
        self.log = ChassisLog(self.places.chassis_log)
        self.nodes = {name: Node(name, plan, events, groups, self.log) for name in plan.nodes}
        self.controllers: Dict[str, Controller] = {}
        self.outside = 0
        self._waiting: List[Tuple[Callable[[], bool], socket.socket]] = []
        events.after_each = self._answer_waiting

    def start(self) -> None:
        """Bring up networks, controllers and nodes, and start to take requests."""
        network.build_bridges()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(self.places.control))
        listener.listen(64)
        self.events.watch(listener, lambda: self._accept(listener))
        self._start_outside()
        for name, node in self.nodes.items():
            self._guard_sysrq(node)
            self.controllers[name] = Controller(name, self.plan, self.events, self.outside)
            self.controllers[name].set_power(True)
        for node in self.nodes.values():
            node.power_on()

    # -- requests ---------------------------------------------------------------------------

    def do_status(self, request: Request) -> Answer:
        """Say how things stand."""
        return {"name": self.plan.name, "suite": self.plan.suite, "nodes": {
            name: {"power": node.state, "controller": self.controllers[name].present,
                   "muted": self.controllers[name].muted, "cut": sorted(node.cut),
                   "address": self.plan.address(name), "bmc": self.plan.bmc_address(name)}
            for name, node in self.nodes.items()}}

    def do_power(self, request: Request) -> Answer:
        """Act on a node's power: "off", "on", "reset" or "shutdown"."""
        node, action = self._node(request), request["action"]
        act = {"off": node.power_off, "on": node.power_on, "reset": node.reset,
               "shutdown": node.shut_down}[action]
        self.log.note(node.name, chassislog.BUTTON,
                      f"power {action}" if action in ("off", "on") else action)
        act()
        return {}

    def do_chassis(self, request: Request) -> Answer:
        """Answer what a controller asks of the chassis: get or set, then names and values."""
        node, who = self._node(request), request["who"]
        verb, *words = request["words"]
        if verb == "get":
            known = {"power": int(node.powered), "boot": "default"}
            text = "\n".join(f"{word}:{known[word]}" for word in words)
            if "power" in words:
                self.log.note(node.name, who, "read on" if node.powered else "read off")
            return {"text": text}
        for order in chassislog.orders(words):
            self.events.say(f"{node.name}: controller asked by {who} for {order}")
            self.log.note(node.name, who, order)
        for word, value in zip(words[::2], words[1::2]):
            {"power": node.power_on if value == "1" else node.power_off, "reset": node.reset,
             "shutdown": node.shut_down}.get(word, lambda: None)()
        return {}

    def do_carrier(self, request: Request) -> Answer:
        """Cut or mend cables of a node."""
        known = [candidate.name for candidate in NETWORKS]
        for link in request["links"]:
            if link not in known:
                raise BadPlan(f"no link {link!r}; there are {', '.join(known)}")
            self._node(request).set_carrier(link, request["up"])
            self.events.say(f"{request['node']}: {link} {'mended' if request['up'] else 'cut'}")
        return {}

    def do_controller(self, request: Request) -> Answer:
        """Take the power of a node's controller away, or give it back."""
        self.controllers[self._node(request).name].set_power(request["present"])
        return {}

    def do_mute(self, request: Request) -> Answer:
        """Silence a node's IPMI, or let it speak again."""
        self.controllers[self._node(request).name].set_muted(request["muted"])
        return {}

    def do_enter(self, request: Request) -> Answer:
        """Send the namespaces of a machine along with the answer, and its cgroup last."""
        machine = request["machine"]
        process = self.outside if machine == OUTSIDE else self._node({"node": machine}).process
        if not process or (machine != OUTSIDE and self.nodes[machine].state != "on"):
            raise BadPlan(f"{machine} is not running")
        paths = [f"/proc/{process}/ns/{kind}" for kind in enter.KINDS]
        descriptors = [os.open(path, os.O_RDONLY) for path in paths]
        if machine != OUTSIDE:
            group = self.nodes[machine].group / cgroup.EXECUTE
            cgroup.make(self.nodes[machine].group)
            descriptors.append(os.open(group / "cgroup.procs", os.O_WRONLY))
        return {"descriptors": descriptors}

    # -- the inside -------------------------------------------------------------------------

    def _node(self, request: Request) -> Node:
        self.plan.number(request["node"])
        return self.nodes[request["node"]]

    def _start_outside(self) -> None:
        """Start the outside machine and wait until it is there."""
        disk = self.places.machine_disk(OUTSIDE)
        for name in self.nodes:
            bmc.write_files(disk, self.plan, name)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.outside = boot.start(
                lambda: boot.bench(Path(self.plan.image), self.places.machine(OUTSIDE), OUTSIDE,
                                   ready=theirs, own_network=False,
                                   shares={"/run/lab": self.places.runtime}),
                self.places.console(OUTSIDE))
            theirs.close()
            if ours.recv(1) != b"!":
                raise boot.BootFailed(self.places.console(OUTSIDE).read_text().strip())

    def _guard_sysrq(self, node: Node) -> None:
        """Let what a node writes to its /proc/sysrq-trigger happen to the node alone."""
        path = self.places.runtime / f"sysrq-{node.name}"
        os.mkfifo(path, 0o600)
        reader = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        node.sysrq = path
        actions = {b"b": node.reset, b"c": node.power_off, b"o": node.power_off}

        def act() -> None:
            action = actions.get(os.read(reader, 1))
            if action:
                self.log.note(node.name, chassislog.NODE, "sysrq")
                action()

        self.events.watch(reader, act)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self.events.watch(connection, lambda: self._serve(connection))

    def _serve(self, connection: socket.socket) -> None:
        """Read one request and answer it, now or when what it waits for has come to pass."""
        packet = connection.recv(MAXIMUM_REQUEST)
        self.events.forget(connection)
        if not packet:
            connection.close()
            return
        try:
            request = json.loads(packet)
            answer = getattr(self, f"do_{request['do']}")(request)
        except (BadPlan, LookupError, ValueError, AttributeError, OSError) as error:
            answer = {"error": str(error) or type(error).__name__}
        if "until" in request and "error" not in answer:
            node, states = self._node(request), list(request["until"])
            self._waiting.append((lambda: node.state in states, connection))
        else:
            self._answer(connection, answer)

    def _answer_waiting(self) -> None:
        """Answer the requests whose time has come."""
        for entry in [entry for entry in self._waiting if entry[0]()]:
            self._waiting.remove(entry)
            self._answer(entry[1], {})

    def _answer(self, connection: socket.socket, answer: Answer) -> None:
        descriptors = answer.pop("descriptors", [])
        attachment = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            connection.sendmsg([json.dumps(answer).encode()], attachment if descriptors else [])
        except OSError:
            pass        # whoever asked does not want to know any more
        for descriptor in descriptors:
            os.close(descriptor)
        connection.close()


def main() -> None:
    """Be the supervisor of the lab that argv names; argv[2] is a descriptor to say "ready" on."""
    plan = Plan.from_json(Places(sys.argv[1]).plan.read_text())
    launcher.launch(plan.name, int(sys.argv[2]), lambda: _supervise(plan, int(sys.argv[2])))


def _supervise(plan: Plan, ready: int) -> None:
    """Be process 1 of the lab."""
    linux.mount("proc", "/proc", "proc")
    groups = cgroup.hierarchy_or_mount(Places(plan.name).data / "cgroups")
    events = Events()
    supervisor = Supervisor(plan, events, groups / Places(plan.name).cgroup)
    try:
        supervisor.start()
    except Exception as error:
        os.write(ready, f"{type(error).__name__}: {error}".encode())
        raise
    os.write(ready, b"ready")
    os.close(ready)
    events.run()


if __name__ == "__main__":
    main()
