# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this node is fit to run the instance, and what would make it meet another one."""

from __future__ import annotations

import os

from mailha import errors
from mailha.agents.cyrus.plan import NAME, Instance
from mailha.mailserver.examination import Examination
from mailha.mailserver.patience import share
from mailha.products.cyrus import (claims, cyrusconf, installed, instance, listeners, master,
                                   named, reading)
from mailha.products.cyrus.syntax import ConfigurationUnusable
from mailha.services import active, lock
from mailha.services.service import SYSTEMD
from mailha.storage import mountinfo
from mailha.storage.rules import TRANSIENT
from mailha.system.addresses import listens
from mailha.system.cgroups import usual
from mailha.system.child_failures import ChildFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from mailha.ocf import Call
    from mailha.products.cyrus.claims import Claim
    from mailha.products.cyrus.cyrusconf import Entry
    from mailha.products.cyrus.imapd import Imapd
    from mailha.products.cyrus.listeners import Place
    from mailha.services.service import Group, Listening, Service
    from mailha.system.machine import Machine

PORTS = "/etc/services"


def findings(call: Call, machine: Machine) -> Iterator[errors.MailhaError]:
    """Return what validate-all finds, the gravest first; somebody who is not root sees less."""
    try:
        for finding in CyrusExamination(call, machine).findings():
            if not isinstance(finding, reading.Hidden) or os.geteuid() == 0:
                yield finding
    except errors.MailhaError as error:
        yield error


class Reading:
    """The two configurations of an instance, as they are now.

    imapd: what imapd.conf says. entries, places: what cyrus.conf says, and where that listens.
    warnings: what is strange about them.
    """

    def __init__(self, call: Call, machine: Machine, its: Instance) -> None:
        self._call = call
        self._machine = machine
        self._its = its
        self.imapd: Imapd | None = None
        self.entries: list[Entry] = []
        self.places: list[Place] = []
        self.warnings: list[str] = []

    def read(self) -> Imapd:
        """Read both. Raises ConfigurationUnusable, and patience.DiskSilent."""
        machine, its = self._machine, self._its
        table = mountinfo.mounts(machine)
        self.imapd = reading.patiently(machine, table, its.configuration, "", share(self._call))
        self.entries, said = cyrusconf.parse(
            reading.whole(machine, table, its.services, share(self._call)), its.services)
        self.warnings = [*self.imapd.warnings, *said]
        self.places = listeners.places(self.entries, self._ports())
        return self.imapd

    def _ports(self) -> dict[str, int]:
        """Return the ports by name, as this node knows them."""
        try:
            return listeners.parse_services(self._machine.files.read(PORTS))
        except OSError:
            return {}


