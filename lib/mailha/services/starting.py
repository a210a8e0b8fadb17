# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting a group of services: in the order of their needs, independent ones together.

A service is started when all evidence says so: its processes, its sockets, and the greeting that
only a working one gives. The word of whoever launched it counts for nothing: kopano-server says
success while it still waits for its database, and kopano-dagent says success when it could not bind
its address and is dead.
"""

from __future__ import annotations

from mailha import errors
from mailha.services import evidence, greetings, lock
from mailha.services.evidence import BROKEN, DOWN, STOPPING, Sight
from mailha.services.managers import CONT, KILL, TERM
from mailha.services.service import Group, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Protocol

    from mailha.services.managers import DirectManager, SystemdManager
    from mailha.system.machine import Machine

    class Log(Protocol):
        """Takes what an administrator may want to know; ocf's log is one."""

        def info(self, text: str) -> None:
            """Take a remark."""

        def warning(self, text: str) -> None:
            """Take something that needs attention and ends nothing."""

# Seconds between two looks at services that are coming up, at first and at most. The longer one
# keeps a monitor's load away from a server that upgrades its database for minutes.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
# Seconds for one greeting: a mute service is asked again rather than waited for, because another
# one may have died in the meantime.
GREETING = 2.0
# Seconds for a question to systemd after the deadline: the reason still has to be told in time.
PATIENCE_AT_THE_END = 0.5
# The part of what is left of the budget that optional services may take.
SHARE_OF_OPTIONAL = 0.25
# Seconds that a copy outside of its unit has to end before it is killed, at most, and which part of
# what is left of the budget.
PATIENCE_WITH_STRAYS, SHARE_OF_STRAYS = 30.0, 0.25


