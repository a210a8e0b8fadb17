# SPDX-License-Identifier: GPL-2.0-or-later
"""The service manager, asked over D-Bus.

Three ways lead to it, tried in this order: the system bus; systemd's private socket (root only;
works with the bus daemon dead); and the command systemctl, should a later systemd talk otherwise.
The bus comes first because it is the cheapest: a new connection to the private socket costs PID 1
2 ms of CPU (measured), a message over the bus a third of that. The way that answered last is tried
first from then on, so a bus daemon that hangs costs one wait and not one a question.
While PID 1 executes itself anew (systemctl daemon-reexec, every upgrade of systemd) connections
break and nobody answers; that means "ask again", never "not running" (pacemaker pull requests
3880 and 3927).
"""

from __future__ import annotations

import os
import time

from mailha.system.bus import Broken, Bus, Call
from mailha.system.units import (NO_SUCH_PROCESS, NO_SUCH_UNIT, SystemdUnavailable, Unit,
                                 UnitError)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from mailha.system.dbus import Message
    from mailha.system.systemctl import Systemctl

DEFAULT_TIMEOUT = 10.0
RETRY_PAUSE = 0.05

_MANAGER_PATH = "/org/freedesktop/systemd1"
_NAME = "org.freedesktop.systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_PROPERTIES = "org.freedesktop.DBus.Properties"

# The interfaces that say ControlGroup; a target or a timer has no processes.
_KINDS = {"service": "Service", "socket": "Socket", "mount": "Mount", "swap": "Swap",
          "slice": "Slice", "scope": "Scope"}

# Answers that are not systemd's: the bus says that it does not reach systemd at the moment.
_NOT_REACHED = ("org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected",
                "org.freedesktop.DBus.Error.ServiceUnknown",
                "org.freedesktop.DBus.Error.NameHasNoOwner",
                "org.freedesktop.DBus.Error.Timeout", "org.freedesktop.DBus.Error.TimedOut")
_NO_SUCH = ("org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.systemd1.NoSuchJob",
            "org.freedesktop.DBus.Error.UnknownMethod",
            "org.freedesktop.DBus.Error.UnknownInterface",
            "org.freedesktop.DBus.Error.UnknownProperty")


