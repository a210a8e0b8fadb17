# SPDX-License-Identifier: GPL-2.0-or-later
"""A node with Kopano as a package installs it, and the agent called on it as Pacemaker does.

The machine is a fake one, and all the rest is real: the environment is read, parameters are parsed,
the action is dispatched, the reason is printed. Only the data directory is a real one, because the
record of the last run is written past the machine, by a child.

Whatever a test is about, each call is also held to what every answer owes: one reason of one line
where the action failed and none where it did not, no password in it, and an end before Pacemaker
would have killed the agent.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import pytest
from configurations import DATA
from fake_machine import FakeMachine, FakeUnit, Program, Ran, Running, Script
from kopano_machine import ADDRESS, GREETINGS, NAMES, RESOURCE, program, unit
from mailha.agents import kopano
from mailha.cluster.cib import QUERY
from mailha.ocf import run
from mailha.ocf.call import Call
from mailha.services import active
from mailha.system.children import Finished
from mailha.system.processes import Process

VERSION = "8.7.25.0-0+123.1"
DATABASE = ("192.0.2.101", 3306)
PASSWORD = "correct horse"
REASON = "ocf-exit-reason:"
SOCKET, PRIORITY = "/var/run/kopano/server.sock", "/var/run/kopano/prio.sock"
LMTP = (ADDRESS, 2003)
NO_SESSION = b"421 internal error: GetSession failed\r\n"
TIMEOUTS = {"start": 600, "stop": 600, "monitor": 60, "validate-all": 20, "reload-agent": 20}


class Answer(NamedTuple):
    """What one call of the agent came to. seconds: that it took by the machine's clock."""

    code: int
    reason: str
    log: str
    seconds: float


