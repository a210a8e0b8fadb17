# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of BlueMind: its files, its answers, its units. No text breaks a parser."""

from __future__ import annotations

import struct

import pytest
from bluemind_node import Node
from fake_machine import FakeMachine, Program, Script
from hypothesis import given
from hypothesis import strategies as st
from mailha.agents.bluemind import parameters
from mailha.mailserver import updating
from mailha.products.bluemind import index, ini, memory, state
from mailha.profiles import bluemind as profile
from mailha.services import binary, greetings
from mailha.services.service import Listening, Service
from mailha.system.cgroups import usual
from mailha.validation.text import Invalid, Paths, Release


# bm.ini

@given(st.binary(max_size=400))
def test_no_text_breaks_the_reading_of_bm_ini(content: bytes) -> None:
    for key, value in ini.parse(content).addresses():
        assert key in ini.ADDRESSES and value


@given(host=st.text("abcdef0123456789.-:", min_size=1, max_size=30),
       blanks=st.text(" \t", max_size=3), quote=st.sampled_from(["", '"']),
       section=st.sampled_from(["", "[global]\n", "# note\n", "; note\n\n"]))
def test_an_address_is_found_however_it_is_written(host: str, blanks: str, quote: str,
                                                   section: str) -> None:
    text = f"{section}db=bj\n{blanks}host{blanks}={blanks}{quote}{host}{quote}{blanks}\r\n"
    assert ini.parse(text.encode()).addresses() == [("host", host)]


def test_a_password_is_never_kept() -> None:
    found = ini.parse(b"user=bj\npassword = secret\nDBPassword=secret\n")
    assert "secret" not in str(found.values)


# The state of core

