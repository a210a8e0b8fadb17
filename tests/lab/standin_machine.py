# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine with a real MariaDB and the Kopano stand-in, without systemd and without cluster.

The tests of the stand-in start its daemons by hand here, as an init system or an agent would.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO, Dict, List, Sequence, Tuple

from kopano import provision
from kopano.standin import schema
from kopano.standin.release import Release
from twonode import linux
from twonode.plan import DATA
from twonode.bare import BareSandbox
from waiting import wait_for

KOPANO_IP, MYSQL_IP = "198.51.100.100", "198.51.100.101"
DAEMONS = ("server", "spooler", "dagent", "monitor", "gateway", "ical")

# Starts a program in a session of its own and outlives whoever asked for it, to keep its exit code.
_RUNNER = r"""
import os, subprocess, sys
reader, writer = os.pipe()
if os.fork():
    os.close(writer)
    print(os.read(reader, 20).decode())
    sys.exit()
os.setsid()
base = sys.argv[1]
null = os.open("/dev/null", os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)
with open(base + ".out", "wb") as output:
    child = subprocess.Popen(sys.argv[2:], stdout=output, stderr=output, start_new_session=True)
os.write(writer, str(child.pid).encode())
os.close(writer)
code = child.wait()
with open(base + ".new", "w") as file:
    file.write(str(code))
os.rename(base + ".new", base + ".code")
"""


class Process:
    """A program that was started on the machine."""

    def __init__(self, machine: Machine, pid: int, base: str) -> None:
        self.pid = pid
        self._machine = machine
        self._base = base

    @property
    def output(self) -> str:
        """What it printed so far, standard error included."""
        return self._machine.path(f"{self._base}.out").read_text()

    def code(self) -> int:
        """Wait for its end and return its exit code, below 0 the signal that killed it."""
        path = self._machine.path(f"{self._base}.code")
        wait_for(f"the end of process {self.pid}", path.exists)
        return int(path.read_text())

    def ended(self) -> bool:
        """Return whether it has ended."""
        return self._machine.path(f"{self._base}.code").exists()

    def kill(self, name: str = "TERM") -> None:
        """Send it a signal; one that has ended already is no error."""
        self._machine.run(f"kill -{name} {self.pid} || :")


