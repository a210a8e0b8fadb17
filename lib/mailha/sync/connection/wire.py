# SPDX-License-Identifier: GPL-2.0-or-later
"""The protocol between sender and receiver: framed, with a version, and with a limit on everything.

A frame is a type, a length and so many bytes: either a message (a JSON object) or data (the content
of a file). Nothing of it is ever executed or unpickled. Both ends say which versions they speak
before anything else, and the newest that both know is used: the two nodes of a cluster are upgraded
one after the other, so a release speaks the version of the release before as well.
"""

from __future__ import annotations

import errno
import json
import os
import select
import struct
import time
from collections import deque
from typing import Any, Iterator, Mapping

from mailha.sync.trouble import ConnectionLost, ProtocolError, Silent

OLDEST, NEWEST = 1, 1
"""Versions of the protocol that this release speaks."""

PREAMBLE = b"\0mailha-sync\0"
LARGEST_NOISE = 65536
"""Bytes before the preamble, such as the greeting of a shell that talks too much."""

REFUSALS = ("generation", "active", "packages", "busy", "superseded", "version", "protocol",
            "failed")

LARGEST_MESSAGE = 4 << 20
LARGEST_DATA = 1 << 20
MOST_CHANGES = 4096
LARGEST_BATCH = 512 << 20
INVENTORY_PART = 500
"""Entries in one message."""
MOST_WAITING = 64 << 20
"""Bytes of frames that are taken in while something is to be written."""
IDLE = 60.0
"""Seconds without a frame after which the receiver ends."""

_HEADER = struct.Struct(">BI")
_MESSAGE, _DATA = 1, 2
_PIECE = 1 << 18


def encode(message: Mapping[str, Any]) -> bytes:
    """Return the frame of a message. Raises ProtocolError for one that is too long."""
    # ASCII: a name that is not UTF-8 travels as a lone surrogate, which only escapes can carry.
    body = _encoded(message).encode("ascii")
    if len(body) > LARGEST_MESSAGE:
        raise ProtocolError(f"a message has {len(body)} bytes, more than {LARGEST_MESSAGE}")
    return _HEADER.pack(_MESSAGE, len(body)) + body


def encode_data(data: bytes) -> bytes:
    """Return the frames of a content; none for an empty one."""
    frames = []
    view = memoryview(data)
    for start in range(0, len(view), LARGEST_DATA):
        piece = view[start:start + LARGEST_DATA]
        frames += [_HEADER.pack(_DATA, len(piece)), piece]
    return b"".join(frames)


