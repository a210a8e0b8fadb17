# SPDX-License-Identifier: GPL-2.0-or-later
"""The slow way: pyghmi's public Command in a child process, for a pyghmi that we do not know.

The public interface has no deadline, may wait for ever and does not tell that it has logged in
again. So it runs in a child of its own, one for each session, that is killed when it does not
answer in time; and an answer that took so long that there may have been a new login in between is
taken for a lost session. That costs half a second more than ipmi_session; nothing else differs.

The child answers requests on a socket: two bytes (network function, command) and the data; the
answer is a letter, and then the completion code and the data, or a failure's class and reason.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from mailha.bmc import ipmi_login
from mailha.bmc.ipmi_line import resolve
from mailha.fencing import failures, packages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence
    from mailha.bmc.ipmi_login import Login
    from mailha.fencing.deadline import Deadline

ANSWER, FAILURE = b"a", b"f"

LONGEST_ANSWER = 2.0
"""Seconds after which an answer may come from another session: 1.6.x logs in again by itself once a
request has been without an answer for a good deal longer."""

OPERATOR = 3

TO_CLOSE = 0.5
"""Seconds that a child has to end its session."""

_SIZE = 4096


class Conversation:
    """A session that a child process has with a controller. Close it after use."""

    def __init__(self, login: Login, deadline: Deadline) -> None:
        """Start the child and wait until it has logged in.

        Raises MissingLibrary, TimeUp, and what the login fails with (see ipmi_login).
        """
        if login.suites == (17,):
            # Command offers 17 and then 3; who insists on 17 does so because 3 is too weak.
            raise failures.MissingLibrary(
                "this release of pyghmi cannot be held to cipher suite 17",
                remedy="install pyghmi 1.5.34 to 1.6.19, or unset cipher")
        resolve(login, deadline)        # pyghmi has no word for a name that is unknown
        self._login = login
        self._deadline = deadline
        self._child = 0
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        patience = min(deadline.left(), max(deadline.contact(), 1.0))
        with theirs:
            self._child = os.fork()
            if self._child == 0:
                self._socket.close()
                _be_child(theirs, login, deadline.left() + 1, patience)
        try:
            self._receive(patience + 1, "log in")
        except BaseException:
            self._end()
            raise

    def ask(self, netfn: int, command: int, data: Sequence[int] = ()) -> tuple[int, bytes]:
        """Return the completion code and the data of the answer to a request.

        Raises SessionLost, TimeUp.
        """
        if not self._child:
            raise failures.SessionLost(f"{self._login.name} had lost this session before")
        try:
            try:
                self._socket.send(bytes((netfn, command, *data)))
            except OSError:
                pass        # the child has ended; what it said before, or that it did, comes now
            answer = self._receive(LONGEST_ANSWER, "answer a request")
        except BaseException:
            self._end()
            raise
        return answer[0], answer[1:]

    def close(self) -> None:
        """End the session at the controller; never raises."""
        try:
            if self._child:
                self._socket.shutdown(socket.SHUT_WR)
                self._socket.settimeout(TO_CLOSE)
                self._socket.recv(_SIZE)        # its end
        except OSError:
            pass
        self._end()

    def _receive(self, seconds: float, purpose: str) -> bytes:
        left = self._deadline.left()
        self._socket.settimeout(min(seconds, left))
        try:
            said = self._socket.recv(_SIZE)
        except socket.timeout:
            self._deadline.left()
            raise failures.SessionLost(f"{self._login.name} did not {purpose} within {seconds:.1f} "
                                       "s") from None
        except OSError:
            said = b""
        if said[:1] == ANSWER:
            return said[1:]
        if said[:1] == FAILURE:
            name, _, reason = said[1:].decode("utf-8", "replace").partition(" ")
            reason, _, remedy = reason.partition("\n")
            raise getattr(failures, name)(reason, remedy=remedy)
        raise failures.SessionLost(f"{self._login.name}: the process that uses pyghmi ended "
                                   "without an answer")

    def _end(self) -> None:
        """Kill the child, if it lives, and forget it."""
        self._socket.close()
        if self._child:
            child, self._child = self._child, 0
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _be_child(requests: socket.socket, login: Login, seconds: float, patience: float) -> None:
    """Serve the parent until it closes its side. Does not return."""
    try:
        # Whatever pyghmi does with its threads and locks, and whatever becomes of the parent.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):        # it prints
            os.dup2(nothing, stream)
        sys.stdout = sys.stderr = open(os.devnull, "w")
        _serve(requests, login, patience)
    except failures.FencingFailed as failure:
        _tell(requests, failure)
    except BaseException as error:
        _tell(requests, failures.NotUnderstood(
            f"{login.name}: pyghmi failed: {type(error).__name__}: {error}"))
    finally:
        os._exit(0)


def _tell(requests: socket.socket, failure: failures.FencingFailed) -> None:
    reason = " ".join(failure.reason.split())
    requests.send(FAILURE + f"{type(failure).__name__} {reason}\n{failure.remedy}".encode())


def _serve(requests: socket.socket, login: Login, patience: float) -> None:
    try:
        from pyghmi.ipmi import command  # type: ignore[import]
    except ImportError as error:
        raise packages.missing("pyghmi", error) from error
    said: list[dict[str, Any]] = []
    begun = time.monotonic()
    # Bytes: given text, pyghmi 1.x loses an entry of its register, and the next login hangs.
    session = command.Command(bmc=login.host, userid=login.user, password=login.password,
                              port=login.port, kg=login.key, privlevel=login.level,
                              onlogon=lambda response, us: said.append(response))
    while not said:
        passed = time.monotonic() - begun
        if passed >= patience:
            raise ipmi_login.silent(login, passed)
        command.Command.wait_for_rsp(min(0.2, patience - passed))
    if "error" in said[0]:
        raise ipmi_login.of_text(login, str(said[0]["error"]), time.monotonic() - begun)
    requests.send(ANSWER)
    while True:
        request = requests.recv(_SIZE)
        if not request:
            session.ipmi_session.logout()
            return
        answer = session.raw_command(netfn=request[0], command=request[1], data=request[2:])
        if "code" not in answer or answer["code"] > 0xff:
            raise failures.SessionLost(f"{login.name} answers no more")
        requests.send(ANSWER + bytes((answer["code"],)) + bytes(answer.get("data", b"")))
