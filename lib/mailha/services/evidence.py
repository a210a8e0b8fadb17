# SPDX-License-Identifier: GPL-2.0-or-later
"""What is seen of each service of a group, without connecting to anything.

The order of the evidence, for each service:

1. systemd's word on the unit. "active" proves nothing yet, and "inactive" does not prove that
   nothing runs.
2. Its control group: which processes are in it. This is what decides whether anything runs.
3. The identity of a process: one of them must run the service's program and must not be stopped by
   a signal (state T). One that a debugger holds for a moment (t) counts as alive. Where that one
   leads helpers, it must also have been given the service's configuration.
4. Every address that it shall listen on is listened on, and by one of those processes.

Where systemd cannot be asked (it executes itself anew, or hangs), 2 to 4 decide alone. Directly
managed services have 3 and 4, beginning with the process that start has written down.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.services.service import SYSTEMD, Group, Service
from mailha.system.cgroups import usual
from mailha.system.addresses import listens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from mailha.system.machine import Machine
    from mailha.system.processes import Process
    from mailha.system.netlink import Listener
    from mailha.system.units import Unit

# What a service can be found to be.
SERVES = "serves"
STARTING = "starting"
STOPPING = "stopping"
BROKEN = "broken"
DOWN = "down"


class Sight:
    """What was seen of one service.

    phase: one of the constants above; DOWN only where not one process of it lives. reason: what is
    wrong, "" when it serves. unit: what systemd said, None where it was not asked or did not
    answer. processes: its live processes.
    """

    __slots__ = ("service", "phase", "reason", "unit", "processes")

    def __init__(self, service: Service, phase: str, reason: str = "", unit: Unit | None = None,
                 processes: list[Process] | None = None) -> None:
        self.service = service
        self.phase = phase
        self.reason = reason
        self.unit = unit
        self.processes = processes or []

    @property
    def serves(self) -> bool:
        """Whether all evidence speaks for it."""
        return self.phase == SERVES

    @property
    def missing(self) -> bool:
        """Whether systemd has no such unit, or was forbidden to have one."""
        return self.unit is not None and self.unit.load != "loaded"

    @property
    def hollow(self) -> bool:
        """Whether systemd keeps the unit up without a process: it does not start such a one.

        It calls a unit active whose daemons are dead (RemainAfterExit, as in every unit that is
        made of an init script), and one that it is going to restart some time activating.
        """
        return not self.processes and self.unit is not None and (
            self.unit.active in ("active", "reloading")
            or self.unit.sub.startswith("auto-restart"))

    def __repr__(self) -> str:
        return f"<{self.service.name} {self.phase}: {self.reason}>"


def look(machine: Machine, group: Group, *, timeout: float,
         known: dict[str, tuple[int, int]] | None = None, sockets: bool = True,
         leaders: bool = False) -> list[Sight]:
    """Look at every service of the group, in its order.

    timeout: seconds for asking systemd. known: the processes that start has written down, for
    directly managed services. sockets: whether to look at the listeners too; who stops a service
    wants to know of processes only. leaders: whether of a service with helpers the one that leads
    them is enough: a Cyrus in full use has thousands of processes, and a monitor no time to read
    them all. Raises errors.Failed when even the kernel does not answer.
    """
    if group.manager == SYSTEMD:
        seen = _units(machine, group, timeout, leaders)
    else:
        seen = _processes(machine, group, known or {})
    running = [sight for sight in seen if sight.phase == SERVES]
    if running and sockets:
        _look_at_sockets(machine, running)
    return seen


def _units(machine: Machine, group: Group, timeout: float, leaders: bool) -> list[Sight]:
    """Look at units, control groups and process identities."""
    from mailha.system.units import SystemdUnavailable
    names = [service.unit for service in group.services]
    units: dict[str, Unit] = {}
    found: dict[str, list[int]] = {}
    try:
        units = machine.systemd.units(names, timeout=timeout)
        unusual = []
        for name, unit in units.items():
            if unit.load == "loaded":
                path = usual(unit.name)
                found[path] = machine.cgroups.processes(path)
                if not found[path]:
                    unusual.append(name)
        if unusual:
            # Nothing lives in it, or it lives in a slice of its own: also when it is inactive, for
            # systemd leaves processes behind with KillMode=process.
            units.update(machine.systemd.units(unusual, details=True, timeout=timeout))
    except SystemdUnavailable:
        # While systemd executes itself anew nobody answers; that is no statement about a service
        # (pacemaker pull requests 3880 and 3927). The control groups stay as they are meanwhile.
        pass
    return [_unit(machine, service, units.get(service.unit), found, leaders)
            for service in group.services]


def _unit(machine: Machine, service: Service, unit: Unit | None,
          found: dict[str, list[int]], leaders: bool) -> Sight:
    """Judge a unit with the processes in its control group. found: those of groups that had any."""
    path = usual(service.unit) if unit is None else unit.control_group or usual(unit.name)
    pids = found.get(path) or machine.cgroups.processes(path)
    processes: list[Process] = []
    for process in map(machine.processes.read, pids):
        if process is not None and process.alive:
            if leaders and service.helpers and _leads(service, process):
                processes = [process]
                break
            processes.append(process)
    active, state = ("unknown", "") if unit is None else (
        unit.active, f"{service.unit} is {unit.active} ({unit.sub})")
    if not processes:
        if active in ("active", "reloading"):
            return Sight(service, BROKEN, f"systemd calls {service.unit} {active}, but not one "
                         "process of it lives", unit)
        if active in ("activating", "deactivating"):
            # A crash loop between two tries (auto-restart), or a stop that is not done.
            phase = STARTING if active == "activating" else STOPPING
            return Sight(service, phase, state, unit)
        if unit is not None and unit.load in ("masked", "not-found"):
            return Sight(service, DOWN, f"{service.unit} is {unit.load}", unit)
        return Sight(service, DOWN, state or "not one process of it lives", unit)
    if active == "deactivating":
        return Sight(service, STOPPING, f"{state}: it is being stopped", unit, processes)
    if active in ("activating", "maintenance"):
        return Sight(service, STARTING, state, unit, processes)
    if active in ("inactive", "failed") and unit is not None and unit.job:
        # It was started between the question to systemd and the look at its control group.
        return Sight(service, STARTING, f"{state}, and there is an order to {unit.job} it", unit,
                     processes)
    if active in ("inactive", "failed"):
        return Sight(service, BROKEN, f"{state}, but processes of it live on: {_list(processes)}",
                     unit, processes)
    return _identity(service, unit, processes)


def _processes(machine: Machine, group: Group,
               known: dict[str, tuple[int, int]]) -> list[Sight]:
    """Look at directly managed services: first at the processes that start has written down."""
    seen: dict[str, list[Process]] = {}
    for service in group.services:
        pid, start_time = known.get(service.name, (0, 0))
        process = machine.processes.read(pid) if pid else None
        if process is not None and process.alive and process.start_time == start_time:
            seen[service.name] = [process]
    unknown = [service for service in group.services if service.name not in seen]
    if unknown:
        seen.update(strays(machine, unknown))
    return [_direct(service, seen[service.name]) for service in group.services]


def _direct(service: Service, processes: list[Process]) -> Sight:
    """Judge a directly managed service with its processes."""
    if not processes:
        return Sight(service, DOWN, "not one process of it lives")
    if service.helpers and not any(_leads(service, process) for process in processes):
        return Sight(service, BROKEN, "its main process is dead, but others live on: "
                     f"{_list(processes)}", None, processes)
    return _identity(service, None, processes)


def strays(machine: Machine, services: list[Service], *, tools: bool = False
           ) -> dict[str, list[Process]]:
    """Return, by service, every live process that runs its program with its configuration.

    It walks over /proc, and so finds what no unit, no pid file and no record knows: a server that
    still waits for its database has written none. tools: whether to look for those, too.
    """
    wanted = {service.name: service.programs(tools=tools) for service in services}
    searched = {each.path for service in services for each in service.search}
    found = machine.processes.find_each(searched.union(*wanted.values()))
    strange = {service.name: [process for path in sorted(wanted[service.name])
                              for process in found.get(path, []) if service.claims(process)]
               for service in services}
    for service in services:
        for each in service.search:
            strange[service.name] += [process for process in found.get(each.path, [])
                                      if each.fits(process)]
    mains = {service.main: service.name for service in services if service.main}
    for main, processes in (machine.processes.find_java(mains) if mains else {}).items():
        strange[mains[main]] += processes
    return strange


def _identity(service: Service, unit: Unit | None, processes: list[Process]) -> Sight:
    """Judge whether the processes are the service's, and awake."""
    own = processes
    if service.program:
        own = [process for process in processes if process.runs(service.program)
               and (not service.helpers or service.claims(process))]
        if not own:
            # Also what is seen for a moment after systemd has forked and before it executes.
            return Sight(service, STARTING, f"{service.program} does not run; in its place there "
                         f"is {_list(processes)}", unit, processes)
    if service.leader and not any(process.executable.rpartition("/")[2] == service.leader
                                  for process in own):
        # systemd does not know which one it is, and goes on calling the unit active.
        return Sight(service, BROKEN, f"its {service.leader} is dead, but others live on: "
                     f"{_list(processes)}", unit, processes)
    stopped = [process for process in own if process.stopped]
    if stopped:
        return Sight(service, BROKEN, f"process {stopped[0].pid} is stopped by a signal (state T)",
                     unit, processes)
    return Sight(service, SERVES, "", unit, processes)


