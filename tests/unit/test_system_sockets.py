# SPDX-License-Identifier: GPL-2.0-or-later
"""Who listens where, which addresses are here, and connections that cannot hang."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha import errors
from mailha.system import addresses, netlink, proc_net
from mailha.system.connection import Connection, ConnectionFailed
from mailha.system.machine import Machine
from mailha.system.addresses import listens
from mailha.system.netlink import Listener
from mailha.system.sockets import Sockets

SOCKETS = Machine().sockets


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def inode(listener: socket.socket) -> int:
    return os.fstat(listener.fileno()).st_ino


def find(listener: socket.socket, found: list[Listener]) -> Listener:
    return next(each for each in found if each.inode == inode(listener))


def both_ways() -> list[Any]:
    return [netlink.listeners, lambda: proc_net.listeners("/proc")]


# Listeners

@pytest.mark.parametrize("ask", both_ways())
def test_listener_is_seen_with_its_owner_and_no_connection_is_made(
        server: socket.socket, ask: Any) -> None:
    found = find(server, ask())
    assert (found.family, found.address, found.port) == (4, *server.getsockname())
    assert inode(server) in SOCKETS.owned_inodes(os.getpid())
    assert SOCKETS.owned_inodes(os.getpid(), {inode(server)}) >= {inode(server)}
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.accept()


IPV6_LISTENERS = [
    ("::", 0, True, True), ("::", 1, False, True), ("::1", 0, False, True),
    ("::ffff:127.0.0.1", 0, True, False)]


@pytest.mark.skipif(not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"),
                    reason="no IPv6 here")
@pytest.mark.parametrize("ask, address, only6, v4, v6", [
    (ask, *listener) for ask in both_ways() for listener in IPV6_LISTENERS
    # /proc/net does not show IPV6_V6ONLY.
    if ask is netlink.listeners or not listener[1]])
def test_ipv6_listener_serves_whom_it_serves(
        ask: Any, address: str, only6: int, v4: bool, v6: bool) -> None:
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        found = find(listener, ask())
        assert listens(found, "127.0.0.1", port) is v4
        assert listens(found, "::1", port) is v6
        assert reaches(socket.AF_INET, ("127.0.0.1", port)) is v4
        assert reaches(socket.AF_INET6, ("::1", port)) is v6


def reaches(family: int, address: tuple[str, int]) -> bool:
    """What the kernel says to the question that listens() answers."""
    with socket.socket(family) as client:
        client.settimeout(10)
        return client.connect_ex(address) == 0


@pytest.mark.parametrize("listener, host, answer", [
    (Listener(4, "0.0.0.0", 1, 1), "192.0.2.1", True), (Listener(4, "0.0.0.0", 1, 1), "::1", False),
    (Listener(4, "192.0.2.1", 1, 1), "192.0.2.1", True),
    (Listener(4, "192.0.2.1", 1, 1), "*", False), (Listener(6, "::", 1, 1), "*", True),
    (Listener(6, "::", 1, 1, True), "*", False), (Listener(4, "0.0.0.0", 1, 1), "", True),
    (Listener(6, "::ffff:192.0.2.1", 1, 1), "192.0.2.1", True),
    (Listener(4, "192.0.2.1", 1, 1), "::ffff:192.0.2.1", True),
    (Listener(6, "::", 1, 1), "::", True), (Listener(4, "0.0.0.0", 1, 1), "::", False),
    (Listener(6, "2001:db8::1", 1, 1), "2001:DB8:0:0::1", True),
    (Listener(6, "fe80::1", 1, 1), "fe80::1%eth0", True),
    (Listener(6, "::1", 1, 1), "localhost", True), (Listener(4, "127.0.0.1", 1, 1), "localhost",
                                                    True),
    (Listener(4, "192.0.2.1", 1, 1), "localhost", False),
    (Listener(4, "0.0.0.0", 1, 1), "mail.example.com", False)])
def test_whom_a_listener_serves(listener: Listener, host: str, answer: bool) -> None:
    assert listens(listener, host, 1) is answer
    assert not listens(listener, host, 2)


def test_unix_listener_is_seen_and_its_stale_file_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "a socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert path not in SOCKETS.unix_listeners()
        listener.listen()
        assert SOCKETS.unix_listeners()[path] == [inode(listener)]
    assert os.path.exists(path) and path not in SOCKETS.unix_listeners()


def test_sockets_of_a_process_that_is_gone(tmp_path: Path) -> None:
    assert Sockets(str(tmp_path)).owned_inodes(5) == set()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EPROTONOSUPPORT, errno.ENOENT])
def test_without_netlink_proc_net_is_read(
        server: socket.socket, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(netlink, "socket_for", refuse)
    assert find(server, SOCKETS.listeners()).port == server.getsockname()[1]
    assert "127.0.0.1" in SOCKETS.local_addresses()


def test_no_descriptor_left_is_a_failure_and_no_empty_answer(
        monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(netlink, "socket_for", refuse)
    with pytest.raises(errors.Failed):
        SOCKETS.listeners()
    with pytest.raises(errors.Failed):
        SOCKETS.local_addresses()


# Addresses

def test_local_addresses_are_those_of_the_kernel() -> None:
    found = SOCKETS.local_addresses()
    assert "127.0.0.1" in found and "192.0.2.254" not in found
    assert found == proc_net.addresses("/proc")


@pytest.mark.parametrize("address, answer", [
    ("127.0.0.1", True), ("127.1.2.3", True), ("*", True), ("0.0.0.0", True), ("::", True),
    ("localhost", True), ("192.0.2.9", True), ("::ffff:192.0.2.9", True), ("192.0.2.8", False),
    ("2001:DB8::0:1", True), ("nonsense", False)])
def test_what_can_be_bound(address: str, answer: bool) -> None:
    assert addresses.is_local(address, {"127.0.0.1", "192.0.2.9", "2001:db8::1"}) is answer


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@pytest.mark.parametrize("flags, there", [(0x80, True), (0x40, False), (0x08, False),
                                          (0x44, True), (0x4C, False)])
def test_ipv6_address_in_duplicate_detection_cannot_be_bound_yet(flags: int, there: bool) -> None:
    payload = struct.pack("=BBBBI", socket.AF_INET6, 64, flags & 0xFF, 0, 1) \
        + attribute(netlink.IFA_ADDRESS, socket.inet_pton(socket.AF_INET6, "2001:db8::1")) \
        + attribute(netlink.IFA_FLAGS, struct.pack("=I", flags))
    assert netlink.parse_address(payload) == ("2001:db8::1" if there else "")


def test_own_end_of_a_point_to_point_link_is_the_local_one() -> None:
    payload = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 1) \
        + attribute(netlink.IFA_ADDRESS, bytes([192, 0, 2, 2])) \
        + attribute(netlink.IFA_LOCAL, bytes([192, 0, 2, 1]))
    assert netlink.parse_address(payload) == "192.0.2.1"


# Parsers

@given(st.binary(max_size=300))
def test_garbage_from_netlink_is_a_failure_and_never_a_loop(data: bytes) -> None:
    for parse in (lambda: list(netlink.messages(data)), lambda: netlink.parse_listener(data),
                  lambda: netlink.parse_address(data),
                  lambda: list(netlink.attributes(data, 0, len(data)))):
        try:
            parse()
        except errors.Failed:
            pass


@given(st.lists(st.tuples(st.integers(16, 100), st.binary(max_size=40)), max_size=5))
def test_messages_of_one_datagram_come_out_as_they_went_in(
        rows: list[tuple[int, bytes]]) -> None:
    data = b"".join(struct.pack("=IHHII", 16 + len(payload), kind, 2, 0, 0) + payload
                    + bytes(-len(payload) % 4) for kind, payload in rows)
    assert [(kind, payload) for kind, _, payload in netlink.messages(data)] == rows


class Table:
    """Plays the kernel's end of a netlink socket: one list of datagrams for each question."""

    def __init__(self, *answers: list[bytes]) -> None:
        self.answers = list(answers)
        self.now: list[bytes] = []

    def send(self, _: bytes) -> None:
        self.now = self.answers.pop(0)

    def recv(self, _: int) -> bytes:
        return self.now.pop(0)


