# SPDX-License-Identifier: GPL-2.0-or-later
"""Why nothing is sent at the moment: an administrator has said so, or a package manager works.

A file half-way through an upgrade is no configuration, and that of one release is none for another.
What an administrator has said outlives the sender and the node: only he ends it.
"""

from __future__ import annotations

import json
import time

from mailha import errors
from mailha.sync import packages
from mailha.sync.places import Places
from mailha.system.machine import Machine

FORMAT = 1
LARGEST = 65536
REMEMBERED = 0.2
"""Seconds for which it is not asked again whether a package manager works."""


class Pause:
    """The pause of one resource on this node."""

    def __init__(self, machine: Machine, places: Places) -> None:
        self._machine = machine
        self._places = places
        self._path = places.state_directory + "/paused"
        self._told = self._read()
        self._busy = ""
        self._asked = 0.0

    def reason(self) -> str:
        """Return why nothing is sent, "" if everything is."""
        if self._told:
            return self._told
        now = time.monotonic()
        if now - self._asked > REMEMBERED:
            self._busy = packages.busy(self._machine)
            self._asked = now
        return f"paused on this node: {self._busy}" if self._busy else ""

    def begin(self, reason: str) -> None:
        """Pause until end() is called. Raises errors.Failed."""
        said = f"paused by the administrator since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        told = f"{said}: {reason}" if reason else said
        self._places.make(self._machine)
        self._machine.files.write_atomic(self._path, json.dumps(
            {"format": FORMAT, "reason": told}).encode() + b"\n", 0o600)
        self._told = told

    def end(self) -> None:
        """Send again. Raises errors.Failed."""
        self._machine.files.remove(self._path)
        self._told = ""

    @property
    def by_administrator(self) -> bool:
        """Whether somebody has said so."""
        return bool(self._told)

    def _read(self) -> str:
        try:
            return str(json.loads(self._machine.files.read(self._path, LARGEST))["reason"])
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError, errors.MailhaError):
            # Somebody wanted nothing to be sent; that his words are damaged does not change it.
            return f"paused by the administrator ({self._path} cannot be read)"
