# SPDX-License-Identifier: GPL-2.0-or-later
"""A node with two instances of Cyrus, and the agent called on it as Pacemaker does.

The machine is a fake one, all else is real; only the trees of the instances are real directories,
because owner and record are looked at past the machine, by a child. Each call is held to what every
answer owes: one reason where it failed, none where it did not, and an end before its timeout.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple, Optional

import pytest
from configurations import DATA
from fake_machine import FakeMachine, FakeUnit, Program, Running, Script
from mailha.agents import cyrus
from mailha.cluster.cib import QUERY
from mailha.ocf import run
from mailha.services import active

BIN = "/usr/lib/cyrus/bin"
MASTER = f"{BIN}/master"
VERSION = "3.6.1-Debian-3.6.1-4+deb12u5"
USER = pwd.getpwuid(os.getuid()).pw_name
REASON = "ocf-exit-reason:"
TIMEOUTS = {"start": 600, "stop": 300, "monitor": 60, "validate-all": 20, "reload-agent": 20}
PORTS = {"imap": 143, "pop3": 110, "lmtp": 24, "sieve": 4190}
GREETINGS = {"imap": b"* OK [CAPABILITY IMAP4rev1] server ready\r\n", "pop3": b"+OK ready\r\n",
             "lmtp": b"220 server ready\r\n", "sieve": b'"IMPLEMENTATION" "Cyrus timsieved"\r\n'}
PROGRAMS = {"imap": "imapd", "pop3": "pop3d", "lmtp": "lmtpd", "sieve": "timsieved"}


class Answer(NamedTuple):
    """What one call of the agent came to."""

    code: int
    reason: str
    log: str


class Instance:
    """One instance. number: 1 or 2. root: its tree. scripts: what it says, by protocol."""

    def __init__(self, number: int, trees: Path) -> None:
        self.resource = f"server{number}"
        self.address = f"192.0.2.{10 + number}"
        self.root = str(trees / f"cyrus-server{number}")
        self.imapd, self.conf = self.root + "/etc/imapd.conf", self.root + "/etc/cyrus.conf"
        self.socket = self.root + "/data/conf/socket/lmtp"
        self.unit = f"mailha-cyrus@{self.resource}.service"
        self.scripts = {name: Script(greeting=text) for name, text in GREETINGS.items()}
        for name in ("data/conf", "data/partition1", "data/sieve"):
            (Path(self.root) / name).mkdir(parents=True)
        self.imapd_text = (f"configdirectory: {self.root}/data/conf\n"
                           f"partition-default: {self.root}/data/partition1\n"
                           f"sievedir: {self.root}/data/sieve\n")
        lines = [f'  {name} cmd="{program} -C {self.imapd}" listen="{self.address}:{PORTS[name]}" '
                 "maxchild=3" for name, program in PROGRAMS.items()]
        self.conf_text = "\n".join([
            "START {", f'  recover cmd="ctl_cyrusdb -C {self.imapd} -r"', "}", "SERVICES {",
            *lines, f'  unix cmd="lmtpd -C {self.imapd}" listen="{self.socket}"', "}",
            "DAEMON {", f'  idled cmd="idled -C {self.imapd}"', "}", ""])

    def child(self, name: str) -> Program:
        """Return one of its programs, as its master starts it."""
        return Program(f"{BIN}/{name}", arguments=[name, "-C", self.imapd])

    def master(self, **habits: Any) -> Program:
        """Return its master."""
        return Program(MASTER, arguments=["/usr/sbin/cyrmaster", "-C", self.imapd, "-M", self.conf],
                       listens={**{(self.address, PORTS[name]): script
                                   for name, script in self.scripts.items()},
                                self.socket: Script()},
                       children=[self.child("imapd"), self.child("idled")],
                       binds_strictly=False, **habits)


class Node:
    """The node "alice", with both instances installed, mounted and at their addresses."""

    def __init__(self, trees: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.machine = FakeMachine()
        self.one, self.two = Instance(1, trees), Instance(2, trees)
        self.parameters: Dict[str, str] = {}
        self.in_cluster = True
        self.units: Dict[str, FakeUnit] = {}
        self._capfd = capfd
        machine = self.machine
        for name in ("master", "ctl_cyrusdb", "idled", *PROGRAMS.values()):
            machine.files.put(f"{BIN}/{name}", b"\x7fELF")
        machine.files.put("/etc/services", b"imap2 143/tcp imap\npop3 110/tcp\nsieve 4190/tcp\n")
        self.install(VERSION)
        self.answer_cib("crm_two_devices.xml")
        for its in (self.one, self.two):
            machine.sockets.addresses.add(its.address)
            machine.mount(its.root, "ext4", f"/dev/{its.resource}")
            self.write(its)
            self.units[its.resource] = machine.systemd.add(its.unit, FakeUnit(
                program=its.master(), properties={
                    "ExecStart": [("/usr/bin/env", ["/usr/bin/env", "${MASTER}"], False)]}))
        machine.files.put("/usr/bin/env", b"\x7fELF")

    def write(self, its: Instance) -> None:
        """Write both configurations of an instance."""
        self.machine.files.put(its.imapd, its.imapd_text.encode())
        self.machine.files.put(its.conf, its.conf_text.encode())

    def install(self, version: str) -> None:
        """Let Cyrus name this version."""
        self.machine.children.answer([f"{BIN}/cyr_info"],
                                     stdout=f"cyrus-imapd {version}\n".encode())

    def answer_cib(self, name: str) -> None:
        """Let Pacemaker have this configuration."""
        self.machine.children.answer([QUERY[0]], stdout=(DATA / name).read_bytes())

    def call(self, action: str, its: Optional[Instance] = None, *, level: int = 0,
             interval: int = 0, timeout: int = 0, meta: Optional[Dict[str, str]] = None,
             **parameters: str) -> Answer:
        """Call the agent for an instance, the first one if none is named."""
        its = its or self.one
        timeout = timeout or TIMEOUTS[action]
        values = {"ip": its.address, "instance_root": its.root, "user": USER, **self.parameters,
                  **parameters}
        environment = {"OCF_ROOT": "/usr/lib/ocf", "OCF_RA_VERSION_MAJOR": "1",
                       "HA_logfacility": "none", "OCF_RESOURCE_INSTANCE": its.resource,
                       "OCF_RESKEY_CRM_meta_timeout": str(timeout * 1000),
                       **{f"OCF_RESKEY_{name}": value for name, value in values.items()},
                       **{f"OCF_RESKEY_CRM_meta_{name}": value
                          for name, value in (meta or {}).items()}}
        if self.in_cluster:
            environment["OCF_RESKEY_CRM_meta_on_node"] = "alice"
        if interval:
            environment["OCF_RESKEY_CRM_meta_interval"] = str(interval * 1000)
        if level:
            environment["OCF_CHECK_LEVEL"] = str(level)
        begin = self.machine.clock.monotonic()
        self._capfd.readouterr()
        code = run.perform(cyrus.AGENT, ["cyrus", action], environment)
        said = self._capfd.readouterr()
        assert said.out == "" and "Traceback" not in said.err and "defect" not in said.err, said
        assert said.err.count(REASON) <= 1
        assert self.machine.clock.monotonic() - begin < timeout, "Pacemaker would have killed it"
        return Answer(code, said.err.partition(REASON)[2].rstrip("\n"), said.err)

    def start(self, its: Optional[Instance] = None, **more: Any) -> Answer:
        return self.call("start", its, **more)

    def stop(self, its: Optional[Instance] = None, **more: Any) -> Answer:
        return self.call("stop", its, **more)

    def probe(self, its: Optional[Instance] = None, **more: Any) -> Answer:
        return self.call("monitor", its, **more)

    def monitor(self, its: Optional[Instance] = None, level: int = 0, **more: Any) -> Answer:
        return self.call("monitor", its, level=level, interval=30, **more)

    def started(self) -> Node:
        """Start both instances, which must succeed."""
        for its in (self.one, self.two):
            answer = self.start(its)
            assert answer.code == 0, answer
        return self

    def refuses(self, code: int, *words: str, **more: Any) -> None:
        """Start; assert that it is refused in these words, and that nothing was begun."""
        launched = list(self.machine.systemd.calls)
        answer = self.start(**more)
        assert answer.code == code, answer
        for word in words:
            assert word in answer.reason, answer
        assert [call for call in self.machine.systemd.calls if call[0] == "start"] == [
            call for call in launched if call[0] == "start"]
        assert not self.machine.files.exists(active.path_of(self.one.resource))

    def alive(self, its: Instance) -> List[str]:
        """Return the programs of an instance that live."""
        return sorted(running.program.executable.rpartition("/")[2]
                      for running in self.machine.processes.table.values()
                      if its.imapd in running.program.arguments and running.state != "Z")

    def main(self, its: Instance) -> Running:
        """Return the master of an instance that systemd runs."""
        found = self.units[its.resource].main
        assert found is not None
        return found


def prepare(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    """Let the agent find the node's machine and its clock where it looks for the real ones."""
    monkeypatch.setattr(cyrus, "_machine", lambda: node.machine)
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=node.machine.clock.monotonic))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
