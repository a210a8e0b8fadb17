# SPDX-License-Identifier: GPL-2.0-or-later
"""Java machines that have run out of memory: /var/log/java_pidNUMBER.hprof.

A machine that does so writes its heap there and goes on, half dead. Which service it was can be
told as long as it lives, so it is told at once, and once.
"""

from __future__ import annotations

from mailha import errors
from mailha.system.child_failures import ChildFailed
from mailha.system.files import of_resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.services.evidence import Sight
    from mailha.system.machine import Machine

DIRECTORY = "/var/log"
TOLD_DIRECTORY = "/run/mailha/heap-dumps"
FORMAT = 1
_BEGIN, _END = "java_pid", ".hprof"


def dumped(names: list[str]) -> set[int]:
    """Return the pids of which a heap lies among the names of a directory."""
    return {int(name[len(_BEGIN):-len(_END)]) for name in names
            if name.startswith(_BEGIN) and name.endswith(_END)
            and name[len(_BEGIN):-len(_END)].isascii() and name[len(_BEGIN):-len(_END)].isdigit()
            and len(name) < 40}


def news(machine: Machine, resource: str, seen: list[Sight], timeout: float) -> list[str]:
    """Return a line for each living service that has run out of memory and was not told of yet.

    timeout: seconds that the disk with the logs may take. Never raises errors.MailhaError: a log
    that cannot be looked at is no finding.
    """
    try:
        found = dumped(machine.children.bounded(
            lambda: "\n".join(machine.files.names(DIRECTORY)).encode("utf-8", "replace"),
            timeout=timeout).decode("utf-8", "replace").split("\n"))
        living = [(sight.service.name, sight.service.unit, process) for sight in seen
                  for process in sight.processes if process.pid in found]
        if not living:
            return []
        told = _told(machine, resource)
        fresh = [(name, unit, process) for name, unit, process in living
                 if f"{process.pid} {process.start_time}" not in told]
        if fresh:
            _tell(machine, resource, [f"{process.pid} {process.start_time}"
                                      for _, _, process in living])
    except (errors.MailhaError, ChildFailed, OSError):
        return []
    return [f"service {name} ran out of memory: {DIRECTORY}/{_BEGIN}{process.pid}{_END} is the "
            f"heap of its living process {process.pid}; keep the file for BlueMind's support, then "
            f"restart {unit} at a quiet time, give it more memory in /etc/bm/local, and see that "
            f"{DIRECTORY} is not full" for name, unit, process in fresh]


def _told(machine: Machine, resource: str) -> set[str]:
    """Return which processes have been told of, as "pid start-time"."""
    try:
        lines = machine.files.read(of_resource(TOLD_DIRECTORY, resource)).decode().split("\n")
    except (OSError, ValueError):
        return set()
    return set(lines[1:]) if lines[0] == f"format {FORMAT}" else set()


def _tell(machine: Machine, resource: str, processes: list[str]) -> None:
    """Write down which processes have been told of."""
    machine.files.make_directory(TOLD_DIRECTORY, 0o755)
    machine.files.write_atomic(of_resource(TOLD_DIRECTORY, resource),
                               "\n".join([f"format {FORMAT}", *processes]).encode())
