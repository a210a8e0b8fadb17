# SPDX-License-Identifier: GPL-2.0-or-later
"""The one object that stands for the machine.

Its parts are built when they are first asked for. A monitor thus loads what it uses and nothing
else; importing all parts would cost as much CPU as the monitor itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailha.system.cgroups import Cgroups
    from mailha.system.children import Children
    from mailha.system.clock import Clock
    from mailha.system.files import Files
    from mailha.system.processes import Processes
    from mailha.system.sockets import Sockets
    from mailha.system.systemd import Systemd


# Which module and class make each part; plain data, because this module is in every monitor.
_PARTS = {"clock": "Clock", "processes": "Processes", "cgroups": "Cgroups", "systemd": "Systemd",
          "sockets": "Sockets", "children": "Children", "files": "Files"}


class Machine:
    """This machine, or a picture of one in a directory.

    root: the directory in which /proc, /sys, /run and the files are looked up. Tests build a small
    tree and name it here; everything else leaves it at "/". Signals, sockets and child processes
    are those of the running kernel whatever root says.

    clock: time, and which boot this is. processes: those of our own pid namespace. cgroups: which
    control groups have processes. systemd: the service manager. sockets: listeners, local
    addresses and connections. children: child processes, each with a deadline. files: small
    files, read whole and written atomically.
    """

    clock: Clock
    processes: Processes
    cgroups: Cgroups
    systemd: Systemd
    sockets: Sockets
    children: Children
    files: Files

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")

    def __getattr__(self, name: str) -> Any:
        """Build a part when it is first asked for; from then on it is a plain attribute."""
        kind = _PARTS.get(name)
        if kind is None:
            raise AttributeError(f"a machine has no {name}")
        module = __import__("mailha.system." + name, fromlist=(kind,))
        part = getattr(module, kind)(self.root)
        setattr(self, name, part)
        return part