@given(st.binary(max_size=300))
def test_no_answer_breaks_the_reading_of_the_state(answer: bytes) -> None:
    assert state.parse(answer).strip("ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""


@given(before=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n\r\n", b'{"state":']),
       word=st.sampled_from([state.RUNNING, state.STARTING, *state.ADMINISTRATIVE, "UNKNOWN"]),
       after=st.sampled_from([b"", b'"', b"\r\n", b'"}', b" x"]))
def test_the_word_alone_is_read(before: bytes, word: str, after: bytes) -> None:
    assert state.parse(before + b"CORE_STATE_" + word.encode() + after) == word


def core(script: Script, host: str = "127.0.0.1") -> FakeMachine:
    """Return a machine whose core plays the script."""
    where = FakeMachine()
    where.sockets.addresses.add("192.0.2.100")
    where.processes.run(Program("/usr/bin/java", listens={(host, 8090): script}))
    return where


def test_a_word_that_comes_in_pieces_is_read_whole() -> None:
    where = core(Script(answers={b"GET": b'HTTP/1.1 200 OK\r\n\r\n"CORE_STATE_MAINT'},
                        mood="closes"))
    assert state.ask(where, 5.0) == "MAINT"  # type: ignore[arg-type]
    where = core(Script(answers={b"GET": b"x" * 5000 + b'"CORE_STATE_MAINTENANCE"'}))
    assert state.ask(where, 5.0) == "MAINTENANCE"  # type: ignore[arg-type]


def test_core_is_asked_where_it_listens() -> None:
    where = core(Script(answers={b"GET": b'"CORE_STATE_RUNNING"'}), "192.0.2.100")
    assert state.ask(where, 5.0) == "RUNNING"  # type: ignore[arg-type]


@pytest.mark.parametrize("script, cause", [
    (Script(mood="mute"), "timeout"), (Script(mood="refuses"), "refused"),
    (Script(mood="resets"), "reset"), (Script(mood="closes"), "answer"),
    (Script(answers={b"GET": b"HTTP/1.1 503 no\r\n\r\n"}, mood="closes"), "answer")])
def test_a_core_that_does_not_say_its_state(script: Script, cause: str) -> None:
    with pytest.raises(state.Mute) as caught:
        state.ask(core(script), 5.0)  # type: ignore[arg-type]
    assert caught.value.cause == cause


# Elasticsearch

@given(st.binary(max_size=300))
def test_no_answer_breaks_the_reading_of_the_health(answer: bytes) -> None:
    assert index.parse(answer) in ("", "green", "yellow", "red")


@pytest.mark.parametrize("answer, found", [
    (b'{"cluster_name":"bluemind-X","status":"yellow","timed_out":false}', "yellow"),
    (b'{\n  "status" : "green",\n', "green"), (b'{"status":"red"}', "red"),
    (b'{"status":503}', "")])
def test_the_health_is_read(answer: bytes, found: str) -> None:
    assert index.parse(answer) == found


# Memory

@given(st.lists(st.text(max_size=40)))
def test_no_name_in_the_directory_of_logs_is_taken_for_a_heap(names: list[str]) -> None:
    assert all(f"java_pid{pid}.hprof" in names or f"java_pid0{pid}.hprof" in names
               or any(name.startswith("java_pid") for name in names)
               for pid in memory.dumped(names))


def test_heaps_are_known_by_their_names() -> None:
    assert memory.dumped(["java_pid12.hprof", "java_pid.hprof", "java_pid7.hprof.gz", "x",
                          "java_pid-3.hprof", "java_pid99999999999999999999999999999.hprof"]
                         ) == {12}


# The package manager

@given(st.binary(max_size=300))
def test_no_table_of_locks_breaks_it(table: bytes) -> None:
    where = FakeMachine()
    where.files.put("/var/lib/dpkg/lock", b"")
    where.files.put("/proc/locks", table)
    where.call(updating.locked)


@pytest.mark.parametrize("line, held", [
    ("1: POSIX  ADVISORY  WRITE 1234 fe:01:{} 0 EOF", True),
    ("1: OFDLCK ADVISORY  WRITE -1 fe:01:{} 0 EOF", True),
    ("1: POSIX  ADVISORY  READ 1234 fe:01:{} 0 EOF", False),
    ("1: FLOCK  ADVISORY  WRITE 1234 fe:01:{} 0 EOF", False),
    ("1: -> POSIX  ADVISORY  WRITE 1234 fe:01:{} 0 EOF", False),
    ("1: POSIX  ADVISORY  WRITE 1234 fe:01:1{} 0 EOF", False)])
def test_who_holds_the_lock_of_the_package_manager(line: str, held: bool) -> None:
    where = FakeMachine()
    where.files.put("/var/lib/dpkg/lock", b"")
    where.files.put("/proc/locks",
                    line.format(where.files.inode("/var/lib/dpkg/lock")).encode() + b"\n")
    assert where.call(updating.locked) is held


def test_rpm_knows_both_versions_in_the_middle_of_an_update() -> None:
    where = FakeMachine()
    where.children.answer(["rpm"], stdout=b"bm-core\nbm-node\nbm-core\n")
    assert where.call(updating.half_done, ["bm-*"], 5.0) == ["bm-core"]


# Binary protocols

class Words:
    """A connection that says the same to everything."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self.heard: list[bytes] = []

    def send(self, data: bytes, timeout: float) -> None:
        self.heard.append(data)

    def receive(self, limit: int, timeout: float) -> bytes:
        found, self._said = self._said[:limit], self._said[limit:]
        return found


@given(st.binary(max_size=60))
def test_no_answer_breaks_a_binary_greeting(said: bytes) -> None:
    for ask in (binary.postgresql, binary.milter):
        try:
            assert isinstance(ask(Words(said), lambda: 1.0), str)  # type: ignore[arg-type]
        except greetings.ConnectionFailed:
            pass


def test_postgresql_is_greeted_as_a_client_does_and_left_without_a_trace() -> None:
    asked = Words(b"R" + struct.pack(">II", 8, 0))
    assert binary.postgresql(asked, lambda: 1.0) == ""  # type: ignore[arg-type]
    length, version = struct.unpack_from(">II", asked.heard[0])
    assert (length, version) == (len(asked.heard[0]), 196608)
    assert asked.heard[0].endswith(b"\0\0") and b"user\0postgres\0" in asked.heard[0]
    assert asked.heard[1:] == [b"X\0\0\0\x04"], "who is let in says goodbye"


@pytest.mark.parametrize("protocol, port", [("tls", 8022), ("tcp", 5222)])
def test_what_speaks_tls_or_who_knows_what_is_not_connected_to(protocol: str, port: int) -> None:
    where = FakeMachine()
    service = Service("x", unit="x.service", listens=[Listening(protocol, "any", port)])
    where.call(greetings.check, service, 5.0)
    assert not greetings.greets(service) and where.sockets.connected == []


# Units and parameters

def test_the_parameters_name_all_services_and_all_optional_ones() -> None:
    assert set(parameters.SERVICES) == set(profile.SERVICES)
    assert set(parameters.RELEASES) == {each.first[0] for each in profile.RELEASES}
    optional = {name for name, each in profile.SERVICES.items() if each.optional}
    assert set(parameters.OPTIONAL.split()) == optional


@pytest.mark.parametrize("release", profile.RELEASES)
def test_no_needed_service_is_optional_and_nothing_goes_in_circles(
        release: profile.ReleaseProfile) -> None:
    done: set[str] = set()
    while len(done) < len(release.services):
        ready = {name for name, each in release.services.items()
                 if all(need in done or need not in release.services for need in each.needs)}
        assert ready - done, "a circle"
        done |= ready
    for each in release.services.values():
        for need in each.needs:
            assert need not in release.services or not release.services[need].optional


@pytest.mark.parametrize("unit, path", [
    ("x.service", "/system.slice/x.service"),
    ("postgresql@15-main.service",
     "/system.slice/system-postgresql.slice/postgresql@15-main.service"),
    ("bm-x@0.service", "/system.slice/system-bm\\x2dx.slice/bm-x@0.service")])
def test_where_systemd_puts_a_unit(unit: str, path: str) -> None:
    assert usual(unit) == path


@pytest.mark.parametrize("more, word", [
    ({"services": "tika xmpp"}, "optional_services=none"),
    ({"optional_services": "none tika"}, "none"), ({"services": "core bogus"}, "bogus"),
    ({"version": "new"}, "release"), ({"version": "6.1"}, "known here, 3.x, 4.x, 5.x"),
    ({"version": "2.9"}, "none of the releases"), ({"shared_dirs": "/a b"}, "absolute path"),
    ({"update_timeout": "long"}, "update_timeout")])
def test_parameters_that_can_be_right_nowhere(mailnode: Node, more: dict[str, str],
                                              word: str) -> None:
    answer = mailnode.start(**more)
    assert answer.code == 6 and word in answer.reason
    assert mailnode.probe(**more).code == 7 and mailnode.stop(**more).code == 0


@given(st.text(max_size=40))
def test_no_text_breaks_the_types_of_parameters(text: str) -> None:
    for kind in (Paths(), Release()):
        try:
            kind.parse(text)
        except Invalid as error:
            assert "\n" not in str(error)


def test_a_list_of_paths() -> None:
    assert Paths().parse("/a/ /b,/a") == ("/a", "/b")
    assert Release().parse("4.9") == "4.9" and Release().parse("auto") == "auto"
