# SPDX-License-Identifier: GPL-2.0-or-later
"""From the parameters to the one service that the resource means: a master and its children."""

from __future__ import annotations

from mailha import errors
from mailha.products.cyrus import listeners
from mailha.profiles import cyrus as profile
from mailha.services.service import DIRECT, SYSTEMD, Group, Listening, Service
from mailha.system.addresses import canonical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from mailha.ocf import Call
    from mailha.products.cyrus.listeners import Place
    from mailha.system.machine import Machine

NAME = "cyrus"
"""The one service of a resource."""

RUN_DIRECTORY = "/run/mailha/cyrus"
PID_DIRECTORY = "/run/mailha/cyrus-pid"


class Instance:
    """Where the things of one instance are, by the parameters.

    configuration, services: its imapd.conf and cyrus.conf. program: its master with all links
    followed, "" as long as that is not known. data: its directory, "" where imapd.conf says it.
    """

    def __init__(self, call: Call) -> None:
        values = call.parameters
        self.resource = call.resource
        self.root: str = values["instance_root"].rstrip("/")
        self.configuration: str = values["imapd_conf"] or self._in_root("etc/imapd.conf")
        self.services: str = values["cyrus_conf"] or self._in_root("etc/cyrus.conf")
        self.data: str = values["data_dir"] or self.root
        self.program = ""

    @property
    def unit(self) -> str:
        """The unit that systemd runs it in."""
        return profile.unit(self.resource)

    @property
    def pid_file(self) -> str:
        """Where its master writes its number; in /run, by the name of the resource."""
        return f"{PID_DIRECTORY}/{self.resource}"

    @property
    def variables(self) -> str:
        """The file that tells the unit what to run."""
        return f"{RUN_DIRECTORY}/{self.resource}"

    def directories(self, call: Call) -> list[str]:
        """Return where its programs may be, the likeliest first."""
        if call.parameters["binary_dir"]:
            return [call.parameters["binary_dir"]]
        return [*([self.root + "/bin"] if self.root else []), *profile.PROGRAM_DIRECTORIES]

    def homes(self) -> list[str]:
        """Return where a master looks for what its cyrus.conf names without a directory.

        Where it lies itself, and as it was compiled: a prefix has bin, sbin and libexec.
        """
        own = self.program.rpartition("/")[0]
        prefix = own.rpartition("/")[0]
        beside = [f"{prefix}/{name}" for name in ("sbin", "libexec", "bin")] if prefix else []
        return list(dict.fromkeys([own, *profile.PROGRAM_DIRECTORIES, *beside, "/usr/sbin",
                                   "/usr/bin"]))

    def service(self, call: Call, places: Sequence[Place] = ()) -> Service:
        """Return it as a service. places: where it listens, as far as cyrus.conf was read.

        Where no parameter tells the imapd.conf, no process can be told from those of the other
        instances, and none is taken for its own.
        """
        if not self.configuration:
            return Service(NAME, unit=self.unit, touches_data=True)
        # A master runs what its cyrus.conf names without a directory from where it was compiled to
        # look, which need not be where it lies itself.
        own = [self.program.rpartition("/")[0]] if self.program else self.directories(call)
        homes = list(dict.fromkeys([*own, *profile.PROGRAM_DIRECTORIES]))
        helpers = [f"{home}/{name}" for home in homes for name in profile.DAEMONS]
        if not self.program:
            helpers += [f"{home}/{name}" for home in homes for name in profile.MASTERS]
        return Service(
            NAME, unit=self.unit, program=self.program, configuration=self.configuration,
            default_configuration=profile.CONFIGURATION, option="-C",
            arguments=("-C", self.configuration, "-M", self.services, "-p", self.pid_file),
            helpers=helpers, tools=[f"{home}/{name}" for home in homes for name in profile.TOOLS],
            listens=[Listening(place.speaks, canonical(place.host), place.port)
                     for place in places if place.stream and not place.path],
            pipes=[place.path for place in places if place.stream and place.path],
            pid_file=self.pid_file, touches_data=True)

    def _in_root(self, name: str) -> str:
        return f"{self.root}/{name}" if self.root else ""


def manager(call: Call, machine: Machine) -> str:
    """Return who runs it; without systemd only its processes can be looked at."""
    return SYSTEMD if call.parameters["manager"] == SYSTEMD and machine.systemd.running() \
        else DIRECT


def bare_group(call: Call, machine: Machine) -> Group:
    """Return the group as parameters and profile tell it, without reading any configuration.

    Enough to find its processes: for a probe, and for a stop without a record.
    """
    return Group(call.resource, manager(call, machine), [Instance(call).service(call)])


def unrecorded(call: Call, machine: Machine) -> Group:
    """Return the group where no start has left its record, as well as it can be known.

    For a probe its programs are enough. A recurring monitor also wants the addresses; where the
    configuration does not tell them, the processes have to do, since a broken file is no reason to
    doubt a service that serves.
    """
    if call.is_probe:
        return bare_group(call, machine)
    from mailha.agents.cyrus.local import Reading
    instance = Instance(call)
    reading = Reading(call, machine, instance)
    try:
        reading.read()
    except errors.MailhaError as error:
        call.log.warning(str(error))
    return Group(call.resource, manager(call, machine), [instance.service(call, reading.places)])


def tidy_up(call: Call, machine: Machine, group: Group) -> None:
    """Remove what start has left in /run; the master's own pid file is locked, never believed."""
    instance = Instance(call)
    for path in (instance.variables, instance.pid_file):
        machine.files.remove(path)


def full(places: Sequence[Place], programs: Sequence[str]) -> list[Place]:
    """Return the services of which as many processes run as cyrus.conf allows.

    programs: the file names of the programs of all processes of the instance.
    """
    found = []
    for place in places:
        name, most = place.entry.program, place.entry.most_children
        # Services of one program share the count here: too many is taken for full, never too few.
        if 0 <= most <= programs.count(name) and place.speaks != listeners.UNASKED:
            found.append(place)
    return found
