# SPDX-License-Identifier: GPL-2.0-or-later
"""The client of systemd against a scripted server; against real systemd it is tested in the lab."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import pytest

from mailha import errors
from mailha.system import dbus, systemctl
from mailha.system.child_failures import ChildFailed, ChildMissing
from mailha.system.children import Finished
from mailha.system.systemd import Systemd, _is_loadable, unit_path
from mailha.system.units import NO_SUCH_UNIT, SystemdUnavailable, UnitError
from test_system_dbus import answer

Reply = Callable[["Server", socket.socket, "Asked"], Optional[bytes]]
ROWS = "a(ssssssouso)"


class Asked:
    """A call that reached the server."""

    def __init__(self, data: bytes) -> None:
        self.serial = int.from_bytes(data[8:12], "little")
        reader = dbus._Reader(data, 12, "<")
        self.fields = dict(reader.values("a(yv)")[0])
        self.member = self.fields[3]
        self.values = dbus.decode(data).body


class Server:
    """A D-Bus server on a unix socket; `replies` says what it does with each call in turn.

    A reply returns the bytes to send, or None to close the connection. The last one stays.
    """

    def __init__(self, path: Path, *replies: Reply, login: bytes = b"OK 0123\r\n") -> None:
        self.replies: List[Reply] = list(replies)
        self.asked: List[Asked] = []
        self.login = login
        self.connections = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._threads: List[threading.Thread] = []
        self._open: List[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(peer)
            self._threads.append(threading.Thread(target=self._serve, args=(peer,)))
            self._threads[-1].start()

    def _serve(self, peer: socket.socket) -> None:
        try:
            data = b""
            while b"BEGIN\r\n" not in data:
                data += peer.recv(1000)
            assert data.startswith(b"\0AUTH EXTERNAL ") and data.endswith(b"BEGIN\r\n")
            peer.sendall(self.login)
            data = b""
            while True:
                size = dbus.size_of(data)
                if not size or len(data) < size:
                    piece = peer.recv(65536)
                    if not piece:
                        return
                    data += piece
                    continue
                asked, data = Asked(data[:size]), data[size:]
                self.asked.append(asked)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                sent = reply(self, peer, asked)
                if sent is None:
                    peer.shutdown(socket.SHUT_RDWR)
                    return
                peer.sendall(sent)
        except OSError:
            pass


def says(signature: str, *values: Any, order: str = "<") -> Reply:
    return lambda server, peer, asked: answer(signature, values, order, asked.serial)


def refuses(name: str, text: str = "no") -> Reply:
    return lambda server, peer, asked: answer("s", [text], "<", asked.serial, dbus.ERROR, name)


def hangs_up(server: Server, peer: socket.socket, asked: Asked) -> Optional[bytes]:
    return None


def is_mute(server: Server, peer: socket.socket, asked: Asked) -> Optional[bytes]:
    return b""


def row(name: str, load: str = "loaded", active: str = "active", sub: str = "running",
        job: tuple[int, str] = (0, "")) -> tuple[Any, ...]:
    return (name, "text", load, active, sub, "", "/u", job[0], job[1], "/j")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def private(root: Path) -> Iterator[Callable[..., Server]]:
    yield from servers(root / "run/systemd/private")


@pytest.fixture
def bus(root: Path) -> Iterator[Callable[..., Server]]:
    yield from servers(root / "run/dbus/system_bus_socket")


def servers(path: Path) -> Iterator[Callable[..., Server]]:
    made: List[Server] = []

    def make(*replies: Reply, **named: Any) -> Server:
        made.append(Server(path, *replies, **named))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.mark.parametrize("order", "<>")
def test_units_are_told_in_one_call(root: Path, private: Any, order: str) -> None:
    server = private(says(ROWS, [row("a.service"), row("b.service", active="inactive", sub="dead",
                                                       job=(7, "start"))], order=order))
    found = Systemd(str(root), timeout=60).units(["a.service", "b.service"])
    assert (found["a.service"].active, found["a.service"].job) == ("active", "")
    assert (found["b.service"].sub, found["b.service"].job) == ("dead", "start")
    assert [asked.member for asked in server.asked] == ["ListUnitsByNames"]
    assert server.connections == 1


def test_alias_masked_missing_and_template_come_back_under_the_names_asked_for(
        root: Path, private: Any) -> None:
    server = private(says(ROWS, [row("mariadb.service"), row("m.service", "masked", "inactive"),
                                 row("none.service", "not-found", "inactive"),
                                 row("x@1.service")]))
    names = ["mysql.service", "m.service", "none.service", "x@.service", "x@1.service",
             "a b.service", "plain"]
    found = Systemd(str(root), timeout=60).units(names)
    assert list(found) == names
    assert found["mysql.service"].name == "mariadb.service"
    assert [found[name].load for name in names] == \
        ["loaded", "masked", "not-found", "not-found", "loaded", "not-found", "not-found"]
    assert server.asked[0].values == [["mysql.service", "m.service", "none.service",
                                       "x@1.service"]]


def test_fewer_units_than_asked_for_is_no_answer(root: Path, private: Any) -> None:
    private(says(ROWS, []))
    with pytest.raises(SystemdUnavailable, match="0 units when asked for 1"):
        Systemd(str(root), timeout=60).units(["a.service"])


def test_details_come_in_the_same_round_trip(root: Path, private: Any) -> None:
    server = private(says(ROWS, [row("a.service"), row("t.target")]),
                     says("v", ("s", "/system.slice/a.service")), says("v", ("u", 42)))
    found = Systemd(str(root), timeout=60).units(["a.service", "t.target"], details=True)
    assert (found["a.service"].main_process, found["a.service"].control_group) == \
        (42, "/system.slice/a.service")
    assert (found["t.target"].main_process, found["t.target"].control_group) == (0, "")
    assert len(server.asked) == 3


def test_answers_may_come_late_in_pieces_between_signals_and_in_any_order(
        root: Path, private: Any) -> None:
    later: List[Asked] = []

    def keep(server: Server, peer: socket.socket, asked: Asked) -> bytes:
        later.append(asked)
        if len(later) < 2:
            return b""
        signal = answer("s", ["x"], reply_to=0, kind=dbus.SIGNAL)
        data = signal + answer("a{sv}", [{"B": ("i", 2)}], reply_to=later[1].serial) \
            + signal + answer("a{sv}", [{"A": ("i", 1)}], reply_to=later[0].serial)
        for start in range(0, len(data), 7):
            peer.sendall(data[start:start + 7])
        return b""

    private(keep)
    assert Systemd(str(root), timeout=60).properties("a.service") == {"A": 1, "B": 2}


def test_large_answer(root: Path, private: Any) -> None:
    value = [f"VARIABLE{number}={'x' * 100}" for number in range(20_000)]
    private(says("a{sv}", {"Environment": ("as", value)}))
    assert Systemd(str(root), timeout=60).properties("a.service")["Environment"] == value


def test_connection_reset_by_daemon_reexec_is_tried_again(root: Path, private: Any) -> None:
    server = private(hangs_up, hangs_up, says(ROWS, [row("a.service")]))
    assert Systemd(str(root), timeout=60).units(["a.service"])["a.service"].active == "active"
    assert server.connections == 3


def test_bus_that_does_not_reach_systemd_is_tried_again(root: Path, bus: Any) -> None:
    server = bus(says("s", ":1.5"), refuses("org.freedesktop.DBus.Error.NoReply"),
                 says("s", ":1.6"), refuses("org.freedesktop.DBus.Error.NameHasNoOwner"),
                 says("s", ":1.7"), says("v", ("s", "running")))
    assert Systemd(str(root), timeout=60).state() == "running"
    assert [asked.member for asked in server.asked] == ["Hello", "Get"] * 3
    assert server.asked[-1].fields[6] == "org.freedesktop.systemd1"
    assert server.asked[0].fields[6] == "org.freedesktop.DBus"


@pytest.mark.parametrize("login, reply", [
    (b"REJECTED EXTERNAL\r\n", is_mute), (b"garbage" * 1000, is_mute),
    (b"OK 1\r\n", lambda *_: b"\xff" * 100), (b"OK 1\r\n", hangs_up), (b"OK 1\r\n", is_mute)])
def test_private_socket_that_is_no_use_leads_to_the_bus(
        root: Path, private: Any, bus: Any, login: bytes, reply: Reply) -> None:
    private(reply, login=login)
    bus(says("s", ":1.5"), says("v", ("s", "degraded")))
    assert Systemd(str(root)).state(timeout=1.0) == "degraded"


@pytest.fixture
def no_systemctl(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise ChildMissing("cannot execute 'systemctl'", command=["systemctl"])
    monkeypatch.setattr("mailha.system.children.Children.run", missing)


@pytest.mark.parametrize("reply", [is_mute, hangs_up, lambda *_: b"garbage" * 10])
def test_silence_everywhere_ends_at_the_timeout_and_says_nothing_of_units(
        root: Path, private: Any, no_systemctl: None, reply: Reply) -> None:
    private(reply)
    before = time.monotonic()
    with pytest.raises(SystemdUnavailable) as caught:
        Systemd(str(root), timeout=0.4).units(["a.service"])
    assert 0.2 < time.monotonic() - before < 30
    assert caught.value.code == errors.ERR_GENERIC


def test_no_systemd_at_all_is_told_at_once(tmp_path: Path) -> None:
    systemd = Systemd(str(tmp_path), timeout=600)
    assert not systemd.running()
    with pytest.raises(SystemdUnavailable, match="not running here"):
        systemd.units(["a.service"])


def test_sigterm_is_sent_once_even_when_the_answer_is_lost(
        root: Path, private: Any, no_systemctl: None) -> None:
    # A second SIGTERM cuts a database upgrade of Kopano.
    server = private(hangs_up)
    with pytest.raises(SystemdUnavailable, match="may have been done"):
        Systemd(str(root), timeout=60).kill("a.service", 15)
    assert len(server.asked) == 1
    with pytest.raises(SystemdUnavailable):
        Systemd(str(root), timeout=0.4).kill("a.service", 9)
    assert len(server.asked) > 2


def test_connection_that_broke_between_two_calls_loses_no_signal(
        root: Path, private: Any) -> None:
    gone = threading.Event()

    def leave(server: Server, peer: socket.socket, asked: Asked) -> bytes:
        peer.sendall(answer("v", [("s", "running")], reply_to=asked.serial))
        peer.shutdown(socket.SHUT_RDWR)
        gone.set()
        return b""

    server = private(leave, says(""))
    systemd = Systemd(str(root), timeout=60)
    assert systemd.state() == "running"
    assert gone.wait(60)
    assert systemd.kill("a.service", 15)
    assert [asked.member for asked in server.asked] == ["Get", "KillUnit"]
    assert server.asked[1].values == ["a.service", "all", 15]


def test_start_returns_its_job_and_refusals_carry_their_name(root: Path, private: Any) -> None:
    server = private(says("o", "/job/5"), refuses("org.freedesktop.systemd1.UnitMasked", "masked!"))
    systemd = Systemd(str(root), timeout=60)
    assert systemd.start("a.service") == "/job/5"
    assert server.asked[0].values == ["a.service", "replace"]
    with pytest.raises(UnitError, match="systemd refuses StopUnit a.service: masked!") as caught:
        systemd.stop("a.service")
    assert caught.value.name == "org.freedesktop.systemd1.UnitMasked"
    assert caught.value.code == errors.ERR_GENERIC


def test_job_that_is_gone_has_no_state_and_needs_no_cancelling(root: Path, private: Any) -> None:
    private(says("v", ("s", "waiting")), refuses("org.freedesktop.DBus.Error.UnknownObject"))
    systemd = Systemd(str(root), timeout=60)
    assert systemd.job_state("/job/5") == "waiting"
    assert systemd.job_state("/job/5") == ""
    systemd.cancel("/job/5")


def test_unit_that_ended_meanwhile_is_no_failure(root: Path, private: Any) -> None:
    private(refuses(NO_SUCH_UNIT))
    systemd = Systemd(str(root), timeout=60)
    assert systemd.kill("a.service", 9) is False
    systemd.reset_failed("a.service")


@pytest.mark.parametrize("name, path", [
    ("kopano-server.service", "kopano_2dserver_2eservice"), ("9.service", "_39_2eservice"),
    ("x@é.service", "x_40_c3_a9_2eservice"), ("-.mount", "_2d_2emount")])
def test_object_path_of_a_unit(name: str, path: str) -> None:
    assert unit_path(name) == "/org/freedesktop/systemd1/unit/" + path


@pytest.mark.parametrize("name", [
    "", ".", ".service", "x", "x@.service", "@.service", "a b.service", "a/b.service",
    "x" * 300 + ".service", "-x\n.service", "é.service"])
def test_names_that_no_unit_can_have_are_never_sent(name: str) -> None:
    assert not _is_loadable(name)


# systemctl

SHOW = (b"Id=mariadb.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=42\n"
        b"ControlGroup=/system.slice/mariadb.service\nJob=7\n\n"
        b"Id=m.service\nLoadState=masked\nActiveState=inactive\nSubState=dead\nMainPID=0\n"
        b"ControlGroup=\n")


def command(monkeypatch: pytest.MonkeyPatch, *results: Any) -> List[List[str]]:
    """Let systemctl give these results; return the list in which its calls will be."""
    ran: List[List[str]] = []
    left = list(results)

    def run(_: Any, argv: List[str], **__: Any) -> Finished:
        ran.append(argv[3:])
        result = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(result, Exception):
            raise result
        return Finished(0, result)

    monkeypatch.setattr("mailha.system.children.Children.run", run)
    return ran


def test_systemctl_is_the_last_resort(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, SHOW, b"7 mariadb.service stop running\n")
    found = Systemd(str(root), timeout=0.1).units(["mysql.service", "m.service", "x@.service"])
    assert (found["mysql.service"].name, found["mysql.service"].job) == ("mariadb.service", "stop")
    assert (found["mysql.service"].main_process, found["m.service"].load) == (42, "masked")
    assert found["x@.service"].load == "not-found"


def test_systemctl_that_helped_once_is_asked_first_from_then_on(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = command(monkeypatch, b"running\n")
    systemd = Systemd(str(root))
    assert systemd.state(timeout=0.2) == "running"
    before = time.monotonic()
    assert systemd.state(timeout=600) == "running"
    assert time.monotonic() - before < 60
    assert ran == [["is-system-running"]] * 2


@pytest.mark.parametrize("message, kind", [
    (b"Failed to start m.service: Unit m.service is masked.", UnitError),
    (b"Failed to connect to bus: No such file or directory", SystemdUnavailable),
    (b"Failed to start x: Connection timed out", SystemdUnavailable), (b"", SystemdUnavailable)])
def test_refusal_of_systemctl_is_told_from_its_silence(
        monkeypatch: pytest.MonkeyPatch, message: bytes, kind: Any) -> None:
    command(monkeypatch, ChildFailed("x", command=["systemctl"], exit_code=1, stderr=message))
    with pytest.raises(kind):
        systemctl.Systemctl(0.1).job("StartUnit", "m.service")


def test_jobs_through_systemctl(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = command(monkeypatch, b"", b"Job=12\nId=a.service\n", b"12 a.service start waiting\n")
    client = systemctl.Systemctl(1.0)
    path = client.job("StartUnit", "a.service")
    assert client.job_state(path) == "waiting"
    client.cancel(path)
    assert ran[0] == ["start", "--no-block", "--", "a.service"]
    assert ran[-1] == ["cancel", "12"]
    assert os.path.basename(path) == "12"
