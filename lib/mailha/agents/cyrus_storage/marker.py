# SPDX-License-Identifier: GPL-2.0-or-later
"""What start leaves behind in /run: "the storage was fit on this node, in this boot".

Only this makes the resource "running". A power loss takes it away. It also keeps which paths were
examined under which rule, for a monitor that finds the configuration unreadable: a file that
somebody is just editing does not take down a service that serves.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.products.cyrus import paths
from mailha.products.cyrus.paths import Target
from mailha.system.files import of_resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

DIRECTORY = "/run/mailha/cyrus-storage"
FORMAT = 1

_OWN, _ANY = "mounted", "anywhere"


class Marker:
    """The marker of one resource on this machine.

    resource: OCF_RESOURCE_INSTANCE. master: where a monitor keeps the pid of Cyrus's master for the
    next one. Raises errors.Failed for a name that no resource has.
    """

    def __init__(self, machine: Machine, resource: str) -> None:
        self.path = of_resource(DIRECTORY, resource)
        # No resource has a name that begins with a dot.
        self.master = f"{DIRECTORY}/.master-of-{resource}"
        self._files = machine.files

    def set(self, targets: list[Target]) -> None:
        """Leave the marker, or renew it. Raises errors.Failed."""
        lines = [f"format {FORMAT}"]
        for target in targets:
            where = _OWN if target.rule.own_mount else _ANY
            # The path last, as it alone can have blanks in it.
            lines.append(f"{target.rule.name} {where} {','.join(target.names)} {target.path}")
        text = "\n".join([*lines, "end", ""])
        self._files.make_directory(DIRECTORY, 0o755)
        self._files.write_atomic(self.path, text.encode("utf-8", "surrogateescape"))

    def is_set(self) -> bool:
        """Say whether the marker is there. Raises errors.Failed if that cannot be told."""
        return self._files.exists(self.path)

    def targets(self) -> list[Target]:
        """Return what the last start examined; of a damaged marker, what can be understood.

        Raises errors.Failed if it cannot be read.
        """
        try:
            text = self._files.read(self.path).decode("utf-8", "surrogateescape")
        except OSError as error:
            raise errors.Failed(f"cannot read '{self.path}': {error.strerror}",
                                remedy="restart the resource") from None
        found = []
        for line in text.split("\n"):
            parts = line.split(" ", 3)
            if len(parts) == 4 and parts[3].startswith("/"):
                rule = paths.by_name(parts[0])
                if parts[1] == _ANY:
                    rule = paths.anywhere(rule)
                found.append(Target(parts[3], rule, tuple(parts[2].split(","))))
        return found

    def clear(self) -> str:
        """Take the marker away; return a warning if that failed, else an empty text.

        It never raises, because a failed stop fences the node, and nothing runs here that would be
        worth a power off.
        """
        try:
            # Looked at first: on a read-only file system the kernel refuses to remove a file before
            # it finds out that there is none.
            if self.is_set():
                self._files.remove(self.path)
                self._files.remove(self.master)
        except errors.MailhaError as error:
            return f"{error}; until then a probe takes this resource for running on this node"
        return ""
