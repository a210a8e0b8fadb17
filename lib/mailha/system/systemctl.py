# SPDX-License-Identifier: GPL-2.0-or-later
"""systemd asked through its command, for the day its D-Bus cannot be used directly.

Loaded only then. Answers are given as mailha.system.systemd gives them, with one difference:
properties are texts as `systemctl show` prints them.
"""

from __future__ import annotations

import time

from mailha import errors
from mailha.system.child_failures import ChildFailed
from mailha.system.children import Children, Finished
from mailha.system.units import (NO_SUCH_PROCESS, NO_SUCH_UNIT, UNIT_MASKED, SystemdUnavailable,
                                 Unit, UnitError)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

# Seconds between two tries to reach systemd, and how long to try: it executes itself anew in a
# fraction of one, and whoever stops a service has many questions.
RETRY_PAUSE = 0.1
RETRY_FOR = 1.0

_JOB = "/org/freedesktop/systemd1/job/"

# The command tells errors in words only (LC_ALL=C).
_ERRORS = ((" is masked", UNIT_MASKED), ("not loaded", NO_SUCH_UNIT), ("not found", NO_SUCH_UNIT),
           ("No matching processes to kill", NO_SUCH_PROCESS))


def parse_show(text: bytes) -> list[dict[str, str]]:
    """Return one dict for each unit in the output of `systemctl show`; empty lines part them."""
    found: list[dict[str, str]] = [{}]
    for line in text.decode("utf-8", "backslashreplace").splitlines():
        name, sign, value = line.partition("=")
        if not line:
            found.append({})
        elif sign:
            found[-1][name] = value
    return [properties for properties in found if properties]


class Systemctl:
    """The command systemctl. timeout: seconds for each call of it."""

    def __init__(self, timeout: float, command: str = "systemctl") -> None:
        self._timeout = timeout
        self._command = command

    def units(self, names: Sequence[str]) -> dict[str, Unit]:
        """Return each unit, details included."""
        shown = parse_show(self._run(
            "show", "--property=Id,LoadState,ActiveState,SubState,Job,MainPID,ControlGroup",
            "--", *names).stdout)
        if len(shown) != len(names):
            raise SystemdUnavailable(
                f"systemctl told of {len(shown)} units when asked for {len(names)}")
        jobs = self._jobs() if any(unit.get("Job", "0") not in ("", "0") for unit in shown) else {}
        found = {}
        for name, unit in zip(names, shown):
            job = jobs.get(unit.get("Job", ""), ("", ""))[0]
            found[name] = Unit(unit.get("Id", name), unit.get("LoadState", ""),
                               unit.get("ActiveState", ""), unit.get("SubState", ""), job,
                               int(unit.get("MainPID", "0") or 0), unit.get("ControlGroup", ""))
        return found

    def properties(self, unit: str) -> dict[str, Any]:
        """Return all properties of the unit, as texts."""
        shown = parse_show(self._run("show", "--all", "--", unit).stdout)
        return dict(shown[0]) if shown else {}

    def job(self, member: str, unit: str) -> str:
        """Queue a StartUnit or StopUnit; return the job's path, "" when it is already done."""
        self._run("start" if member == "StartUnit" else "stop", "--no-block", "--", unit)
        shown = parse_show(self._run("show", "--property=Job,Id", "--", unit).stdout)
        number = shown[0].get("Job", "") if shown else ""
        return _JOB + number if number not in ("", "0") else ""

    def job_state(self, path: str) -> str:
        """Return "waiting", "running" or ""."""
        return self._jobs().get(path.rpartition("/")[2], ("", ""))[1]

    def cancel(self, path: str) -> None:
        """Cancel the job if it is still there."""
        number = path.rpartition("/")[2]
        if number in self._jobs():
            self._run("cancel", number)

    def kill(self, unit: str, number: int, whom: str) -> None:
        """Send the signal to the unit's processes."""
        # --kill-who is the name that old versions know and new ones still take.
        # A second SIGTERM is another order than the first, so it is given once.
        self._run("kill", f"--signal={number}", f"--kill-who={whom}", "--", unit,
                  repeatable=number == 9)

    def reset_failed(self, unit: str) -> None:
        """Forget that the unit failed."""
        self._run("reset-failed", "--", unit)

    def reload(self) -> None:
        """Let systemd read its unit files anew."""
        self._run("daemon-reload")

    def state(self) -> str:
        """Return the state of the whole."""
        # Anything but "running" ends with code 1; the word is the answer.
        return self._run("is-system-running", accept=(0, 1)).stdout.decode("ascii", "replace") \
            .strip()

    def _jobs(self) -> dict[str, tuple[str, str]]:
        """Return (type, state) of every queued job by its number."""
        found = {}
        for line in self._run("list-jobs", "--no-legend", "--plain").stdout.decode().splitlines():
            fields = line.split()
            if len(fields) >= 4 and fields[0].isdigit():
                found[fields[0]] = (fields[2], fields[3])
        return found

    def _run(self, *arguments: str, accept: tuple[int, ...] = (0,),
             repeatable: bool = True) -> Finished:
        """Run the command, again and again while it does not reach systemd.

        Only that is tried again: the command waits for nobody who executes himself anew.
        """
        begin = time.monotonic()
        deadline = begin + self._timeout
        attempt = 0
        while True:
            try:
                return Children().run(
                    [self._command, "--no-pager", "--no-ask-password", *arguments],
                    timeout=max(0.1, deadline - time.monotonic()), accept=accept)
            except ChildFailed as error:
                failure = _failure(error)
            except errors.MailhaError as error:
                raise SystemdUnavailable(f"systemd does not answer: {error.reason}") from None
            attempt += 1
            # Uneven, so as not to fall into step with somebody who asks for that all the time.
            pause = RETRY_PAUSE * (1 + attempt % 3)
            if not repeatable or not isinstance(failure, SystemdUnavailable) \
                    or time.monotonic() + pause >= min(deadline, begin + RETRY_FOR):
                raise failure
            time.sleep(pause)


def _failure(error: ChildFailed) -> SystemdUnavailable | UnitError:
    """Return what the failure of the command means."""
    message = error.stderr.decode("utf-8", "backslashreplace").strip()
    # systemctl ends with code 1 both when systemd refuses and when it is not reached.
    silent = not message or "connect" in message or "timed out" in message.lower()
    if error.exit_code in (None, 1) and silent:
        return SystemdUnavailable(
            f"systemd answers neither on D-Bus nor through systemctl: {error.reason}",
            remedy="see whether PID 1 still lives: systemctl status")
    name = next((name for part, name in _ERRORS if part in message), "")
    return UnitError(f"systemd refuses: {error.reason}", name=name)
