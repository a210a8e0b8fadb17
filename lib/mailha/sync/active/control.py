# SPDX-License-Identifier: GPL-2.0-or-later
"""How others talk to a running sender: a socket that is root's alone.

A request is one line of JSON with "do". The answers are lines of JSON, too: any number that tell of
progress, then one with "done" or with "error" (and "remedy"). "monitor" alone is answered in plain
text, because a monitor that has to load a JSON parser costs twice as much (see
mailha.sync.active.status).
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from typing import Any, Callable, Mapping, Union

from mailha import errors
from mailha.sync.places import Places
from mailha.system import unixpaths
from mailha.system.machine import Machine

LONGEST_REQUEST = 1 << 20
LONGEST_ANSWER = 64 << 20
MOST_AT_ONCE = 16
PATIENCE = 10.0
"""Seconds in which whoever has connected has to have said what he wants."""

Tell = Callable[[Mapping[str, Any]], None]
Handler = Callable[[Mapping[str, Any], Tell], Union[Mapping[str, Any], str]]


class NoSender(errors.Failed):
    """No sender of this resource runs on this node."""


class Server(threading.Thread):
    """The sender's end. Raises errors.Failed if the socket cannot be made."""

    def __init__(self, path: str) -> None:
        super().__init__(name="control", daemon=True)
        self._handlers: Mapping[str, Handler] | None = None
        self._changed = threading.Condition()
        self._places = threading.Semaphore(MOST_AT_ONCE)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # The directory is root's alone, so nobody is quicker than the mode. It gets its name
            # when it listens: nobody may be refused because he came in between.
            made = path + ".new"
            if os.path.lexists(made):
                os.unlink(made)
            unixpaths.bind(self._listener, made)
            os.chmod(made, 0o600)
            self._listener.listen(MOST_AT_ONCE)
            os.rename(made, path)
        except OSError as error:
            self._listener.close()
            raise errors.Failed(f"cannot make the socket {path}: {error.strerror}") from None

    def run(self) -> None:
        """Take connections, each in a thread of its own."""
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            if not self._places.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def answer_by(self, handlers: Mapping[str, Handler] | None) -> None:
        """Answer by these from now on. None: let whoever asks wait for the next ones.

        handlers: what can be asked for; each gets the request and a way to tell of progress,
        returns the answer, and raises errors.MailhaError.
        """
        with self._changed:
            self._handlers = handlers
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(PATIENCE)
                answer = self._answer(_line(connection), connection)
                connection.sendall(answer.encode() if isinstance(answer, str) else _encode(answer))
            except OSError:
                pass            # whoever asked has gone
            finally:
                self._places.release()

    def _answer(self, line: bytes, connection: socket.socket) -> Mapping[str, Any] | str:
        with self._changed:
            self._changed.wait_for(lambda: self._handlers is not None, PATIENCE)
            handlers = self._handlers
        if handlers is None:
            return {"error": "the sender is just beginning anew", "remedy": "ask again"}
        try:
            request = json.loads(line)
            handler = handlers[request["do"]]
        except (ValueError, KeyError, TypeError):
            return {"error": "the sender does not know what is wanted from it",
                    "remedy": "restart the resource after an upgrade"}
        try:
            answer = handler(request, lambda message: connection.sendall(_encode(message)))
            return answer if isinstance(answer, str) else {**answer, "done": True}
        except errors.MailhaError as error:
            return {"error": error.reason, "remedy": error.remedy}
        except (ValueError, TypeError, KeyError) as error:
            return {"error": f"the sender does not understand the request: {error}"}


def ask(machine: Machine, resource: str, request: Mapping[str, Any], timeout: float,
        progress: Callable[[Mapping[str, Any]], None] | None = None) -> dict[str, Any]:
    """Ask the sender of a resource on this node, and return its answer.

    progress: gets every message before the last one. Raises NoSender, and errors.Failed with what
    the sender says, or when it says nothing within timeout seconds.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(timeout)
        try:
            unixpaths.connect(connection, machine.root + control_path(resource))
            connection.sendall(_encode(request))
        except (FileNotFoundError, ConnectionRefusedError):
            raise NoSender(f"no sender of {resource} runs on this node",
                           remedy="ask on the node where the resource is started") from None
        except OSError as error:
            raise errors.Failed(f"cannot ask the sender of {resource}: {error}") from None
        buffer = bytearray()
        while True:
            try:
                line = _line(connection, buffer, deadline, LONGEST_ANSWER)
            except OSError:
                raise errors.Failed(f"the sender of {resource} did not answer within {timeout:g} s"
                                    ) from None
            try:
                answer: dict[str, Any] = json.loads(line)
            except ValueError:
                raise NoSender(f"the sender of {resource} has just ended") from None
            if "error" in answer:
                raise errors.Failed(str(answer["error"]), remedy=str(answer.get("remedy", "")))
            if answer.get("done") is True:
                return answer
            if progress is not None:
                progress(answer)


def control_path(resource: str) -> str:
    """Return the path of the socket. Raises errors.Failed for what is no resource."""
    return Places(resource).run_directory + "/control"


def _encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode("ascii") + b"\n"


def _line(connection: socket.socket, buffer: bytearray | None = None,
          deadline: float | None = None, longest: int = LONGEST_REQUEST) -> bytes:
    """Return the next line; what comes behind it stays in the buffer. Raises OSError."""
    if buffer is None:
        buffer = bytearray()
    if deadline is None:
        deadline = time.monotonic() + PATIENCE
    while b"\n" not in buffer:
        left = deadline - time.monotonic()
        if left <= 0 or len(buffer) > longest or not select.select([connection], [], [], left)[0]:
            raise TimeoutError("no line came")
        data = connection.recv(1 << 16)
        if not data:
            break
        buffer += data
    line, _, rest = bytes(buffer).partition(b"\n")
    buffer[:] = rest
    return line
