# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:kopano is killed at any moment, and the next action puts everything right.

At a timeout Pacemaker kills the agent with SIGKILL, wherever it is, and calls stop. Here it dies
before the first thing that it does to the machine, before the second, and so on to the last:
between two of them it only looks, so these are all the moments that there are.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator

import pytest
from kopano_machine import ADDRESS, RESOURCE, unit
from kopano_node import DATABASE, VERSION, Node
from mailha import errors
from mailha.agents import kopano
from mailha.services.stopping import TOLD_DIRECTORY
from mailha.storage import acceptance, last_run
from mailha.storage.version import Version

NAMES = ("server", "spooler", "gateway")
PARTS = ("clock", "files", "processes", "cgroups", "systemd", "sockets", "children")
LOOKS = frozenset((
    "monotonic", "wall", "boot_id", "exists", "modified", "names", "read", "all", "find",
    "find_each", "is_same", "age", "populated", "processes", "running", "units", "properties",
    "job_state", "state", "listeners", "unix_listeners", "owned_inodes", "local_addresses"))
"""What changes nothing. Whatever is not named here is a step."""


class Killed(BaseException):
    """Stands for SIGKILL: no handler runs, so it is no Exception."""


class Mortal:
    """A machine on which the agent lives for so many steps; after that, no call has any effect."""

    def __init__(self, machine: Any, steps: int) -> None:
        self.root = machine.root
        self.steps = steps
        for name in PARTS:
            setattr(self, name, _Part(self, getattr(machine, name)))

    def step(self) -> None:
        """Take one step, or die. Cleaning up on the way out is nothing that the dead can do."""
        self.steps -= 1
        if self.steps < 0:
            raise Killed


class _Part:
    """One part of a mortal's machine: the real one, step by step."""

    def __init__(self, owner: Mortal, part: Any) -> None:
        self._owner, self._part = owner, part

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if not callable(value) or name in LOOKS and self._owner.steps > 0:
            return value

        def stepping(*arguments: Any, **named: Any) -> Any:
            self._owner.step()
            return value(*arguments, **named)
        return stepping


def act(node: Node, action: str, machine: Any = None) -> None:
    """Call the handler of an action, past everything that would catch a death."""
    declared = kopano.AGENT.action(action)
    assert declared is not None
    handler: Callable[..., None] = declared.handler
    handler(node.handler_call(action), machine or node.machine)


def survives(node: Node, action: str, steps: int) -> bool:
    """Call the agent, which dies after so many steps; tell whether it has lived to the end."""
    try:
        act(node, action, Mortal(node.machine, steps))
    except Killed:
        node.machine.files.locked.clear()       # the kernel's locks end with their holder
        return False
    return True


def start(node: Node) -> None:
    act(node, "start")
    assert node.alive() == sorted(NAMES) and node.is_marked()


def stop(node: Node) -> None:
    """Stop, which must be a success that leaves nothing."""
    act(node, "stop")
    assert node.alive() == [] and not node.is_marked()
    assert not node.machine.files.exists(f"{TOLD_DIRECTORY}/{RESOURCE}")
    assert node.machine.files.locked == set()
    with pytest.raises(errors.NotRunning):
        act(node, "monitor")


@pytest.fixture
def nodes(make_node: Callable[..., Node]) -> Callable[..., Node]:
    """Return a function that makes a fresh node with three services that take their time."""
    def make(manager: str = "systemd") -> Node:
        node = make_node(names=NAMES)
        node.parameters["manager"] = manager
        node.in_cluster = False         # what the cluster says is asked before all else
        for name in NAMES:
            program = node.machine.children.programs[f"/usr/sbin/kopano-{name}"]
            program.listen_after, program.term_takes = 0.2, 0.3
        return node
    return make


def condition(node: Node) -> object:
    """Return all that a next action could find: files, units, processes and what they listen on."""
    machine = node.machine
    units = [(each.active, each.sub, each.job) for each in (unit(machine, name) for name in NAMES)]
    processes = [(running.program.executable, running.state, running.terms, sorted(
        map(str, running.open))) for running in machine.processes.table.values()]
    return repr((sorted(node.state().items()), units, processes))


def deaths(nodes: Callable[[], Node], before: str, action: str) -> Iterator[Node]:
    """Return the nodes on which an agent died, each in a condition that none before was in.

    before: the action that succeeds first, "" for none. The last one is that of the agent that
    lived to the end.
    """
    seen = set()
    done = False
    steps = 0
    while not done:
        node = nodes()
        if before:
            act(node, before)
        done = survives(node, action, steps)
        steps += 1
        found = condition(node)
        if found not in seen:
            seen.add(found)
            yield node
    assert steps > 15 and len(seen) > 5


def tells_the_truth(node: Node) -> None:
    """Probe: "not running" is said when nothing lives and at no other time."""
    try:
        act(node, "monitor")
        stopped = False
    except errors.NotRunning:
        stopped = True
    except errors.Failed:
        stopped = False
    assert stopped == (node.alive() == [])


@pytest.mark.parametrize("manager", ["systemd", "direct"])
def test_a_start_killed_at_any_moment_is_stopped_and_started_again(
        nodes: Callable[..., Node], manager: str) -> None:
    for node in deaths(lambda: nodes(manager), "", "start"):
        tells_the_truth(node)
        stop(node)
        start(node)


@pytest.mark.parametrize("manager", ["systemd", "direct"])
def test_a_stop_killed_at_any_moment_succeeds_the_next_time(
        nodes: Callable[..., Node], manager: str) -> None:
    for node in deaths(lambda: nodes(manager), "start", "stop"):
        tells_the_truth(node)
        everybody = list(node.machine.processes.table.values())
        stop(node)
        assert all(running.terms <= 1 for running in everybody), "a second one cuts an upgrade"
        start(node)


def test_a_completion_killed_at_any_moment_leaves_alone_what_serves(
        nodes: Callable[[], Node]) -> None:
    def half() -> Node:
        node = nodes()
        act(node, "start")
        node.machine.processes.table[node.processes("gateway")[0].pid].die()
        return node

    for node in deaths(half, "", "start"):
        server = node.processes("server")[0].pid
        start(node)
        assert node.processes("server")[0].pid == server
        stop(node)


def test_the_word_for_a_newer_release_survives_a_killed_start(nodes: Callable[[], Node]) -> None:
    """Either it is still there or the version is recorded; never neither."""
    def upgraded() -> Node:
        node = nodes()
        machine: Any = node.machine
        last_run.write(machine, str(node.data), last_run.Record(
            "kopano", Version("8.6.9.0-1"), "bob", 1_600_000_000.0), 5.0)
        acceptance.accept(machine, RESOURCE, Version(VERSION))
        return node

    for node in deaths(upgraded, "", "start"):
        stop(node)
        start(node)


def test_a_node_that_loses_power_in_the_middle_starts_again(nodes: Callable[[], Node]) -> None:
    for node in deaths(nodes, "", "start"):
        node.machine.reboot()
        node.machine.files.directories |= {"/run/kopano", "/var/run/kopano"}
        node.machine.mount(str(node.data))
        node.machine.sockets.addresses |= {ADDRESS, DATABASE[0]}
        node._add_database()
        with pytest.raises(errors.NotRunning):
            act(node, "monitor")
        start(node)