class Machine:
    """The machine, as a context manager; entering it takes about two seconds."""

    def __init__(self, image: Path, version: str = "8.7.25") -> None:
        self._image = image
        self._version = version
        self._count = 0

    def __enter__(self) -> Machine:
        DATA.mkdir(parents=True, exist_ok=True)
        _remove_disks_of_dead_tests()
        self._disk = Path(tempfile.mkdtemp(prefix=f".standin-{os.getpid()}-", dir=DATA))
        provision.provision("alice", self._disk, image=self._image, version=self._version,
                            kopano_ip=KOPANO_IP, mysql_ip=MYSQL_IP)
        self._configuration = {path.name: path.read_text()
                               for path in (self._disk / "etc/kopano").iterdir()}
        self._sandbox = BareSandbox(self._image, disk=self._disk)
        self._sandbox.__enter__()
        try:
            self.run(f"ip addr add {KOPANO_IP}/32 dev lo; ip addr add {MYSQL_IP}/32 dev lo;"
                     " install -d -o mysql /run/mysqld")
            # There are no shared disks here: the directories themselves are filled.
            script = "mount() { :; }; umount() { :; }; blkid() { :; }\n"
            provision.prepare_shared(
                lambda node, argv, *, input, timeout: self._sandbox.run(
                    argv, input=script + input.decode(), timeout=timeout, check=True),
                "alice", version=self._version)
            self.start_database()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.__exit__(None, None, None)
        shutil.rmtree(self._disk)

    # -- the machine --------------------------------------------------------------------------

    def run(self, script: str, *, check: bool = True, timeout: float = 60) -> str:
        """Run a shell script to its end and return what it printed."""
        return self._sandbox.run(["/bin/sh", "-c", script], timeout=timeout, check=check).stdout

    def answer(self, *argv: str, timeout: float = 60) -> Tuple[int, str]:
        """Run a program to its end and return its exit code and everything that it printed."""
        found = self._sandbox.run(argv, timeout=timeout)
        return found.returncode, found.stdout + found.stderr

    def path(self, inside: str) -> Path:
        """Return where the host finds a file of the machine."""
        return self._sandbox.path(inside)

    def start(self, *argv: str) -> Process:
        """Start a program in a session of its own and return at once."""
        self._count += 1
        base = f"/tmp/started-{self._count}"
        found = self._sandbox.run(["python3", "-c", _RUNNER, base, *argv], timeout=60, check=True)
        return Process(self, int(found.stdout), base)

    def connect(self, port: int, address: str = KOPANO_IP, timeout: float = 90) -> socket.socket:
        """Return a TCP connection made on the machine; OSError as connect raises it."""
        found: List[socket.socket] = []
        errors: List[OSError] = []

        def enter_and_connect() -> None:
            # Only this thread moves into the machine's network; a socket stays where it was made.
            with open(self.path("/").parent / "ns/net", "rb") as namespace:
                linux.setns(namespace.fileno(), linux.CLONE_NEWNET)
            try:
                found.append(socket.create_connection((address, port), timeout))
            except OSError as error:
                errors.append(error)

        thread = threading.Thread(target=enter_and_connect)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return found[0]

    def ask(self, port: int, request: bytes) -> str:
        """Send one request and return everything up to the end of the connection."""
        with self.connect(port) as connection:
            connection.sendall(request)
            return _all_of(connection.makefile("rb"))

    # -- Kopano -------------------------------------------------------------------------------

    def reset(self, version: str = "") -> None:
        """Kill all daemons and forget everything that a test did, mail included."""
        self.run("pkill -KILL -f '/usr/sbin/[k]opano-' || :; rm -rf /run/kopano /var/log/kopano/*"
                 " /etc/kopano/standin.vices /tmp/kopano-upgrade-lock /tmp/started-*"
                 " /var/lib/kopano/attachments; install -d -m 0775 -o kopano -g kopano /run/kopano;"
                 " install -d -m 0750 -o kopano -g kopano /var/lib/kopano/attachments")
        for name, text in self._configuration.items():
            self.path(f"/etc/kopano/{name}").write_text(text)
        self.set_version(version or self._version)
        self.start_database()
        self.sql("DROP DATABASE IF EXISTS kopano; CREATE DATABASE kopano; USE kopano; "
                 + "; ".join(schema.statements(Release(self._version), provision.USERS)))

    def set_version(self, version: str) -> None:
        """Install another release, as a package manager would."""
        self.path("/usr/lib/kopano-standin/version").write_text(f"{version}\n")

    def configure(self, service: str, **values: str) -> None:
        """Append assignments to a configuration file; the last one wins."""
        with open(self.path(f"/etc/kopano/{service}.cfg"), "a") as file:
            file.writelines(f"{key} = {value}\n" for key, value in values.items())

    def vices(self, *lines: str) -> None:
        """Switch on exactly these vices."""
        self.path("/etc/kopano/standin.vices").write_text("".join(f"{line}\n" for line in lines))

    def daemon(self, service: str, *arguments: str) -> Process:
        """Start one service in the foreground, as its unit does, without waiting for anything."""
        foreground = "-l" if service == "dagent" else "-F"
        return self.start(f"/usr/sbin/kopano-{service}", foreground, *arguments)

    def serve(self, *services: str) -> Dict[str, Process]:
        """Start services one after the other, each ready before the next."""
        started = {}
        for service in services or DAEMONS:
            started[service] = self.daemon(service)
            self.await_ready(service)
        return started

    def await_ready(self, service: str) -> None:
        """Wait until a service that was just started does its work."""
        if service == "server":
            wait_for("the server's start", lambda: "Startup succeeded" in self.log("server"))
        else:
            wait_for(f"pid file of {service}", self.path(f"/run/kopano/{service}.pid").exists)

    def log(self, service: str) -> str:
        """Return a service's log so far."""
        path = self.path(f"/var/log/kopano/{service}.log")
        return path.read_text() if path.exists() else ""

    def pids(self, service: str) -> List[int]:
        """Return every process of a service, by the script that it runs."""
        found = self.run(f"pgrep -f '^/usr/bin/python3 /usr/sbin/kopano-{service}' || :")
        return [int(word) for word in found.split()]

    def sql(self, statements: str) -> str:
        """Run SQL as the database's administrator and return the rows, columns tabulated."""
        code, text = self.answer("mariadb", "--batch", "--skip-column-names", "-e", statements)
        assert code == 0, text
        return text.strip()

    def start_database(self) -> None:
        """Start MariaDB unless it runs, and wait until it answers."""
        self.run("pgrep -x mariadbd >/dev/null || setsid mariadbd --user=mysql"
                 " </dev/null >/var/log/mariadbd.log 2>&1 &")
        wait_for("MariaDB", lambda: self.answer("mariadb-admin", "ping")[0] == 0)

    def kill_database(self) -> None:
        """Kill MariaDB and wait until it has gone."""
        self.run("pkill -KILL -x mariadbd || :;"
                 " while pgrep -x mariadbd >/dev/null; do sleep 0.05; done")

    # -- mail ---------------------------------------------------------------------------------

    def lmtp(self) -> Conversation:
        """Return a connection to dagent."""
        return Conversation(self.connect(2003))

    def deliver(self, name: str, recipient: str = "test1@example.com") -> str:
        """Deliver one message by LMTP and return the reply to it."""
        with self.lmtp() as client:
            client.hear()
            client.say("LHLO test", "MAIL FROM:<sender@example.com>", f"RCPT TO:<{recipient}>",
                       "DATA")
            while not client.hear().startswith("354"):
                pass
            client.say(f"Message-ID: <{name}>", "Subject: test", "", "Some text.", ".")
            return client.hear()


class Conversation:
    """A client of a protocol in lines."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._file = connection.makefile("rb")

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.connection.close()

    def say(self, *lines: str) -> None:
        """Send lines."""
        self.connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def hear(self) -> str:
        """Return one line, empty at the end of the connection."""
        return self._file.readline().decode().rstrip("\r\n")

    def ask(self, line: str) -> str:
        """Send one line and return the next one."""
        self.say(line)
        return self.hear()


def http(method: str, path: str = "/", headers: Sequence[str] = (), body: bytes = b"") -> bytes:
    """Return an HTTP request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close",
             f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _remove_disks_of_dead_tests() -> None:
    """Remove what tests left that were killed."""
    for disk in DATA.glob(".standin-*"):
        if not Path("/proc", disk.name.split("-")[1]).exists():
            shutil.rmtree(disk)


def _all_of(file: BinaryIO) -> str:
    return file.read().decode()
