# SPDX-License-Identifier: GPL-2.0-or-later
"""What systemd says about a unit, and what it says when it refuses."""

from __future__ import annotations

from mailha import errors

# Names of error answers that callers tell apart.
NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
NO_SUCH_PROCESS = "org.freedesktop.systemd1.NoSuchProcess"
UNIT_MASKED = "org.freedesktop.systemd1.UnitMasked"


class SystemdUnavailable(errors.Failed):
    """systemd could not be asked in time. It says nothing about any unit."""


class UnitError(errors.Failed):
    """systemd refused. name: its D-Bus error, as "org.freedesktop.systemd1.UnitMasked"."""

    def __init__(self, reason: str, *, name: str = "", remedy: str = "") -> None:
        super().__init__(reason, remedy=remedy)
        self.name = name


class Unit:
    """One unit as systemd sees it.

    name: its own name, which is not the one asked for where that is an alias. load: "loaded",
    "masked", "not-found", "error", "bad-setting"... active: "active", "reloading", "inactive",
    "failed", "activating", "deactivating", "maintenance". sub: "running", "exited", "dead",
    "auto-restart"... job: "" or what is queued for it ("start", "stop", "restart"...).
    Only when details were asked for: main_process, the pid or 0, and control_group, "" for none.
    """

    __slots__ = ("name", "load", "active", "sub", "job", "main_process", "control_group")

    def __init__(self, name: str, load: str, active: str, sub: str, job: str = "",
                 main_process: int = 0, control_group: str = "") -> None:
        self.name = name
        self.load = load
        self.active = active
        self.sub = sub
        self.job = job
        self.main_process = main_process
        self.control_group = control_group

    def __repr__(self) -> str:
        return f"<unit {self.name} {self.load} {self.active}/{self.sub} {self.job}>"
