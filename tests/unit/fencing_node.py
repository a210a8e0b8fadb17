# SPDX-License-Identifier: GPL-2.0-or-later
"""A node with a controller that can misbehave, a clock that only moves when somebody waits, and
calls of a fence agent against them.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from mailha.agents import fence_ipmi
from mailha.fencing.declaration import FenceAgent
from mailha.fencing.failures import FencingFailed
from mailha.fencing.log import Log
from mailha.fencing.run import Call

FENCER = {"PCMK_service": "pacemaker-fenced"}
"""The environment of an agent that Pacemaker's fencer has started."""


class Clock:
    """Seconds that pass only while somebody sleeps, or when a controller takes its time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: List[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.sleeps.append(seconds)
        self.now += seconds


class Node:
    """A node and its controller.

    is_on: the power. obeys: whether an order has an effect. events: what happened, in order, with
    the time. login_failures, read_failures, order_failures: raised one after the other, None for
    "not this time". takes: seconds that each answer takes. after: called before each answer.
    """

    def __init__(self, is_on: bool = True) -> None:
        self.clock = Clock()
        self.is_on = is_on
        self.obeys = True
        self.takes = 0.01
        self.events: List[Tuple[str, float]] = []
        self.login_failures: List[Optional[FencingFailed]] = []
        self.read_failures: List[Optional[FencingFailed]] = []
        self.order_failures: List[Optional[FencingFailed]] = []
        self.readings: List[bool] = []
        self.after: Callable[[], None] = lambda: None
        self.passwords: List[str] = []
        self.open_sessions = 0

    def count(self, what: str) -> int:
        """Return how often something happened."""
        return sum(1 for event, _ in self.events if event == what)

    def times(self, what: str) -> List[float]:
        """Return when something happened, in seconds from the beginning."""
        return [when - 1000.0 for event, when in self.events if event == what]

    def names(self) -> List[str]:
        """Return what happened, in order."""
        return [event for event, _ in self.events]

    def happens(self, what: str, failures: List[Optional[FencingFailed]]) -> None:
        """Let something happen, or fail."""
        self.clock.now += self.takes
        self.after()
        failure = failures.pop(0) if failures else None
        self.events.append((what if failure is None else f"{what} failed", self.clock.now))
        if failure is not None:
            raise failure

    def connect(self, settings: Any, deadline: Any, phases: Any) -> Session:
        """Log in; what a FenceAgent calls."""
        self.passwords.append(settings.secret("password"))
        self.happens("login", self.login_failures)
        self.open_sessions += 1
        return Session(self)


class Session:
    """A session with the controller."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def is_on(self) -> bool:
        self._node.happens("read", self._node.read_failures)
        return self._node.readings.pop(0) if self._node.readings else self._node.is_on

    def order(self, on: bool) -> None:
        self._node.happens("on" if on else "off", self._node.order_failures)
        if self._node.obeys:
            self._node.is_on = on

    def close(self) -> None:
        self._node.open_sessions -= 1
        self._node.events.append(("close", self._node.clock.now))


class Said:
    """What came out of a call."""

    def __init__(self, code: int, stdout: str, stderr: str, logged: str) -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr
        self.logged = logged

    @property
    def everything(self) -> str:
        return self.stdout + self.stderr + self.logged


def agent_for(node: Node, like: FenceAgent = fence_ipmi.AGENT,
              libraries: Tuple[str, ...] = ()) -> FenceAgent:
    """Return fence_ipmi, but for this node."""
    return FenceAgent(like.name, short=like.short, long=like.long, vendor_url=like.vendor_url,
                      options=like.options, connect=node.connect, check=like.check,
                      libraries=libraries)


def call(node: Node, texts: Optional[Mapping[str, str]] = None, *, stdin: Optional[bytes] = None,
         arguments: Tuple[str, ...] = (), environment: Optional[Dict[str, str]] = None,
         agent: Optional[FenceAgent] = None) -> Said:
    """Call the agent with name=value lines, or with bytes on stdin, or with arguments."""
    if stdin is None:
        stdin = "".join(f"{name}={value}\n" for name, value in (texts or {}).items()).encode()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, \
            tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        log = Recorded("fence_ipmi", stdout=out.fileno(), stderr=err.fileno(), system_log="")
        before = os.dup(0)
        os.dup2(given.fileno(), 0)
        try:
            code = Call(agent or agent_for(node), arguments,
                        FENCER if environment is None else environment, log,
                        clock=node.clock, sleep=node.clock.sleep, guard=False).perform()
        finally:
            os.dup2(before, 0)
            os.close(before)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode())
        return Said(code, said[0], said[1], "".join(line + "\n" for line in log.recorded))


class Recorded(Log):
    """A log whose lines for the system's log can be looked at."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.recorded: List[str] = []

    def _to_system_log(self, level: str, line: str) -> None:
        self.recorded.append(f"{level}: {line}")


GOOD = {"ip": "192.0.2.7", "username": "fencer", "password": "horse battery"}
"""What every definition has."""


def off(node: Node, **more: str) -> Said:
    """Switch the node off as Pacemaker does."""
    return call(node, {**GOOD, "action": "off", "nodename": "bob", "node": "bob", **more})
