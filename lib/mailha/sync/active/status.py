# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor asks the sender: does everything agree, on both sides?

Three answers are possible. The sender says so, with the code and the reason in one line. Or nobody
takes the connection: it is dead, or just starting. Or it takes the connection and says nothing.

A recurring monitor loads this module.
"""

from __future__ import annotations

import os
import select
import time

from mailha import errors
from mailha.sync.places import Places
from mailha.system import unixpaths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

_LONGEST = 1 << 16


class NotThere(errors.Failed):
    """Nobody answers at the sender's socket."""


class NoAnswer(errors.Failed):
    """The sender took the question and did not answer in time."""


def ask(machine: Machine, resource: str, timeout: float) -> tuple[int, str]:
    """Let the sender compare both sides, and return the exit code and the reason for it.

    Raises NotThere and NoAnswer.
    """
    import _socket
    deadline = time.monotonic() + timeout
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        channel.settimeout(timeout)
        try:
            unixpaths.connect(channel, machine.root + Places(resource).run_directory + "/control")
            # Its own deadline is earlier, so that it can say what it waits for.
            channel.send(b'{"do": "monitor", "timeout": %.2f}\n' % (timeout * 0.8))
        except OSError as error:
            raise NotThere(f"the sender does not answer: {error.strerror}") from None
        answer = b""
        while not answer.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([channel], [], [], left)[0]:
                raise NoAnswer(f"the sender did not answer within {timeout:.0f} s")
            try:
                data = channel.recv(_LONGEST)
            except OSError:
                data = b""
            if not data:
                raise NotThere("the sender has just ended")
            answer += data
    finally:
        channel.close()
    code, _, reason = os.fsdecode(answer).rstrip("\n").partition(" ")
    if not code.isdigit():
        raise NoAnswer("the sender gives an answer that cannot be understood")
    return int(code), reason
