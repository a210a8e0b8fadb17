# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames, entries and access control lists on their way between two nodes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sync_receiver import ReceivingNode

from mailha.sync.connection import wire
from mailha.sync.files import acl
from mailha.sync.files.entry import FILE, SYMLINK, Entry
from mailha.sync.files.owners import Owners, OwnerUnknown
from mailha.sync.passive.spool import Spool
from mailha.sync.trouble import ConnectionLost, ProtocolError, Silent

SOON = 60.0


def test_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    sent: list[Any] = [{"type": "a", "path": "/etc/caf\udce9"}, b"x" * 3000, {"type": "b"}]
    data = wire.PREAMBLE + wire.encode(sent[0]) + wire.encode_data(sent[1]) + wire.encode(sent[2])
    for size in (1, 7, 1000, len(data)):
        decoder = wire.Decoder()
        for start in range(0, len(data), size):
            decoder.feed(data[start:start + size])
        assert [decoder.take() for _ in range(4)] == [*sent, None] and decoder.waiting == 0


@given(some.binary(max_size=300))
def test_no_bytes_do_anything_but_being_refused(data: bytes) -> None:
    decoder = wire.Decoder()
    try:
        decoder.feed(wire.PREAMBLE + data)
    except ProtocolError:
        return
    frame = decoder.take()
    assert frame is None or isinstance(frame, (dict, bytes))


@pytest.mark.parametrize("frame", [
    b"\x03\0\0\0\0", b"\x01\xff\xff\xff\xff", b"\x02\x00\x20\0\0", b"\x01\0\0\0\x02[]",
    b"\x01\0\0\0\x02{}", b"\x01\0\0\0\x0a" + b'{"type":7}', b"\x01\0\0\0\x03nul"])
def test_a_wrong_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.Decoder().feed(wire.PREAMBLE + frame)


@pytest.mark.parametrize("body", [b'{"type":"x","n":' + b"9" * 100000 + b"}",
                                  b'{"type":"x","n":' + b"[" * 100000])
def test_a_message_that_would_keep_python_busy_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.Decoder().feed(wire.PREAMBLE + b"\x01" + len(body).to_bytes(4, "big") + body)


def test_the_greeting_of_a_shell_is_skipped_by_the_sender_alone() -> None:
    noise = b"Welcome to bob!\nYou have mail.\n"
    decoder = wire.Decoder(noise=True)
    decoder.feed(noise + wire.PREAMBLE + wire.encode({"type": "hello"}))
    assert decoder.take() == {"type": "hello"}
    with pytest.raises(ProtocolError):
        wire.Decoder().feed(noise)


def test_endless_noise_is_not() -> None:
    decoder = wire.Decoder(noise=True)
    with pytest.raises(ProtocolError) as caught:
        for _ in range(100):
            decoder.feed(b"This account is not available. " * 100)
    assert "This account is not available" in caught.value.reason


@pytest.mark.parametrize("oldest, newest, chosen", [(1, 1, 1), (1, 2, 1), (1, 9, 1)])
def test_the_newest_protocol_that_both_speak(oldest: int, newest: int, chosen: int) -> None:
    assert wire.choose(oldest, newest) == chosen


@pytest.mark.parametrize("oldest, newest", [(2, 3), (0, 0), (3, 1), (None, 1), ("1", "1")])
def test_no_common_protocol_is_said(oldest: Any, newest: Any) -> None:
    with pytest.raises(ProtocolError):
        wire.choose(oldest, newest)


def test_a_release_speaks_the_protocol_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "NEWEST", 2)
    assert wire.choose(1, 1) == 1 and wire.choose(1, 2) == 2 and wire.choose(2, 3) == 2


class TestStream:
    """A connection over pipes."""

    def test_two_ends_that_both_write_do_not_wait_for_each_other(self) -> None:
        (one_reader, other_writer), (other_reader, one_writer) = os.pipe(), os.pipe()
        one = wire.Stream(one_reader, one_writer)
        other = wire.Stream(other_reader, other_writer)
        large = b"x" * (1 << 20)
        one.send_data(large)
        other.send_data(large)
        received = []

        def work() -> None:
            other.flush(SOON)
            received.append(other.receive(SOON))

        thread = threading.Thread(target=work)
        thread.start()
        one.flush(SOON)
        received.append(one.receive(SOON))
        thread.join(SOON)
        assert received == [large, large]
        for descriptor in (one_reader, one_writer, other_reader, other_writer):
            os.close(descriptor)

    def test_the_end_of_a_connection_and_silence_are_told_apart(self) -> None:
        reader, writer = os.pipe()
        back_reader, back_writer = os.pipe()
        stream = wire.Stream(reader, back_writer)
        with pytest.raises(Silent):
            stream.receive(0.0)
        os.close(writer)
        with pytest.raises(ConnectionLost):
            stream.receive(SOON)
        os.close(back_reader)
        with pytest.raises(ConnectionLost):
            stream.flush(SOON)
        os.close(reader)
        os.close(back_writer)


