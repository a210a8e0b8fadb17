# SPDX-License-Identifier: GPL-2.0-or-later
"""The administrator's word that a newer release may open the data of an older one.

An upgrade of the data cannot be taken back, so it shall not be begun by a failover to a node that
happens to have been updated first. The word is one file a resource, written by
``mailha accept-version``; it names exactly one version, is valid on this node only, and is used up
by the start that relies on it.

The same word, given for data that have been restored from a backup, lets an older version start
over a record that still names a newer one.
"""

from __future__ import annotations

from mailha import errors
from mailha.storage.version import Version
from mailha.system.files import of_resource
from mailha.system.machine import Machine

DIRECTORY = "/var/lib/mailha/accepted"
FORMAT = 1


class AcceptanceDamaged(errors.Failed):
    """There is a word of the administrator and it cannot be understood."""


def path_of(resource: str) -> str:
    """Return the file of a resource. Raises errors.Failed for a name that no resource has."""
    return of_resource(DIRECTORY, resource)


def accept(machine: Machine, resource: str, version: Version, *, restored: bool = False) -> None:
    """Write down that this version may start for the resource on this node, in place of any other.

    restored: whether the data are those of a backup of this version, whatever their record says.
    Raises errors.Failed if it cannot be written.
    """
    path = path_of(resource)
    machine.files.make_directory(DIRECTORY, 0o755)
    more = "restored\n" if restored else ""
    machine.files.write_atomic(path, f"format {FORMAT}\nversion {version}\n{more}end\n".encode())


def accepted(machine: Machine, resource: str) -> Version | None:
    """Return the version that the administrator has accepted for the resource, None without one.

    Compare it with ``.text``: the word is for exactly that version, packaging included.

    Raises AcceptanceDamaged, and errors.Failed if the file cannot be read.
    """
    found = _read(machine, resource)
    return None if found is None else found[0]


def restored(machine: Machine, resource: str) -> bool:
    """Tell whether the word was given for data that have been restored. Raises as accepted()."""
    found = _read(machine, resource)
    return found is not None and found[1]


def _read(machine: Machine, resource: str) -> tuple[Version, bool] | None:
    """Return the version, and whether the data have been restored; None without a word."""
    path = path_of(resource)
    try:
        text = machine.files.read(path).decode("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.Failed(f"cannot read '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise _damaged(path) from None
    lines = text.split("\n")
    if lines[0] != f"format {FORMAT}" or len(lines) < 4 \
            or lines[2:] not in (["end", ""], ["restored", "end", ""]):
        raise _damaged(path)
    name, _, version = lines[1].partition(" ")
    if name != "version":
        raise _damaged(path)
    try:
        return Version(version), lines[2] == "restored"
    except errors.MailhaError:
        raise _damaged(path) from None


def consume(machine: Machine, resource: str) -> bool:
    """Use the word up; False if there was none.

    Raises errors.Failed if the file cannot be removed.
    """
    return machine.files.remove(path_of(resource))


def _damaged(path: str) -> AcceptanceDamaged:
    """Return the error for a word that cannot be understood."""
    return AcceptanceDamaged(f"'{path}' does not name one accepted version",
                             remedy="give your word again with 'mailha accept-version RESOURCE'")
