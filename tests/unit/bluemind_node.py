# SPDX-License-Identifier: GPL-2.0-or-later
"""A node with BlueMind as its packages install it, and the agent called on it as Pacemaker does.

The machine is a fake one, and all the rest is real: the environment is read, parameters are parsed,
the action is dispatched, the reason is printed. Only the directory with the record of the last run
is a real one, because it is written past the machine, by a child.

Whatever a test is about, each call is also held to what every answer owes: one reason of one line
where the action failed and none where it did not, no secret in it, and an end before Pacemaker
would have killed the agent.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import pytest
from configurations import DATA
from fake_machine import FakeMachine, FakeUnit, Program, Running, Script
from mailha.agents import bluemind
from mailha.cluster.cib import QUERY
from mailha.ocf import run
from mailha.ocf.call import Call
from mailha.profiles import bluemind as profile
from mailha.services import active

RESOURCE = "bluemind_services"
ADDRESS = "192.0.2.100"
JAVA = "/usr/lib/jvm/bm-jdk/bin/java"
MUX = "/var/spool/postfix/var/run/saslauthd/mux"
SECRET = "correct-horse"
REASON = "ocf-exit-reason:"
VERSIONS = {"3.5": "3.5.19-1", "4.1": "4.1.6-1", "4.9": "4.9.2-1", "5.1": "5.1.0-1"}
TIMEOUTS = {"start": 900, "stop": 600, "monitor": 60, "validate-all": 20, "reload-agent": 20}
ABSENT = {"mq", "ips", "keydb", "zookeeper", "kafka", "xivobridge", "syncclient0", "syncclient1",
          "syncclient2", "syncclient3"}
"""Services that are not on every node."""
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PASSWORD_WANTED = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"
MILTER = b"\0\0\0\x0dO" + bytes(12)
GREETINGS = {"imap": b"* OK Cyrus ready\r\n", "pop3": b"+OK ready\r\n", "lmtp": b"220 lmtp\r\n",
             "smtp": b"220 mail ESMTP\r\n"}


class Answer(NamedTuple):
    """What one call of the agent came to. seconds: that it took by the machine's clock."""

    code: int
    reason: str
    log: str
    seconds: float