class TestEntries:
    """What is known of a path."""

    @given(some.sampled_from(["mode", "owner", "group", "attributes", "digest", "size", "kind"]),
           some.one_of(some.none(), some.integers(), some.text(), some.lists(some.integers()),
                       some.dictionaries(some.text(max_size=5), some.text(max_size=5))))
    def test_whatever_stands_in_a_field_is_taken_or_refused(self, field: str, value: Any) -> None:
        message = {**self.entry().to_message(), field: value}
        try:
            Entry.from_message(message)
        except ProtocolError as error:
            assert "\n" not in error.reason

    def test_an_entry_comes_back_as_it_went(self) -> None:
        for entry in (self.entry(attributes={"user.a": b"\0\xff"}),
                      Entry("/etc/l", SYMLINK, mode=0o777, owner="a", uid=1, group="", gid=7,
                            target="../x")):
            again = Entry.from_message(entry.to_message())
            assert again.fingerprint == entry.fingerprint and again.mtime == entry.mtime

    def test_owners_count_by_name_and_times_do_not_count(self) -> None:
        assert self.entry(uid=5, mtime=1).fingerprint == self.entry(uid=6, mtime=2).fingerprint
        assert self.entry(owner="", uid=5).fingerprint != self.entry(owner="", uid=6).fingerprint
        assert self.entry(mode=0o600).fingerprint != self.entry(mode=0o640).fingerprint
        labelled = self.entry(attributes={"security.selinux": b"x"})
        assert labelled.fingerprint == self.entry().fingerprint

    def entry(self, **more: Any) -> Entry:
        return Entry("/etc/a", FILE, **{"mode": 0o644, "owner": "root", "uid": 0, "group": "root",
                                        "gid": 0, "digest": "0" * 64, **more})


class TestOwners:
    """Owners by name, and what an access control list says of them."""

    KERNEL = bytes.fromhex("02000000" "01000600ffffffff" "02000400" "b80b0000"
                           "04000400ffffffff" "10000400ffffffff" "20000000ffffffff")

    @pytest.fixture
    def here(self, tmp_path: Path) -> ReceivingNode:
        """Return a node."""
        return ReceivingNode(tmp_path)

    def test_a_name_has_the_number_of_this_node(self, here: ReceivingNode) -> None:
        here.write("/etc/passwd", "root:x:0:0\n+nis\nbluemind:x:3000:841\nbroken:x:y:z\n")
        owners = Owners(here.machine)
        assert owners.user("bluemind", 841) == 3000
        assert owners.user("", 70000) == 70000
        with pytest.raises(OwnerUnknown, match="no user 'kopano' here"):
            owners.user("kopano", 0)
        with pytest.raises(OwnerUnknown, match="is 'bluemind' here"):
            owners.user("", 3000)

    def test_a_list_names_its_users(self, here: ReceivingNode, tmp_path: Path) -> None:
        here.write("/etc/passwd", "postfix:x:3000:1\n")
        text = acl.portable(self.KERNEL, Owners(here.machine))
        assert b"2:4:postfix" in text
        assert acl.native(text, Owners(here.machine)) == self.KERNEL
        there = ReceivingNode(tmp_path / "there")
        there.write("/etc/passwd", "postfix:x:89:1\n")
        native = acl.native(text, Owners(there.machine))
        assert native == self.KERNEL.replace(b"\xb8\x0b\0\0", b"\x59\0\0\0")
        assert acl.portable(native, Owners(there.machine)) == text

    @given(some.binary(max_size=60))
    def test_no_text_makes_anything_but_a_list(self, text: bytes) -> None:
        class Nobody:
            def user(self, name: str, number: int) -> int:
                return number

            group = user

        try:
            value = acl.native(text, Nobody())      # type: ignore[arg-type]
        except (ProtocolError, OwnerUnknown, UnicodeDecodeError):
            return
        assert text[:1] == b"?" or (len(value) - 4) % 8 == 0


def test_what_does_not_fit_into_memory_waits_in_a_file_without_a_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    monkeypatch.setattr("mailha.sync.passive.spool.IN_MEMORY", 10)
    spool = Spool(str(tmp_path))
    data = b"0123456789" * 5
    content = spool.take([data[:20], data[20:]], 50, hashlib.sha256(data).hexdigest(), "/etc/a")
    with open(tmp_path / "out", "wb") as file:
        content.write_to(file.fileno())
    assert (tmp_path / "out").read_bytes() == data
    assert os.listdir(tmp_path) == ["out"]
    spool.close()
