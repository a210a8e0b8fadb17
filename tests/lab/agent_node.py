# SPDX-License-Identifier: GPL-2.0-or-later
"""One node with real systemd, a real MariaDB and the Kopano stand-in, on which the agent is called.

There is no Pacemaker here: the tests are the caller, as Pacemaker would be. Addresses and disks are
brought up by hand, as other members of the group would have done before.
"""

from __future__ import annotations

import contextlib
import shlex
from typing import Any, Dict, Iterator, List, Mapping, Optional

import calling
from calling import Answer, Running
from kopano import provision
from kopano.layout import SERVICES
from kopano.standin import schema
from kopano.standin.release import Release
from twonode.lab import Lab
from waiting import wait_for

AGENT = "/usr/lib/ocf/resource.d/mailha/kopano"
ALL = " ".join(SERVICES)
KOPANO_IP, MYSQL_IP = "198.51.100.100", "198.51.100.101"
VERSION = "8.7.25"

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8", "HOME": "/root"}

# /etc/kopano is kept, so that every test begins with the same.
_PREPARE = f"""
systemctl stop pacemaker corosync
ip addr add {KOPANO_IP}/24 dev eth0
ip addr add {MYSQL_IP}/24 dev eth0
mount /dev/san-mysql /var/lib/mysql
mount /dev/san-kopano /var/lib/kopano
systemctl start mariadb
cp -a /etc/kopano /root/kopano.kept
"""

# The processes of Kopano that serve: with -V one only tells its version. A zombie has no command
# line.
_LIVING = "pgrep -f '^/usr/bin/python3 /usr/sbin/[k]opano-%s -[Fl]' || :"

_RESET = """
mountpoint -q /var/lib/mysql || mount /dev/san-mysql /var/lib/mysql
mountpoint -q /var/lib/kopano || mount /dev/san-kopano /var/lib/kopano
pkill -KILL -f '^/usr/bin/python3 /usr/sbin/[k]opano-' || :
while pgrep -f '^/usr/bin/python3 /usr/sbin/[k]opano-' >/dev/null; do sleep 0.05; done
rm -rf /run/mailha /run/kopano /var/log/kopano/* /var/log/mailha /var/lib/mailha \\
    /etc/kopano /tmp/kopano-upgrade-lock /var/lib/kopano/.mailha-* /var/lib/kopano/attachments
cp -a /root/kopano.kept /etc/kopano
install -d -m 0775 -o kopano -g kopano /run/kopano
install -d -m 0750 -o kopano -g kopano /var/lib/kopano/attachments
systemctl is-active -q mariadb || systemctl start mariadb
systemctl reset-failed
"""


