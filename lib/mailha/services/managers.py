# SPDX-License-Identifier: GPL-2.0-or-later
"""Who starts and stops the processes of a group: systemd, or this agent itself.

Both have the same few methods, so that starting and stopping a group is written once.
"""

from __future__ import annotations

from mailha import errors
from mailha.services import active, guards
from mailha.services.service import SYSTEMD, Group, Service
from mailha.system.units import NO_SUCH_UNIT, UNIT_MASKED, SystemdUnavailable, UnitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

    from mailha.system.machine import Machine

TERM, KILL, CONT = 15, 9, 18
OUTPUT_DIRECTORY = "/var/log/mailha"
# Seconds that systemd may take for one answer; a healthy one takes milliseconds.
PATIENCE_WITH_SYSTEMD = 10.0


class SystemdManager:
    """Lets systemd run the units.

    Nothing is ever waited for inside systemctl: jobs are queued over D-Bus, and what comes of them
    is looked at. So no killed client and no queued job can keep the agent from its end.
    """

    def __init__(self, machine: Machine, group: Group) -> None:
        self._machine = machine
        self._group = group
        self._jobs: dict[str, str] = {}

    def prepare(self, timeout: float) -> dict[str, dict[str, Any]]:
        """Write the record of the group, then the guards; return the properties of the units.

        Raises errors.Failed and errors.NotAllowedHere.
        """
        if self._machine.systemd.state(timeout=min(timeout, PATIENCE_WITH_SYSTEMD)) == "stopping":
            raise errors.Failed("this node is shutting down, systemd starts nothing any more",
                                remedy="wait for it to come back")
        active.write(self._machine, self._group)
        return guards.prepare(self._machine, list(self._group.services), self._group.resource,
                              timeout=timeout)

    def launch(self, service: Service, timeout: float) -> None:
        """Queue the start of a unit. Raises errors.Failed and errors.NotAllowedHere."""
        # Five quick failures make systemd refuse the sixth start (StartLimitBurst).
        self._machine.systemd.reset_failed(service.unit, timeout=timeout)
        try:
            self._jobs[service.name] = self._machine.systemd.start(service.unit, timeout=timeout)
        except UnitError as error:
            if error.name in (UNIT_MASKED, NO_SUCH_UNIT):
                raise errors.NotAllowedHere(
                    f"{service.name} cannot be started: {error.reason}",
                    remedy=f"install it, or 'systemctl unmask {service.unit}'") from None
            raise

    def pending(self, service: Service, timeout: float) -> str:
        """Return "waiting" or "running" while systemd has our order for the unit, else ""."""
        job = self._jobs.get(service.name, "")
        return self._machine.systemd.job_state(job, timeout=timeout) if job else ""

    def abandon(self, timeout: float) -> None:
        """Take back every order that systemd has not begun to carry out.

        A unit that comes up after its start was called a failure would run behind the cluster's
        back. timeout: seconds for one question; after the first that is not answered no more are
        asked, because there is hardly any time left.
        """
        for job in self._jobs.values():
            try:
                if self._machine.systemd.job_state(job, timeout=timeout) == "waiting":
                    self._machine.systemd.cancel(job, timeout=timeout)
            except SystemdUnavailable:
                return
            except errors.MailhaError:
                pass

    def stop(self, service: Service, timeout: float) -> None:
        """Queue the stop of a unit; nothing happens where there is no such unit.

        The second order for a unit that is being stopped joins the first one: no second SIGTERM.
        Raises errors.Failed.
        """
        try:
            self._jobs[service.name] = self._machine.systemd.stop(service.unit, timeout=timeout)
        except UnitError as error:
            if error.name != NO_SUCH_UNIT:
                raise

    def signal(self, service: Service, number: int, timeout: float) -> None:
        """Send a signal to all processes of the unit. Raises errors.Failed."""
        self._machine.systemd.kill(service.unit, number, timeout=timeout)

    def forget_failure(self, service: Service, timeout: float) -> None:
        """Let systemd forget that the unit failed: a SIGKILL of ours is no failure."""
        try:
            self._machine.systemd.reset_failed(service.unit, timeout=timeout)
        except (SystemdUnavailable, UnitError):
            pass

    def processes(self) -> dict[str, tuple[int, int]]:
        """Return nothing: systemd knows the processes."""
        return {}


class DirectManager:
    """Runs the programs itself, each in a session of its own, where there is no systemd unit.

    environment: of the programs. known: pid and start time of those that run already, by name.
    """

    def __init__(self, machine: Machine, group: Group, environment: Mapping[str, str],
                 known: Mapping[str, tuple[int, int]] | None = None) -> None:
        self._machine = machine
        self._group = group
        self._environment = environment
        self._known = dict(known or {})

    def prepare(self, timeout: float) -> dict[str, dict[str, Any]]:
        """Write the record of the group. Raises errors.Failed."""
        active.write(self._machine, self._group, self._known)
        return {}

    def launch(self, service: Service, timeout: float) -> None:
        """Start the program and write down its process. Raises errors.Failed.

        What it prints goes to a file: the reason of a failure is there when the service could not
        open its own log.
        """
        output = output_path(self._group.resource, service)
        self._machine.files.make_directory(OUTPUT_DIRECTORY, 0o750)
        self._machine.files.remove(output)
        pid = self._machine.children.spawn_detached(
            [service.program, *service.arguments], environment=self._environment, output=output,
            timeout=timeout)
        process = self._machine.processes.read(pid)
        if process is not None:
            self._known[service.name] = (pid, process.start_time)
            active.write(self._machine, self._group, self._known)

    def pending(self, service: Service, timeout: float) -> str:
        """Return "": what was launched runs or is dead."""
        return ""

    def abandon(self, timeout: float) -> None:
        """Do nothing: nothing is queued."""

    def stop(self, service: Service, timeout: float) -> None:
        """Do nothing: whoever stops a group signals processes that belong to no unit by itself."""

    def signal(self, service: Service, number: int, timeout: float) -> None:
        """Do nothing, see stop()."""

    def forget_failure(self, service: Service, timeout: float) -> None:
        """Do nothing: nobody has taken note of a failure."""

    def processes(self) -> dict[str, tuple[int, int]]:
        """Return pid and start time of what was started, by the service's name."""
        return dict(self._known)


def output_path(resource: str, service: Service) -> str:
    """Return the file that takes what a directly managed service prints."""
    return f"{OUTPUT_DIRECTORY}/{resource}-{service.name}.log"


def manager_of(machine: Machine, group: Group, environment: Callable[[], Mapping[str, str]],
               known: Mapping[str, tuple[int, int]] | None = None
               ) -> SystemdManager | DirectManager:
    """Return the manager that the group names. environment: asked only for a direct one."""
    if group.manager == SYSTEMD:
        return SystemdManager(machine, group)
    return DirectManager(machine, group, environment(), known)