class Systemd:
    """The service manager.

    timeout: seconds that a call may take when it is not given its own. Every call raises
    SystemdUnavailable when systemd cannot be asked within that time, and UnitError when it
    answers with an error.
    """

    def __init__(self, root: str = "", timeout: float = DEFAULT_TIMEOUT) -> None:
        self._run = root + "/run"
        self.timeout = timeout
        self._share_of_dbus = 0.75
        self._ways = [Bus(self._run + "/dbus/system_bus_socket", _NAME, hello=True),
                      Bus(self._run + "/systemd/private")]

    def running(self) -> bool:
        """Tell whether systemd is this machine's init, as sd_booted(3) does."""
        return os.path.isdir(self._run + "/systemd/system")

    def units(self, names: Sequence[str], *, details: bool = False,
              timeout: float | None = None) -> dict[str, Unit]:
        """Return what systemd says about each unit, under the names asked for, in one round trip.

        Units that are not in memory are loaded. A name that no unit can have, and a template
        without its instance ("x@.service"), are "not-found". details: also main_process and
        control_group, still in the same round trip.
        """
        found = {name: Unit(name, "not-found", "inactive", "dead") for name in names}
        asked = [name for name in found if _is_loadable(name)]
        if not asked:
            return found
        calls = [Call(_MANAGER_PATH, _MANAGER, "ListUnitsByNames", "as", (asked,))]
        wanted = []
        if details:
            for name in asked:
                kind = _KINDS.get(name.rpartition(".")[2], "")
                if kind:
                    wanted.append((name, "control_group"))
                    calls.append(_get(unit_path(name), f"{_NAME}.{kind}", "ControlGroup"))
                if kind == "Service":
                    wanted.append((name, "main_process"))
                    calls.append(_get(unit_path(name), f"{_NAME}.{kind}", "MainPID"))
        answers = self._ask(calls, "units " + ", ".join(asked), timeout)
        if answers is None:
            return {**found, **self._systemctl(timeout).units(asked)}
        rows = answers[0][0]
        if len(rows) != len(asked):
            raise SystemdUnavailable(
                f"systemd told of {len(rows)} units when asked for {len(asked)}")
        # Same order as asked: that is how an alias finds back to the name it was asked under.
        for name, row in zip(asked, rows):
            found[name] = Unit(row[0], row[2], row[3], row[4], row[8] if row[7] else "")
        for (name, attribute), answer in zip(wanted, answers[1:]):
            if answer:
                setattr(found[name], attribute, answer[0])
        return found

    def properties(self, unit: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Return all properties of the unit, those of its kind (Service, Mount...) included.

        Many numbers stand in microseconds, and 2**64-1 means infinity. This makes systemd work;
        a recurring monitor asks units() with details.
        """
        if not _is_loadable(unit):
            raise UnitError(f"no unit can be called {unit!r}",
                            name=NO_SUCH_UNIT)
        kind = unit.rpartition(".")[2].capitalize()
        calls = [Call(unit_path(unit), _PROPERTIES, "GetAll", "s", (f"{_NAME}.{interface}",))
                 for interface in ("Unit", kind)]
        answers = self._ask(calls, f"properties of {unit}", timeout)
        if answers is None:
            return self._systemctl(timeout).properties(unit)
        found: dict[str, Any] = {}
        for answer in answers:
            found.update(answer[0] if answer else {})
        return found

    def start(self, unit: str, *, timeout: float | None = None) -> str:
        """Queue a start and return its job's path; does not wait for it."""
        return self._job("StartUnit", unit, timeout)

    def stop(self, unit: str, *, timeout: float | None = None) -> str:
        """Queue a stop and return its job's path; does not wait for it."""
        return self._job("StopUnit", unit, timeout)

    def job_state(self, path: str, *, timeout: float | None = None) -> str:
        """Return "waiting" or "running", "" when the job is gone: done, failed or cancelled."""
        answers = self._ask([_get(path, _NAME + ".Job", "State")], f"job {path}", timeout)
        if answers is None:
            return self._systemctl(timeout).job_state(path)
        return str(answers[0][0]) if answers[0] else ""

    def cancel(self, path: str, *, timeout: float | None = None) -> None:
        """Cancel the job; nothing happens when it is gone."""
        if self._ask([Call(path, _NAME + ".Job", "Cancel")], f"job {path}", timeout) is None:
            self._systemctl(timeout).cancel(path)

    def kill(self, unit: str, number: int, whom: str = "all", *,
             timeout: float | None = None) -> bool:
        """Send the signal to the unit's processes: "main", "control" or "all" of its group.

        False when there was none to send it to: the unit ended in the meantime.

        Anything but SIGKILL is sent at most once, because a second SIGTERM is another order than
        the first (it cuts a database upgrade of Kopano): when the connection breaks after the
        call went out, SystemdUnavailable is raised and the caller looks what came of it.
        """
        call = Call(_MANAGER_PATH, _MANAGER, "KillUnit", "ssi", (unit, whom, number))
        try:
            if self._ask([call], f"kill {unit}", timeout, repeatable=number == 9) is None:
                self._systemctl(timeout).kill(unit, number, whom)
        except UnitError as error:
            if error.name in (NO_SUCH_UNIT, NO_SUCH_PROCESS):
                return False
            raise
        return True

    def reset_failed(self, unit: str, *, timeout: float | None = None) -> None:
        """Forget that the unit failed, and its count of starts.

        Nothing happens when systemd has forgotten the whole unit already.
        """
        call = Call(_MANAGER_PATH, _MANAGER, "ResetFailedUnit", "s", (unit,))
        try:
            if self._ask([call], f"reset-failed {unit}", timeout) is None:
                self._systemctl(timeout).reset_failed(unit)
        except UnitError as error:
            if error.name != NO_SUCH_UNIT:
                raise

    def reload(self, *, timeout: float | None = None) -> None:
        """Let systemd read its unit files anew (daemon-reload); returns when it has."""
        if self._ask([Call(_MANAGER_PATH, _MANAGER, "Reload")], "daemon-reload", timeout) is None:
            self._systemctl(timeout).reload()

    def state(self, *, timeout: float | None = None) -> str:
        """Return the state of the whole: "running", "degraded", "starting", "stopping"..."""
        answers = self._ask([_get(_MANAGER_PATH, _MANAGER, "SystemState")], "state", timeout)
        if answers is None:
            return self._systemctl(timeout).state()
        return str(answers[0][0]) if answers[0] else ""

    def _job(self, member: str, unit: str, timeout: float | None) -> str:
        call = Call(_MANAGER_PATH, _MANAGER, member, "ss", (unit, "replace"))
        answers = self._ask([call], f"{member} {unit}", timeout)
        if answers is None:
            return self._systemctl(timeout).job(member, unit)
        return str(answers[0][0])

    def _systemctl(self, timeout: float | None) -> Systemctl:
        """Return the command, with the time that D-Bus has left it.

        From then on it is the only way: an action that makes ten calls cannot wait for D-Bus ten
        times.
        """
        from mailha.system.systemctl import Systemctl
        total = self.timeout if timeout is None else timeout
        left = total * (1 - self._share_of_dbus)
        self._share_of_dbus = 0.0
        return Systemctl(left)

    def _ask(self, calls: list[Call], subject: str, timeout: float | None,
             repeatable: bool = True) -> list[list[Any]] | None:
        """Make the calls; return the body of each answer, None when only systemctl is left.

        The body is empty where the thing that was asked for does not exist (any more).
        Three quarters of the time are for D-Bus, the rest for systemctl. Of the former, the
        first way may be silent for two thirds before the other is tried.
        """
        if not self.running():
            raise SystemdUnavailable(f"cannot ask systemd for {subject}: it is not running here",
                                     remedy="boot with systemd, or use manager=direct")
        total = self.timeout if timeout is None else timeout
        end = time.monotonic() + total * self._share_of_dbus
        attempt = 0
        while self._share_of_dbus:
            for way in list(self._ways):
                now = time.monotonic()
                share = 1.0 if way is self._ways[-1] else 2 / 3
                try:
                    answers = way.ask(calls, now + (end - now) * share)
                    values = [_value(answer, subject) for answer in answers]
                    self._ways.sort(key=lambda other: other is not way)
                    return values
                except Broken as error:
                    if error.delivered and not repeatable:
                        raise SystemdUnavailable(
                            f"systemd broke off at {subject}: {error}; it may have been done"
                        ) from None
                except _NotReached:
                    way.close()
            attempt += 1
            # Uneven, so as not to fall into step with somebody who lets it execute itself anew all
            # the time: asked just before each time, it never answers.
            pause = RETRY_PAUSE * (1 + attempt % 4)
            if time.monotonic() + pause >= end:
                break
            time.sleep(pause)
        return None


class _NotReached(Exception):
    """The bus answered in systemd's place."""


def _value(answer: Message, subject: str) -> list[Any]:
    """Return the body of an answer; raise what an error answer means."""
    if not answer.error:
        return list(answer.body)
    if answer.error in _NOT_REACHED:
        raise _NotReached
    if answer.error in _NO_SUCH:
        return []
    text = str((answer.body or [""])[0])
    raise UnitError(f"systemd refuses {subject}: {text or answer.error}", name=answer.error)


def _get(path: str, interface: str, name: str) -> Call:
    return Call(path, _PROPERTIES, "Get", "ss", (interface, name))


def _is_loadable(name: str) -> bool:
    """Tell whether a unit can be called so, and systemd can load it (no bare template)."""
    stem, dot, kind = name.rpartition(".")
    return bool(dot and stem and len(name) < 256 and not stem.endswith("@")
                and not stem.startswith("@") and kind.isalpha()
                and all(char.isalnum() and char.isascii() or char in ":-_.\\@" for char in stem))


def unit_path(unit: str) -> str:
    """Return the unit's object path: what is neither letter nor digit stands as _XX in hex."""
    escaped = "".join(
        char if char.isalnum() and char.isascii() and not (index == 0 and char.isdigit())
        else "".join(f"_{byte:02x}" for byte in char.encode())
        for index, char in enumerate(unit))
    return f"{_MANAGER_PATH}/unit/{escaped}"
