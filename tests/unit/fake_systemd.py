# SPDX-License-Identifier: GPL-2.0-or-later
"""The service manager of a fake machine; behaves as systemd 252 was seen to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from fake_programs import KILL, TERM, Program, Running
from mailha.system.cgroups import usual
from mailha.system.units import NO_SUCH_UNIT, UNIT_MASKED, SystemdUnavailable, Unit, UnitError

if TYPE_CHECKING:
    from fake_machine import FakeMachine


@dataclass
class FakeUnit:
    """A unit and its habits. Times in seconds.

    load: "loaded", "masked", "not-found", "error". program: what it runs. aliases: other names.
    notify_after: seconds that its start takes (Type=notify); None: started at once
    (Type=simple). remain: Type=oneshot with RemainAfterExit, "active (exited)" whatever happens.
    kill_mode: "control-group", or "process" (only the main process is signalled on stop; children
    stay). crash_loop: after an exit it sits in activating/auto-restart. queued: jobs stay
    "waiting" until FakeSystemd.release(). limit_hit: StartLimitBurst is used up. properties: more
    of them, for properties().
    """

    program: Optional[Program] = None
    load: str = "loaded"
    aliases: Sequence[str] = ()
    notify_after: Optional[float] = None
    remain: bool = False
    kill_mode: str = "control-group"
    crash_loop: bool = False
    queued: bool = False
    limit_hit: bool = False
    properties: Dict[str, Any] = field(default_factory=dict)

    name: str = ""
    active: str = "inactive"
    sub: str = "dead"
    job: str = ""
    job_path: str = ""
    main: Optional[Running] = None
    stopping: bool = False
    condition: bool = True
    conditions: List[str] = field(default_factory=list)

    @property
    def cgroup(self) -> str:
        """Where its processes are."""
        return usual(self.name)


class FakeSystemd:
    """Stands for system.systemd.Systemd.

    unavailable: asking it raises SystemdUnavailable after the whole timeout, for as long as set;
    or until clock time unavailable_until. calls: what was ordered, as ("start", "x.service").
    reloads: how often units were read anew. ConditionPathExists= in a drop-in among the machine's
    files holds from the reload after it was written, as with the real one.
    """

    timeout = 10.0

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self._units: Dict[str, FakeUnit] = {}
        self._jobs: Dict[str, FakeUnit] = {}
        self._count = 0
        self.is_running = True
        self.unavailable = False
        self.unavailable_until = 0.0
        self.manager_state = "running"
        self.calls: List[tuple[Any, ...]] = []
        self.reloads = 0

    def add(self, name: str, unit: FakeUnit) -> FakeUnit:
        """Give the machine a unit."""
        unit.name = name
        for each in (name, *unit.aliases):
            self._units[each] = unit
        self._read_conditions(unit)
        return unit

    def release(self, unit: str) -> None:
        """Let a queued job run."""
        found = self._units[unit]
        found.queued = False
        if found.job == "start":
            self._do_start(found)
        elif found.job == "stop":
            self._do_stop(found)

    def running(self) -> bool:
        return self.is_running

    def units(self, names: Sequence[str], *, details: bool = False,
              timeout: Optional[float] = None) -> Dict[str, Unit]:
        self._check(timeout)
        found = {}
        for name in names:
            unit = self._units.get(name)
            if unit is None:
                found[name] = Unit(name, "not-found", "inactive", "dead")
                continue
            main = unit.main.pid if details and unit.main and unit.main.here else 0
            cgroup = unit.cgroup if details and (
                unit.active != "inactive" or self._machine.cgroups.populated(unit.cgroup)) else ""
            found[name] = Unit(unit.name, unit.load, unit.active, unit.sub, unit.job, main, cgroup)
        return found

    def properties(self, unit: str, *, timeout: Optional[float] = None) -> Dict[str, Any]:
        seen = self.units([unit], details=True, timeout=timeout)[unit]
        known = self._units.get(unit)
        names = [seen.name, *(known.aliases if known else ())]
        conditions = [("ConditionPathExists", False, False, path, 0)
                      for path in (known.conditions if known else ())]
        found: Dict[str, Any] = {
            "Id": seen.name, "Names": names, "LoadState": seen.load, "ActiveState": seen.active,
            "SubState": seen.sub, "MainPID": seen.main_process,
            "ControlGroup": seen.control_group, "Conditions": conditions,
            "ConditionResult": known.condition if known else False}
        found.update(known.properties if known else {})
        return found

    def start(self, unit: str, *, timeout: Optional[float] = None) -> str:
        self._check(timeout)
        self.calls.append(("start", unit))
        found = self._known(unit, "StartUnit")
        if found.load == "masked":
            raise UnitError(f"systemd refuses StartUnit {unit}: Unit {unit} is masked.",
                            name=UNIT_MASKED)
        if self.manager_state == "stopping":
            raise UnitError(f"systemd refuses StartUnit {unit}: Transaction is destructive.",
                            name="org.freedesktop.systemd1.TransactionIsDestructive")
        path = self._new_job(found, "start")
        if not found.queued:
            self._do_start(found)
        return path

    def stop(self, unit: str, *, timeout: Optional[float] = None) -> str:
        self._check(timeout)
        self.calls.append(("stop", unit))
        found = self._known(unit, "StopUnit")
        path = self._new_job(found, "stop")
        if not found.queued:
            self._do_stop(found)
        return path

    def job_state(self, path: str, *, timeout: Optional[float] = None) -> str:
        self._check(timeout)
        unit = self._jobs.get(path)
        return "" if unit is None else "waiting" if unit.queued else "running"

    def cancel(self, path: str, *, timeout: Optional[float] = None) -> None:
        self._check(timeout)
        self.calls.append(("cancel", path))
        unit = self._jobs.get(path)
        if unit is not None:
            self._job_done(unit)

    def kill(self, unit: str, number: int, whom: str = "all", *,
             timeout: Optional[float] = None) -> bool:
        self._check(timeout)
        self.calls.append(("kill", unit, number, whom))
        found = self._units.get(unit)
        if found is None:
            return False
        hit = [running for running in list(self._machine.processes.table.values())
               if running.cgroup == found.cgroup and (whom == "all" or running is found.main)]
        for running in hit:
            running.signal(number)
        return bool(hit)

    def reset_failed(self, unit: str, *, timeout: Optional[float] = None) -> None:
        self._check(timeout)
        self.calls.append(("reset_failed", unit))
        found = self._units.get(unit)
        if found is not None:
            found.limit_hit = False
            if found.active == "failed":
                found.active, found.sub = "inactive", "dead"

    def reload(self, *, timeout: Optional[float] = None) -> None:
        self._check(timeout)
        self.reloads += 1
        for unit in self._units.values():
            self._read_conditions(unit)

    def state(self, *, timeout: Optional[float] = None) -> str:
        self._check(timeout)
        return self.manager_state

    def forget(self) -> None:
        """Be as after a boot: nothing runs, nothing is queued."""
        self._jobs = {}
        for unit in self._units.values():
            unit.active, unit.sub, unit.job, unit.main = "inactive", "dead", "", None
            unit.stopping = False

    def _check(self, timeout: Optional[float]) -> None:
        if not self.is_running:
            raise SystemdUnavailable("cannot ask systemd: it is not running here")
        clock = self._machine.clock
        wait = self.timeout if timeout is None else timeout
        if self.unavailable or clock.monotonic() + wait < self.unavailable_until:
            clock.sleep(wait)
            raise SystemdUnavailable("systemd did not answer in time")
        if clock.monotonic() < self.unavailable_until:
            clock.sleep(self.unavailable_until - clock.monotonic())

    def _known(self, name: str, member: str) -> FakeUnit:
        unit = self._units.get(name)
        if unit is None or unit.load == "not-found":
            raise UnitError(f"systemd refuses {member} {name}: Unit {name} not found.",
                            name=NO_SUCH_UNIT)
        return unit

    def _read_conditions(self, unit: FakeUnit) -> None:
        files = self._machine.files
        unit.conditions = []
        for base in ("/etc/systemd/system", "/run/systemd/system"):
            for name in files.names(f"{base}/{unit.name}.d"):
                for line in files.read(f"{base}/{unit.name}.d/{name}").decode().splitlines():
                    key, _, value = line.partition("=")
                    if key.strip() == "ConditionPathExists":
                        unit.conditions.append(value.strip())

    def _new_job(self, unit: FakeUnit, kind: str) -> str:
        if unit.job == kind:
            return unit.job_path
        self._job_done(unit)
        self._count += 1
        unit.job, unit.job_path = kind, f"/org/freedesktop/systemd1/job/{self._count}"
        self._jobs[unit.job_path] = unit
        return unit.job_path

    def _job_done(self, unit: FakeUnit) -> None:
        self._jobs.pop(unit.job_path, None)
        unit.job = unit.job_path = ""

    def _do_start(self, unit: FakeUnit) -> None:
        if unit.active in ("active", "activating") and unit.sub != "auto-restart":
            if unit.active == "active":
                self._job_done(unit)
            return
        unit.condition = all(self._machine.files.exists(path) for path in unit.conditions)
        if not unit.condition:
            self._job_done(unit)
            return
        if unit.limit_hit:
            unit.active, unit.sub = "failed", "failed"
            self._job_done(unit)
            return
        unit.stopping = False
        if unit.notify_after is None:
            unit.active, unit.sub = "active", "exited" if unit.remain else "running"
            self._job_done(unit)
        else:
            unit.active, unit.sub = "activating", "start"
            self._machine.clock.after(unit.notify_after, lambda: self._notified(unit))
        if unit.program is not None:
            unit.main = self._machine.processes.make(
                unit.program, unit.cgroup, owner=lambda who, code: self._died(unit, who, code))
            self._machine.processes.launch(unit.main)

    def _notified(self, unit: FakeUnit) -> None:
        if unit.active == "activating" and unit.sub == "start":
            unit.active, unit.sub = "active", "running"
            self._job_done(unit)

    def _do_stop(self, unit: FakeUnit) -> None:
        alive = self._alive(unit)
        if not alive or (unit.active == "inactive" and unit.kill_mode == "process"):
            unit.active, unit.sub = ("inactive", "dead") if unit.active != "failed" \
                else ("failed", "failed")
            self._job_done(unit)
            return
        if unit.stopping:
            # The order joins the one that is being carried out: no second SIGTERM.
            return
        unit.stopping = True
        unit.active, unit.sub = "deactivating", "stop-sigterm"
        for running in alive:
            if unit.kill_mode != "process" or running is unit.main:
                running.signal(TERM)

    def _died(self, unit: FakeUnit, who: Running, code: int) -> None:
        alive = self._alive(unit)
        if unit.stopping:
            if not alive or (unit.kill_mode == "process" and who is unit.main):
                unit.stopping = False
                unit.active, unit.sub = ("failed", "failed") if code == -KILL \
                    else ("inactive", "dead")
                self._job_done(unit)
        elif who is unit.main and not unit.remain:
            failed = code not in (0, -TERM) or unit.active == "activating"
            unit.active, unit.sub = ("failed", "failed") if failed else ("inactive", "dead")
            if unit.crash_loop:
                unit.active, unit.sub = "activating", "auto-restart"
            if unit.kill_mode != "process":
                for running in alive:
                    running.signal(KILL)
            if unit.job:
                self._job_done(unit)

    def _alive(self, unit: FakeUnit) -> List[Running]:
        return [running for running in self._machine.processes.table.values()
                if running.cgroup == unit.cgroup and running.state != "Z"]