def row(kind: int, payload: bytes = b"", flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, 0, 0) + payload


def test_table_that_changed_while_it_was_read_is_read_again() -> None:
    torn = [row(20, b"half", flags=netlink.NLM_F_DUMP_INTR), row(netlink.NLMSG_DONE)]
    whole = [row(20, b"one!") + row(20, b"two!"), row(netlink.NLMSG_DONE)]
    table: Any = Table(list(torn), whole)
    assert netlink.dump(table, 20, b"") == [(20, b"one!"), (20, b"two!")]
    restless: Any = Table(*[list(torn) for _ in range(9)])
    with pytest.raises(OSError):
        netlink.dump(restless, 20, b"")


def test_error_of_the_kernel_keeps_its_number() -> None:
    table: Any = Table([row(netlink.NLMSG_ERROR, struct.pack("=i", -errno.EPERM))])
    with pytest.raises(PermissionError):
        netlink.dump(table, 20, b"")


# Connections

def test_conversation_by_lines_and_bytes(server: socket.socket) -> None:
    with SOCKETS.connect(server.getsockname(), 10) as client:
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"220 ready\r\nmore\nrest")
            assert client.receive_line(10) == b"220 ready"
            assert client.receive_line(10) == b"more"
            assert client.receive(2, 10) + client.receive(10, 10) == b"rest"
            client.send(b"QUIT\r\n")
            assert peer.recv(100) == b"QUIT\r\n"
        assert client.receive(10, 10) == b""