class Decoder:
    """Takes bytes as they come and gives frames. noise: whether something may stand before.

    waiting: bytes of the frames that are complete and have not been taken.
    """

    def __init__(self, *, noise: bool = False) -> None:
        self.waiting = 0
        self._buffer = bytearray()
        self._noise = LARGEST_NOISE if noise else 0
        self._begun = False
        self._frames: deque[tuple[int, Any]] = deque()

    def __bool__(self) -> bool:
        """Tell whether a frame is complete that was not taken yet."""
        return bool(self._frames)

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises ProtocolError; nothing can be decoded any more then."""
        self._buffer += data
        if not self._begun and not self._begin():
            return
        start, end = 0, len(self._buffer)
        while end - start >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer, start)
            if kind not in (_MESSAGE, _DATA):
                raise ProtocolError(f"a frame of the type {kind} came")
            if length > (LARGEST_MESSAGE if kind == _MESSAGE else LARGEST_DATA):
                raise ProtocolError(f"a frame of {length} bytes is announced, which is too long")
            body = start + _HEADER.size
            if end - body < length:
                break
            start = body + length
            content = bytes(self._buffer[body:start])
            self._frames.append((length, _parse(content) if kind == _MESSAGE else content))
            self.waiting += length
        del self._buffer[:start]

    def take(self) -> Any:
        """Return the next frame, a dict or bytes; None when none is complete."""
        if not self._frames:
            return None
        length, frame = self._frames.popleft()
        self.waiting -= length
        return frame

    def _begin(self) -> bool:
        """Look for the preamble; tell whether it was there."""
        place = self._buffer.find(PREAMBLE)
        if place < 0 or place > self._noise:
            if place > self._noise or len(self._buffer) - len(PREAMBLE) >= self._noise:
                shown = bytes(self._buffer[:60]).decode("ascii", "backslashreplace")
                raise ProtocolError(f"the other end is not 'mailha sync': it says {shown!r}")
            return False
        del self._buffer[:place + len(PREAMBLE)]
        self._begun = True
        return True


class Stream:
    """A connection by two descriptors, which may be pipes; they stay the caller's to close.

    noise: whether something may stand before the other end's preamble.
    """

    def __init__(self, reader: int, writer: int, *, noise: bool = False) -> None:
        self._reader = reader
        self._writer = writer
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._decoder = Decoder(noise=noise)
        self._outgoing: deque[memoryview] = deque([memoryview(PREAMBLE)])
        self._ended = False

    def fileno(self) -> int:
        """Return the descriptor on which frames arrive, for select()."""
        return self._reader

    @property
    def waiting(self) -> bool:
        """Whether a frame has come in that was not taken yet."""
        return bool(self._decoder)

    def send(self, message: Mapping[str, Any]) -> None:
        """Put a message into the queue; flush() carries it. Raises ProtocolError."""
        self._outgoing.append(memoryview(encode(message)))

    def send_data(self, data: bytes) -> None:
        """Put the content of a file into the queue, in as many frames as it takes."""
        frames = encode_data(data)
        if frames:
            self._outgoing.append(memoryview(frames))

    def flush(self, timeout: float) -> None:
        """Write everything that is queued.

        What comes in meanwhile is taken, so that two ends which both write never wait for each
        other. Raises Silent if it does not get out within timeout seconds, ConnectionLost and
        ProtocolError.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._write()
            if not self._outgoing:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise Silent(f"the other node took nothing for {timeout:g} s")
            full = self._ended or self._decoder.waiting > MOST_WAITING
            readers = [] if full else [self._reader]
            readable, _, _ = select.select(readers, [self._writer], [], left)
            if readable:
                self._read()

    def receive(self, timeout: float) -> Any:
        """Return the next frame: a dict (message) or bytes (data).

        Raises Silent if none comes within timeout seconds, ConnectionLost at the end of the
        connection, and ProtocolError.
        """
        deadline = time.monotonic() + timeout
        while True:
            frame = self._decoder.take()
            if frame is not None:
                return frame
            if self._ended:
                raise ConnectionLost("the other node closed the connection")
            left = deadline - time.monotonic()
            if left <= 0:
                raise Silent(f"the other node was silent for {timeout:g} s")
            if select.select([self._reader], [], [], left)[0]:
                self._read()

    def message(self, timeout: float) -> dict[str, Any]:
        """Return the next frame, which has to be a message. Raises as receive() does."""
        frame = self.receive(timeout)
        if not isinstance(frame, dict):
            raise ProtocolError("data came where a message was due")
        return frame

    def pieces(self, length: int, timeout: float) -> Iterator[bytes]:
        """Give the content that was announced with so many bytes, piece by piece.

        timeout: seconds for each of them. Raises as receive() does.
        """
        missing = length
        while missing:
            piece = self.receive(timeout)
            if not isinstance(piece, bytes) or not 0 < len(piece) <= missing:
                raise ProtocolError(f"a content of {length} bytes is not what was announced")
            yield piece
            missing -= len(piece)

    def content(self, length: int, timeout: float) -> bytes:
        """Return the content that was announced with so many bytes. Raises as receive() does."""
        return b"".join(self.pieces(length, timeout))

    def _write(self) -> None:
        """Write as much as the other end takes now."""
        while self._outgoing:
            view = self._outgoing[0]
            try:
                done = os.writev(self._writer, list(self._outgoing)[:64])
            except BlockingIOError:
                return
            except OSError as error:
                raise _lost(error) from None
            while done:
                view = self._outgoing.popleft()
                if done < len(view):
                    self._outgoing.appendleft(view[done:])
                    break
                done -= len(view)

    def _read(self) -> None:
        """Take what has come."""
        try:
            data = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            raise _lost(error) from None
        if not data:
            self._ended = True
            return
        self._decoder.feed(data)


def choose(oldest: Any, newest: Any) -> int:
    """Return the newest version that both ends speak; oldest, newest: the other's.

    Raises ProtocolError if there is none.
    """
    if not isinstance(oldest, int) or not isinstance(newest, int) or oldest > newest:
        raise ProtocolError("the other node does not say which protocol it speaks")
    version = min(newest, NEWEST)
    if version < max(oldest, OLDEST):
        raise ProtocolError(
            f"the other node speaks the protocol {oldest} to {newest}, this one {OLDEST} to "
            f"{NEWEST}", remedy="upgrade mailha on the node that is behind")
    return version


def _parse(body: bytes) -> dict[str, Any]:
    try:
        message = _decoded(body.decode("ascii"))
    except (ValueError, RecursionError):
        raise ProtocolError("a message came that is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolError("a message came that is no object with a type")
    return message


def _integer(digits: str) -> int:
    """Return the number. One of a million digits would take Python minutes."""
    if len(digits) > 20:
        raise ValueError("a number has too many digits")
    return int(digits)


# Made once: the functions of the module make new ones for each message.
_encoded = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decoded = json.JSONDecoder(parse_int=_integer).decode


def _lost(error: OSError) -> ConnectionLost:
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        return ConnectionLost("the other node closed the connection")
    return ConnectionLost(f"the connection broke: {error.strerror}")
