# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a receiver lets a sender in, and what the two have told each other then."""

from __future__ import annotations

import os
from typing import Any

import mailha
from mailha import errors
from mailha.sync import packages
from mailha.sync.connection import wire
from mailha.sync.files.selection import MOST_PATTERNS, Selection
from mailha.sync.passive.hooks import SERVICES
from mailha.sync.places import Places
from mailha.sync.trouble import ProtocolError, Refused
from mailha.system import locks
from mailha.system.machine import Machine
from mailha.system.units import SystemdUnavailable

SENDER, READER = "sender", "reader"
HIGHEST_GENERATION = 2 ** 53

_RUNNING = ("active", "activating", "deactivating", "reloading")


class Hello:
    """What the sender says first.

    resource, node: names. role: SENDER or READER; a reader changes nothing. generation: of the
    sender. selection: what it replicates. packages: versions of those that the patterns match.
    services: that run on both nodes. sysctl: whether kernel settings are to be loaded.
    """

    def __init__(self, message: dict[str, Any]) -> None:
        """Take in a message. Raises ProtocolError for anything odd."""
        if message["type"] != "hello":
            raise ProtocolError("a sender begins with a hello")
        self.version = message.get("version")
        if not isinstance(self.version, int) or not wire.OLDEST <= self.version <= wire.NEWEST:
            raise ProtocolError(f"the sender wants the protocol {str(self.version)[:20]!r}")
        self.resource = _text(message, "resource")
        self.node = _text(message, "node")
        self.role = _text(message, "role")
        if self.role not in (SENDER, READER):
            raise ProtocolError(f"there is no role {self.role[:40]!r}")
        self.selection = Selection.from_message(message.get("selection"))
        self.generation = message.get("generation", 0)
        if not isinstance(self.generation, int) or isinstance(self.generation, bool) \
                or not 0 <= self.generation <= HIGHEST_GENERATION:
            raise ProtocolError("the generation is no number")
        if self.role == SENDER and self.generation == 0:
            raise ProtocolError("a sender has a generation")
        self.patterns = _texts(message, "patterns")
        self.services = [name for name in _texts(message, "services") if name in SERVICES]
        self.sysctl = message.get("sysctl") is True
        versions = message.get("packages", {})
        if not isinstance(versions, dict) or not all(isinstance(version, str)
                                                     for version in versions.values()):
            raise ProtocolError("the versions of packages are none")
        self.packages: dict[str, str] = versions


class Admission:
    """Decides whether a sender may change something here."""

    def __init__(self, machine: Machine, places: Places, hello: Hello) -> None:
        self._machine = machine
        self._places = places
        self._hello = hello
        self._packages = packages.Packages(machine)

    def at_hello(self) -> None:
        """See whether a sender may come in. Raises Refused and errors.Failed."""
        self._not_active(ask_systemd=True)
        self._same_packages()

    def at_batch(self) -> None:
        """See whether it may still. Costs microseconds. Raises Refused and errors.Failed."""
        self._not_active(ask_systemd=False)
        reason = packages.busy(self._machine)
        if reason:
            raise Refused(reason, code="busy", remedy="it goes on by itself afterwards")
        if self._packages.changed():
            self._same_packages()

    def _not_active(self, *, ask_systemd: bool) -> None:
        """Never both ways: a node that sends takes nothing.

        The lock is the evidence, because the kernel takes it away with the sender; systemd is
        asked too, since a sender that is only being started is one.
        """
        try:
            active = locks.holder(self._machine.root + self._places.sender_lock) is not None
        except OSError as error:
            raise errors.Failed(f"cannot tell whether {own_name()} sends itself: "
                                f"{self._places.sender_lock}: {error.strerror}") from None
        if not active and ask_systemd and self._machine.systemd.running():
            unit = self._places.unit
            try:
                active = self._machine.systemd.units([unit], timeout=5)[unit].active in _RUNNING
            except SystemdUnavailable:
                pass            # the lock has told
        if active:
            raise Refused(f"{own_name()} sends '{self._places.resource}' itself", code="active",
                          remedy="only one node may send: see where the cluster runs the resource")

    def _same_packages(self) -> None:
        ours = self._packages.versions(self._hello.patterns)
        differ = packages.difference(self._hello.packages, ours)
        if differ:
            shown = ", ".join(differ[:3]) + (", ..." if len(differ) > 3 else "")
            raise Refused(f"packages differ between {self._hello.node} and {own_name()}: {shown}",
                          code="packages", differ=differ[:100],
                          remedy="install the same versions on both nodes")


def greeting(machine: Machine) -> dict[str, Any]:
    """Return what a receiver says first."""
    try:
        boot = machine.clock.boot_id()
    except errors.Failed:
        boot = ""
    return {"type": "hello", "oldest": wire.OLDEST, "newest": wire.NEWEST,
            "release": mailha.__version__, "node": own_name(), "boot": boot}


def own_name() -> str:
    """Return the name of this node."""
    return os.uname().nodename


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not value.isprintable():
        raise ProtocolError(f"the {name} is missing in what the sender says first, or is no name")
    return value


def _texts(message: dict[str, Any], name: str) -> list[str]:
    value = message.get(name, [])
    if not isinstance(value, list) or len(value) > MOST_PATTERNS \
            or not all(isinstance(text, str) and len(text) < 256 for text in value):
        raise ProtocolError(f"the {name} are no list of texts")
    return value
