# SPDX-License-Identifier: GPL-2.0-or-later
"""iDRACs on loopback, for the tests of fence_racadm.

Each is Debian's OpenSSH server on a port of its own, whose ForceCommand is the laboratory's shell
of an iDRAC (twonode/idrac.py). Its power is a file, and every order leaves a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from twonode import idrac
from twonode.sandbox import Sandbox

USER = "fencer"
PASSWORD = " a'b$\"c\\%d \u00f6 "
"""With everything that a shell, a terminal or a strip() would spoil."""

FIRST_PORT = 2022

TOP = "/idrac"
KEY = f"{TOP}/key"
OTHER_KEY = f"{TOP}/other-key"
LOCKED_KEY = f"{TOP}/locked-key"
PASSPHRASE = "open sesame"

LIMIT = 60.0
"""Seconds after which a call is killed; every test has a bound of its own below it."""

CHASSIS = """\
#!/bin/sh
case $2 in
    get) echo "power:$(cat {directory}/power)" ;;
    set) echo "$4" > {directory}/power; echo "$3 $4" >> {directory}/orders ;;
esac
"""

SSHD = """\
{more}
ListenAddress 127.0.0.1:{port}
HostKey {top}/host-key
AuthorizedKeysFile {top}/authorized-keys
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
PidFile none
PrintMotd no
PrintLastLog no
ForceCommand exec /usr/bin/python3 -IS {top}/idrac.py --chassis '{directory}/chassis x' \
--manners {directory}/manners
"""

PREPARE = f"""
mkdir -p {TOP} /run/sshd
cd {TOP}
useradd --create-home --shell /bin/sh {USER}
chpasswd
for name in host-key other-host-key key other-key; do
    ssh-keygen -q -t ed25519 -N '' -C '' -f $name
done
ssh-keygen -q -t ed25519 -N '{PASSPHRASE}' -C '' -f locked-key
cat key.pub locked-key.pub > authorized-keys
"""


class Machine:
    """A machine with the suite, and with any number of iDRACs."""

    def __init__(self, sandbox: Sandbox) -> None:
        """Prepare it."""
        self.sandbox = sandbox
        self._next_port = FIRST_PORT
        self.run("sh", "-ec", PREPARE, input=f"{USER}:{PASSWORD}\n")
        self.path(f"{TOP}/idrac.py").write_text(Path(idrac.__file__).read_text())

    def run(self, *argv: str, input: Optional[str] = None,
            environment: Mapping[str, str] = {}) -> "subprocess.CompletedProcess[str]":
        """Run a command."""
        return self.sandbox.run(argv, timeout=LIMIT, input=input, environment=environment)

    def path(self, inside: str) -> Path:
        """Return where the test finds a file."""
        return self.sandbox.path(inside)

    def port(self) -> int:
        """Return a port that no iDRAC has."""
        self._next_port += 1
        return self._next_port

    def processes(self, name: str) -> List[str]:
        """Return what runs under this name: state and arguments, one line each."""
        done = self.run("ps", "--no-headers", "-C", name, "-o", "stat,args")
        return done.stdout.splitlines()


class Idrac:
    """One iDRAC, with its server running; see `behave` for how it behaves."""

    def __init__(self, machine: Machine, more: str = "") -> None:
        """Start it.

        more: lines for the configuration of its server, which come before all others.
        """
        self.server_log = ""        # of the server, once it has been stopped
        self.machine = machine
        self.port = machine.port()
        self.directory = f"{TOP}/{self.port}"
        self.known_hosts = f"{self.directory}/known-hosts"
        self.path("").mkdir()
        self.path("").chmod(0o777)
        self.write("chassis", CHASSIS.format(directory=self.directory), 0o755)
        self.write("known-hosts", self.line_of("host-key"))
        self.write("sshd", SSHD.format(directory=self.directory, port=self.port, top=TOP,
                                       more=more))
        self.behave()
        self._server = machine.sandbox.door.popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", f"{self.directory}/sshd"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert self._server.stderr is not None
        said = b""
        for line in self._server.stderr:
            said += line
            if b"Server listening" in line:
                return
        raise AssertionError(f"sshd ended at once: {said.decode()}")

    def stop(self) -> None:
        """Stop the server; sessions go on."""
        self._server.kill()
        self._server.wait(timeout=LIMIT)
        assert self._server.stderr is not None
        # Its sessions have the pipe too, so that it may not end.
        os.set_blocking(self._server.stderr.fileno(), False)
        self.server_log = (self._server.stderr.read() or b"").decode()
        self._server.stderr.close()

    def path(self, name: str) -> Path:
        """Return where the test finds a file of this iDRAC."""
        return self.machine.path(f"{self.directory}/{name}")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of this iDRAC."""
        self.path(name).write_text(text)
        self.path(name).chmod(mode)

    def line_of(self, key: str) -> str:
        """Return the line that makes a host key the known one."""
        public = self.machine.path(f"{TOP}/{key}.pub").read_text()
        return f"[127.0.0.1]:{self.port} {public.strip()}\n"

    def behave(self, *, on: bool = True, **manners: Any) -> None:
        """Let the next sessions be so, with the power on or off, and forget the ones before.

        manners: see twonode.idrac.
        """
        self.write("manners", json.dumps({"log": f"{self.directory}/log", **manners}))
        self.write("power", f"{int(on)}\n", 0o666)
        for name in ("log", "orders"):
            self.write(name, "", 0o666)

    @property
    def on(self) -> bool:
        """Whether the power is on."""
        return self.path("power").read_text().strip() == "1"

    @property
    def orders(self) -> List[str]:
        """What was ordered, in order: "power 0" for off."""
        return self.path("orders").read_text().splitlines()

    @property
    def log(self) -> List[str]:
        """What the shell noted: logins, actions, and how sessions ended."""
        return [line.split()[-1] for line in self.path("log").read_text().splitlines()]

    def options(self, action: str, **options: Optional[str]) -> str:
        """Return what the agent is to read from stdin. options: None takes one away."""
        given: Dict[str, Optional[str]] = {
            "action": action, "ip": "127.0.0.1", "ipport": str(self.port), "username": USER,
            "password": PASSWORD, "known_hosts_file": self.known_hosts, **options}
        return "".join(f"{name}={value}\n" for name, value in given.items() if value is not None)

    def fence(self, action: str, *, environment: Mapping[str, str] = {},
              **options: Optional[str]) -> "Answer":
        """Call fence_racadm as Pacemaker does."""
        begun = time.monotonic()
        done = self.machine.run(
            "/usr/sbin/fence_racadm", input=self.options(action, **options),
            environment={"PCMK_service": "pacemaker-fenced", **environment})
        return Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)


class Answer:
    """What a call of the agent came to."""

    def __init__(self, code: int, output: str, errors: str, seconds: float) -> None:
        self.code = code
        self.output = output
        self.errors = errors
        self.seconds = seconds

    @property
    def failed(self) -> bool:
        """Whether it is what Pacemaker takes for a failure: one reason, and nothing else."""
        return self.code == 1 and not self.output and self.errors.count("\n") == 1

    def __repr__(self) -> str:
        return f"Answer({self.code}, {self.output!r}, {self.errors!r}, {self.seconds:.2f} s)"
