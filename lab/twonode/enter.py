# SPDX-License-Identifier: GPL-2.0-or-later
"""Running a command inside a machine of the lab.

The way in is a set of open namespaces, not a process number, which could be another process by the
time it is used. A command enters with the same capabilities as the machine's own processes, and it
dies with whoever runs it.
"""

from __future__ import annotations

import os
import subprocess
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Type, Union

from twonode import boot, linux

KINDS = {"mnt": "--mount", "uts": "--uts", "ipc": "--ipc", "net": "--net", "pid": "--pid",
         "cgroup": "--cgroup"}
"""Name in /proc/PID/ns -> option of nsenter(1)."""

LAST_WORDS = 5.0
"""Seconds that a command killed at its deadline has for its output to end."""

NOT_ENTERED = 255
"""Exit code that stands for a command that never ran, because its machine was gone; as of ssh."""


class CommandFailed(subprocess.CalledProcessError):
    """A command ended with a code that says failure; says what it printed."""

    def __str__(self) -> str:
        said = (self.stderr or self.stdout or "").strip()
        return f"{' '.join(map(str, self.cmd))} ended with {self.returncode}: {said[-2000:]}"


class Door:
    """The open namespaces of one machine, and its cgroup if it has one. Close it after use."""

    def __init__(self, namespaces: Mapping[str, int], group: Optional[int] = None) -> None:
        """Take over the open descriptors.

        namespaces: name in /proc/PID/ns -> descriptor.
        group: descriptor of the cgroup.procs that what enters is to be put into.
        """
        self._namespaces = dict(namespaces)
        self._group = group

    @classmethod
    def of_process(cls, process: int) -> Door:
        """Return the door to the machine that a living process of ours is in."""
        return cls({kind: os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                    for kind in KINDS})

    def __enter__(self) -> Door:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor."""
        for descriptor in self._descriptors():
            os.close(descriptor)
        self._namespaces, self._group = {}, None

    def enter_network(self) -> None:
        """Move the calling thread, and only it, into the machine's network."""
        linux.setns(self._namespaces["net"], linux.CLONE_NEWNET)

    def popen(self, argv: Sequence[str], *, environment: Mapping[str, str] = {},
              **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in the machine; `options` are those of subprocess.Popen.

        Raises CommandFailed if the machine went away between the opening of the door and this.
        """
        try:
            child: subprocess.Popen[bytes] = subprocess.Popen(
                self._command(argv), env=_environment(environment), pass_fds=self._descriptors(),
                preexec_fn=self._join_group, **options)
        except subprocess.SubprocessError as error:
            # The cgroup of a node that reboots is removed while its door is still open; Python
            # says of that only that something in preexec_fn failed.
            raise CommandFailed(NOT_ENTERED, list(argv), stderr="the machine has just gone down, "
                                "its cgroup cannot be joined any more") from error
        return child

    def run(self, argv: Sequence[str], *, timeout: float, input: Union[bytes, str, None] = None,
            check: bool = True, environment: Mapping[str, str] = {},
            ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine to its end and return its code and output, as text.

        timeout: seconds; then it is killed and subprocess.TimeoutExpired raised.
        check: raise CommandFailed for a code other than 0.
        """
        data = input.encode() if isinstance(input, str) else input
        with self.popen(argv, environment=environment, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        stdin=subprocess.DEVNULL if data is None else subprocess.PIPE) as child:
            try:
                output, errors = child.communicate(data, timeout=timeout)
            except BaseException:
                child.kill()
                try:
                    # Not without limit: a grandchild may keep the pipes open for as long as it
                    # likes.
                    child.communicate(timeout=LAST_WORDS)
                except subprocess.TimeoutExpired:
                    pass
                raise
        result = subprocess.CompletedProcess(list(argv), child.returncode,
                                             output.decode(errors="replace"),
                                             errors.decode(errors="replace"))
        if check and result.returncode != 0:
            raise CommandFailed(result.returncode, result.args, result.stdout, result.stderr)
        return result

    def replace_us(self, argv: Sequence[str], environment: Mapping[str, str] = {}) -> None:
        """Become the command, with our own terminal; never returns."""
        for descriptor in self._descriptors():
            os.set_inheritable(descriptor, True)
        self._join_group()
        command = self._command(argv)
        os.execvpe(command[0], command, _environment(
            {"TERM": os.environ.get("TERM", "dumb"), **environment}))

    def _descriptors(self) -> List[int]:
        return [*self._namespaces.values(), *([] if self._group is None else [self._group])]

    def _join_group(self) -> None:
        if self._group is not None:
            os.write(self._group, b"0")

    def _command(self, argv: Sequence[str]) -> List[str]:
        # nsenter gives what it starts all capabilities of root; setpriv takes the dangerous ones.
        dropped = ",".join(f"-{name}" for name in linux.DANGEROUS_CAPABILITIES)
        return ["nsenter",
                *[f"{KINDS[kind]}=/proc/self/fd/{descriptor}"
                  for kind, descriptor in self._namespaces.items()],
                "--", "setpriv", "--pdeathsig", "KILL", f"--bounding-set={dropped}", *argv]


def _environment(more: Mapping[str, str]) -> Dict[str, str]:
    """Return the environment of a command: that of an administrator's login, and nothing of ours"""
    return {**boot.ENVIRONMENT, "HOME": "/root", "USER": "root", "LOGNAME": "root",
            "SHELL": "/bin/sh", "TERM": "dumb", **more}