class CyrusExamination(Examination):
    """One look at all of it.

    instance: where its things are, the program found. reading: its configurations.
    """

    def __init__(self, call: Call, machine: Machine) -> None:
        super().__init__(call, machine, [NAME], manager=call.parameters["manager"])
        self.instance = Instance(call)
        self.reading = Reading(call, machine, self.instance)

    def findings(self) -> Iterator[errors.MailhaError]:
        """Return what keeps the instance from running here, the gravest first.

        The disk before the files, since these lie on it: what is not mounted yet is not missing.
        """
        yield from self.software()
        if self.instance.data:
            yield from self.data()
        yield from self.configuration()
        yield from self.sharing()
        yield from self.addresses()
        yield from self._ports_taken()

    def examine(self) -> Group:
        """Return the group as this node would run it.

        Raises the first finding, as ever; what else the configuration has against it is logged, so
        that nobody has to try again for each line.
        """
        first: errors.MailhaError | None = None
        for finding in self.findings():
            if first is None:
                first = finding
            elif isinstance(finding, ConfigurationUnusable):
                self._call.log.error(str(finding))
            if not isinstance(first, ConfigurationUnusable):
                break
        if first is not None:
            raise first
        return self.group()

    def service(self, name: str) -> Service:
        """Return the instance with what its configuration says."""
        return self.instance.service(self._call, self.reading.places)

    def package(self, name: str) -> str:
        """Return the package that brings the unit."""
        return "mailha's package again"

    def touches_data(self, name: str) -> bool:
        """Tell that two of it would damage the data."""
        return True

    def without_units(self) -> str:
        """Return how an instance is run without systemd."""
        return "set manager=direct"

    def source(self, name: str) -> str:
        """Return the file that says on which addresses it listens."""
        return self.instance.services

    def data_directory(self) -> str:
        """Return the directory of the data: where below the tree a disk is mounted, or the tree."""
        its = self.instance
        if its.root and its.data == its.root:
            inner = its.root + "/data"
            if mountinfo.is_mountpoint(self._machine, inner):
                its.data = inner
        return its.data

    def data_paths(self) -> Iterator[tuple[str, str]]:
        """Yield what lasts, with the file that names it."""
        for use in self.reading.imapd.uses if self.reading.imapd is not None else ():
            if use.purpose != TRANSIENT:
                yield use.path, self.instance.configuration

    def software(self) -> Iterator[errors.MailhaError]:
        """Find a unit that is not there; the programs may lie on the disk, and are looked for
        after it."""
        if self.manager == SYSTEMD:
            yield from super().software()

    def configuration(self) -> Iterator[errors.MailhaError]:
        """Find a master that is not there, and what is wrong with the two files."""
        call, machine, its = self._call, self._machine, self.instance
        try:
            its.program = installed.master(machine, its.directories(call), share(call))
            imapd = self.reading.read()
        except ConfigurationUnusable as error:
            yield error
            yield from error.others
            return
        except errors.MailhaError as error:
            yield error
            return
        for warning in self.reading.warnings:
            call.log.warning(warning)
        yield from instance.findings(
            self.reading.entries, self.reading.places, path=its.services,
            configuration=its.configuration, address=call.parameters["ip"])
        if its.data:
            yield from self._own_disks()
        else:
            its.data = imapd.directory
            yield from self.data()
        yield from self._owner(imapd)
        yield from self._named(imapd)

    def _named(self, imapd: Imapd) -> Iterator[errors.MailhaError]:
        """Find programs, certificates and passwords that are named and not there."""
        call, machine, its = self._call, self._machine, self.instance
        patience = share(call)
        try:
            found = [*named.programs(machine, self.reading.entries, its.homes(), patience),
                     *named.files(machine, imapd, self.reading.places, call.parameters["user"],
                                  patience)]
        except ChildFailed as error:
            yield errors.Failed(f"cannot look at what {its.services} and {imapd.path} name: "
                                f"{error.reason}", remedy="see whether their disks are well")
            return
        for finding, is_grave in found:
            if is_grave:
                yield finding
            else:
                call.log.warning(str(finding))

    def _own_disks(self) -> Iterator[errors.MailhaError]:
        """Find data beside the tree that is on the node's own disk; now it is known where it is."""
        if not self._call.parameters["require_mount"]:
            return
        try:
            for path, source in self.data_paths():
                self._refuse_own_disk(source, path, self.instance.data)
        except errors.MailhaError as error:
            yield error

    def _owner(self, imapd: Imapd) -> Iterator[errors.MailhaError]:
        """Find a user who has another number here than where the data was written."""
        machine, user = self._machine, self._call.parameters["user"]

        def look() -> bytes:
            import pwd
            try:
                number = pwd.getpwnam(user).pw_uid
            except KeyError:
                return b"nobody"
            try:
                return b"%d %d" % (number, os.stat(machine.root + imapd.directory).st_uid)
            except FileNotFoundError:
                return b"missing"

        try:
            answer = machine.children.bounded(look, timeout=share(self._call))
        except ChildFailed as error:
            yield errors.Failed(f"cannot look at {imapd.directory}: {error.reason}",
                                remedy="see whether it is there, and its disk well")
            return
        if answer == b"nobody":
            yield errors.NotInstalled(f"there is no user '{user}' on this node",
                                      remedy="install Cyrus, or set the parameter user")
            return
        if answer == b"missing":
            yield errors.Failed(
                f"{imapd.path} names {imapd.directory} as configdirectory, and it does not exist",
                remedy=f"see that its disk is mounted; on a new disk make it: install -d -o {user} "
                       f"-m 750 {imapd.directory}")
            return
        number, owner = answer.decode().split(" ")
        if number != owner:
            remedy = f"give '{user}' the same number on every node ('usermod -u')"
            if owner == "0":
                remedy = f"'chown -R {user} {imapd.directory}', if it was made by root"
            yield errors.NotAllowedHere(
                f"{imapd.directory} belongs to the user number {owner}, but '{user}' has the "
                f"number {number} on this node", remedy=remedy)

    def sharing(self) -> Iterator[errors.MailhaError]:
        """Find another instance on this node that has a path of ours, or our configuration."""
        imapd = self.reading.imapd
        if imapd is None:
            return
        own = claims.of(imapd, self.reading.places)
        for resource, service in active.services_of_others(self._machine, self._call.resource):
            if service.name != NAME or service.option != "-C" \
                    or not (active.lives(self._machine, service)
                            or lock.is_held(self._machine, resource)):
                continue        # nothing lives of it, and no start of it is under way
            if service.configuration == self.instance.configuration:
                yield errors.NotAllowedHere(
                    f"'{resource}' runs on this node with the same {service.configuration}",
                    remedy="one instance belongs into one resource only")
                continue
            finding = claims.shared(own, self._claims_of(service), resource)
            if finding is not None:
                yield finding
        if self.instance.root:
            name = self.instance.root.rpartition("/")[2]
            # The other one may be on another node now, and here when that is dead: too late then.
            for claim in claims.outside(own, self.instance.root):
                if name not in claim.path and self._call.resource not in claim.path:
                    self._call.log.warning(
                        f"{claim.place}: '{claim.path}' is not in {self.instance.root} and does "
                        f"not have its name; if another instance has it, too, the two cannot run "
                        "on one node")

    def _claims_of(self, service: Service) -> list[Claim]:
        """Return the paths of another instance; its sockets are known from its record."""
        found = [claims.Claim(path, f"a service of {service.configuration}")
                 for path in service.pipes]
        try:
            imapd = reading.patiently(self._machine, mountinfo.mounts(self._machine),
                                      service.configuration, "", share(self._call))
        except errors.MailhaError as error:
            self._call.log.warning(f"cannot compare paths with the other instance: {error}")
            return found
        return [*claims.of(imapd, ()), *found]

    def _ports_taken(self) -> Iterator[errors.MailhaError]:
        """Find who listens already where we shall; Cyrus would leave out the service silently."""
        wanted = self.instance.service(self._call, self.reading.places).listens
        if not wanted:
            return
        here = self._machine.sockets.listeners()
        for each in wanted:
            inodes = {one.inode for one in here if listens(one, each.host, each.port)}
            finding = self._taken(each, inodes) if inodes else None
            if finding is not None:
                yield finding
                return      # the others are mostly taken by the same one

    def _taken(self, each: Listening, inodes: set[int]) -> errors.MailhaError | None:
        """Return the finding about a port with listeners; None if they are our own."""
        for process in self._machine.processes.all():
            if not process.alive \
                    or not inodes & self._machine.sockets.owned_inodes(process.pid, inodes):
                continue
            its = self.instance.service(self._call)
            in_unit = usual(its.unit) == process.cgroup()
            if in_unit or process.executable in its.programs() and its.claims(process):
                return None
            remedy = "end it and see what has started it"
            if master.is_program(process.executable):
                remedy += "; the distribution's own cyrus-imapd.service must be disabled"
            return errors.Failed(
                f"{each} is taken by {process.executable or process.command} (process "
                f"{process.pid}, {process.cgroup() or 'control group unknown'})", remedy=remedy)
        return errors.Failed(f"somebody listens on {each} already",
                             remedy="see 'ss -ltnp' for who it is, and end it")
