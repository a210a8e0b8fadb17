# SPDX-License-Identifier: GPL-2.0-or-later
"""What the databases of packages say: which version of one is here."""

from __future__ import annotations

from mailha import errors
from mailha.storage.version import Version
from mailha.system.child_failures import ChildFailed, ChildMissing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

_DPKG = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}\\n")
_RPM = ("rpm", "-q", "--qf", "installed %{VERSION}-%{RELEASE}\\n")
# In each of these states of dpkg the files of that version are in place.
_IN_PLACE = frozenset(("installed", "unpacked", "half-configured", "triggers-awaited",
                       "triggers-pending"))


class Silent(errors.Failed):
    """A database of packages does not answer, which says nothing about any package."""


def version(machine: Machine, package: str, timeout: float) -> Version | None:
    """Return the version of a package; None if no database knows it, or there is none.

    timeout: seconds for all of them. Raises errors.NotInstalled for a package whose installation
    was broken off, and Silent: on a node that is short of memory or time no answer must not ban
    it.
    """
    deadline = machine.clock.monotonic() + timeout
    silent = None
    for number, query in enumerate((_DPKG, _RPM)):
        share = max(0.1, (deadline - machine.clock.monotonic()) / (2 - number))
        try:
            found = _ask(machine, (*query, package), package, share)
        except ChildFailed as error:
            silent = error
            continue
        if found is not None:
            return found
    if silent is not None:
        raise Silent(f"the version of {package} cannot be found out: {silent.reason}",
                     remedy=silent.remedy or "see whether the node is overloaded")
    return None


def _ask(machine: Machine, query: tuple[str, ...], package: str, timeout: float
         ) -> Version | None:
    """Return what one database says. Raises ChildFailed if it does not answer."""
    try:
        finished = machine.children.run(query, timeout=timeout)
    except ChildMissing:
        return None
    except ChildFailed as error:
        # Both say 1 for a package that they do not know.
        if error.exit_code == 1:
            return None
        raise
    for line in reversed(finished.stdout.decode("utf-8", "replace").splitlines()):
        state, _, text = line.strip().partition(" ")
        if state == "half-installed":
            raise errors.NotInstalled(f"the package {package} {text} is half installed",
                                      remedy="repeat its installation")
        if state in _IN_PLACE:
            try:
                return Version(text)
            except errors.MailhaError:
                return None
    return None
