# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this node is fit to run BlueMind: its services, its files in /etc/bm, its addresses."""

from __future__ import annotations

import os

from mailha import errors
from mailha.agents.bluemind import plan
from mailha.mailserver.examination import Examination
from mailha.mailserver.patience import share
from mailha.products.bluemind import ini, units
from mailha.profiles import bluemind as profile
from mailha.services.service import Group, Service
from mailha.storage import mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from mailha.ocf import Call
    from mailha.profiles import ServiceProfile
    from mailha.profiles.bluemind import ReleaseProfile
    from mailha.storage.version import Version
    from mailha.system.machine import Machine
    from mailha.system.units import Unit

CLONE = "continuous.clone"
POSTUPGRADE = "pg.need.postupgrade"
_LARGEST = 1 << 16


class BlueMindExamination(Examination):
    """One look at all of it.

    version, release: of the installed BlueMind, as far as that has been looked for.
    """

    def __init__(self, call: Call, machine: Machine) -> None:
        super().__init__(call, machine, call.parameters["services"])
        self.version: Version | None = None
        self.release: ReleaseProfile = profile.RELEASES[-1]
        self._known: dict[str, ServiceProfile] = profile.SERVICES
        self._units: dict[str, Unit] = {}
        self._settings = ini.Settings({})

    def service(self, name: str) -> Service:
        """Return a service under the name that its unit has here."""
        unit = self._units[name].name if name in self._units else self._profile(name).unit
        return plan.service(name, self._profile(name), unit, lmtp_apart=plan.LMTPD in self.names)

    def group(self) -> Group:
        """Return the group of the services that can run here."""
        return plan.searched(self._call, self._machine, super().group())

    def package(self, name: str) -> str:
        """Return the package of a service, which is called as its unit is."""
        return self._profile(name).unit[:-len(".service")]

    def touches_data(self, name: str) -> bool:
        """Tell whether two of a service would damage the data."""
        return self._profile(name).touches_data

    def software(self) -> Iterator[errors.MailhaError]:
        """Find a release, and units of it that are not there.

        Without the parameter services the group is what the release has, cut down to the units that
        exist; with it each one that it names has to exist.
        """
        call, machine = self._call, self._machine
        if not machine.systemd.running():
            yield from super().software()
            return
        try:
            self.version = plan.version(call, machine)
            self.release = profile.of_release(self.version.release)
            if self.version.release[0] > self.release.first[0]:
                call.log.warning(f"BlueMind {self.version} is newer than what this mailha knows, "
                                 f"and is run as {self.release.name}; look for a newer mailha")
        except errors.MailhaError as error:
            yield error
            return
        self._known = plan.services(self.release)
        named = call.parameters["services"]
        strangers = [name for name in named if name not in self._known]
        if strangers:
            yield from self._strange(strangers)
        wanted = {name: self._profile(name) for name in named or self._known}
        self._units = units.find(machine, wanted, share(call))
        self.names = [name for name in wanted if named or name == profile.CORE
                      or self._units[name].load != "not-found"]
        self._all = tuple(self.names)
        if not named:
            self._warn_of_absent()
        yield from self._disabled()
        yield from super().software()

    def configuration(self) -> Iterator[errors.MailhaError]:
        """Find files in /etc/bm without which BlueMind does harm, and one that forbids a start."""
        if not self._runs_java():
            return
        for name in self.release.files:
            yield from self._missing(name)
        upgrade = f"{self._directory}/{POSTUPGRADE}"
        if self._machine.files.exists(upgrade):
            self._call.log.warning(f"{upgrade} is there: BlueMind upgrades PostgreSQL's data at "
                                   "this start, which takes time and room and cannot be undone")
        clone = f"{self._directory}/{CLONE}"
        if self._machine.files.exists(clone):
            yield errors.NotAllowedHere(
                f"{clone} is there: this node is a clone of BlueMind's own replication, and would "
                "become a second master", remedy="end the replication, or remove the file if a "
                "copy of /etc from elsewhere has brought it")

    def addresses(self) -> Iterator[errors.MailhaError]:
        """Find addresses of bm.ini that are not on this node: the floating one must be up."""
        yield from super().addresses()
        here = self._machine.sockets.local_addresses()
        for key, value in self._settings.addresses():
            path = f"{self._directory}/{ini.NAME}"
            try:
                complaint = ini.absent_address(self._machine, key, value, here,
                                               share(self._call))
            except errors.Degraded as doubt:
                self._call.log.warning(f"{path}: {doubt.reason}; whether it is an address of this "
                                       "node is not known")
                continue
            if complaint:
                yield errors.Failed(
                    f"{path} says {key} = {value}, which {complaint}",
                    remedy="let the cluster bring up the floating address first "
                           "(ocf:heartbeat:IPaddr2, earlier in the group), and name no node's own "
                           "address there: the file is the same on all nodes")

    def directories(self) -> Iterator[str]:
        """Yield the directories of this release that have to be mounted."""
        wanted = self._call.parameters["shared_dirs"] or [
            path for path, users in self.release.directories.items()
            if any(user in self.names for user in users)]
        yield from wanted
        if profile.CORE in self.names and self._call.parameters["data_dir"] not in wanted:
            yield self._call.parameters["data_dir"]

    def data(self) -> Iterator[errors.MailhaError]:
        """Find data that is not mounted; warn of what no document lists and what users miss."""
        yield from super().data()
        if profile.CORE not in self.names or self._call.parameters["shared_dirs"] \
                or not self._call.parameters["require_mount"]:
            return
        for path in profile.FURTHER:
            try:
                if self._machine.files.exists(path) \
                        and mountinfo.mount_of(self._machine, path).mount_point == "/":
                    self._call.log.warning(
                        f"{path} lies on this node's own root file system, so after a changeover "
                        "what is in it is missing; mount it from the shared disk")
            except errors.MailhaError as error:
                self._call.log.warning(str(error))

    def without_units(self) -> str:
        """Return nothing: BlueMind is run by systemd only."""
        return ""

    @property
    def _directory(self) -> str:
        found: str = self._call.parameters["config_dir"]
        return found

    def _profile(self, name: str) -> ServiceProfile:
        return self._known.get(name) or profile.SERVICES[name]

    def _runs_java(self) -> bool:
        """Tell whether a service is among them that reads BlueMind's own configuration."""
        return any(self._profile(name).unit.startswith("bm-") and self._profile(name).main
                   for name in self.names)

    def _warn_of_absent(self) -> None:
        """Warn of services of the release without a unit here: a node that lacks a package."""
        absent = [name for name in self.release.services
                  if name not in self.names and name not in self.optional()
                  and name not in profile.NOT_EVERYWHERE]
        if absent:
            self._call.log.warning(
                f"there are no units here for {', '.join(absent)}, which BlueMind {self.version} "
                "has: mail will do without, unless another resource or machine runs them")

    def _strange(self, names: list[str]) -> Iterator[errors.MailhaError]:
        """Report services that the installed release does not have."""
        for name in names:
            finding = errors.NotAllowedHere(
                f"BlueMind {self.version} has no service {name}",
                remedy="take it out of services")
            if name in self.optional():
                self._call.log.warning(f"optional service {name} is left out: {finding}")
            else:
                yield finding

    def _disabled(self) -> Iterator[errors.MailhaError]:
        """Leave out what the administrator has disabled; bm-core alone cannot be left out."""
        for name in list(self.names):
            path = plan.marker(self._call, self._units[name].name)
            if not plan.is_disabled(self._call, self._machine, self._units[name].name):
                continue
            if name == profile.CORE:
                yield errors.NotAllowedHere(
                    f"{path} keeps bm-core from starting: BlueMind itself writes it when it is "
                    "demoted, and a copy of /etc/bm brings it to the other node",
                    remedy=f"remove {path} if this node is to run BlueMind")
            else:
                self.names.remove(name)
                log = self._call.log.info if name in self.optional() else self._call.log.warning
                log(f"{name} is left out: {path} says that it is disabled")
        self._all = tuple(self.names)

    def _missing(self, name: str) -> Iterator[errors.MailhaError]:
        """Find a file of the configuration that is not there or empty."""
        path = f"{self._directory}/{name}"
        try:
            content = self._machine.files.read(path, _LARGEST)
        except OSError as error:
            # Whoever validates without being root may not read it.
            if not isinstance(error, PermissionError) or os.geteuid() == 0:
                yield errors.NotAllowedHere(
                    f"{path} cannot be read: {error.strerror}", remedy=_cure(name))
            return
        except errors.MailhaError as error:
            yield errors.NotAllowedHere(error.reason, remedy=_cure(name))
            return
        if not content.strip():
            yield errors.NotAllowedHere(f"{path} is empty", remedy=_cure(name))
        elif name == ini.NAME:
            self._settings = ini.parse(content)
            if not self._settings.values.get("host"):
                self._call.log.warning(f"{path} names no host, so whether its address is on this "
                                       "node is not known")


def _cure(name: str) -> str:
    """Return what to do about a file, and why nothing may start without it."""
    why = {"bm-core.tok": "without it BlueMind says that it is not installed, and anybody may "
                          "initialise its database; ",
           "mcast.id": "without it BlueMind does not find its installation in the database; "}
    return f"{why.get(name, '')}copy it from the node that ran last, with owner and mode"
