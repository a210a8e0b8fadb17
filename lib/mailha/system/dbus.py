# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire format of D-Bus, as far as a client of systemd needs it.

Written from the D-Bus specification, "Type System" and "Message Protocol". Messages go out little
endian and may come in either way. File descriptors are not supported. What breaks the rules raises
ProtocolError; nothing here reads from a socket, so nothing can wait.
"""

from __future__ import annotations

from _struct import error as StructError  # type: ignore[import]  # typeshed lacks it,
from _struct import pack, unpack_from      # and `struct` is a file more to load

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4

# The specification allows 128 MiB; the largest thing that systemd is asked here is far below this.
LARGEST_MESSAGE = 16 << 20
DEEPEST_NESTING = 64

_FIXED = {"y": ("B", 1), "b": ("I", 4), "n": ("h", 2), "q": ("H", 2), "i": ("i", 4),
          "u": ("I", 4), "x": ("q", 8), "t": ("Q", 8), "d": ("d", 8), "h": ("I", 4)}
_ALIGNMENT = {"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8,
              "y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8, "h": 4}
_ORDERS = {b"l": "<", b"B": ">"}
_MEMBERS: dict[str, list[str]] = {}


class ProtocolError(errors.Failed):
    """The other side sent something that is not D-Bus."""


class Message:
    """A message that came in.

    kind: METHOD_RETURN, ERROR, ... reply_to: serial of the call that it answers, 0 for none.
    error: D-Bus name of an error answer, else "". body: the values, decoded when asked for.
    """

    __slots__ = ("kind", "reply_to", "error", "signature", "_data", "_start", "_order")

    def __init__(self, kind: int, reply_to: int, error: str, signature: str, data: bytes,
                 start: int, order: str) -> None:
        self.kind = kind
        self.reply_to = reply_to
        self.error = error
        self.signature = signature
        self._data = data
        self._start = start
        self._order = order

    @property
    def body(self) -> list[Any]:
        """The values of the body in order. Raises ProtocolError when it is damaged."""
        return _Reader(self._data, self._start, self._order).values(self.signature)


def end_of_type(signature: str, start: int, depth: int = 0) -> int:
    """Return the index behind the complete type that begins at start.

    Raises ProtocolError when none does.
    """
    code = signature[start:start + 1]
    if depth > DEEPEST_NESTING:
        raise ProtocolError("D-Bus signature is nested too deeply")
    if code == "a":
        return end_of_type(signature, start + 1, depth + 1)
    if code in ("(", "{"):
        closing, index = (")" if code == "(" else "}"), start + 1
        while signature[index:index + 1] != closing:
            index = end_of_type(signature, index, depth + 1)
        if index == start + 1:
            raise ProtocolError(f"D-Bus signature {signature!r} has an empty structure")
        return index + 1
    if not code or code not in _ALIGNMENT:
        raise ProtocolError(f"D-Bus signature {signature!r} is wrong at {start}")
    return start + 1


def members(signature: str) -> list[str]:
    """Return the complete types that the signature lists. Raises ProtocolError."""
    found = _MEMBERS.get(signature)
    if found is None:
        found, index = [], 0
        while index < len(signature):
            end = end_of_type(signature, index)
            found.append(signature[index:end])
            index = end
        # The few signatures that matter come again for every unit; garbage shall not pile up.
        if len(_MEMBERS) < 256:
            _MEMBERS[signature] = found
    return found


class _Reader:
    """Takes values out of a message. Alignment counts from the start of the message."""

    __slots__ = ("data", "position", "order")

    def __init__(self, data: bytes, position: int, order: str) -> None:
        self.data = data
        self.position = position
        self.order = order

    def values(self, signature: str) -> list[Any]:
        """Return all values that the signature announces."""
        return [self.value(member, 0) for member in members(signature)]

    def value(self, signature: str, depth: int) -> Any:
        """Return the one value of this complete type."""
        code = signature[0]
        if code == "s" or code == "o":
            return self._text(unpack_from(self.order + "I", self.data, self._advance(4, 4))[0])
        if code in _FIXED:
            letter, size = _FIXED[code]
            value = unpack_from(self.order + letter, self.data, self._advance(size, size))[0]
            return bool(value) if code == "b" else value
        if code == "g":
            return self._text(self.data[self._advance(1, 1)])
        if depth > DEEPEST_NESTING:
            raise ProtocolError("D-Bus message is nested too deeply")
        if code == "v":
            inner = self._text(self.data[self._advance(1, 1)])
            if len(members(inner)) != 1:
                raise ProtocolError(f"D-Bus variant with signature {inner!r}")
            return self.value(inner, depth + 1)
        if code == "a":
            return self._array(signature[1:], depth + 1)
        self._advance(8, 0)
        return tuple([self.value(member, depth + 1) for member in members(signature[1:-1])])

    def _array(self, element: str, depth: int) -> Any:
        length = unpack_from(self.order + "I", self.data, self._advance(4, 4))[0]
        self._advance(_ALIGNMENT[element[0]], 0)
        end = self.position + length
        if end > len(self.data):
            raise ProtocolError("D-Bus array reaches beyond its message")
        if element == "y":
            start, self.position = self.position, end
            return self.data[start:end]
        found = []
        while self.position < end:
            found.append(self.value(element, depth))
        if self.position != end:
            raise ProtocolError("D-Bus array and its length do not fit")
        return dict(found) if element[0] == "{" else found

    def _advance(self, alignment: int, size: int) -> int:
        """Skip the padding and size bytes; return where they start."""
        start = self.position + -self.position % alignment
        self.position = start + size
        if self.position > len(self.data):
            raise ProtocolError("D-Bus message ends too early")
        return start

    def _text(self, length: int) -> str:
        start = self._advance(1, length + 1)
        if self.data[start + length]:
            raise ProtocolError("D-Bus text without its end")
        return str(self.data[start:start + length], "utf-8", "backslashreplace")


def marshal(signature: str, values: Sequence[Any], order: str = "<") -> bytes:
    """Return the values as the body of a message. A variant is given as (signature, value)."""
    data = bytearray()
    kinds = members(signature)
    if len(kinds) != len(values):
        raise ValueError(f"{len(values)} values for signature {signature!r}")
    for kind, value in zip(kinds, values):
        _write(data, kind, value, order)
    return bytes(data)


def _write(data: bytearray, signature: str, value: Any, order: str) -> None:
    code = signature[0]
    data += bytes(-len(data) % _ALIGNMENT[code])
    if code in _FIXED:
        data += pack(order + _FIXED[code][0], value)
    elif code in ("s", "o"):
        text = value.encode()
        data += pack(order + "I", len(text)) + text + b"\0"
    elif code == "g":
        data += pack("B", len(value)) + value.encode() + b"\0"
    elif code == "v":
        _write(data, "g", value[0], order)
        _write(data, value[0], value[1], order)
    elif code == "a":
        place = len(data)
        data += bytes(4)
        data += bytes(-len(data) % _ALIGNMENT[signature[1]])
        start = len(data)
        for element in (value.items() if signature[1] == "{" else value):
            _write(data, signature[1:], element, order)
        data[place:place + 4] = pack(order + "I", len(data) - start)
    else:
        for kind, member in zip(members(signature[1:-1]), value):
            _write(data, kind, member, order)


def method_call(serial: int, path: str, interface: str, member: str, signature: str = "",
                values: Sequence[Any] = (), destination: str = "") -> bytes:
    """Return the bytes of a call. serial must be unique on the connection and not 0."""
    fields = bytearray()
    _add_field(fields, 1, "o", path)
    _add_field(fields, 2, "s", interface)
    _add_field(fields, 3, "s", member)
    if destination:
        _add_field(fields, 6, "s", destination)
    body = b""
    if signature:
        body = marshal(signature, values)
        _add_field(fields, 8, "g", signature)
    head: bytes = pack("<cBBBIII", b"l", METHOD_CALL, 0, 1, len(body), serial, len(fields))
    return head + fields + bytes(-len(fields) % 8) + body


def _add_field(fields: bytearray, code: int, kind: str, text: str) -> None:
    """Append a header field that holds a text: the structure (byte, variant)."""
    data = text.encode()
    fields += bytes(-len(fields) % 8)
    fields += pack("<BBcB", code, 1, kind.encode(), 0)
    fields += pack("<B" if kind == "g" else "<I", len(data)) + data + b"\0"


def size_of(data: bytes) -> int:
    """Return the size of the message of which data is the beginning, 0 if that is too short yet.

    Raises ProtocolError when no message begins so, or when it is larger than anybody needs.
    """
    if len(data) < 16:
        return 0
    order = _ORDERS.get(data[:1])
    if order is None or data[3] != 1:
        raise ProtocolError(f"not a D-Bus message: {data[:16]!r}")
    body, _, fields = unpack_from(order + "III", data, 4)
    size = int(16 + fields + -fields % 8 + body)
    if size > LARGEST_MESSAGE:
        raise ProtocolError(f"D-Bus message of {size} bytes")
    return size


def decode(data: bytes) -> Message:
    """Return the message that is exactly data. Raises ProtocolError when it is damaged."""
    if len(data) < 16 or size_of(data) != len(data):
        raise ProtocolError(f"not one whole D-Bus message: {data[:16]!r}")
    try:
        return _decode(data)
    except (StructError, IndexError):
        raise ProtocolError("D-Bus header ends too early") from None


def _decode(data: bytes) -> Message:
    order = _ORDERS[data[:1]]
    length = unpack_from(order + "I", data, 12)[0]
    reply_to, error, signature = 0, "", ""
    position, end = 16, 16 + length
    while position < end:
        # Every field is a structure (byte, variant), and every known one holds a text or a
        # number; reading them by hand halves the cost of a monitor's answers.
        position += -position % 8
        code, kind = data[position], data[position + 1:position + 4]
        if kind == b"\1u\0":
            value = unpack_from(order + "I", data, position + 4)[0]
            position += 8
            reply_to = value if code == 5 else reply_to
            continue
        if kind not in (b"\1s\0", b"\1o\0", b"\1g\0"):
            raise ProtocolError(f"D-Bus header field {code} of type {kind!r}")
        reader = _Reader(data, position + 4, order)
        text = reader.value(chr(kind[1]), 0)
        position = reader.position
        if code == 4:
            error = text
        elif code == 8:
            signature = text
    if position != end:
        raise ProtocolError("D-Bus header fields and their length do not fit")
    if data[1] == ERROR and not error:
        raise ProtocolError("D-Bus error without a name")
    return Message(data[1], reply_to, error, signature, data, 16 + length + -length % 8, order)
