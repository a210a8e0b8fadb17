# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node remembers: the manifest, the generation counters, packages, and what is due."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sync_receiver import ReceivingNode

from mailha import errors
from mailha.sync import packages, state
from mailha.sync.active.generation import AttributeCounter, CounterDamaged, FileCounter
from mailha.sync.files.selection import Selection
from mailha.sync.manifest import Manifest
from mailha.sync.passive import debouncing
from mailha.sync.passive.debouncing import Debounced
from mailha.sync.passive.hooks import Hooks
from mailha.sync.passive.kept import Kept
from mailha.sync.state import Busy, State, locked
from mailha.system.child_failures import ChildFailed, ChildTimedOut
from mailha.system.children import Finished

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64


@pytest.fixture
def node(memory: Path) -> ReceivingNode:
    """Return a node that has its directories."""
    made = ReceivingNode(memory)
    made.places.make(made.machine)
    return made


class TestManifest:
    """What two nodes have agreed on."""

    def manifest(self, node: ReceivingNode) -> Manifest:
        return Manifest.load(node.machine, node.places)

    def test_what_is_coming_and_what_was_are_both_right(self, node: ReceivingNode) -> None:
        manifest = self.manifest(node)
        manifest.agree({"/etc/a": ONE})
        manifest.pending({"/etc/a": TWO})
        for known in (manifest, self.manifest(node)):
            assert set(known.fingerprints("/etc/a")) == {ONE, TWO}
        manifest.agree({"/etc/a": TWO})
        assert self.manifest(node).fingerprints("/etc/a") == (TWO,)

    def test_what_is_about_to_be_deleted_is_still_known(self, node: ReceivingNode) -> None:
        manifest = self.manifest(node)
        manifest.agree({"/etc/a": ONE})
        manifest.pending({"/etc/a": None})
        assert "/etc/a" in self.manifest(node)
        manifest.agree({"/etc/a": None})
        assert "/etc/a" not in self.manifest(node)
        assert self.manifest(node).recently_deleted() == 1

    def test_forced_deletions_are_not_counted(self, node: ReceivingNode) -> None:
        manifest = self.manifest(node)
        manifest.agree({"/etc/a": ONE})
        manifest.agree({"/etc/a": None}, counted=False)
        assert manifest.recently_deleted() == 0 == self.manifest(node).recently_deleted()

    def test_another_process_is_noticed(self, node: ReceivingNode) -> None:
        first, second = self.manifest(node), self.manifest(node)
        first.agree({"/etc/a": ONE})
        second.refresh()
        second.agree({"/etc/b": TWO})
        first.refresh()
        assert sorted(first.paths()) == ["/etc/a", "/etc/b"]

    @given(cut=some.integers(0, 400), garbage=some.binary(max_size=20))
    def test_a_torn_line_costs_itself_alone(self, tmp_path_factory: pytest.TempPathFactory,
                                            cut: int, garbage: bytes) -> None:
        node = ReceivingNode(tmp_path_factory.mktemp("node"))
        node.places.make(node.machine)
        manifest = self.manifest(node)
        manifest.agree({"/etc/a": ONE})
        whole = node.path(node.places.manifest).read_bytes()
        manifest.agree({"/etc/b": TWO})
        longer = node.path(node.places.manifest).read_bytes()
        manifest.close()
        place = max(len(whole), len(longer) - cut)
        node.path(node.places.manifest).write_bytes(longer[:place] + garbage.replace(b"\n", b""))
        again = self.manifest(node)
        assert again.fingerprints("/etc/a") == (ONE,)
        again.agree({"/etc/c": THREE})
        last = self.manifest(node)
        assert last.fingerprints("/etc/a") == (ONE,) and last.fingerprints("/etc/c") == (THREE,)

    def test_history_is_cut_and_nothing_forgotten(self, node: ReceivingNode,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mailha.sync.manifest._WORTH_COMPACTING", 2000)
        manifest = self.manifest(node)
        manifest.pending({"/etc/b": ONE}, ["daemon-reload"])
        manifest.pending({"/etc/b": TWO})
        for number in range(100):
            manifest.agree({"/etc/a": f"{number:064d}"})
        manifest.agree({"/etc/c": THREE, "/etc/d": ONE})
        manifest.agree({"/etc/d": None})
        assert node.path(node.places.manifest).stat().st_size < 4000, "a line has 130 bytes"
        for known in (manifest, self.manifest(node)):
            assert known.fingerprints("/etc/a") == (f"{99:064d}",)
            assert set(known.fingerprints("/etc/b")) == {ONE, TWO}
            assert known.fingerprints("/etc/c") == (THREE,) and known.hooks == {"daemon-reload"}
            assert "/etc/d" not in known and known.recently_deleted() == 1

    def test_a_later_format_is_not_guessed_at(self, node: ReceivingNode) -> None:
        import json
        import zlib
        body = json.dumps({"format": 2}).encode()
        node.path(node.places.manifest).write_bytes(b"%08x %s\n" % (zlib.crc32(body), body))
        with pytest.raises(errors.Failed, match="upgrade mailha"):
            self.manifest(node)


class TestKeptCopies:
    """Copies where a second name cannot be given."""

    def test_a_file_that_lies_on_another_file_system_is_copied(
            self, node: ReceivingNode, monkeypatch: pytest.MonkeyPatch) -> None:
        def elsewhere(*arguments: Any, **named: Any) -> None:
            raise OSError(18, "Invalid cross-device link")

        node.write("/etc/a", "precious")
        node.path("/etc/a").chmod(0o640)
        os.utime(node.path("/etc/a"), ns=(5, 7 * 10 ** 9))
        node.path("/etc/l").symlink_to("somewhere")
        monkeypatch.setattr(os, "link", elsewhere)
        parent = os.open(node.path("/etc"), os.O_RDONLY)
        kept = Kept(node.machine, node.places)
        place = node.path(kept.keep(parent, "a", "/etc/a", "deleted"))
        link = node.path(kept.keep(parent, "l", "/etc/l", "deleted"))
        os.close(parent)
        found = place.stat()
        assert place.read_text() == "precious" and found.st_mode & 0o777 == 0o640
        assert found.st_mtime == 7 and os.readlink(link) == "somewhere"

    def test_a_name_of_255_bytes(self, node: ReceivingNode) -> None:
        name = "\u00e9" * 127 + "x"
        node.write(f"/etc/{name}", "x")
        parent = os.open(node.path("/etc"), os.O_RDONLY)
        kept = Kept(node.machine, node.places)
        kept.keep(parent, name, f"/etc/{name}", "replaced")
        os.close(parent)
        assert len(kept.listing(f"/etc/{name}")) == 1


class TestCounters:
    """The fencing token."""

    def counter(self, node: ReceivingNode, timeout: float = 60.0) -> FileCounter:
        node.path("/srv/mail").mkdir(parents=True, exist_ok=True)
        return FileCounter(node.machine, "/srv/mail", "config", "alice", timeout)

    def test_it_rises_with_each_start(self, node: ReceivingNode) -> None:
        counter = self.counter(node)
        assert counter.read() == 0
        assert [counter.raise_(), counter.raise_(), counter.raise_(at_least=40)] == [1, 2, 40]
        assert self.counter(node).read() == 40
        assert os.listdir(node.path("/srv/mail")) == [".mailha-sync-generation-config"]

    def test_no_link_is_followed_for_it(self, node: ReceivingNode) -> None:
        counter = self.counter(node)
        node.write("/etc/precious", "format 1\ngeneration 7\nend\n")
        path = node.path("/srv/mail/.mailha-sync-generation-config")
        path.symlink_to(node.path("/etc/precious"))
        with pytest.raises(errors.Failed):
            counter.read()

    @pytest.mark.parametrize("content", ["", "7", "format 2\ngeneration 7\nnode a\nend\n",
                                         "format 1\ngeneration -7\nnode a\nend\n",
                                         "format 1\ngeneration 7\nnode a\n",
                                         "format 1\ngeneration " + "9" * 30 + "\nnode a\nend\n"])
    def test_a_damaged_one_is_said_to_be(self, node: ReceivingNode, content: str) -> None:
        counter = self.counter(node)
        node.write("/srv/mail/.mailha-sync-generation-config", content)
        with pytest.raises(CounterDamaged):
            counter.read()

    def test_a_dead_disk_does_not_hold_us(self, node: ReceivingNode) -> None:
        class Dead:
            def bounded(self, work: Any, timeout: float) -> bytes:
                raise ChildTimedOut("it hangs", command=["read"])

        counter = self.counter(node)
        node.machine.children = Dead()      # type: ignore[assignment]
        with pytest.raises(errors.Failed, match="did not answer within 60 s"):
            counter.raise_()

    def test_the_cluster_s_property(self, node: ReceivingNode) -> None:
        called = []

        class Cluster:
            def run(self, argv: list[str], timeout: float) -> Finished:
                called.append(argv)
                return Finished(0, b"6\n" if "--query" in argv else b"")

        node.machine.children = Cluster()   # type: ignore[assignment]
        assert AttributeCounter(node.machine, "config", 5).raise_() == 7
        assert called[-1][-2:] == ["--update", "7"]
        assert called[-1][4] == "mailha-sync-generation-config"


class TestPackages:
    """Whether what is installed is the same, and at rest."""

    def test_versions_from_dpkg(self, node: ReceivingNode) -> None:
        node.write("/var/lib/dpkg/status",
                   "Package: bm-core\nStatus: install ok installed\nVersion: 5.1-1\n\n"
                   "Package: bm-old\nStatus: deinstall ok config-files\nVersion: 4\n\n"
                   "Package: bm-half\nStatus: install ok half-configured\nVersion: 5\n\n"
                   "Package: vim\nStatus: install ok installed\nVersion: 9\n")
        known = packages.Packages(node.machine)
        assert known.versions(["bm-*"]) == {"bm-core": "5.1-1", "bm-half": "5"}
        assert not known.changed()
        node.write("/var/lib/dpkg/status", "Package: bm-core\nStatus: install ok installed\n"
                                           "Version: 5.1-22\n")
        assert known.changed() and known.versions(["*"]) == {"bm-core": "5.1-22"}

    def test_versions_from_rpm(self, node: ReceivingNode) -> None:
        class Rpm:
            def run(self, argv: list[str], timeout: float) -> Finished:
                assert argv[0] == "rpm"
                return Finished(0, b"postfix 2:3.5.8-7.el9\nbash 0:5-1\n")

        node.path("/var/lib/rpm").mkdir(parents=True)
        node.machine.children = Rpm()       # type: ignore[assignment]
        assert packages.Packages(node.machine).versions(["postfix*"]) == {
            "postfix": "2:3.5.8-7.el9"}

    def test_a_node_without_either(self, node: ReceivingNode) -> None:
        assert packages.Packages(node.machine).versions(["*"]) == {}

    def test_what_differs_is_named(self) -> None:
        assert packages.difference({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4"}) == [
            "b 2 and 4", "c 3 and missing"]

    def test_dpkg_at_work_is_seen_by_its_lock(self, node: ReceivingNode) -> None:
        assert packages.busy(node.machine) == ""
        path = node.path("/var/lib/dpkg/lock")
        path.touch()
        assert packages.busy(node.machine) == ""
        ready, tell = os.pipe()
        life, end = os.pipe()
        child = os.fork()
        if not child:
            os.close(end)
            with open(path, "r+b") as file:
                fcntl.lockf(file, fcntl.LOCK_EX)
                os.write(tell, b"!")
                os.read(life, 1)
            os._exit(0)
        assert os.read(ready, 1)
        try:
            assert packages.busy(node.machine) == "dpkg is working on this node"
        finally:
            for descriptor in (ready, tell, life, end):
                os.close(descriptor)
            os.waitpid(child, 0)
        assert packages.busy(node.machine) == ""


class FakeChildren:
    """Notes the commands that are run; those in failing fail."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.failing: set[str] = set()

    def run(self, argv: Any, timeout: float) -> Finished:
        """Note a command."""
        command = " ".join(argv)
        self.commands.append(command)
        if argv[0] in self.failing:
            raise ChildFailed(f"{command} failed", command=list(argv), exit_code=1)
        return Finished(0)


class FakeSystemd:
    """A service manager with a few units. drop_ins: by unit."""

    def __init__(self, **drop_ins: str) -> None:
        self.drop_ins = {f"{name}.service": text for name, text in drop_ins.items()}
        self.reloads = 0

    def running(self) -> bool:
        """Tell that there is one."""
        return True

    def reload(self, timeout: float) -> None:
        """Count."""
        self.reloads += 1

    def units(self, names: Any, timeout: float) -> dict[str, Any]:
        """Return units; those with drop-ins, even empty ones, are active."""
        class Unit:
            def __init__(self, active: str) -> None:
                self.active = active
        return {name: Unit("active" if name in self.drop_ins else "inactive") for name in names}

    def properties(self, unit: str, timeout: float) -> dict[str, Any]:
        """Return the drop-ins."""
        return {"DropInPaths": self.drop_ins[unit]}


class TestHooks:
    """What is done on the passive node afterwards."""

    def hooks(self, node: ReceivingNode, *services: str, sysctl: bool = False,
              exclude: tuple[str, ...] = (), systemd: Any = None) -> Hooks:
        self.children = FakeChildren()
        node.machine.children = self.children               # type: ignore[assignment]
        node.machine.systemd = systemd or FakeSystemd()
        self.manifest = Manifest.load(node.machine, node.places)
        return Hooks(node.machine, Selection(["/etc"], exclude=exclude), self.manifest, services,
                     sysctl=sysctl)

    def test_what_is_due_after_what(self, node: ReceivingNode) -> None:
        hooks = self.hooks(node, "postfix", "apache", sysctl=True)
        assert hooks.due(["/etc/systemd/system/x.service", "/etc/sysctl.d/a.conf", "/etc/aliases",
                          "/etc/postfix/virtual", "/etc/postfix/main.cf", "/etc/apache2/a",
                          "/etc/postfix/virtual.db", "/etc/kopano/server.cfg"]) == {
            "daemon-reload", "sysctl", "newaliases", "postmap /etc/postfix/virtual",
            "reload postfix", "reload apache"}

    def test_sysctl_only_if_it_is_wanted(self, node: ReceivingNode) -> None:
        assert self.hooks(node).due(["/etc/sysctl.conf"]) == set()

    def test_a_table_that_is_replicated_is_not_made_here(self, node: ReceivingNode) -> None:
        # What postmap makes here would differ from the sender's, be replaced, and so on for ever.
        node.write("/etc/postfix/virtual", "a b\n")
        node.write("/etc/postfix/virtual.db", "x")
        hooks = self.hooks(node)
        self.manifest.agree({"/etc/postfix/virtual.db": ONE, "/etc/aliases.db": ONE})
        node.write("/etc/aliases.db", "x")
        assert hooks.run(["postmap /etc/postfix/virtual", "newaliases"]) == {}
        assert self.children.commands == []

    def test_a_table_that_is_not_is_made_in_the_kind_that_postfix_reads(
            self, node: ReceivingNode) -> None:
        node.write("/etc/postfix/virtual", "a b\n")
        node.write("/etc/postfix/virtual.db", "x")
        node.write("/etc/postfix/relay", "a b\n")
        node.write("/etc/postfix/text", "a b\n")
        node.write("/etc/postfix/main.cf", "# virtual_alias_maps = hash:/etc/postfix/virtual\n"
                                           "virtual_alias_maps = btree:/etc/postfix/virtual, x\n"
                                           "relay_domains = "
                                           "${default_database_type}:/etc/postfix/relay\n")
        hooks = self.hooks(node, exclude=("*.db",))
        hooks.run(["postmap /etc/postfix/virtual", "postmap /etc/postfix/relay",
                   "postmap /etc/postfix/text"])
        assert self.children.commands == ["postmap /etc/postfix/relay",
                                          "postmap btree:/etc/postfix/virtual"]

    def test_a_service_is_checked_and_then_reloaded(self, node: ReceivingNode) -> None:
        hooks = self.hooks(node, "postfix", systemd=FakeSystemd(postfix=""))
        assert hooks.run(["reload postfix"]) == {}
        assert self.children.commands == ["postfix check", "systemctl reload postfix.service"]

    def test_a_broken_configuration_is_not_loaded(self, node: ReceivingNode) -> None:
        hooks = self.hooks(node, "postfix", systemd=FakeSystemd(postfix=""))
        self.children.failing.add("postfix")
        assert "postfix check failed" in hooks.run(["reload postfix"])["reload postfix"]
        assert self.children.commands == ["postfix check"]

    @pytest.mark.parametrize("drop_in", [
        "/etc/systemd/system/postfix.service.d/zz-mailha.conf",
        "/run/systemd/system/postfix.service.d/50-pacemaker.conf"])
    def test_a_service_of_the_cluster_is_never_touched(self, node: ReceivingNode,
                                                       drop_in: str) -> None:
        hooks = self.hooks(node, "postfix", systemd=FakeSystemd(postfix=drop_in))
        hooks.run(["reload postfix"])
        assert self.children.commands == []

    def test_a_service_that_does_not_run_here_is_left_alone(self, node: ReceivingNode) -> None:
        self.hooks(node, "apache").run(["reload apache"])
        assert self.children.commands == []

    def test_a_service_that_the_sender_invents_is_nothing(self, node: ReceivingNode) -> None:
        hooks = self.hooks(node, "evil.service; rm -rf /")
        assert hooks.run(["reload evil.service; rm -rf /", "nonsense"]) == {}
        assert self.children.commands == []

    def test_systemd_first_and_services_last(self, node: ReceivingNode) -> None:
        systemd = FakeSystemd(postfix="")
        hooks = self.hooks(node, "postfix", sysctl=True, systemd=systemd,
                           exclude=("/etc/aliases.db",))
        node.write("/etc/aliases", "a: b\n")
        hooks.run(["reload postfix", "newaliases", "sysctl", "daemon-reload"])
        assert systemd.reloads == 1
        assert self.children.commands == ["sysctl --system", "newaliases", "postfix check",
                                          "systemctl reload postfix.service"]


class TestLock:
    """Who holds the lock must be able to let go, or be made to."""

    def held(self, node: ReceivingNode, state: str, *argv: str) -> int:
        """Let a process hold the lock; return its pid. What it is stands in the node's /proc."""
        ready, told = os.pipe()
        child = os.fork()       # fcntl(2) does not show a process its own locks
        if not child:
            os.write(told, b"!" if node.machine.files.lock(node.places.lock) else b"?")
            signal.pause()
        assert os.read(ready, 1) == b"!"
        os.close(ready)
        os.close(told)
        node.write(f"/proc/{child}/stat", f"{child} (python3) {state} 1 " + "0 " * 17 + "77 0\n")
        node.write(f"/proc/{child}/cmdline", "\0".join(argv) + "\0")
        return child

    def ended(self, child: int) -> bool:
        """Tell whether the process was killed, and end it if not."""
        os.kill(child, signal.SIGTERM)
        return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

    RECEIVER = ("/usr/bin/python3", "/usr/sbin/mailha", "sync", "receive")

    @pytest.fixture(autouse=True)
    def no_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let nobody wait long."""
        monkeypatch.setattr(state, "PATIENCE", 0.0)

    def test_a_stopped_receiver_keeps_nobody_from_sending(self, node: ReceivingNode) -> None:
        child = self.held(node, "T", *self.RECEIVER)
        State.load(node.machine, node.places).become_sender(7, "bob")
        assert self.ended(child) and State.load(node.machine, node.places).was_sender

    def test_nor_the_next_connection_from_being_served(self, node: ReceivingNode) -> None:
        child = self.held(node, "T", *self.RECEIVER)
        with node.session() as sender:
            assert sender.ask({"type": "ping"})["type"] == "pong"
        assert self.ended(child)

    def test_a_receiver_that_works_ends_when_this_node_sends(self, node: ReceivingNode) -> None:
        child = self.held(node, "D", *self.RECEIVER)
        State.load(node.machine, node.places).become_sender(7, "bob")
        assert self.ended(child)

    @pytest.mark.parametrize("letter, argv, said", [
        ("D", RECEIVER, r"process \d+ \(mailha sync receive, waiting for a disk\) held"),
        ("T", ("/usr/bin/python3", "/usr/sbin/mailha", "sync", "send", "sync"), "SIGSTOP"),
        ("T", ("/usr/bin/tar", "sync", "receive"), r"process \d+ \(python3, stopped")])
    def test_nobody_else_is_killed_but_told_of(self, node: ReceivingNode, letter: str,
                                               argv: Any, said: str) -> None:
        child = self.held(node, letter, *argv)
        with pytest.raises(Busy, match=said):
            with locked(node.machine, node.places, 0.05):
                pass
        assert not self.ended(child)


class TestDebouncing:
    """Once, a moment after the last of many."""

    class Clock:
        """A clock that stands until it is moved."""

        now = 100.0

        def monotonic(self) -> float:
            """Return the time."""
            return self.now

    def debounced(self, node: ReceivingNode) -> Debounced:
        self.clock = node.machine.clock = self.Clock()      # type: ignore[assignment]
        self.worked: list[list[str]] = []

        def work(names: Any) -> dict[str, str]:
            self.worked.append(sorted(names))
            return {"bad": "it failed"} if "bad" in names else {}

        return Debounced(node.machine, work)

    def test_many_changes_one_deed(self, node: ReceivingNode) -> None:
        due = self.debounced(node)
        for _ in range(5):
            due.add(["a", "b"])
            self.clock.now += 0.3
            assert due.poll() == set() and self.worked == []
        self.clock.now += 0.3
        due.poll()
        assert due.finish(60) == {"a", "b"} and self.worked == [["a", "b"]]

    def test_endless_changes_do_not_put_it_off_for_ever(self, node: ReceivingNode) -> None:
        due = self.debounced(node)
        for _ in range(30):
            due.add(["a"])
            self.clock.now += 0.3
            due.poll()
        due.finish(60)
        assert self.worked

    def test_a_failure_is_remembered_until_it_is_mended(self, node: ReceivingNode) -> None:
        due = self.debounced(node)
        due.add(["bad", "good"])
        assert due.finish(60) == {"good"} and due.failures == {"bad": "it failed"}

    def test_a_failure_is_tried_again_later_and_later(self, node: ReceivingNode) -> None:
        # One that failed once stayed undone until the next connection, which may be in months.
        due = self.debounced(node)
        due.add(["bad"])
        due.finish(60)
        pauses = []
        for _ in range(8):
            pauses.append(round(due.wait(3600.0)))
            self.clock.now += pauses[-1] + 0.01
            due.poll()
            due.finish(60)
        assert pauses == [15, 30, 60, 120, 240, 480, 600, 600]
        assert due.failures == {"bad": "it failed"} and len(self.worked) == 9

    def test_what_is_mended_is_not_tried_again(self, node: ReceivingNode) -> None:
        due = self.debounced(node)
        failing = {"map": "it failed"}
        due = Debounced(node.machine, lambda names: dict(failing))
        due.add(["map"])
        due.finish(60)
        failing.clear()
        self.clock.now += debouncing.FIRST_PAUSE + 0.01
        assert due.wait(60.0) == 0.0
        due.poll()
        assert due.finish(60) == {"map"} and due.failures == {}
        assert due.wait(60.0) == 60.0

    def test_the_end_of_the_connection_does_not_wait_for_quiet(self, node: ReceivingNode) -> None:
        due = self.debounced(node)
        due.add(["a"])
        assert due.finish(60) == {"a"}