def test_service_that_trickles_or_is_mute_is_left_at_the_deadline(server: socket.socket) -> None:
    done = threading.Event()

    def trickle() -> None:
        peer, _ = server.accept()
        with peer:
            while not done.wait(0.02):
                try:
                    peer.send(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with SOCKETS.connect(server.getsockname(), 10) as client:
            before = time.monotonic()
            assert cause(lambda: client.receive_line(0.2)) == "timeout"
            assert time.monotonic() - before < 30
    finally:
        done.set()
        thread.join()
    with SOCKETS.connect(server.getsockname(), 10) as client:
        assert cause(lambda: client.receive(10, 0.05)) == "timeout"


def cause(call: Any) -> str:
    with pytest.raises(ConnectionFailed) as caught:
        call()
    assert caught.value.code == errors.ERR_GENERIC and "\n" not in str(caught.value)
    return caught.value.cause


def test_each_failure_has_its_cause(server: socket.socket, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert cause(lambda: SOCKETS.connect(free.getsockname(), 10)) == "refused"
    assert cause(lambda: SOCKETS.connect(str(tmp_path / "none"), 10)) == "missing"
    assert cause(lambda: SOCKETS.connect(("mail.example.com", 25), 10)) == "other"
    assert cause(lambda: SOCKETS.connect(("127.0.0.1", 99999), 10)) == "other"
    assert cause(lambda: SOCKETS.connect(str(tmp_path / ("x" * 200)), 10)) == "other"
    with SOCKETS.connect(server.getsockname(), 10) as client:
        peer, _ = server.accept()
        peer.send(b"half a line")
        peer.close()
        assert cause(lambda: client.receive_line(10)) == "closed"
    with SOCKETS.connect(server.getsockname(), 10) as client:
        peer, _ = server.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert cause(lambda: client.receive(10, 10)) == "reset"


def test_flood_without_a_line_end_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours, "test") as client:
        theirs.sendall(b"x" * 2000)
        assert cause(lambda: client.receive_line(10, limit=1000)) == "flood"


def test_unix_socket_with_a_full_queue_is_a_timeout(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with SOCKETS.connect(path, 10):
            assert cause(lambda: SOCKETS.connect(path, 0.1)) == "timeout"


def test_localhost_works_where_only_one_family_listens(server: socket.socket) -> None:
    SOCKETS.connect(("localhost", server.getsockname()[1]), 10).close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert cause(lambda: SOCKETS.connect(("localhost", port), 10)) == "refused"