def _leads(service: Service, process: Process) -> bool:
    """Tell whether a process is the one that leads the helpers of its service."""
    return bool(service.program) and process.runs(service.program) and service.claims(process)


def _look_at_sockets(machine: Machine, running: list[Sight]) -> None:
    """Take back the good word on every service whose sockets are not there or not its own."""
    pipes: dict[str, list[int]] | None = None
    listeners: list[Listener] | None = None
    for sight in running:
        wanted: list[tuple[str, set[int]]] = []
        if sight.service.listens:
            if listeners is None:
                listeners = machine.sockets.listeners()
            group = 0 if sight.unit is None else machine.cgroups.number(
                sight.unit.control_group or usual(sight.unit.name))
            for each in sight.service.listens:
                fitting = [listener for listener in listeners
                           if listens(listener, each.host, each.port)]
                # Made in the unit's own control group, it is the unit's. Elsewhere the processes
                # have to be asked, of which a Java machine has hundreds of open files.
                if not group or all(listener.group != group for listener in fitting):
                    wanted.append((str(each), {listener.inode for listener in fitting}))
        if sight.service.pipes:
            if pipes is None:
                pipes = machine.sockets.unix_listeners()
            for path in sight.service.pipes:
                wanted.append((path, set(_pipe(pipes, path))))
        if not wanted:
            continue
        silent = [name for name, inodes in wanted if not inodes]
        if silent:
            sight.phase, sight.reason = STARTING, f"it does not listen on {', '.join(silent)}"
            continue
        foreign = _foreign(machine, sight.processes, wanted)
        if foreign:
            sight.phase = BROKEN
            sight.reason = f"{', '.join(foreign)} is listened on by another process than its own"


