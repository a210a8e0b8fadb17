# SPDX-License-Identifier: GPL-2.0-or-later
"""The start of a mail server: what has to be true, in order, before the first service runs.

First whether the node may start at all, then what is wrong with the node, then what may come right
while we wait. Until the record of the active group is written nothing has been changed, so a start
that is refused leaves nothing behind.
"""

from __future__ import annotations

from mailha import errors
from mailha.mailserver import permission, strangers
from mailha.services import active, evidence, greetings, lock
from mailha.services.managers import manager_of
from mailha.services.service import Group
from mailha.services.starting import Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from mailha.mailserver.release import Release
    from mailha.ocf import Call
    from mailha.services.service import Service
    from mailha.system.machine import Machine

# The part of the budget that another start or stop may hold this one up.
SHARE_OF_LOCK = 0.3


class MailServerStart:
    """One start. A product derives its own from it.

    deadline: of machine.clock, when the start has to have an answer. begin: of the wall clock, when
    the first service was started.
    """

    def __init__(self, call: Call, machine: Machine) -> None:
        self._call = call
        self._machine = machine
        self.deadline = machine.clock.monotonic() + call.left()
        self.begin = 0.0

    # What a product says

    def complete(self, recorded: set[str]) -> bool:
        """Tell whether the services that a start has recorded are all that the resource names."""
        return recorded == set(self._call.parameters["services"])

    def optional(self) -> tuple[str, ...]:
        """Return the names of the services without which the group may be started."""
        names: tuple[str, ...] = self._call.parameters.get("optional_services", ())
        return names

    def touches_data(self) -> bool:
        """Tell whether two of this resource would damage the data."""
        raise NotImplementedError

    def examine(self) -> Group:
        """Return the group as this node would run it. Raises what keeps it from running here."""
        raise NotImplementedError

    def release(self, group: Group) -> Release | None:
        """Return the version to compare with what last ran on the data.

        None where the group does not change the data. Raises errors.MailhaError.
        """
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return the environment of programs that no unit runs."""
        return {}

    def make_room(self, group: Group) -> None:
        """Remove what the dead have left and make what the living need. Raises errors.Failed."""

    def prepared(self) -> None:
        """Do what is due when the record of the group is written, before anything is started."""

    def wait(self, group: Group) -> bool:
        """Wait for what is not in the group; tell whether that took so long that all may differ.

        Raises errors.BudgetSpent, and errors.Failed when a stop is ordered meanwhile.
        """
        return False

    def explain(self, service: Service, release: Release | None) -> str:
        """Return the last words of a dead service, "" if there are none, or raise a better reason.

        release: to be retracted if the service has refused the data.
        """
        return ""

    def ask(self, service: Service, timeout: float) -> None:
        """Raise errors.Failed as long as a service does not truly serve; here: does not greet."""
        greetings.check(self._machine, service, timeout)

    def end(self, group: Group) -> None:
        """Say what there is to be said about a group that serves."""

    # What is the same for all

    def run(self) -> None:
        """Start the group and return when every service truly serves.

        Raises errors.NotAllowedHere if this node must not run it, errors.Failed if it did not come
        up or cannot yet, errors.BudgetSpent with what is still missing.
        """
        call, machine = self._call, self._machine
        held = lock.take(machine, call.resource, call.left() * SHARE_OF_LOCK)
        try:
            # What a stop has left that was killed before its end.
            lock.forget_stop(machine, call.resource)
            self._may_start()
            if self._serves_already():
                call.log.info("everything serves already")
                return
            self._start(self.examine())
        finally:
            held.release()

    def _may_start(self) -> None:
        """Ask the cluster whether only this node can run the group."""
        permission.require(self._call, self._machine, touches_data=self.touches_data())

    def _serves_already(self) -> bool:
        """Tell whether a start has been here and everything serves: nothing may be disturbed."""
        call, machine = self._call, self._machine
        try:
            record = active.read(machine, call.resource)
        except active.RecordUnreadable:
            return False
        if record is None or not self.complete({each.name for each in record.services}):
            return False
        group = Group(call.resource, record.manager, record.services, self.optional())
        seen = evidence.look(machine, group, timeout=call.left() / 4, known=record.processes)
        return evidence.whole(seen)

    def _start(self, group: Group) -> None:
        """Start the group after all that this node has to fulfil is fulfilled."""
        call, machine = self._call, self._machine
        release = self.release(group)
        if release is not None:
            release.check()
        environment = self.environment()
        self.make_room(group)
        if self.wait(group):
            # Minutes may have passed: address, disk and cluster are what they are now.
            self._may_start()
            group = self.examine()
            if release is not None:
                release.check()
        lock.give_way(machine, call.resource)
        manager = manager_of(machine, group, lambda: environment, self._known())
        self.begin = machine.clock.wall()
        was_active = active.is_active(machine, call.resource)
        guarded = strangers.guarded_since(machine, group)
        try:
            manager.prepare(max(1.0, call.left() / 4))
            if release is not None:
                # Last, because a version that is recorded keeps older software off the other node.
                release.record()
            self.prepared()
        except errors.MailhaError:
            # Nothing was started, so nothing may be able to start by itself.
            if not was_active:
                self._unmark()
            raise
        if not was_active:
            strangers.end(call, machine, group, manager, guarded)
        Start(machine, group, manager, deadline=self.deadline, log=call.log,
              explain=lambda service: self.explain(service, release), ask=self.ask).run()
        self.end(group)

    def _unmark(self) -> None:
        """Remove the mark of the active group; a failure of that is not the reason of ours."""
        try:
            active.remove(self._machine, self._call.resource)
        except errors.MailhaError as error:
            self._call.log.warning(f"{error}; until that is cured its units could be started by "
                                   "hand")

    def _known(self) -> dict[str, tuple[int, int]]:
        """Return the processes that a start before this one has written down."""
        try:
            record = active.read(self._machine, self._call.resource)
        except active.RecordUnreadable:
            return {}
        return record.processes if record is not None else {}
