# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of an active group: ``/run/mailha/active/RESOURCE``.

It is the file on whose existence every guarded unit depends (ConditionPathExists): start makes it
before anything else, stop removes it before anything else, and a power loss removes it too. It also
holds what start has proven, so that a recurring monitor needs no configuration file of the product:
a file that is edited, broken or gone while the services run says nothing about services that serve.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.services.service import Group, Listening, Service
from mailha.system.cgroups import usual
from mailha.system.files import of_resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from mailha.system.machine import Machine

DIRECTORY = "/run/mailha/active"
FORMAT = 1


class Active:
    """What the record says.

    manager: "systemd" or "direct". services: as start found them. processes: of directly managed
    services, pid and start time by name. mount_points, left_out: as of Group.
    """

    __slots__ = ("manager", "services", "processes", "mount_points", "left_out")

    def __init__(self, manager: str, services: Iterable[Service],
                 processes: dict[str, tuple[int, int]] | None = None,
                 mount_points: Iterable[str] = (), left_out: Iterable[str] = ()) -> None:
        self.manager = manager
        self.services = tuple(services)
        self.processes = processes or {}
        self.mount_points = tuple(mount_points)
        self.left_out = tuple(left_out)


class RecordUnreadable(errors.Failed):
    """There is a record and it cannot be understood; the group was active in any case."""


def path_of(resource: str) -> str:
    """Return the record's path. Raises errors.Failed for a name that no resource has."""
    return of_resource(DIRECTORY, resource)


def write(machine: Machine, group: Group,
          processes: dict[str, tuple[int, int]] | None = None) -> None:
    """Make the record, or replace it. Raises errors.Failed."""
    lines = [f"format {FORMAT}", f"manager {group.manager}"]
    for service in group.services:
        lines += [f"service {service.name}", f"unit {service.unit}"]
        lines += [f"program {service.program}"] if service.program else []
        lines += [f"main {service.main}"] if service.main else []
        if service.configuration:
            lines += [f"configuration {service.configuration}",
                      f"default {service.default_configuration}"]
        lines += [f"listen {each.protocol} {each.host} {each.port}" for each in service.listens]
        lines += [f"ask {each.protocol} {each.host} {each.port}" for each in service.asked]
        lines += [f"pipe {path}" for path in service.pipes]
        lines += [f"pidfile {service.pid_file}"] if service.pid_file else []
        lines += ["data"] if service.touches_data else []
        lines += [f"needs {name}" for name in service.needs]
        lines += [f"option {service.option}"] if service.option != "-c" else []
        lines += [f"helpers {words}" for words in _by_directory(service.helpers)]
        lines += [f"tools {words}" for words in _by_directory(service.tools)]
        lines += [f"leader {service.leader}"] if service.leader else []
        if processes and service.name in processes:
            lines.append("process {} {}".format(*processes[service.name]))
    # A name with a line end or with bytes that are no UTF-8 has no place in the record.
    lines += [f"mount {place}" for place in group.mount_points if place.isprintable()]
    lines += [f"without {name}" for name in group.left_out]
    path = path_of(group.resource)
    machine.files.make_directory(DIRECTORY, 0o755)
    machine.files.write_atomic(path, "\n".join([*lines, "end", ""]).encode("utf-8"))


def read(machine: Machine, resource: str) -> Active | None:
    """Return the record; None if the group is not active in this boot.

    Raises RecordUnreadable, and errors.Failed if it cannot be told whether there is one.
    """
    path = path_of(resource)
    try:
        text = machine.files.read(path).decode("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordUnreadable(f"cannot read {path}: {error.strerror}",
                               remedy="see whether /run is whole") from None
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not UTF-8") from None
    except errors.Failed as error:
        raise _unreadable(path, error.reason) from None
    return parse(text, path)


def is_active(machine: Machine, resource: str) -> bool:
    """Tell whether the record is there, whatever it says. Raises errors.Failed."""
    return machine.files.exists(path_of(resource))


def remove(machine: Machine, resource: str) -> bool:
    """Remove the record; False if there was none. Raises errors.Failed."""
    path = path_of(resource)
    # Looked at first: on a read-only file system the kernel refuses to remove a file before it
    # finds out that there is none.
    return machine.files.exists(path) and machine.files.remove(path)


def of_others(machine: Machine, group: Group) -> dict[str, str]:
    """Return which units of the group another resource runs on this node: its name by unit.

    A record of which nothing lives counts for nothing, nor does one that cannot be read: it may be
    that of a resource that was renamed or deleted while it was not managed.
    """
    own = {service.unit for service in group.services}
    return {service.unit: other for other, service in services_of_others(machine, group.resource)
            if service.unit in own and _lives(machine, service)}