class Node:
    """A node of a lab."""

    def __init__(self, lab: Lab, name: str = "alice") -> None:
        """Make a fresh node out of one that is online in the cluster."""
        self.lab = lab
        self._door = lab.door(name)
        self._executors = calling.Executors(self._door)

    def prepare(self) -> None:
        """Bring up what the group of the agent stands on. To be called once."""
        self.sh(_PREPARE, timeout=120)

    def close(self) -> None:
        """Give back what was opened."""
        self._executors.close()
        self._door.close()

    # -- the agent ----------------------------------------------------------------------------

    def begin(self, action: str, *, timeout: float = 60, interval: float = 0, level: int = 0,
              resource: str = "kopano", node: str = "alice", program: str = AGENT,
              killed_after: Optional[float] = None, user: int = 0,
              limits: Mapping[str, int] = {}, judged: bool = True, log: str = "",
              **parameters: str) -> Running:
        """Call the agent and return at once.

        timeout: of the operation, in seconds; the group is killed then, or after `killed_after`.
        judged: whether its answer is held to calling.judge, which an interpreter without memory
        cannot fulfil. log: a file for its stderr, for who wants to read it before the end.
        """
        to_log = ["/bin/sh", "-c", f'exec "$0" "$@" 2>{log}'] if log else []
        return self._executors.begin(
            [*to_log, program, action], calling.environment(
                resource, action, timeout=timeout, interval=interval, level=level, node=node,
                parameters={"require_stonith": "false", **parameters}),
            timeout=timeout if killed_after is None else killed_after, user=user, limits=limits,
            check=(action if judged else "", action == "monitor" and not interval))

    def call(self, action: str, **options: Any) -> Answer:
        """Call the agent as begin() does and return its answer."""
        return self.begin(action, **options).answer()

    def start(self, **options: Any) -> Answer:
        """Start the resource."""
        return self.call("start", **options)

    def stop(self, **options: Any) -> Answer:
        """Stop the resource."""
        return self.call("stop", **options)

    def probe(self, **options: Any) -> Answer:
        """Ask whether the resource runs, as Pacemaker does at first."""
        return self.call("monitor", **options)

    def monitor(self, level: int = 0, **options: Any) -> Answer:
        """Ask whether the resource runs, as Pacemaker does again and again."""
        return self.call("monitor", level=level, interval=10, **options)

    def started(self, **options: Any) -> Answer:
        """Start the resource, which has to succeed."""
        answer = self.start(**options)
        assert answer.code == 0, str(answer)
        return answer

    def stopped(self, **options: Any) -> Answer:
        """Stop the resource, which has to succeed and to leave nothing."""
        answer = self.stop(**options)
        assert answer.code == 0, str(answer)
        left = self.living()
        assert not set(left) & set(options.get("services", ALL).split()), f"{answer}{left}"
        assert self.jobs() == "", f"orders are left in systemd's queue: {self.jobs()}"
        return answer

    # -- the node -----------------------------------------------------------------------------

    def sh(self, script: str, *, check: bool = True, timeout: float = 60) -> str:
        """Run a shell script to its end and return what it printed."""
        answer = self.begin_sh(script, timeout=timeout).answer()
        assert not check or answer.code == 0, f"{script}\n{answer}"
        return answer.stdout

    def begin_sh(self, script: str, *, timeout: float = 60) -> Running:
        """Start a shell script and return at once."""
        return self._executors.begin(["/bin/sh", "-euc", script], _ENVIRONMENT, timeout=timeout,
                                     umask=0o022)

    def reset(self) -> None:
        """Kill every daemon and forget what a test did; guards of units stay, as in real life."""
        self.sh(_RESET, timeout=120)
        self.set_version(VERSION)

    def pids(self, service: str) -> List[int]:
        """Return the processes of a service, by the script that they run, zombies excepted."""
        return [int(word) for word in self.sh(_LIVING % service).split()]

    def parent(self, service: str) -> int:
        """Return the process of a service that is no child of another one of it."""
        pids = self.pids(service)
        rows = self.sh(f"ps -o pid=,ppid= -p {','.join(map(str, pids))}").splitlines()
        return next(int(pid) for pid, parent in map(str.split, rows) if int(parent) not in pids)

    def living(self) -> Dict[str, List[int]]:
        """Return the processes of all services that have any."""
        if not self.sh(_LIVING % "[a-z]*"):
            return {}
        found = {service: self.pids(service) for service in SERVICES}
        return {service: pids for service, pids in found.items() if pids}

    def main_pid(self, service: str) -> int:
        """Return what systemd takes for the main process of a service."""
        return int(self.sh(f"systemctl show -P MainPID kopano-{service}"))

    def jobs(self) -> str:
        """Return systemd's queued orders for Kopano's units."""
        return self.sh("systemctl list-jobs --no-legend --plain | grep kopano- || :")

    def marks(self) -> str:
        """Return the names of the resources that are marked as active."""
        return self.sh("ls /run/mailha/active 2>/dev/null || :")

    def kill(self, *pids: int, signal: str = "KILL") -> None:
        """Send processes a signal; one that has ended is no error."""
        self.sh(f"kill -{signal} {' '.join(map(str, pids))} || :", check=False)

    def log(self, service: str) -> str:
        """Return the log of a service so far."""
        return self.sh(f"cat /var/log/kopano/{service}.log 2>/dev/null || :")

    def await_log(self, service: str, text: str) -> None:
        """Wait until a service has logged something."""
        wait_for(f"{text!r} in the log of {service}", lambda: text in self.log(service))

    def write(self, path: str, text: str) -> None:
        """Make a file have this content."""
        self.sh(f"mkdir -p $(dirname {path}); cat >{path} <<'END_OF_TEXT'\n{text}\nEND_OF_TEXT")

    def vices(self, *lines: str) -> None:
        """Switch on exactly these vices."""
        self.write("/etc/kopano/standin.vices", "\n".join(lines))

    def configure(self, service: str, **values: str) -> None:
        """Append assignments to a configuration file; the last one wins."""
        lines = "\n".join(f"{key} = {value}" for key, value in values.items())
        self.sh(f"printf '%s\\n' {shlex.quote(lines)} >>/etc/kopano/{service}.cfg")

    def set_version(self, version: str) -> None:
        """Install another release of the stand-in, as a package manager would."""
        self.sh(f"echo {version} >/usr/lib/kopano-standin/version")

    def database(self, version: str) -> None:
        """Make Kopano's database anew, as of a release."""
        statements = schema.statements(Release(version), provision.USERS)
        self.sh("mariadb <<'END_OF_STATEMENTS'\nDROP DATABASE IF EXISTS kopano;"
                " CREATE DATABASE kopano CHARACTER SET utf8mb4; USE kopano;\n"
                + ";\n".join(statements) + ";\nEND_OF_STATEMENTS")

    @contextlib.contextmanager
    def unit(self, name: str, text: str) -> Iterator[None]:
        """Have another unit for a while; it is stopped and removed after."""
        path = f"/etc/systemd/system/{name}.service"
        self.write(path, text)
        self.sh("systemctl daemon-reload")
        try:
            yield
        finally:
            self.sh(f"rm -f /run/block-*; systemctl stop {name} || :; rm {path};"
                    " systemctl daemon-reload")

    @contextlib.contextmanager
    def drop_in(self, service: str, text: str, *, name: str = "override",
                where: str = "/etc/systemd/system") -> Iterator[None]:
        """Give a unit an administrator's drop-in for a while."""
        path = f"{where}/kopano-{service}.service.d/{name}.conf"
        self.write(path, text)
        self.sh("systemctl daemon-reload")
        try:
            yield
        finally:
            self.sh(f"rm -f {path}; systemctl daemon-reload")

    @contextlib.contextmanager
    def undone(self, do: str, undo: str) -> Iterator[None]:
        """Run a script, and another one after the block, however that ends."""
        self.sh(do)
        try:
            yield
        finally:
            self.sh(undo)


def prepared(lab: Lab) -> Node:
    """Return alice, prepared; the other node of the lab is not needed and is switched off."""
    provision.prepare_shared(lab.execute, "alice")
    lab.poweroff("bob")
    node = Node(lab)
    node.prepare()
    return node