class Node:
    """One node. parameters: of the resource, beside data_dir. data: where its data is.

    resource: which one the agent is called for. in_cluster: whether Pacemaker calls, as node
    "alice", or a person by hand.
    """

    def __init__(self, data: Path, capfd: pytest.CaptureFixture[str], *,
                 names: Sequence[str] = NAMES, version: str = VERSION,
                 configurations: Optional[Dict[str, str]] = None) -> None:
        self.machine = FakeMachine()
        self.data = data
        self.parameters: Dict[str, str] = {}
        self.resource = RESOURCE
        self.in_cluster = True
        self.names = tuple(names)
        self._capfd = capfd
        machine = self.machine
        machine.sockets.addresses.add(ADDRESS)
        machine.mount(str(data), "ext4", "/dev/drbd1")
        machine.files.directories |= {"/run/kopano", "/var/run/kopano"}
        self.install(version)
        machine.children.answer(["install"], function=self._make_run_directory)
        self.answer_cib("crm_two_devices.xml")
        for name, text in (configurations or configuration_files(str(data))).items():
            machine.files.put(f"/etc/kopano/{name}.cfg", text.encode())
        for name in self.names:
            self._add(name)
        self.database = self._add_database()
        if tuple(names) != NAMES:
            self.parameters["services"] = " ".join(names)

    def _add(self, name: str) -> None:
        """Install a service: its program and its unit."""
        its = program(name)
        if name == "server":
            its.listens[("127.0.0.1", 236)] = its.listens[(ADDRESS, 236)]
            its.listens[SOCKET] = Script(answers={
                b"<ns:logon>": soap("logon", er=0, ulSessionId=7, lpszVersion="0,8,7,25"),
                b"<ns:getStore>": soap("getStore", er=0), b"<ns:logoff>": soap("logoff", er=0)})
            its.listens[PRIORITY] = Script()
        self.machine.files.put(its.executable, b"\x7fELF")
        self.machine.children.programs[its.executable] = its
        arguments = [its.executable, "-l" if name == "dagent" else "-F"]
        self.machine.systemd.add(f"kopano-{name}.service", FakeUnit(
            program=its, properties={"ExecStart": [(its.executable, arguments, False)]}))

    def _make_run_directory(self, ran: Ran) -> Finished:
        """Be install(1); /var/run is /run, which the fake machine does not know."""
        self.machine.files.make_directory("/run/kopano", 0o775)
        self.machine.files.directories.add("/var/run/kopano")
        return Finished(0)

    def _add_database(self) -> Running:
        """Let MariaDB run, on another address of the cluster."""
        self.machine.sockets.addresses.add(DATABASE[0])
        return self.machine.processes.run(Program(
            "/usr/sbin/mariadbd", listens={DATABASE: Script(
                greeting=mysql_greeting(), answers={b"mailha-probe": mysql_refusal()})}),
            cgroup="/system.slice/mariadb.service")

    def install(self, version: str) -> None:
        """Let the package database name this version."""
        self.machine.children.answer(["dpkg-query"], stdout=f"installed {version}\n".encode())

    def answer_cib(self, name: str) -> None:
        """Let Pacemaker have this configuration."""
        self.machine.children.answer([QUERY[0]], stdout=(DATA / name).read_bytes())

    # Calling the agent

    def environment(self, *, level: int = 0, interval: int = 0, timeout: float = 0,
                    **parameters: str) -> Dict[str, str]:
        """Return what Pacemaker puts into the environment; interval, timeout: seconds."""
        found = {"OCF_ROOT": "/usr/lib/ocf", "OCF_RA_VERSION_MAJOR": "1", "HA_logfacility": "none",
                 "OCF_RESOURCE_INSTANCE": self.resource, "OCF_RESKEY_data_dir": str(self.data)}
        for name, value in {**self.parameters, **parameters}.items():
            found["OCF_RESKEY_" + name] = value
        if self.in_cluster:
            found["OCF_RESKEY_CRM_meta_on_node"] = "alice"
        if interval:
            found["OCF_RESKEY_CRM_meta_interval"] = str(interval * 1000)
        if timeout:
            found["OCF_RESKEY_CRM_meta_timeout"] = str(int(timeout * 1000))
        if level:
            found["OCF_CHECK_LEVEL"] = str(level)
        return found

    def call(self, action: str, **more: Any) -> Answer:
        """Call the agent. more: as of environment()."""
        timeout = more.setdefault("timeout", TIMEOUTS[action])
        begin = self.machine.clock.monotonic()
        self._capfd.readouterr()
        code = run.perform(kopano.AGENT, ["kopano", action], self.environment(**more))
        said = self._capfd.readouterr()
        seconds = self.machine.clock.monotonic() - begin
        reasons = [line[len(REASON):] for line in said.err.split("\n") if line.startswith(REASON)]
        assert said.out == "", "stdout is for meta-data alone"
        assert said.err.count(REASON) == len(reasons) <= 1
        assert not reasons or said.err.endswith(f"{REASON}{reasons[0]}\n"), "the reason comes last"
        stopped_here = code == 7 and action == "monitor" and not more.get("interval")
        assert bool(reasons) == (code != 0 and not stopped_here), said.err
        assert "Traceback" not in said.err and "defect" not in said.err, said.err
        assert PASSWORD not in said.err
        assert seconds < timeout, "Pacemaker would have killed it"
        return Answer(code, reasons[0] if reasons else "", said.err, seconds)

    def start(self, **more: Any) -> Answer:
        return self.call("start", **more)

    def stop(self, **more: Any) -> Answer:
        return self.call("stop", **more)

    def probe(self, **more: Any) -> Answer:
        return self.call("monitor", **more)

    def monitor(self, level: int = 0, **more: Any) -> Answer:
        """Call the recurring monitor."""
        return self.call("monitor", level=level, interval=30, **more)

    def started(self, **more: Any) -> Node:
        """Start it, which must succeed."""
        answer = self.start(**more)
        assert answer.code == 0, answer.reason
        return self

    def refuses(self, code: int, *words: str, **more: Any) -> str:
        """Start; assert that it is refused with these words, and that the node is as it was.

        Return the reason.
        """
        before, launched = self.state(), self.launched()
        answer = self.start(**more)
        assert answer.code == code, answer
        for word in words:
            assert word in answer.reason
        assert self.launched() == launched and self.alive() == []
        assert self.state() == before and not self.is_marked()
        return answer.reason

    def stops(self) -> None:
        """Stop; assert that it is a success and that nothing lives or is marked."""
        answer = self.stop()
        assert answer.code == 0, answer.reason
        assert self.alive() == [] and not self.is_marked()

    def handler_call(self, action: str) -> Call:
        """Return the Call that a handler gets."""
        return Call(kopano.AGENT, action, self.environment(timeout=TIMEOUTS[action]),
                    self.machine.clock.monotonic)

    # What became of the node

    def alive(self) -> List[str]:
        """Return the services of which a process lives, in any number."""
        return sorted({each.program.executable[len("/usr/sbin/kopano-"):]
                       for each in self.machine.processes.table.values()
                       if "/kopano-" in each.program.executable and each.state != "Z"})

    def launched(self) -> List[str]:
        """Return the services that anybody was told to start, in order."""
        told = [call[1] for call in self.machine.systemd.calls if call[0] == "start"]
        return [name[len("kopano-"):-len(".service")] for name in told] \
            + [argv[0][len("/usr/sbin/kopano-"):] for argv, *_ in self.machine.children.spawned]

    def is_marked(self) -> bool:
        """Tell whether the record of an active group is there: guarded units could start."""
        return self.machine.files.exists(active.path_of(self.resource))

    def state(self) -> Dict[str, bytes]:
        """Return every file of the node that a refused start must leave as it was.

        Without the lock, which says nothing to anybody once its holder is gone, and what was found
        out about fencing, which is for the next start.
        """
        passing = ("/proc/", "/run/mailha/lock/", "/run/mailha/fencing-verdict")
        found = {path: content for path, content in self.machine.files.content.items()
                 if not path.startswith(passing)}
        found.update({str(path): path.read_bytes() for path in sorted(self.data.iterdir())
                      if path.is_file()})
        return found

    def main(self, name: str) -> Running:
        """Return the main process of a service that systemd runs."""
        found = unit(self.machine, name).main
        assert found is not None
        return found

    def processes(self, name: str) -> List[Process]:
        """Return the live processes of a service."""
        return self.machine.processes.find(f"/usr/sbin/kopano-{name}")

    def script(self, name: str, endpoint: Any) -> Script:
        """Return what a service says at an endpoint; change it to change the service's mood."""
        its = unit(self.machine, name).program
        assert its is not None
        return its.listens[endpoint]

    def write(self, name: str, text: str) -> None:
        """Write a configuration file anew."""
        self.machine.files.put(f"/etc/kopano/{name}.cfg", text.encode())

    def regain_database(self) -> None:
        """Let the database be back; Kopano finds it by itself (measured)."""
        self.database = self._add_database()
        self.script("dagent", LMTP).greeting = GREETINGS["lmtp"]
        self.script("server", SOCKET).answers[b"<ns:getStore>"] = soap("getStore", er=0)

    def lose_database(self) -> None:
        """Let the database die, with what Kopano makes of it (measured)."""
        self.database.die()
        self.script("dagent", LMTP).greeting = NO_SESSION
        self.script("server", SOCKET).answers[b"<ns:getStore>"] = soap("getStore", er=0x80000007)