class Start:
    """One start of a group.

    manager: who launches. deadline: of machine.clock, when the start has to have an answer.
    explain: returns what a dead service said last (its log), "" if nothing, for the reason of the
    failure, or raises a better one. ask: asks a service that greets whether it truly serves, within
    so many seconds; raises errors.Failed as long as it does not. Without it the greeting counts.
    """

    def __init__(self, machine: Machine, group: Group, manager: SystemdManager | DirectManager, *,
                 deadline: float, log: Log, explain: Callable[[Service], str],
                 ask: Callable[[Service, float], None] | None = None) -> None:
        self._machine = machine
        self._group = group
        self._manager = manager
        self._deadline = deadline
        self._log = log
        self._explain = explain
        self._ask_it = ask
        self._launched: set[str] = set()
        self._proven: set[str] = set()
        self._given_up: set[str] = set()
        self._last_complaint: dict[str, str] = {}
        self._hollow: set[str] = set()
        self._killing: dict[tuple[int, int], float] = {}

    def run(self) -> None:
        """Start what does not run yet and return when the whole group serves.

        Services that serve already are left alone, so a group that was started in part is
        completed. An optional service that does not come up is a warning.

        Raises errors.Failed with the reason of the first service that failed, errors.BudgetSpent
        with what is still missing at the deadline, and errors.NotAllowedHere.
        """
        try:
            for wave in self._group.waves():
                self._start(wave)
            self._look_back()
        except errors.MailhaError:
            self._manager.abandon(PATIENCE_AT_THE_END)
            raise

    def _start(self, wave: list[Service]) -> None:
        """Start the services of one wave together and wait for all of them."""
        begin = self._machine.clock.monotonic()
        optional_end = begin + (self._deadline - begin) * SHARE_OF_OPTIONAL
        pause = FIRST_PAUSE
        while True:
            lock.give_way(self._machine, self._group.resource)
            waiting = self._advance(wave)
            if not waiting:
                return
            now = self._machine.clock.monotonic()
            if now >= self._deadline:
                self._report_late(waiting, now - begin)
            if now >= optional_end and not any(self._group.required(service)
                                               for service in waiting):
                for service in waiting:
                    self._give_up(service, self._last_complaint.get(service.name, "it is mute"))
                return
            self._machine.clock.sleep(min(pause, max(0.0, self._deadline - now)))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _advance(self, wave: list[Service]) -> list[Service]:
        """Do the next step for each service of the wave; return those that do not serve yet."""
        pending = [service for service in wave
                   if service.name not in self._proven and service.name not in self._given_up]
        for sight in self._see(pending):
            service = sight.service
            try:
                self._step(sight)
            except errors.MailhaError as error:
                if self._group.required(service):
                    raise
                self._give_up(service, str(error))
        return [service for service in pending
                if service.name not in self._proven and service.name not in self._given_up]

    def _step(self, sight: Sight) -> None:
        """Launch a service, or see how far it has come.

        Raises errors.Failed when it is dead, or in a state that no waiting will cure.
        """
        service = sight.service
        if not sight.hollow:
            self._hollow.discard(service.name)
        elif self._passes(sight):
            return
        if sight.phase == BROKEN:
            raise errors.Failed(f"{service.name} is broken: {sight.reason}",
                                remedy="Pacemaker stops all of it and tries again; see its log")
        if sight.phase == STOPPING:
            self._last_complaint[service.name] = sight.reason
            return
        if sight.phase == DOWN:
            if service.name not in self._launched:
                if self._ends_strays(service):
                    return
                self._launched.add(service.name)
                self._log.info(f"starting {service.name}")
                self._manager.launch(service, self._patience())
                return
            job = self._manager.pending(service, self._patience())
            if job or (sight.unit is not None and sight.unit.job):
                self._last_complaint[service.name] = (
                    f"systemd has queued its start and not begun it: see 'systemctl list-jobs' for "
                    f"what {service.unit} waits for")
                return
            raise errors.Failed(self._obituary(sight))
        if not sight.serves:
            self._last_complaint[service.name] = sight.reason
            return
        self._ask(sight)

    def _passes(self, sight: Sight) -> bool:
        """Tell whether a unit without process, which systemd calls active, may soon be otherwise.

        One that was so before has to be stopped first: systemd takes it for started. One of ours
        gets a second look, because its process may just have died, or not have arrived in its
        control group yet.
        """
        service = sight.service
        self._last_complaint[service.name] = sight.reason
        if service.name not in self._launched:
            self._manager.stop(service, self._patience())
            return True
        if service.name in self._hollow:
            return False
        self._hollow.add(service.name)
        return True

    def _ask(self, sight: Sight) -> None:
        """Ask a service, whose processes and sockets are there, whether it truly serves."""
        service = sight.service
        left = max(0.1, self._deadline - self._machine.clock.monotonic())
        try:
            if greetings.greets(service):
                if self._ask_it is not None:
                    self._ask_it(service, min(GREETING, left))
                else:
                    greetings.check(self._machine, service, min(GREETING, left))
            elif max((self._machine.processes.age(each) for each in sight.processes),
                     default=0.0) < service.settle:
                self._last_complaint[service.name] = f"it has not lived for {service.settle:g} s"
                return
        except errors.Failed as error:
            self._last_complaint[service.name] = error.reason
            return
        self._proven.add(service.name)
        self._log.info(f"{service.name} serves")

    def _ends_strays(self, service: Service) -> bool:
        """End the copies that run outside of their unit; tell whether one of them still lives.

        Somebody has started them by hand while this node was passive. A probe leaves alone what
        cannot touch the data, so a changeover must not fail over it either.

        Raises errors.Failed over one that works on the data: nobody knows what it has done to them.
        """
        found = evidence.strays(self._machine, [service])[service.name]
        if not found:
            return False
        where = (f"{found[0].executable or service.program} runs already, outside of the cluster's "
                 f"hands (process {found[0].pid}, control group {found[0].cgroup() or 'unknown'})")
        if service.touches_data:
            raise errors.Failed(
                where, remedy="end it; Pacemaker's stop of the resource does so, too")
        now = self._machine.clock.monotonic()
        for process in found:
            known = (process.pid, process.start_time)
            if known not in self._killing:
                self._killing[known] = now + min(PATIENCE_WITH_STRAYS,
                                                 (self._deadline - now) * SHARE_OF_STRAYS)
                self._log.warning(f"{where}: it is told to end")
                self._machine.processes.signal(process, TERM)
                self._machine.processes.signal(process, CONT)
            elif now >= self._killing[known]:
                self._machine.processes.signal(process, KILL)
        self._last_complaint[service.name] = f"{where}, and does not end"
        return True

    def _obituary(self, sight: Sight) -> str:
        """Return why a service is dead, with its last words."""
        last = self._explain(sight.service)
        return f"{sight.service.name} ended right after its start" + (
            f"; its last words: {last}" if last else f" ({sight.reason})")

    def _look_back(self) -> None:
        """Look at the whole group once more: one may have died while another came up."""
        for sight in self._see([service for service in self._group.services
                                if service.name not in self._given_up]):
            if sight.serves:
                continue
            text = (self._obituary(sight) if sight.phase == DOWN
                    else f"{sight.service.name}: {sight.reason}")
            if self._group.required(sight.service):
                raise errors.Failed(text)
            self._log.warning(f"optional service {text}")

    def _report_late(self, waiting: list[Service], seconds: float) -> None:
        """Raise errors.BudgetSpent with what is missing, or give up on optional services."""
        required = [service for service in waiting if self._group.required(service)]
        for service in waiting:
            if service not in required:
                self._give_up(service, self._last_complaint.get(service.name, "it is mute"))
        if required:
            what = "; ".join(f"{service.name}: "
                             f"{self._last_complaint.get(service.name, 'it does not answer')}"
                             for service in required)
            raise errors.BudgetSpent(f"after {seconds:.0f} s not everything serves: {what}",
                                     remedy="see its log; if it needs longer, raise the timeout of "
                                            "the start operation")

    def _give_up(self, service: Service, why: str) -> None:
        self._given_up.add(service.name)
        self._log.warning(f"optional service {service.name} does not serve: {why}")

    def _see(self, services: list[Service]) -> list[Sight]:
        """Look at some of the group's services."""
        part = Group(self._group.resource, self._group.manager, services, self._group.optional)
        return evidence.look(self._machine, part, timeout=self._patience(),
                             known=self._manager.processes()) if services else []

    def _patience(self) -> float:
        """Return how many seconds systemd may take for one answer."""
        left = self._deadline - self._machine.clock.monotonic()
        return max(1.0, min(10.0, left / 4))
