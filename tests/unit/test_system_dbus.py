# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire format: both byte orders, and garbage that ends in an error."""

from __future__ import annotations

import struct
from typing import Any, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailha.system import dbus

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
BASIC = {
    "y": st.integers(0, 255), "b": st.booleans(), "n": st.integers(-2**15, 2**15 - 1),
    "q": st.integers(0, 2**16 - 1), "i": st.integers(-2**31, 2**31 - 1),
    "u": st.integers(0, 2**32 - 1), "x": st.integers(-2**63, 2**63 - 1),
    "t": st.integers(0, 2**64 - 1), "d": st.floats(allow_nan=False), "h": st.integers(0, 9),
    "s": TEXT, "o": TEXT, "g": st.sampled_from(["", "s", "a{sv}", "(ii)"])}


# A type with a value of it. No lambdas below: hypothesis reads their source for every value.
Pair = Tuple[str, Any]


def array_of_one(pair: Pair) -> Pair:
    return "a" + pair[0], pair[1:2] if pair[0] != "y" else bytes(pair[1:2])


def empty_array(pair: Pair) -> Pair:
    return ("a" + pair[0], ()) if pair[0] != "y" else ("ay", b"")


def structure(pairs: List[Pair]) -> Pair:
    return "(" + "".join(pair[0] for pair in pairs) + ")", tuple(pair[1] for pair in pairs)


def dictionary(item: Tuple[str, Pair]) -> Pair:
    return "a{s" + item[1][0] + "}", {item[0]: item[1][1]}


def pairs() -> Any:
    """Complete types with values of them."""
    def grow(inner: Any) -> Any:
        return st.one_of(
            inner.map(array_of_one), st.lists(inner, min_size=1, max_size=3).map(structure),
            st.tuples(TEXT, inner).map(dictionary), inner.map(empty_array))

    basic = st.one_of([st.tuples(st.just(code), values) for code, values in sorted(BASIC.items())])
    return st.recursive(basic, grow, max_leaves=5)


def plain(value: Any) -> Any:
    """Lists and tuples alike; the reader gives lists for arrays."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()} or []
    return value


def answer(signature: str, values: Any, order: str = "<", reply_to: int = 1,
           kind: int = dbus.METHOD_RETURN, error: str = "") -> bytes:
    """Return a message as a server makes it."""
    body = dbus.marshal(signature, values, order)
    fields = [(5, ("u", reply_to)), (7, ("s", "org.freedesktop.systemd1"))]
    fields += [(4, ("s", error))] if error else []
    fields += [(8, ("g", signature))] if signature else []
    head = dbus.marshal("yyyyuua(yv)", [ord("l" if order == "<" else "B"), kind, 0, 1, len(body),
                                        7, fields], order)
    return head + bytes(-len(head) % 8) + body


@settings(max_examples=40)
@given(st.lists(pairs(), max_size=4), st.sampled_from("<>"))
def test_values_come_out_as_they_went_in(given_pairs: list[Any], order: str) -> None:
    signature = "".join(pair[0] for pair in given_pairs)
    values = [pair[1] for pair in given_pairs]
    data = answer(signature, values, order)
    assert dbus.size_of(data) == len(data)
    message = dbus.decode(data)
    assert (message.kind, message.reply_to, message.error) == (dbus.METHOD_RETURN, 1, "")
    body = [{} if each == [] and kind.startswith("a{") else each
            for kind, each in zip(dbus.members(signature), message.body)]
    assert plain(body) == plain(values)


@settings(max_examples=30)
@given(pairs(), st.sampled_from("<>"))
def test_variants_are_unwrapped(pair: Any, order: str) -> None:
    message = dbus.decode(answer("a{sv}", [{"key": pair}], order))
    assert plain(message.body[0]["key"]) == plain(pair[1])


@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    head = struct.pack("<cBBBIII", b"l", 2, 0, 1, len(data) // 2, 1, len(data) - len(data) // 2)
    for each in (data, head + data, head + bytes(-len(data) % 8) + data):
        try:
            dbus.size_of(each)
            assert isinstance(dbus.decode(each).body, list)
        except dbus.ProtocolError:
            pass


@given(st.data())
def test_damaged_message_is_a_protocol_error_or_another_message(data: Any) -> None:
    message = bytearray(answer("a(ssu)sv", [[("a", "b", 3)], "x", ("as", ["y"])]))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(dbus.decode(bytes(message)).body, list)
    except dbus.ProtocolError:
        pass


@pytest.mark.parametrize("signature", ["(", "()", "a", "a{s", "z", "(s", "a" * 100 + "s", "{sv",
                                       ")"])
def test_wrong_signatures(signature: str) -> None:
    with pytest.raises(dbus.ProtocolError):
        dbus.members(signature)


def test_variants_in_variants_end_somewhere() -> None:
    body = b"\1v\0" * 5000 + b"\1y\0\1"
    data = answer("v", [("y", 1)])
    head = bytearray(data[:-len(dbus.marshal("v", [("y", 1)]))])
    head[4:8] = struct.pack("<I", len(body))
    with pytest.raises(dbus.ProtocolError, match="nested"):
        dbus.decode(bytes(head) + body).body


def test_huge_message_is_refused_before_it_is_read() -> None:
    with pytest.raises(dbus.ProtocolError, match="bytes"):
        dbus.size_of(struct.pack("<cBBBIII", b"l", 2, 0, 1, 2**32 - 1, 1, 0))


def test_error_answer_without_a_name_is_damaged() -> None:
    with pytest.raises(dbus.ProtocolError, match="without a name"):
        dbus.decode(answer("s", ["text"], kind=dbus.ERROR))


def test_call_is_what_a_server_understands() -> None:
    data = dbus.method_call(9, "/a/b", "x.y", "Member", "as", (["p", "q"],), "dest.x")
    assert dbus.size_of(data) == len(data)
    assert data[1] == dbus.METHOD_CALL
    fields = dbus._Reader(data, 12, "<").values("a(yv)")[0]
    assert fields == [(1, "/a/b"), (2, "x.y"), (3, "Member"), (6, "dest.x"), (8, "as")]
    assert dbus.decode(data).body == [["p", "q"]]
