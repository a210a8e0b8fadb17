# SPDX-License-Identifier: GPL-2.0-or-later
"""The one object that stands for the machine.

Its parts are built when they are first asked for. A monitor thus loads what it uses and nothing
else; importing all parts would cost as much CPU as the monitor itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.cgroups import Cgroups
    from mailha.system.children import Children
    from mailha.system.clock import Clock
    from mailha.system.files import Files
    from mailha.system.processes import Processes
    from mailha.system.sockets import Sockets
    from mailha.system.systemd import Systemd


class Machine:
    """This machine, or a picture of one in a directory.

    root: the directory in which /proc, /sys, /run and the files are looked up. Tests build a small
    tree and name it here; everything else leaves it at "/". Signals, sockets and child processes
    are those of the running kernel whatever root says.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")
        self._clock: Clock | None = None
        self._processes: Processes | None = None
        self._cgroups: Cgroups | None = None
        self._systemd: Systemd | None = None
        self._sockets: Sockets | None = None
        self._children: Children | None = None
        self._files: Files | None = None

    @property
    def clock(self) -> Clock:
        """Time, and which boot this is."""
        if self._clock is None:
            from mailha.system.clock import Clock
            self._clock = Clock(self.root)
        return self._clock

    @property
    def processes(self) -> Processes:
        """The processes of our own pid namespace."""
        if self._processes is None:
            from mailha.system.processes import Processes
            self._processes = Processes(self.root)
        return self._processes

    @property
    def cgroups(self) -> Cgroups:
        """Which control groups have processes."""
        if self._cgroups is None:
            from mailha.system.cgroups import Cgroups
            self._cgroups = Cgroups(self.root)
        return self._cgroups

    @property
    def systemd(self) -> Systemd:
        """The service manager."""
        if self._systemd is None:
            from mailha.system.systemd import Systemd
            self._systemd = Systemd(self.root)
        return self._systemd

    @property
    def sockets(self) -> Sockets:
        """Listeners, local addresses and connections."""
        if self._sockets is None:
            from mailha.system.sockets import Sockets
            self._sockets = Sockets(self.root)
        return self._sockets

    @property
    def children(self) -> Children:
        """Child processes, each with a deadline."""
        if self._children is None:
            from mailha.system.children import Children
            self._children = Children()
        return self._children

    @property
    def files(self) -> Files:
        """Small files, read whole and written atomically."""
        if self._files is None:
            from mailha.system.files import Files
            self._files = Files(self.root)
        return self._files
