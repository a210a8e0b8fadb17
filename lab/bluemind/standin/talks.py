# SPDX-License-Identifier: GPL-2.0-or-later
"""What is answered on a port. Each talk has a connection of its own, in a thread of its own."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from typing import Callable, Optional

Talk = Callable[[socket.socket], None]

MAXIMUM = 65536
LIMIT = 60.0
"""Seconds without a word, after which a talk is over."""


def listen(port: int, talk: Talk, *, address: str = "0.0.0.0", mute: bool = False) -> None:
    """Serve a port from now on. Raises OSError where it cannot be had."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)
    serve(listener, _say_nothing if mute else talk)


def listen_unix(path: str, talk: Talk) -> None:
    """Serve a socket in the file system that everybody may use."""
    if os.path.lexists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o777)
    listener.listen(64)
    serve(listener, talk)


def serve(listener: socket.socket, talk: Talk) -> None:
    """Accept connections in the background, for as long as the process lives."""
    def one(connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(LIMIT)
                talk(connection)
        except (OSError, ValueError):
            pass        # whoever talked has gone away, or made no sense

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _say_nothing(connection: socket.socket) -> None:
    while connection.recv(MAXIMUM):
        pass


connect_only: Talk = _say_nothing


# -- HTTP -----------------------------------------------------------------------------------------

Answer = Callable[[str, str, bytes], "tuple[int, str]"]
"""Method, path, body -> status and text."""


def http(answer: Answer, headers: "Callable[[str], dict[str, str]]" = lambda path: {}) -> Talk:
    """Return a talk of one HTTP request.

    headers: called with the path; further headers of the answer.
    """
    def talk(connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            got = connection.recv(MAXIMUM)
            if not got or len(data) > MAXIMUM:
                return
            data += got
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path = (lines[0] + "  ").split(" ")[:2]
        length = [int(line[15:]) for line in lines if line.lower().startswith("content-length:")]
        while length and len(body) < length[0]:
            got = connection.recv(MAXIMUM)
            if not got:
                return
            body += got
        status, text = answer(method, path, body)
        more = "".join(f"{name}: {value}\r\n" for name, value in headers(path).items())
        connection.sendall(f"HTTP/1.1 {status} Stand-in\r\nContent-Length: {len(text.encode())}\r\n"
                           f"Connection: close\r\n{more}\r\n{text}".encode())
    return talk


def always(status: int, text: str = "") -> Answer:
    """Return an answer that is the same for everybody."""
    return lambda method, path, body: (status, text)


def get(port: int, path: str, timeout: float = 2.0) -> str:
    """Return the body that a service of this node answers with, "" if it gives none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            data = b""
            while True:
                got = connection.recv(MAXIMUM)
                if not got:
                    return data.partition(b"\r\n\r\n")[2].decode()
                data += got
    except OSError:
        return ""


# -- mail -----------------------------------------------------------------------------------------

def greeted(greeting: str, is_open: Callable[[], bool], answer: Callable[[bytes], bytes]) -> Talk:
    """Return a talk of lines that begins with a greeting.

    is_open: where it says no, the connection is closed after two seconds without a word, as
    BlueMind's IMAP does in every state but RUNNING.
    answer: called with each line, without its end; an empty answer ends the talk.
    """
    def talk(connection: socket.socket) -> None:
        if not is_open():
            time.sleep(2)
            return
        connection.sendall(greeting.encode() + b"\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                said = answer(line.rstrip(b"\r\n"))
                if not said:
                    return
                connection.sendall(said)
    return talk


def relay(port: int, greeting: str) -> Talk:
    """Return a talk in which another server of this node answers, but for the greeting."""
    def talk(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port), LIMIT) as other:
            with other.makefile("rb") as lines:
                lines.readline()
                connection.sendall(greeting.encode() + b"\r\n")
                threading.Thread(target=_pump, args=(connection, other), daemon=True).start()
                while True:
                    got = lines.read1(MAXIMUM)
                    if not got:
                        return
                    connection.sendall(got)
    return talk


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while True:
            got = source.recv(MAXIMUM)
            if not got:
                break
            target.sendall(got)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


# Version 6, no action on a message, and of the protocol as little as the other side lets us have:
# sendmail's libmilter/mfapi.h, SMFIP_NOCONNECT to SMFIP_NODATA.
_NEGOTIATED = struct.pack("!III", 6, 0, 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200)


def milter(connection: socket.socket) -> None:
    """Be a milter that lets everything pass."""
    with connection.makefile("rb") as stream:
        while True:
            head = stream.read(4)
            if len(head) < 4:
                return
            packet = stream.read(struct.unpack("!I", head)[0])
            command = packet[:1]
            if command == b"O":
                answer: Optional[bytes] = b"O" + _NEGOTIATED
            elif command in (b"D", b"A", b"K"):
                answer = None
            elif command in (b"Q", b""):
                return
            else:
                answer = b"c"
            if answer:
                connection.sendall(struct.pack("!I", len(answer)) + answer)
