# SPDX-License-Identifier: GPL-2.0-or-later
"""The running Cyrus: its master process, and what that sees mounted.

A unit with PrivateMounts=, ProtectSystem= or ReadWritePaths=, or a hand with nsenter(1), gives
Cyrus a mount namespace of its own, in which a path may lead to another disk than in ours. Whatever
has been mounted or unmounted since it started may not have reached it.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mailha.system.machine import Machine
    from mailha.system.processes import Process

    Real = Callable[[str], str]

PROGRAMS = ("master", "cyrus-master", "cyrmaster")
"""Of upstream and BlueMind, of Red Hat and SUSE, of Debian."""

PID_FILES = ("/run/cyrus-master.pid", "/run/cyrus/cyrus-master.pid", "/run/cyrmaster.pid",
             "/run/cyrus-imapd.pid")
"""Where master(8) is told to write its pid (-p); its own default is the first."""

CONFIGURATION = "/etc/imapd.conf"
"""What a master without -C reads."""

_DELETED = " (deleted)"
"""What the kernel appends to a program whose package has been upgraded."""


def find(machine: Machine, configuration: str, remembered: str = "",
         real: Real = str) -> Process | None:
    """Return the master that runs with this configuration, None if none does.

    real: returns where a path leads, or itself where that is not to be looked at: the master may
    have been told the same file by another name.

    remembered: a file in /run in which its pid is kept from one call to the next, "" for none. A
    node that serves has thousands of processes, and looking at each would cost more than all the
    rest of a monitor. So that file is tried first, then the usual pid files, which a master without
    -d, as in Debian's unit, does not write; and whatever they name has to be the master.

    Postfix has a master, too; it is told from Cyrus's by its place.
    """
    for path in (remembered, *PID_FILES):
        process = _named(machine, path, configuration, real) if path else None
        if process is not None:
            return process
    process = _search(machine, configuration, real)
    if process is not None and remembered:
        try:
            machine.files.write_atomic(remembered, f"{process.pid}\n".encode())
        except errors.MailhaError:
            pass        # found again the same way next time
    return process


def _named(machine: Machine, path: str, configuration: str, real: Real) -> Process | None:
    """Return the master whose pid stands in a file."""
    try:
        text = machine.files.read(path, 64).strip()
    except (OSError, errors.MailhaError):
        return None
    process = machine.processes.read(int(text)) if text.isdigit() else None
    return process if process is not None and is_master(machine, process, configuration, real) \
        else None


def _search(machine: Machine, configuration: str, real: Real) -> Process | None:
    """Return the master, found among all processes of this node. One in a container is not ours."""
    own = _link(machine, "self", "ns/pid")
    for pid in machine.files.names("/proc"):
        # The link first: for all but a few processes it is the only thing that is read.
        if pid.isdigit() and is_program(_link(machine, pid, "exe")) \
                and own in ("", _link(machine, pid, "ns/pid")):
            process = machine.processes.read(int(pid))
            if process is not None and is_master(machine, process, configuration, real):
                return process
    return None


def is_master(machine: Machine, process: Process, configuration: str, real: Real = str) -> bool:
    """Tell whether a process is Cyrus's master with this configuration.

    A master has the file of its command line, or else Cyrus's own; several run on a node that has
    taken over. real: see :func:`find`.
    """
    if not process.alive or not is_program(process.executable):
        return False
    told = _configuration(process.arguments)
    if told == configuration:
        return True
    if not told.startswith("/"):
        # It has kept the directory in which it was started, unless it runs as a daemon.
        told = f"{_link(machine, str(process.pid), 'cwd')}/{told}"
    return real(_plain(told)) == real(_plain(configuration))


def _plain(path: str) -> str:
    """Return a path without empty and "." parts."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def sees_other_mounts(machine: Machine, process: Process) -> bool:
    """Tell whether a process lives in a mount namespace that is not ours."""
    ours = _link(machine, "self", "ns/mnt")
    its = _link(machine, str(process.pid), "ns/mnt")
    return bool(ours and its) and ours != its


def is_program(executable: str) -> bool:
    """Tell whether this is the path of Cyrus's master, its package upgraded since or not."""
    if executable.endswith(_DELETED):
        executable = executable[:-len(_DELETED)]
    return executable.rpartition("/")[2] in PROGRAMS and "/postfix/" not in executable


def _link(machine: Machine, pid: str, name: str) -> str:
    """Return what a link of a process says; "" if the process is gone or hides it."""
    try:
        return machine.files.link(f"/proc/{pid}/{name}")
    except errors.MailhaError:
        return ""


def _configuration(arguments: list[str]) -> str:
    """Return the imapd.conf of a master's command line: "-C FILE", "-CFILE", or the default.

    The other options of master(8) with a value are -L, -M, -p, -l and -j.
    """
    rest = arguments[1:]
    while rest:
        argument = rest.pop(0)
        if argument == "--" or not argument.startswith("-"):
            break
        letters = argument[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "CLMplj":
                value = letters or (rest.pop(0) if rest else "")
                if letter == "C":
                    return value
                break
    return CONFIGURATION
