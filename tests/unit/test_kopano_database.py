# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether MySQL can be reached, and how the probe takes leave of it."""

from __future__ import annotations

import struct
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_machine import FakeMachine, Program, Script
from mailha.products.kopano import database
from mailha.products.kopano.configuration import Database
from mailha.system.children import Finished

TCP = Database("192.0.2.2", 3306, "", "kopano", "kopano")
LOCAL = Database("localhost", 3306, "", "kopano", "kopano")
SOCKET = "/run/mysqld/mysqld.sock"
DENIED = b"\xff\x15\x04#28000Access denied for user 'mailha-probe'@'a' (using password: NO)"


def packet(content: bytes, sequence: int = 0) -> bytes:
    return struct.pack("<I", len(content))[:3] + bytes([sequence]) + content


def greeting(plugin: bytes = b"mysql_native_password\0") -> bytes:
    """Return MariaDB's greeting as it was on the wire."""
    capabilities = 0x81bff7fe
    return packet(b"\x0a5.5.5-10.11.6-MariaDB\0" + struct.pack("<I", 7) + b"saltsalt\0"
                  + struct.pack("<HBHHB", capabilities & 0xffff, 45, 2, capabilities >> 16, 21)
                  + bytes(10) + b"twelve more.\0" + plugin)


def machine_with(greets: bytes, answers: Dict[bytes, Any] | None = None, *,
                 endpoint: Any = ("192.0.2.2", 3306), mood: str = "answers") -> Any:
    machine = FakeMachine()
    machine.sockets.addresses.add("192.0.2.2")
    machine.processes.run(Program("/usr/sbin/mariadbd", listens={
        endpoint: Script(greets, answers or {}, mood)}))
    return machine


def sent(machine: Any) -> list[bytes]:
    return [data for _, data in machine.sockets.sent]


def reason(machine: Any, where: Database = TCP) -> str:
    """Return why the database cannot be reached."""
    with pytest.raises(database.DatabaseUnreachable) as caught:
        database.reach(machine, where, 10.0)
    text = str(caught.value)
    assert text.startswith("database 'kopano' at ") and text.isprintable()
    assert caught.value.code == 1
    return text


def test_the_probe_goes_on_to_be_refused_because_breaking_off_bans_the_node() -> None:
    """Measured on MariaDB 10.11; tests/lab/test_kopano_probes.py repeats it."""
    machine = machine_with(greeting(), {b"mailha-probe": packet(DENIED, 2)})
    database.reach(machine, TCP, 10.0)
    introduction, = sent(machine)
    assert introduction[3] == 1
    capabilities, _, character_set = struct.unpack_from("<IIB", introduction, 4)
    assert capabilities == 0x88201 and character_set == 33
    assert introduction[36:] == b"mailha-probe\0\0mysql_native_password\0"


def test_another_plugin_is_asked_for_and_refused_too() -> None:
    """MySQL 8 pretends that an unknown user has a plugin of its own."""
    machine = machine_with(greeting(b"caching_sha2_password\0"), {
        b"mailha-probe": packet(b"\xfesha256_password\0salt", 2),
        packet(b"", 3): packet(b"\x01\x04", 4), packet(b"", 5): packet(DENIED, 6)})
    database.reach(machine, TCP, 10.0)
    assert sent(machine)[0].endswith(b"\0\0caching_sha2_password\0")
    assert sent(machine)[1:] == [packet(b"", 3), packet(b"", 5)]


def test_whoever_is_let_in_says_goodbye() -> None:
    machine = machine_with(greeting(), {b"mailha-probe": packet(b"\0\0\0\2\0\0\0", 2)})
    database.reach(machine, TCP, 10.0)
    assert sent(machine)[-1] == packet(b"\x01", 0)


def test_a_server_that_never_comes_to_an_end_is_left_after_some_rounds() -> None:
    machine = machine_with(greeting(), {b"mailha-probe": packet(b"\xfex\0", 2),
                                        b"\0\0\0": packet(b"\xfex\0", 4)})
    database.reach(machine, TCP, 10.0)
    assert len(sent(machine)) < 10


def test_silence_after_the_greeting_is_no_fault_of_the_database() -> None:
    machine = machine_with(greeting())
    database.reach(machine, TCP, 10.0)
    assert machine.clock.slept <= 10.5


@pytest.mark.parametrize("content, text, remedy", [
    (b"\xff\x10\x04Too many connections", "Too many connections", "max_connections"),
    (b"\xff\x10\x04#08004Too many connections", "it says 'Too many connections'",
     "max_connections"),
    (b"\xffi\x04Host '198.51.100.101' is blocked because of many connection errors; unblock with "
     b"'mariadb-admin flush-hosts'", "is blocked because of many", "flush-hosts"),
    (b"\xffj\x04Host 'dbhost' is not allowed to connect to this MariaDB server",
     "is not allowed to connect", "grant"),
    (b"\xff", "it says ''", ""), (b"\xff\xff\xff\x1b[2J\xff", "it says '?[2J\ufffd'", "")])
