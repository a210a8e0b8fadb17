# SPDX-License-Identifier: GPL-2.0-or-later
"""Read Cyrus's configuration without ever waiting for a dead server.

/etc/imapd.conf may be a link onto the shared disk, or stand on a network file system by a mistake
that is to be found here and not to be waited for. So its links are followed part by part, and only
on mounts that have been accepted (see mailha.storage.symlinks).

Two readers: with :func:`patiently` any local file system is accepted and a child reads, because a
local disk can die, too. :func:`at_once` has no child and accepts the file system of / alone: what
runs has been loaded from there.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.products.cyrus import imapd, syntax
from mailha.products.cyrus.syntax import ConfigurationUnusable
from mailha.storage import filesystems

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mailha.products.cyrus.imapd import Imapd
    from mailha.storage.mountinfo import Mount, Table
    from mailha.system.machine import Machine


class OutOfReach(ConfigurationUnusable):
    """A file lies where this reader does not go."""


class Missing(ConfigurationUnusable):
    """A file is not there."""


class Hidden(ConfigurationUnusable):
    """A file may not be read by whoever asks."""


_SIGNS: dict[str, type[ConfigurationUnusable]] = {"h": Hidden, "m": Missing}
"""How the child says which of them it is."""


def at_once(machine: Machine, table: Table, path: str, partitions: str) -> Imapd:
    """Return the configuration if all of its files lie on the file system of /.

    Raises OutOfReach if one does not, else ConfigurationUnusable.
    """
    root = table.find("/")

    def accept(mount: Mount) -> bool:
        return mount.identifier == root.identifier

    def load(file: str) -> bytes:
        return _load(machine, table, file, accept)

    return imapd.read(load, path, _existing(machine, table, partitions, accept))


def patiently(machine: Machine, table: Table, path: str, partitions: str,
              timeout: float) -> Imapd:
    """Return the configuration, from local file systems. timeout: seconds for each file.

    Raises ConfigurationUnusable, and patience.DiskSilent if a disk does not answer.
    """
    from mailha.storage import patience
    accept = _local(table)

    def load(file: str) -> bytes:
        return whole(machine, table, file, timeout)

    def existing() -> bytes:
        return _existing(machine, table, partitions, accept).encode("utf-8", "surrogateescape")

    there = patience.touch(machine, partitions, existing, timeout) if partitions else b""
    try:
        return imapd.read(load, path, there.decode("utf-8", "surrogateescape"))
    except Missing as error:
        if error.reason != f"there is no {path}":
            raise       # one that is included
        raise Missing(error.reason, remedy="install and configure Cyrus on this node, or name its "
                      "imapd.conf in imapd_conf (--imapd-conf of 'mailha storage')") from None


def whole(machine: Machine, table: Table, path: str, timeout: float) -> bytes:
    """Return one file of Cyrus's configuration, from a local file system.

    timeout: seconds. Raises ConfigurationUnusable, and patience.DiskSilent if a disk does not
    answer.
    """
    from mailha.storage import patience
    accept = _local(table)

    def content() -> bytes:
        try:
            return b"+" + _load(machine, table, path, accept)
        except ConfigurationUnusable as error:
            sign = next((sign for sign, kind in _SIGNS.items() if isinstance(error, kind)), "-")
            return f"{sign}{error.reason}\n{error.remedy}".encode("utf-8", "surrogateescape")

    answer = patience.touch(machine, path, content, timeout)
    if answer[:1] == b"+":
        return answer[1:]
    reason, _, remedy = answer[1:].decode("utf-8", "surrogateescape").partition("\n")
    raise _SIGNS.get(chr(answer[0]), ConfigurationUnusable)(reason, remedy=remedy)


def real(machine: Machine, table: Table, path: str) -> str:
    """Return where a path leads on the file system of /, itself if it leads elsewhere."""
    root = table.find("/")
    try:
        return _real(machine, table, path, lambda mount: mount.identifier == root.identifier)
    except errors.MailhaError:
        return path


def _local(table: Table) -> Callable[[Mount], bool]:
    """Return what says of a mount whether it is that of / or needs no server."""
    root = table.find("/")

    def accept(mount: Mount) -> bool:
        return mount.identifier == root.identifier or filesystems.kind_of(mount.fstype).local

    return accept


def _existing(machine: Machine, table: Table, path: str, accept: Callable[[Mount], bool]) -> str:
    """Return the path of a file that need not be there; "" if it is not."""
    if not path:
        return ""
    try:
        return path if machine.files.exists(_real(machine, table, path, accept)) else ""
    except errors.MailhaError:
        return path     # whoever reads it will say what is wrong with it


def _load(machine: Machine, table: Table, path: str, accept: Callable[[Mount], bool]) -> bytes:
    """Return the bytes of one file. Raises ConfigurationUnusable."""
    try:
        return machine.files.read(_real(machine, table, path, accept), syntax.LARGEST)
    except FileNotFoundError:
        raise Missing(f"there is no {path}", remedy="make it, or name the right file") from None
    except PermissionError as error:
        raise Hidden(f"cannot read {path}: {error.strerror}",
                     remedy="ask as root, or make it readable for root") from None
    except OSError as error:
        raise ConfigurationUnusable(f"cannot read {path}: {error.strerror}",
                                    remedy="see what is there in its place") from None
    except ConfigurationUnusable:
        raise
    except errors.MailhaError as error:
        raise ConfigurationUnusable(error.reason, remedy=error.remedy) from None


def _real(machine: Machine, table: Table, path: str, accept: Callable[[Mount], bool]) -> str:
    """Return a path without symbolic links. Raises OutOfReach, and errors.Failed for a loop."""
    from mailha.storage import symlinks
    try:
        return symlinks.follow(table, path, accept, machine.files.link)
    except symlinks.NotAccepted as refused:
        mount = refused.mount
        raise OutOfReach(
            f"{path} is read from '{mount.mount_point}' ({mount.fstype} {mount.source}), whose "
            "server may be dead", remedy="keep Cyrus's configuration on a disk of this node"
        ) from None