def configuration_files(data: str) -> Dict[str, str]:
    """Return the files of Kopano 8.7 and later, as the whitepaper's cluster would have them."""
    return {
        "server": f"server_listen = {ADDRESS}:236 127.0.0.1:236\nserver_listen_tls =\n"
                  f"mysql_host = {DATABASE[0]}\nmysql_user = kopano\nmysql_password = {PASSWORD}\n"
                  f"mysql_database = kopano\nattachment_storage = files\n"
                  f"attachment_path = {data}/attachments\nlog_method = file\n"
                  "log_file = /var/log/kopano/server.log\n",
        "spooler": "smtp_server = localhost\n",
        "dagent": f"lmtp_listen = {ADDRESS}:2003\n",
        "monitor": "mailquota_resend_interval = 1\n",
        "gateway": f"imap_listen = {ADDRESS}:143\npop3_listen = {ADDRESS}:110\n",
        "ical": f"ical_listen = {ADDRESS}:8080\n"}


def old_configuration_files(data: str) -> Dict[str, str]:
    """Return the files of Kopano up to 8.4."""
    server = configuration_files(data)["server"].replace(
        f"server_listen = {ADDRESS}:236 127.0.0.1:236\nserver_listen_tls =\n",
        f"server_bind = {ADDRESS}\nserver_tcp_port = 236\n")
    return {**configuration_files(data), "server": server,
            "dagent": f"server_bind = {ADDRESS}\nlmtp_port = 2003\n",
            "gateway": f"server_bind = {ADDRESS}\nimap_port = 143\npop3_port = 110\n",
            "ical": f"server_bind = {ADDRESS}\nical_port = 8080\n"}


def soap(call: str, **values: object) -> bytes:
    """Return an answer of kopano-server's unix socket."""
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    body = f"<SOAP-ENV:Envelope><ns:{call}Response>{fields}</ns:{call}Response>".encode()
    return b"HTTP/1.1 200 OK\r\nServer: gSOAP/2.8\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body), body)


def mysql_greeting() -> bytes:
    """Return MariaDB's first packet."""
    content = (b"\x0a5.5.5-10.11.6-MariaDB\0" + struct.pack("<I", 42) + b"saltsalt\0"
               + struct.pack("<HBHHB", 0xf7fe, 45, 2, 0x81ff, 21) + bytes(10) + b"saltsaltsalt\0"
               + b"mysql_native_password\0")
    return len(content).to_bytes(3, "little") + b"\0" + content


def mysql_refusal() -> bytes:
    """Return MariaDB's answer to a user whom it does not know."""
    content = b"\xff\x15\x04#28000Access denied for user 'mailha-probe'"
    return len(content).to_bytes(3, "little") + b"\2" + content


def prepare(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    """Let the agent find the node's machine and its clock where it looks for the real ones."""
    monkeypatch.setattr(kopano, "_machine", lambda: node.machine)
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=node.machine.clock.monotonic))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    # This machine does not lose power between two tests, and a disk that is waited for costs more
    # than all the rest of them.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