def services_of_others(machine: Machine, resource: str) -> list[tuple[str, Service]]:
    """Return each service that other resources have recorded on this node, with its resource.

    Whether it lives is not looked at. A record that cannot be read is passed over.
    """
    found: list[tuple[str, Service]] = []
    for other in machine.files.names(DIRECTORY):
        # A name with a dot in front is a record that is just being written.
        if other == resource or other.startswith("."):
            continue
        try:
            record = read(machine, other)
        except errors.Failed:
            continue
        found += [(other, service) for service in (record.services if record else ())]
    return found


def _lives(machine: Machine, service: Service) -> bool:
    """Tell whether a process of the service lives, in its unit or anywhere."""
    return machine.cgroups.populated(usual(service.unit)) or bool(service.program) and any(
        service.claims(process) for process in machine.processes.find(service.program))


def lives(machine: Machine, service: Service) -> bool:
    """Tell whether a process of a recorded service lives on this node, as far as can be seen.

    A node without systemd has no control groups; its services are known by their programs.
    """
    try:
        return _lives(machine, service)
    except errors.Failed:
        return any(service.claims(process)
                   for process in machine.processes.find(service.program))


def refuse_sharing(machine: Machine, group: Group) -> None:
    """Refuse a group of which another resource, active on this node, runs a service.

    Two resources never share a service: the stop of the one would be a failure of the other.
    Raises errors.NotAllowedHere.
    """
    others = of_others(machine, group)
    for service in group.services:
        if service.unit in others:
            raise errors.NotAllowedHere(
                f"service '{service.name}' is run by the cluster resource "
                f"'{others[service.unit]}', which is active on this node",
                remedy="name each service in one resource only: compare 'services' of "
                       f"'{others[service.unit]}' and '{group.resource}'")


def parse(text: str, path: str) -> Active:
    """Parse a record; path: for the message. Raises RecordUnreadable.

    Keys that are not known are passed over: a record of a later build of the same format.
    """
    lines = text.split("\n")
    if lines[0] != f"format {FORMAT}" or lines[-2:] != ["end", ""]:
        raise _unreadable(path, "it is of another format, or has no end")
    manager = ""
    mount_points: list[str] = []
    left_out = []
    services: list[Service] = []
    processes: dict[str, tuple[int, int]] = {}
    try:
        for line in lines[1:-2]:
            key, _, value = line.partition(" ")
            if key == "manager":
                manager = value
            elif key == "mount":
                mount_points.append(value)
            elif key == "without":
                left_out.append(value)
            elif key == "service":
                services.append(Service(value, unit=""))
            else:
                _take(services[-1], key, value, processes)
    except (ValueError, IndexError):
        raise _unreadable(path, f"its line '{line[:80]}' means nothing") from None
    if not manager or not services:
        raise _unreadable(path, "it names no manager or no service")
    return Active(manager, services, processes, mount_points, left_out)


def _take(service: Service, key: str, value: str, processes: dict[str, tuple[int, int]]) -> None:
    """Put what one line says into the service."""
    if key == "unit":
        service.unit = value
    elif key == "program":
        service.program = value
    elif key == "main":
        service.main = value
    elif key == "configuration":
        service.configuration = value
    elif key == "default":
        service.default_configuration = value
    elif key in ("listen", "ask"):
        protocol, host, port = value.split(" ")
        found = (Listening(protocol, host, int(port)),)
        if key == "listen":
            service.listens += found
        else:
            service.asked += found
    elif key == "pipe":
        service.pipes += (value,)
    elif key == "pidfile":
        service.pid_file = value
    elif key == "data":
        service.touches_data = True
    elif key == "needs":
        service.needs += (value,)
    elif key == "option":
        service.option = value
    elif key == "helpers":
        service.helpers += _paths(value)
    elif key == "tools":
        service.tools += _paths(value)
    elif key == "leader":
        service.leader = value
    elif key == "process":
        pid, start_time = value.split(" ")
        processes[service.name] = (int(pid), int(start_time))


def _unreadable(path: str, what: str) -> RecordUnreadable:
    return RecordUnreadable(f"the record {path} cannot be understood: {what}",
                            remedy="it is written anew at the next start")


def _by_directory(paths: Iterable[str]) -> list[str]:
    """Return the paths of programs as "DIRECTORY NAME NAME...", one for each directory."""
    found: dict[str, list[str]] = {}
    for path in paths:
        directory, _, name = path.rpartition("/")
        found.setdefault(directory, []).append(name)
    return [" ".join([directory, *names]) for directory, names in found.items()]


def _paths(words: str) -> tuple[str, ...]:
    """Return the paths that _by_directory() has put together."""
    directory, *names = words.split(" ")
    return tuple([f"{directory}/{name}" for name in names])
