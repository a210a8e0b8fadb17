# SPDX-License-Identifier: GPL-2.0-or-later
"""A fake machine with the six services of Kopano as units, and the group that runs them."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from fake_machine import FakeMachine, FakeUnit, Program, Script
from mailha.services.service import SYSTEMD, Group, Listening, Service

ADDRESS = "192.0.2.100"
RESOURCE = "kopano_services"
GREETINGS = {"http": b"HTTP/1.1 200 OK\r\n", "lmtp": b"220 2.1.5 LMTP server is ready\r\n",
             "imap": b"* OK [CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN] IMAP gateway ready\r\n",
             "pop3": b"+OK POP3 gateway ready\r\n", "caldav": b"HTTP/1.1 200 OK\r\n"}
LISTENS = {"server": [("http", 236)], "dagent": [("lmtp", 2003)],
           "gateway": [("imap", 143), ("pop3", 110)], "ical": [("caldav", 8080)]}
NAMES = ("server", "spooler", "dagent", "monitor", "gateway", "ical")


class Log:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: List[str] = []

    def error(self, text: str) -> None:
        self.said.append("ERROR: " + text)

    def warning(self, text: str) -> None:
        self.said.append("WARNING: " + text)

    def info(self, text: str) -> None:
        self.said.append("INFO: " + text)

    def debug(self, text: str) -> None:
        self.said.append("DEBUG: " + text)

    def warnings(self) -> str:
        """Return all warnings as one text."""
        return "\n".join(line for line in self.said if line.startswith("WARNING"))


def service(name: str) -> Service:
    """Return one service as a start would know it."""
    listens = [Listening(protocol, ADDRESS, port) for protocol, port in LISTENS.get(name, [])]
    return Service(name, unit=f"kopano-{name}.service", program=f"/usr/sbin/kopano-{name}",
                   arguments=["-l" if name == "dagent" else "-F"],
                   configuration=f"/etc/kopano/{name}.cfg",
                   default_configuration=f"/etc/kopano/{name}.cfg", listens=listens,
                   pipes=["/var/run/kopano/server.sock"] if name == "server" else [],
                   pid_file=f"/var/run/kopano/{name}.pid",
                   needs=[] if name == "server" else ["server"], touches_data=name == "server")


def program(name: str, **habits: Any) -> Program:
    """Return the program of a service, with the greetings of a healthy one."""
    listens: Dict[Any, Script] = {}
    for protocol, port in LISTENS.get(name, []):
        greeting = GREETINGS[protocol]
        listens[(ADDRESS, port)] = Script(answers={b"HTTP/1.1": greeting}) \
            if greeting.startswith(b"HTTP") else Script(greeting=greeting)
    if name == "server":
        listens["/var/run/kopano/server.sock"] = Script()
    return Program(f"/usr/sbin/kopano-{name}", listens=listens,
                   pid_file=f"/var/run/kopano/{name}.pid", **habits)


def group(names: Sequence[str] = NAMES, *, manager: str = SYSTEMD,
          optional: Sequence[str] = ()) -> Group:
    """Return the group."""
    return Group(RESOURCE, manager, [service(name) for name in names], optional)


def machine(names: Sequence[str] = NAMES, **habits: Dict[str, Any]) -> FakeMachine:
    """Return a machine with a unit for each service; habits: of a service's program, by name."""
    made = FakeMachine()
    made.sockets.addresses.add(ADDRESS)
    made.files.directories.add("/var/run/kopano")
    made.mount("/var/lib/kopano", "ext4", "/dev/vdb")
    for name in names:
        its = program(name, **habits.get(name, {}))
        made.systemd.add(f"kopano-{name}.service", FakeUnit(program=its))
        made.children.programs[its.executable] = its
    return made


def unit(where: FakeMachine, name: str) -> FakeUnit:
    """Return the unit of a service."""
    return where.systemd._units[f"kopano-{name}.service"]
