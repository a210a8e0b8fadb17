# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of bm-core, as it tells anybody who asks on this node (IInstallation.getSystemState).

Its port is open and systemd calls it ready before it serves (ApplicationLauncher tells systemd
first), and in every state but RUNNING its IMAP takes connections and says nothing. So this is the
best single question that there is.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors
from mailha.system.connection import ConnectionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

RUNNING = "RUNNING"
STARTING = "STARTING"
NOT_INSTALLED = "NOT_INSTALLED"
"""It does not find its installation in the database, and lets anybody begin a new one."""
ADMINISTRATIVE = ("UPGRADE", "MAINTENANCE", "CLONING", "DEMOTED")
"""States into which an administrator brings it, with a wizard that needs it to run."""
# Services do say these, but none of them is a reason to wait.
_OTHERS = (NOT_INSTALLED, "STOPPING", "UNKNOWN")

PORT = 8090
_QUESTION = (b"GET /api/system/installation/state HTTP/1.1\r\nHost: localhost\r\n"
             b"Accept: application/json\r\nConnection: close\r\n\r\n")
_MARK = b"CORE_STATE_"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
_LONGEST = 1 << 16


class Mute(errors.Failed):
    """bm-core does not say its state: nobody listens, or nobody answers.

    cause: as of ConnectionFailed, or "answer" where something else answered.
    """

    def __init__(self, reason: str, cause: str) -> None:
        super().__init__(reason)
        self.cause = cause


def ask(machine: Machine, timeout: float) -> str:
    """Return the state without its "CORE_STATE_"; "" if core answers and keeps it to itself.

    Only the words are certain, so nothing else of the answer is read. timeout: seconds.
    Raises Mute.
    """
    host = "127.0.0.1"
    try:
        return _ask(machine, host, timeout)
    except Mute as error:
        if error.cause != "refused":
            raise
        # It listens elsewhere, or nowhere.
        from mailha.services.greetings import reachable
        from mailha.system.addresses import ANYWHERE
        other = reachable(machine, ANYWHERE, PORT)
        if other == host:
            raise
        return _ask(machine, other, timeout)


def parse(answer: bytes) -> str:
    """Return the state that is named in an answer; "" if none is."""
    _, found, rest = answer.partition(_MARK)
    end = 0
    while end < len(rest) and rest[end] in _LETTERS:
        end += 1
    return rest[:end].decode("ascii") if found else ""


def _ask(machine: Machine, host: str, timeout: float) -> str:
    name = f"bm-core at {host}:{PORT}"
    deadline = machine.clock.monotonic() + timeout
    answer = b""
    try:
        with machine.sockets.connect((host, PORT), timeout) as connection:
            connection.send(_QUESTION, timeout)
            while len(answer) < _LONGEST:
                piece = connection.receive(4096, max(0.1, deadline - machine.clock.monotonic()))
                answer += piece
                # The word may come in two pieces: it is whole when something stands behind it.
                _, mark, rest = answer.partition(_MARK)
                if not piece or mark and rest.strip(_LETTERS):
                    break
    except ConnectionFailed as error:
        if not parse(answer):
            raise Mute(f"{name} does not answer: {error.reason}", error.cause) from None
    state = parse(answer)
    if state:
        return state
    status = answer.split(b" ")[1:2]
    if not answer.startswith(b"HTTP/1.") or status and status[0].startswith(b"5"):
        said = "".join(char if char.isprintable() else "?"
                       for char in answer[:80].partition(b"\r")[0].decode("utf-8", "replace"))
        raise Mute(f"{name} says '{said}' when asked for its state", "answer")
    return ""
