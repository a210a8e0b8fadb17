# SPDX-License-Identifier: GPL-2.0-or-later
"""The start of ocf:mailha:bluemind: what BlueMind adds to that of every mail server."""

from __future__ import annotations

from mailha import errors
from mailha.agents.bluemind import plan, talk
from mailha.agents.bluemind.local import BlueMindExamination
from mailha.mailserver.release import Release
from mailha.mailserver.start import MailServerStart
from mailha.products.bluemind import authentication, state, units
from mailha.profiles import bluemind as profile
from mailha.services import greetings, journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.services.service import Group, Service
    from mailha.storage.version import Version
    from mailha.system.machine import Machine

WANTS = f"/etc/systemd/system/{profile.TARGET}.wants"
# Members of the target that run on every node and touch no data.
_EVERYWHERE = ("bm-pimp.service", "bm-iptables.service")
# Seconds for bm-pimp, which reads how much memory the node has and writes a few files.
_LONGEST_PIMP = 60.0
_PAUSE = 0.1
# Seconds for which core may be in the state NOT_INSTALLED, should it pass through it.
_LONGEST_NOT_INSTALLED = 10.0


class BlueMindStart(MailServerStart):
    """One start of BlueMind."""

    def __init__(self, call: Call, machine: Machine) -> None:
        super().__init__(call, machine)
        self._version: Version | None = None
        self._state = ""
        self._not_installed_since: float | None = None

    def complete(self, recorded: set[str]) -> bool:
        """Tell whether a record names all services; where the parameter names none, it does."""
        return not self._call.parameters["services"] or super().complete(recorded)

    def touches_data(self) -> bool:
        """Tell whether two of this resource would damage the data."""
        named = self._call.parameters["services"]
        return not named or any(profile.SERVICES[name].touches_data for name in named)

    def examine(self) -> Group:
        """Return the group as this node would run it."""
        examination = BlueMindExamination(self._call, self._machine)
        group = examination.examine()
        self._version = examination.version
        return group

    def release(self, group: Group) -> Release | None:
        """Return the version: the core alone upgrades the database."""
        if self._version is None or all(each.name != profile.CORE for each in group.services):
            return None
        return Release(self._call, self._machine, self._version, product="BlueMind",
                       software=profile.SOFTWARE)

    def make_room(self, group: Group) -> None:
        """Let bm-pimp share out the memory of this node among the Java machines.

        The target would have done so. That it fails is a warning: they have usual sizes.
        """
        if all(each.name != profile.CORE for each in group.services):
            return
        systemd, clock = self._machine.systemd, self._machine.clock
        patience = plan.patience(self._call)
        try:
            pimp = systemd.units([profile.PIMP], timeout=patience)[profile.PIMP]
            if pimp.load != "loaded" or pimp.active == "active":
                return
            systemd.reset_failed(profile.PIMP, timeout=patience)
            job = systemd.start(profile.PIMP, timeout=patience)
            end = clock.monotonic() + min(_LONGEST_PIMP, self._call.left() / 4)
            while systemd.job_state(job, timeout=patience) and clock.monotonic() < end:
                clock.sleep(_PAUSE)
        except errors.MailhaError as error:
            self._call.log.warning(f"{profile.PIMP} did not size the memory of the Java machines: "
                                   f"{error.reason}")

    def ask(self, service: Service, timeout: float) -> None:
        """Raise errors.Failed as long as a service does not truly serve.

        bm-core by its state; the others by their greetings, those that an administrative state
        silences excepted.
        """
        machine = self._machine
        without: tuple[str, ...] = ()
        if service.name == profile.CORE:
            self._state = state.ask(machine, timeout)
            if self._state in state.ADMINISTRATIVE:
                without = talk.REFUSED_MEANWHILE
            elif self._state == state.NOT_INSTALLED:
                self._refuse_to_initialise()
            if self._state not in ("", state.RUNNING, *state.ADMINISTRATIVE):
                raise errors.Failed(f"bm-core is in the state {self._state}")
        elif self._state in state.ADMINISTRATIVE:
            without = talk.REFUSED_MEANWHILE
        try:
            greetings.check(machine, service, timeout, without)
        except greetings.Unfit:
            if service.name == profile.CORE or without:
                raise
            # Its core may be in another resource, or have changed its state since.
            try:
                now = state.ask(machine, timeout)
            except state.Mute:
                now = ""
            if now not in state.ADMINISTRATIVE:
                raise
            self._state = now
            greetings.check(machine, service, timeout, talk.REFUSED_MEANWHILE)
        authentication.require(machine, service)

    def _refuse_to_initialise(self) -> None:
        """Raise errors.NotAllowedHere once bm-core has said for a while that it is not installed.

        Its budget is minutes, in which anybody could initialise it.
        """
        now = self._machine.clock.monotonic()
        if self._not_installed_since is None:
            self._not_installed_since = now
        if now - self._not_installed_since >= _LONGEST_NOT_INSTALLED:
            raise errors.NotAllowedHere(
                "bm-core says that it is not installed (state NOT_INSTALLED): its database does "
                "not know this installation, and anybody could begin a new one",
                remedy=f"compare {self._call.parameters['config_dir']}/mcast.id with that of the "
                       "node that ran last, and see which database bm-core has been given")

    def explain(self, service: Service, release: Release | None) -> str:
        """Return the last words of a dead service, or what kept systemd from starting it."""
        try:
            known = self._machine.systemd.properties(service.unit,
                                                     timeout=plan.patience(self._call))
        except errors.MailhaError:
            known = {}
        # systemd calls a start that it skips over a condition a success.
        if known.get("ConditionResult") in (False, "no"):
            if plan.is_disabled(self._call, self._machine, service.unit):
                return ("systemd has skipped its start, because "
                        f"{plan.marker(self._call, service.unit)} is there")
            return f"systemd has skipped its start over a condition: see 'systemctl status " \
                   f"{service.unit}'"
        words = journal.last_line(self._machine, service.unit, self.begin)
        result = known.get("Result", "success")
        if result != "success":
            return f"{words} (systemd: {result})" if words else f"systemd: {result}"
        return words

    def end(self, group: Group) -> None:
        """Warn of what is not as it should be about a BlueMind that runs."""
        if self._state in state.ADMINISTRATIVE:
            self._call.log.warning(talk.administrative(self._state).reason)
        if all(each.name != profile.CORE for each in group.services):
            return
        known = {name for fixed in profile.SERVICES.values()
                 for name in units.candidates(self._machine, fixed)} | set(_EVERYWHERE)
        strangers = [name for name in self._machine.files.names(WANTS) if name not in known]
        if strangers:
            self._call.log.warning(
                f"{profile.TARGET} wants {', '.join(strangers)}, which this resource does not know "
                "and leaves to systemd")