def _pipe(pipes: dict[str, list[int]], path: str) -> list[int]:
    """Return who listens at the path. /var/run is /run on every system with systemd."""
    if path in pipes:
        return pipes[path]
    other = path[4:] if path.startswith("/var/run/") else "/var" + path
    return pipes.get(other, []) if path.startswith(("/var/run/", "/run/")) else []


def _foreign(machine: Machine, processes: list[Process],
             wanted: list[tuple[str, set[int]]]) -> list[str]:
    """Return the names of those wanted sockets of which no process holds a listener."""
    all_inodes = set().union(*(inodes for _, inodes in wanted))
    owned: set[int] = set()
    for process in processes:
        owned |= machine.sockets.owned_inodes(process.pid, all_inodes)
        if all(inodes & owned for _, inodes in wanted):
            return []
    return [name for name, inodes in wanted if not inodes & owned]


def _list(processes: list[Process]) -> str:
    """Return the processes for a message."""
    shown = [f"{process.executable or process.command} ({process.pid})"
             for process in processes[:5]]
    return ", ".join(shown + (["..."] if len(processes) > 5 else []))


def whole(seen: list[Sight]) -> bool:
    """Tell whether every service serves."""
    return all(sight.serves for sight in seen)


def faultless(seen: list[Sight]) -> bool:
    """Tell whether every service serves, and could be started again as far as its unit goes."""
    return all(sight.serves and not sight.missing for sight in seen)


def are_plainly_mounted(machine: Machine, mount_points: Sequence[str]) -> bool:
    """Tell whether one glance at the kernel's table shows a disk at each, to be written to.

    False means "look closer" (mailha.storage.mountinfo), not "it is gone": two mounts at the place,
    a later one over a directory above it, or a name that the kernel writes with escapes.
    """
    wanted = {place.encode("utf-8", "surrogateescape") for place in mount_points}
    found: set[bytes] = set()
    for line in machine.files.read("/proc/self/mountinfo", 1 << 25).split(b"\n"):
        fields = line.split(b" ", 6)
        if len(fields) < 7:
            continue
        place = fields[4]
        if found:
            above = place.rstrip(b"/") + b"/"
            if any((each + b"/").startswith(above) for each in found):
                return False
        if place in wanted:
            if fields[5][:2] != b"rw" or line.split(b" - ")[-1].split(b" ")[2][:2] != b"rw":
                return False
            found.add(place)
    return found == wanted


def complaint(seen: list[Sight]) -> str:
    """Return what is wrong, service by service, "" where nothing is."""
    return "; ".join(f"{sight.service.name}: {sight.reason}" for sight in seen if not sight.serves)


def nothing_lives(machine: Machine, group: Group, seen: list[Sight]) -> bool:
    """Tell whether not one process of the group lives, in a unit or outside of any."""
    if any(sight.phase != DOWN for sight in seen):
        return False
    return not any(strays(machine, list(group.services)).values())