class Node:
    """One node with a release of BlueMind. record: the real directory of the last run.

    state: of bm-core, without its "CORE_STATE_". health: of Elasticsearch.
    """

    def __init__(self, record: Path, capfd: pytest.CaptureFixture[str], release: str = "4.9",
                 *, without: Sequence[str] = ()) -> None:
        self.machine = FakeMachine()
        self.record = record
        self.release = release
        self.profile = profile.of_release(tuple(map(int, release.split("."))))  # type: ignore
        self.parameters: Dict[str, str] = {}
        self.resource = RESOURCE
        self.in_cluster = True
        self.state = "RUNNING"
        self.health = "green"
        self._capfd = capfd
        machine = self.machine
        machine.sockets.addresses.add(ADDRESS)
        machine.files.directories.add("/var/spool/postfix/var/run/saslauthd")
        for path in (*self.profile.directories, *profile.FURTHER, str(record)):
            machine.files.directories.add(path)
            machine.mount(path, "ext4", "/dev/san")
        self.install(VERSIONS[release])
        self.answer_cib("crm_two_devices.xml")
        for name, text in {"bm.ini": f"[global]\nhost={ADDRESS}\ndb=bj\npassword={SECRET}\n",
                           "bm-core.tok": SECRET, "mcast.id": "72D26E8A", "server.uid": "7",
                           }.items():
            machine.files.put(f"/etc/bm/{name}", text.encode())
        self.names = [name for name in self.profile.services
                      if name not in ABSENT and name not in without]
        for name in self.names:
            self.add(name)

    def add(self, name: str) -> FakeUnit:
        """Install a service: its unit, on the port of its profile."""
        fixed = self.profile.services.get(name) or profile.SERVICES[name]
        listens: Dict[Any, Script] = {}
        for protocol, _, port in (*fixed.listens, *fixed.asked):
            listens[("127.0.0.1", port)] = self._script(name, protocol)
        if name == "ysnp":
            listens[MUX] = Script()
        executable = JAVA if fixed.main else f"/opt/{name}"
        executable += f"/{fixed.leader}" if fixed.leader else ""
        its = Program(executable, arguments=[executable, "-cp", "x", fixed.main or name],
                      listens=listens)
        self.machine.files.put(executable, b"\x7fELF")
        return self.machine.systemd.add(fixed.unit, FakeUnit(program=its, properties={
            "ExecStart": [(executable, its.arguments, False)]}))

    def _script(self, name: str, protocol: str) -> Script:
        """Return what a healthy service says in a protocol."""
        if protocol in GREETINGS:
            return Script(greeting=GREETINGS[protocol])
        if protocol == "postgresql":
            return Script(answers={b"postgres": PASSWORD_WANTED})
        if protocol == "milter":
            return Script(answers={b"O": MILTER})
        answers: Dict[bytes, Any] = {}
        if name == "core":
            answers[b"installation/state"] = lambda _: (
                f'HTTP/1.1 200 OK\r\n\r\n"CORE_STATE_{self.state}"\r\n'.encode())
        if name == "elasticsearch":
            answers[b"_cluster/health"] = lambda _: (
                f'HTTP/1.1 200 OK\r\n\r\n{{"status":"{self.health}"}}'.encode())
        answers[b"HTTP/1.1"] = HTTP
        return Script(answers=answers)

    def install(self, version: Optional[str]) -> None:
        """Let the package database name this version of bm-core, or none."""
        if version is None:
            self.machine.children.answer(["dpkg-query"], code=1)
        else:
            self.machine.children.answer(["dpkg-query"], stdout=f"installed {version}\n".encode())

    def answer_cib(self, name: str) -> None:
        """Let Pacemaker have this configuration."""
        self.machine.children.answer([QUERY[0]], stdout=(DATA / name).read_bytes())

    # Calling the agent

    def environment(self, *, level: int = 0, interval: int = 0, timeout: float = 0,
                    **parameters: str) -> Dict[str, str]:
        """Return what Pacemaker puts into the environment; interval, timeout: seconds."""
        found = {"OCF_ROOT": "/usr/lib/ocf", "OCF_RA_VERSION_MAJOR": "1", "HA_logfacility": "none",
                 "OCF_RESOURCE_INSTANCE": self.resource, "OCF_RESKEY_data_dir": str(self.record)}
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
        code = run.perform(bluemind.AGENT, ["bluemind", action], self.environment(**more))
        said = self._capfd.readouterr()
        seconds = self.machine.clock.monotonic() - begin
        reasons = [line[len(REASON):] for line in said.err.split("\n") if line.startswith(REASON)]
        assert said.out == "", "stdout is for meta-data alone"
        assert said.err.count(REASON) == len(reasons) <= 1
        assert not reasons or said.err.endswith(f"{REASON}{reasons[0]}\n"), "the reason comes last"
        stopped_here = code == 7 and action == "monitor" and not more.get("interval")
        assert bool(reasons) == (code != 0 and not stopped_here), said.err
        assert "Traceback" not in said.err and "defect" not in said.err, said.err
        assert SECRET not in said.err
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
        """Start; assert that it is refused with these words, and that the node is as it was."""
        before, launched = self.files(), self.launched()
        answer = self.start(**more)
        assert answer.code == code, answer
        for word in words:
            assert word in answer.reason
        assert self.launched() == launched and self.alive() == []
        assert self.files() == before and not self.is_marked()
        return answer.reason

    def stops(self) -> None:
        """Stop; assert that it is a success and that nothing lives or is marked."""
        answer = self.stop()
        assert answer.code == 0, answer.reason
        assert self.alive() == [] and not self.is_marked()

    def handler_call(self, action: str) -> Call:
        """Return the Call that a handler gets."""
        return Call(bluemind.AGENT, action, self.environment(timeout=TIMEOUTS[action]),
                    self.machine.clock.monotonic)

    # What became of the node

    def unit(self, name: str) -> FakeUnit:
        """Return the unit of a service."""
        fixed = self.profile.services.get(name) or profile.SERVICES[name]
        return self.machine.systemd._units[fixed.unit]

    def main(self, name: str) -> Running:
        """Return the main process of a service."""
        found = self.unit(name).main
        assert found is not None
        return found

    def script(self, name: str, port: int, host: str = "127.0.0.1") -> Script:
        """Return what a service says at a port; change it to change the service's mood."""
        its = self.unit(name).program
        assert its is not None
        return its.listens[(host, port)]

    def alive(self) -> List[str]:
        """Return the units of which a process lives."""
        return sorted({each.cgroup.rpartition("/")[2]
                       for each in self.machine.processes.table.values()
                       if each.cgroup.startswith("/system.slice/") and each.state != "Z"})

    def launched(self) -> List[str]:
        """Return the units that systemd was told to start, in order."""
        return [call[1] for call in self.machine.systemd.calls if call[0] == "start"]

    def is_marked(self) -> bool:
        """Tell whether the record of an active group is there: guarded units could start."""
        return self.machine.files.exists(active.path_of(self.resource))

    def files(self) -> Dict[str, bytes]:
        """Return every file of the node that a refused start must leave as it was."""
        passing = ("/proc/", "/run/mailha/lock/", "/run/mailha/fencing-verdict")
        found = {path: content for path, content in self.machine.files.content.items()
                 if not path.startswith(passing)}
        found.update({str(path): path.read_bytes() for path in sorted(self.record.iterdir())
                      if path.is_file()})
        return found

    def last_run(self) -> str:
        """Return the version that is recorded with the data, "" for none."""
        path = self.record / ".mailha-last-run"
        if not path.exists():
            return ""
        lines: List[Union[str, Any]] = path.read_text().splitlines()
        return next(line[len("version "):] for line in lines if line.startswith("version "))


def prepare(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    """Let the agent find the node's machine and its clock where it looks for the real ones."""
    monkeypatch.setattr(bluemind, "_machine", lambda: node.machine)
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=node.machine.clock.monotonic))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    # This machine does not lose power between two tests, and a disk that is waited for costs more
    # than all the rest of them.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
