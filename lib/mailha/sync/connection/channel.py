# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to a peer: an ssh that stays, with the receiver at its other end.

A new ssh costs a quarter of a second, a message through an open one a twentieth of a millisecond.
So one is opened and kept, and nothing is ever started for a single change.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any, Mapping

from mailha import errors
from mailha.sync.connection import ssh, wire
from mailha.sync.connection.peers import Peer
from mailha.sync.connection.wire import Stream
from mailha.sync.trouble import ConnectionLost, ProtocolError, Refused, Silent

OPENING = 25.0
"""Seconds for all until the welcome: ssh gives up connecting after 10, and a busy node is slow."""

LAST_WORDS = 2.0
"""Seconds that ssh is waited for when its output has ended: what it says then is the reason."""

_LONGEST_WORDS = 1 << 16


class Channel:
    """The connection to one peer. stream: what goes through it once it is open."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._child: subprocess.Popen[bytes] | None = None
        self._said = -1
        self._stream: Stream | None = None

    @property
    def stream(self) -> Stream:
        """The frames of the open connection. Raises ConnectionLost where there is none."""
        if self._stream is None:
            raise ConnectionLost(f"there is no connection to {self.peer.node}")
        return self._stream

    def open(self, hello: Mapping[str, Any], timeout: float = OPENING) -> dict[str, Any]:
        """Connect, say who we are, and return the welcome.

        hello: the sender's or reader's, without type and version. Raises Refused when the receiver
        takes nothing from us, and errors.Failed with the reason why there is no connection.
        """
        self.close()
        deadline = time.monotonic() + timeout
        try:
            stream = self._connect()
            welcome = self._introduce(stream, hello, deadline)
        except BaseException:
            self.close()
            raise
        self._stream = stream
        return welcome

    def cut(self) -> None:
        """Break the connection, from another thread: who waits on it sees its end."""
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the connection; nothing happens if there is none."""
        self._stream = None
        child, self._child = self._child, None
        if child is not None:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        pass        # what was still to be written goes nowhere
            child.kill()
            child.wait()
        if self._said >= 0:
            os.close(self._said)
            self._said = -1

    def _connect(self) -> Stream:
        """Start ssh and return what goes through it. Raises errors.Failed."""
        self._said = os.memfd_create("ssh", os.MFD_CLOEXEC)
        try:
            # In a session of its own: an interrupt at the keyboard is for mailha to answer.
            child = self._child = subprocess.Popen(
                ssh.command(self.peer), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._said, env=ssh.environment(), cwd="/", start_new_session=True)
        except OSError as error:
            raise errors.Failed(f"cannot run {ssh.PROGRAM}: {error.strerror}",
                                remedy="install the OpenSSH client") from None
        assert child.stdin is not None and child.stdout is not None
        return Stream(child.stdout.fileno(), child.stdin.fileno(), noise=True)

    def _introduce(self, stream: Stream, hello: Mapping[str, Any],
                   deadline: float) -> dict[str, Any]:
        try:
            stream.flush(_left(deadline))
            theirs = stream.message(_left(deadline))
        except ConnectionLost:
            # Not a word came from the other end, so it is ssh that knows why.
            raise ssh.explain(self.peer, self._last_words()) from None
        except Silent:
            raise errors.Failed(f"{self.peer.node} ({self.peer.address}) did not answer in time",
                                remedy="see whether that node is overloaded") from None
        except ProtocolError as error:
            raise errors.Failed(f"{self.peer.node}: {error.reason}",
                                remedy="see what the SSH server there runs for this key: 'mailha "
                                       f"sync pair {self.peer.node}' sets it") from None
        if theirs.get("type") == "refused":
            raise refusal(theirs)
        version = wire.choose(theirs.get("oldest"), theirs.get("newest"))
        stream.send({"type": "hello", "version": version, **hello})
        stream.flush(_left(deadline))
        answer = stream.message(_left(deadline))
        if answer.get("type") == "refused":
            raise refusal(answer)
        if answer.get("type") != "welcome":
            raise ProtocolError(f"{self.peer.node} answers {answer.get('type')!r} and no welcome")
        return answer

    def _last_words(self) -> str:
        """Return what ssh has written to stderr, once it has ended."""
        if self._child is not None:
            try:
                self._child.wait(LAST_WORDS)
            except subprocess.TimeoutExpired:
                pass            # then what it has said by now must do
        if self._said < 0:
            return ""
        return os.pread(self._said, _LONGEST_WORDS, 0).decode("utf-8", "backslashreplace")


def refusal(message: Mapping[str, Any]) -> Refused:
    """Return the error that a message of the type "refused" stands for."""
    details = {name: value for name, value in message.items()
               if name not in ("type", "code", "reason", "remedy")}
    return Refused(str(message.get("reason", "it gives no reason")),
                   code=str(message.get("code", "failed")), remedy=str(message.get("remedy", "")),
                   **details)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
