# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping a group of services: in reverse order, patiently, with proof.

* One SIGTERM each, ever. The second one kills a Kopano server in the middle of a database upgrade,
  and so would an agent that was killed at its timeout and is called again; therefore it is written
  down who has been told.
* Patience to the end of the budget, less what the killing and the proof need. Then SIGKILL.
* Success means that no process lives: none in the units' control groups, none that runs one of the
  programs with the group's configuration, whatever unit, record or pid file says.
* Nothing here reads a configuration or asks whether the stop is allowed. A stop that fails fences
  the node, so it fails only where something lives on.
"""

from __future__ import annotations

from mailha import errors
from mailha.services import evidence
from mailha.services.evidence import DOWN, STARTING, STOPPING, Sight
from mailha.services.managers import CONT, KILL, TERM
from mailha.services.service import DIRECT, SYSTEMD, Group, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.services.managers import DirectManager, SystemdManager
    from mailha.services.starting import Log
    from mailha.system.machine import Machine
    from mailha.system.processes import Process

TOLD_DIRECTORY = "/run/mailha/told"
FORMAT = 1
# Seconds between two looks, at first and at most: each walks over /proc, and a stop may last.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.25
# Of the budget, what SIGKILL and the proof may need, and how much of it at least and at most.
KILL_SHARE, KILL_LEAST, KILL_MOST = 0.15, 1.0, 15.0
# Seconds that systemd may leave a stop in its queue before the processes are told directly. At the
# shutdown of the node the order of a unit waits for Pacemaker, which waits for us.
QUEUE_PATIENCE = 1.0
# Seconds for an answer of systemd, at most; and once it has left a question without one. The group
# may have twenty units, and its processes can be told to end without it.
LONGEST_ANSWER, SILENT_ANSWER = 5.0, 0.5


class Stop:
    """One stop of a group.

    manager: who gives the orders. deadline: of machine.clock, when the stop has to have an answer.
    """

    def __init__(self, machine: Machine, group: Group, manager: SystemdManager | DirectManager, *,
                 deadline: float, log: Log) -> None:
        self._machine = machine
        self._group = group
        self._manager = manager
        self._deadline = deadline
        self._log = log
        self._told = _Told(machine, group.resource)
        self._ordered: dict[str, float] = {}
        self._systemd_is_silent = False

    def run(self) -> None:
        """Stop every service and return when nothing of the group lives any more.

        Raises errors.Failed if something lives on at the deadline.
        """
        now = self._machine.clock.monotonic()
        reserve = max(KILL_LEAST, min(KILL_MOST, (self._deadline - now) * KILL_SHARE))
        patience_ends = self._deadline - reserve
        waves = list(reversed(self._group.waves()))
        self._settle_empty_units()
        for number, wave in enumerate(waves):
            now = self._machine.clock.monotonic()
            more = number + 1 < len(waves)
            # A gateway that hangs must leave the server its time: half of what is left, each.
            end = now + max(0.0, patience_ends - now) * (0.5 if more else 1.0)
            if not self._end(wave, end):
                self._kill(wave, self._machine.clock.monotonic() + reserve / 2 if more
                           else self._deadline)
        self._prove()
        self._told.forget()

    def _settle_empty_units(self) -> None:
        """Stop units that have no process and are not simply inactive.

        That takes orders to start, which a start that was killed has left, out of systemd's queue;
        the guard would not let them come to anything, but it may be taken off by then.
        """
        for sight in self._see(list(self._group.services)):
            if sight.hollow or sight.unit is not None and not sight.processes \
                    and sight.unit.job in ("start", "restart"):
                self._order(sight.service)

    def _end(self, wave: list[Service], end: float) -> bool:
        """Let the services of one wave end by themselves; False if some have not by then."""
        pause = 0.0
        while True:
            left = self._living(wave)
            if not left:
                return True
            if pause and self._machine.clock.monotonic() >= end:
                return False
            for sight in left:
                self._tell(sight)
            pause = min(pause * 1.3, LONGEST_PAUSE) or FIRST_PAUSE
            self._machine.clock.sleep(pause)

    def _tell(self, sight: Sight) -> None:
        """Tell a service to end, once; wake up what is stopped by a signal."""
        service, now = sight.service, self._machine.clock.monotonic()
        if self._group.manager == SYSTEMD and sight.phase != DOWN:
            if service.name not in self._ordered:
                self._ordered[service.name] = now
                self._log.info(f"stopping {service.name}")
                self._order(service)
            elif self._is_queued(sight) and now >= self._ordered[service.name] + QUEUE_PATIENCE:
                for process in sight.processes:
                    self._terminate(process)
        for process in self._outside(sight):
            self._terminate(process)
        for process in sight.processes:
            # systemd wakes what it tells. What is stopped after that is woken here.
            now_read = self._machine.processes.read(process.pid)
            if now_read is not None and now_read.stopped and self._told.has(process):
                self._signal(process, CONT)

    def _order(self, service: Service) -> None:
        """Order systemd to stop the unit; where it cannot be asked, tell its processes."""
        try:
            self._manager.stop(service, self._patience())
        except errors.MailhaError as error:
            self._log.warning(f"systemd does not stop {service.unit}: {error.reason}; its "
                              "processes are told directly")
            for sight in self._see([service]):
                for process in sight.processes:
                    self._terminate(process)

    def _is_queued(self, sight: Sight) -> bool:
        """Tell whether systemd has not begun to stop the unit."""
        if sight.phase == STOPPING:
            return False
        try:
            return self._manager.pending(sight.service, self._patience()) == "waiting"
        except errors.MailhaError:
            return False

    def _outside(self, sight: Sight) -> list[Process]:
        """Return the processes that no order to systemd reaches.

        Directly managed ones; those outside of their unit; and those that a unit with
        KillMode=process leaves behind.
        """
        if self._group.manager == DIRECT:
            return sight.processes
        left_behind = sight.unit is not None and sight.unit.active in ("inactive", "failed")
        return [process for process in sight.processes
                if left_behind or not self._is_in_unit(process, sight)]

    def _is_in_unit(self, process: Process, sight: Sight) -> bool:
        unit = sight.service.unit if sight.unit is None else sight.unit.name
        return unit in process.cgroup().split("/")

    def _terminate(self, process: Process) -> None:
        """Send SIGTERM unless the process has been told in this boot, and wake it up."""
        if self._told.has(process):
            return
        self._told.add(process)
        self._signal(process, TERM)
        if process.stopped:
            self._signal(process, CONT)

    def _signal(self, process: Process, number: int) -> None:
        try:
            self._machine.processes.signal(process, number)
        except errors.MailhaError as error:
            self._log.warning(error.reason)

    def _kill(self, wave: list[Service], end: float) -> None:
        """Kill what has not ended, and wait until it is gone.

        Nothing but the services' own units and programs: never the database.
        """
        left = self._living(wave)
        for sight in left:
            self._log.warning(f"{sight.service.name} has not ended in time and is killed: "
                              f"{_names(sight.processes) or sight.reason}")
        while left and self._machine.clock.monotonic() < end:
            for sight in left:
                if self._group.manager == SYSTEMD and sight.phase != DOWN:
                    try:
                        self._manager.signal(sight.service, KILL, self._patience())
                    except errors.MailhaError:
                        pass
                for process in sight.processes:
                    self._signal(process, KILL)
            self._machine.clock.sleep(FIRST_PAUSE)
            left = self._living(wave)

    def _prove(self) -> None:
        """Raise errors.Failed unless nothing of the whole group lives."""
        left = self._living(list(self._group.services))
        if left:
            stuck = [process for sight in left for process in sight.processes]
            hangs = any(process.state == "D" for process in stuck)
            raise errors.Failed(
                "still alive: " + "; ".join(f"{sight.service.name}: "
                                            f"{_names(sight.processes) or sight.reason}"
                                            for sight in left),
                remedy="it hangs in the kernel (state D), usually on a dead disk; the node has to "
                       "be fenced" if hangs else "see its log; the node has to be fenced")
        if self._group.manager == SYSTEMD:
            for sight in self._see(list(self._group.services)):
                if sight.unit is not None and sight.unit.active == "failed":
                    self._manager.forget_failure(sight.service, self._patience())

    def _living(self, services: list[Service]) -> list[Sight]:
        """Return the sights of all services that are not down, strays put to their processes."""
        seen = self._see(services)
        strays = evidence.strays(self._machine, services, tools=True)
        living = []
        for sight in seen:
            known = {process.pid for process in sight.processes}
            sight.processes += [process for process in strays[sight.service.name]
                                if process.pid not in known]
            if sight.processes or sight.phase in (STARTING, STOPPING):
                living.append(sight)
        return living

    def _see(self, services: list[Service]) -> list[Sight]:
        part = Group(self._group.resource, self._group.manager, services)
        seen = evidence.look(self._machine, part, timeout=self._patience(), sockets=False,
                             known=self._manager.processes())
        self._systemd_is_silent = self._group.manager == SYSTEMD \
            and all(sight.unit is None for sight in seen)
        return seen

    def _patience(self) -> float:
        """Return how many seconds systemd may take for one answer."""
        left = self._deadline - self._machine.clock.monotonic()
        return max(0.5, min(SILENT_ANSWER if self._systemd_is_silent else LONGEST_ANSWER, left / 5))


class _Told:
    """Which processes have had their SIGTERM in this boot, also from an agent that was killed."""

    def __init__(self, machine: Machine, resource: str) -> None:
        self._files = machine.files
        self._path = f"{TOLD_DIRECTORY}/{resource}"
        self._processes: set[tuple[int, int]] = set()
        try:
            lines = self._files.read(self._path).decode("ascii").split("\n")
            if lines[0] == f"format {FORMAT}":
                self._processes = {(int(pid), int(start)) for pid, start
                                   in (line.split(" ") for line in lines[1:] if line)}
        except (OSError, ValueError, errors.MailhaError):
            # Without the record a process might be told twice; a stop must not fail for that.
            pass

    def has(self, process: Process) -> bool:
        """Tell whether the process has been told."""
        return (process.pid, process.start_time) in self._processes

    def add(self, process: Process) -> None:
        """Write down that the process is told now."""
        self._processes.add((process.pid, process.start_time))
        lines = [f"format {FORMAT}", *(f"{pid} {start}" for pid, start in self._processes), ""]
        try:
            self._files.make_directory(TOLD_DIRECTORY, 0o755)
            self._files.write_atomic(self._path, "\n".join(lines).encode("ascii"))
        except errors.MailhaError:
            pass

    def forget(self) -> None:
        """Remove the record: all of them are dead."""
        try:
            self._files.remove(self._path)
        except errors.MailhaError:
            pass


def _names(processes: list[Process]) -> str:
    """Return the processes for a message."""
    return ", ".join(f"{process.executable or process.command} ({process.pid}, state "
                     f"{process.state})" for process in processes[:6])