def test_what_the_server_says_instead_of_a_greeting(content: bytes, text: str,
                                                    remedy: str) -> None:
    found = reason(machine_with(packet(content)))
    assert text in found and remedy in found


def test_nobody_listens() -> None:
    machine: Any = FakeMachine()
    assert "192.0.2.2:3306 cannot be reached: " in reason(machine)
    assert "Connection refused" in reason(machine)


@pytest.mark.parametrize("mood", ["mute", "hangs"])
def test_a_database_that_hangs_does_not_hold_us_up(mood: str) -> None:
    machine = machine_with(greeting(), mood=mood)
    assert "no answer in time" in reason(machine)
    assert machine.clock.slept <= 10.5


@pytest.mark.parametrize("mood, text", [("closes", "without a greeting"), ("resets", "reset by")])
def test_a_database_that_closes_at_once(mood: str, text: str) -> None:
    assert text in reason(machine_with(b"", mood=mood))


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.2p1\r\n", b"220 mail.example.com ESMTP\r\n",
                                  packet(b"\x09old"), packet(b"")])
def test_something_else_answers(data: bytes) -> None:
    assert "is not MySQL" in reason(machine_with(data))


@given(st.binary(min_size=1))
def test_no_greeting_makes_the_probe_fall(data: bytes) -> None:
    machine = machine_with(data, mood="closes")
    try:
        database.reach(machine, TCP, 10.0)
    except database.DatabaseUnreachable as error:
        assert str(error).isprintable()


# Where the database is

def test_localhost_is_the_unix_socket_to_mysqls_library() -> None:
    machine = machine_with(greeting(), {b"mailha-probe": packet(DENIED, 2)}, endpoint=SOCKET)
    database.reach(machine, LOCAL, 10.0)
    assert machine.sockets.connected == [SOCKET]
    other: Any = FakeMachine()
    assert "no socket of MySQL" in reason(other, LOCAL)


def test_the_configured_socket_counts_for_localhost_only() -> None:
    machine = machine_with(greeting(), {b"mailha-probe": packet(DENIED, 2)}, endpoint="/run/my.s")
    database.reach(machine, LOCAL._replace(socket="/run/my.s"), 10.0)
    assert "192.0.2.2:3306 cannot" in reason(machine, TCP._replace(socket="/run/my.s"))
    assert "at /run/gone cannot be reached" in reason(machine, LOCAL._replace(socket="/run/gone"))


def test_a_name_is_resolved_in_a_child() -> None:
    machine = machine_with(greeting(), {b"mailha-probe": packet(DENIED, 2)})
    machine.children.answer(["getent", "ahosts", "db"], stdout=(
        b"2001:db8::2     STREAM db\n2001:db8::2     DGRAM\n192.0.2.2 STREAM\n"))
    database.reach(machine, TCP._replace(host="db"), 10.0)
    assert machine.sockets.connected == [("2001:db8::2", 3306), ("192.0.2.2", 3306)]


def test_a_silent_first_address_leaves_time_for_the_second() -> None:
    machine = machine_with(greeting(), {b"mailha-probe": packet(DENIED, 2)})
    machine.sockets.addresses.add("192.0.2.3")
    machine.processes.run(Program("/usr/bin/mute", listens={
        ("192.0.2.3", 3306): Script(mood="mute")}))
    machine.children.answer(["getent"], stdout=b"192.0.2.3 STREAM db\n192.0.2.2 STREAM\n")
    database.reach(machine, TCP._replace(host="db"), 10.0)
    assert machine.clock.slept <= 6


def test_names_that_cannot_be_resolved() -> None:
    where = TCP._replace(host="db")
    machine: Any = FakeMachine()
    machine.children.answer(["getent"], function=lambda ran: Finished(2))
    assert "unknown host name" in reason(machine, where)
    assert "write its address as mysql_host" in reason(machine, where)
    machine.children.answer(["getent"], stdout=b"\n")
    assert "has no address" in reason(machine, where)
    machine.children.answer(["getent"], takes=1000)
    assert "did not end within" in reason(machine, where)
    assert machine.clock.slept <= 10


def test_how_a_database_is_named() -> None:
    assert database.name_of(TCP) == "database 'kopano' at 192.0.2.2:3306"
    assert database.name_of(TCP._replace(host="2001:db8::1")).endswith("at [2001:db8::1]:3306")
    assert database.name_of(LOCAL).endswith("at localhost")
    assert database.name_of(LOCAL._replace(socket="/run/s")).endswith("at /run/s")
