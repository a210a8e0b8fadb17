# SPDX-License-Identifier: GPL-2.0-or-later
"""The health of Elasticsearch: green, yellow (a replica is missing, usual on one node), or red.

Neither is cured by a restart or on another node, for the index is the same there. So both are
something for the administrator, and never a reason to take mail down.
"""

from __future__ import annotations

from mailha.services.greetings import reachable
from mailha.system.connection import ConnectionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.services.service import Service
    from mailha.system.machine import Machine

_QUESTION = (b"GET /_cluster/health HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
             b"Connection: close\r\n\r\n")
_LONGEST = 1 << 16


def health(machine: Machine, services: list[Service], timeout: float) -> str:
    """Return what is wrong with the index, "" if nothing or if it is not among the services.

    timeout: seconds.
    """
    listening = next((each for service in services if service.name == "elasticsearch"
                      for each in service.listens), None)
    if listening is None:
        return ""
    deadline = machine.clock.monotonic() + timeout
    answer = b""
    try:
        host = reachable(machine, listening.host, listening.port)
        with machine.sockets.connect((host, listening.port), timeout) as connection:
            connection.send(_QUESTION, timeout)
            while len(answer) < _LONGEST and b"}" not in answer:
                piece = connection.receive(4096, max(0.1, deadline - machine.clock.monotonic()))
                if not piece:
                    break
                answer += piece
    except ConnectionFailed as error:
        if not answer:
            return f"Elasticsearch does not tell its health: {error.reason}"
    status = parse(answer)
    if status in ("yellow", "red"):
        return (f"the health of Elasticsearch is {status}: "
                + ("parts of the index have no copy" if status == "yellow"
                   else "parts of the index are missing, searches are incomplete"))
    return "" if status == "green" else "Elasticsearch does not tell its health"


def parse(answer: bytes) -> str:
    """Return the value of "status" in the answer, "" if there is none that is known."""
    _, found, rest = answer.partition(b'"status"')
    word = rest.lstrip(b" \r\n\t:").lstrip(b'"')
    for known in (b"green", b"yellow", b"red"):
        if found and word.startswith(known):
            return known.decode()
    return ""
