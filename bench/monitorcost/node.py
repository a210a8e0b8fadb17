# SPDX-License-Identifier: GPL-2.0-or-later
"""The node on which everything is measured: alice of a lab, with all that is monitored running.

The lab is a real cluster; bob is only in it because a cluster has two nodes. Kopano is the lab's
stand-in, which does not matter here: nothing that it does by itself is counted.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

from kopano import provision
from sidebyside import machine
from twonode import image, layer, plan
from twonode.enter import CommandFailed
from twonode.lab import Lab

from monitorcost.contestants import (GUARD, KOPANO, KOPANO_IP, MYSQL_IP, OCF_PY, SERVICES,
                                     Direct)

SUITE = "bookworm"
NODE = "alice"
LIBRARY = "usr/lib/mailha-bench"

# What `ocf:heartbeat` agents of the comparison watch, and curl, with which they ask. None of it may
# start with the node: the bench starts what it measures. Postfix is told its answers, because there
# is nobody to ask. nginx leaves port 80 to Apache. PostgreSQL does without TLS, whose key it could
# not read: directories of a node's disk that are also in the image get the image's owner and mode.
RECIPE = layer.Recipe("monitor", ("nginx-light", "postfix", "postgresql", "curl"), before="""
debconf-set-selections <<'ANSWERS'
postfix postfix/main_mailer_type select Local only
postfix postfix/mailname string alice.example.com
ANSWERS
""", after=r"""
systemctl --quiet disable nginx.service postfix.service postgresql.service
sed -i 's/listen \(.*\)80 default_server/listen \18081 default_server/' \
    /etc/nginx/sites-available/default
printf 'ssl = off\n' > /etc/postgresql/15/main/conf.d/bench.conf
rm -f /etc/rc?.d/S*
""")

# The agents and their library, compiled: without that a monitor is twice as dear.
COMPILED = """
for source in $(find /usr/lib/ocf/lib/mailha -name '*.py'); do
    name=${source##*/}
    ls "${source%/*}/__pycache__/${name%.py}".*.pyc >/dev/null
done
"""

START_PEERS = f"""
mkdir -p /run/resource-agents
ip address add {KOPANO_IP}/24 dev eth0
ip address add {MYSQL_IP}/24 dev eth0
mount /dev/san-mysql /var/lib/mysql
mount /dev/san-kopano /var/lib/kopano
systemctl start mariadb postgresql postfix nginx apache2
"""

# As the init scripts of Kopano before 8.5 answer "status"; the rest of them is not called here.
INIT_SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides:          kopano-SERVICE
# Required-Start:    $network $remote_fs $syslog
# Required-Stop:     $network $remote_fs $syslog
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Kopano SERVICE
### END INIT INFO
PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin
DAEMON=/usr/sbin/kopano-SERVICE
NAME=kopano-SERVICE
PIDFILE=/run/kopano/SERVICE.pid
test -x "$DAEMON" || exit 0
if [ -e /etc/default/kopano ]; then
    . /etc/default/kopano
fi
. /lib/lsb/init-functions
case "$1" in
    status)
        status_of_proc -p "$PIDFILE" "$DAEMON" "$NAME" && exit 0 || exit $?
        ;;
    *)
        echo "Usage: $0 status" >&2
        exit 3
        ;;
esac
"""

PACKAGES = "usr/lib/python3/dist-packages"
"""Where Debian's Python looks for packages, seen from a node's root."""

START_LIMIT = 180.0


class BenchFailed(Exception):
    """Something that is to be measured does not run; the text says what."""


class Meter:
    """The meter's process on the node; see the module meter."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def run(self, contestant: Direct) -> Dict[str, Any]:
        """Run one monitor of a group. Raises BenchFailed unless all of it ends with code 0."""
        answer: Dict[str, Any] = self._ask(do="run", commands=contestant.commands)
        if answer["failed"]:
            raise BenchFailed("; ".join(answer["failed"]))
        return answer

    def watch(self, seconds: float) -> Dict[str, Any]:
        """Return what Pacemaker costs in some seconds."""
        answer: Dict[str, Any] = self._ask(do="watch", seconds=seconds)
        return answer

    def trace(self, contestant: Direct) -> str:
        """Return what strace saw of one monitor of a group."""
        return str(self._ask(do="trace", commands=contestant.commands))

    def trace_executor(self, seconds: float) -> str:
        """Return what strace saw of pacemaker-execd and its children in some seconds."""
        return str(self._ask(do="trace", seconds=seconds))

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            raise BenchFailed("the meter on the node ended; its last words are above")
        return json.loads(answer)


@contextmanager
def running(progress: Callable[[str], None]) -> Iterator[Lab]:
    """Bring a lab up in which everything is running that is to be monitored; end it afterwards."""
    end_labs_of_dead_runs()
    packages = layer.ensure(SUITE, RECIPE, progress)
    lab = Lab(f"b{os.getpid()}", suite=SUITE, provision=[
        functools.partial(_add_packages, packages),
        functools.partial(hide_path_files, PACKAGES, image.place(SUITE)),
        functools.partial(provision.provision, image=image.place(SUITE), kopano_ip=KOPANO_IP,
                          mysql_ip=MYSQL_IP),
        _add_bench])
    try:
        lab.up(progress=progress)
        progress("starting what is to be monitored")
        provision.prepare_shared(lab.execute, NODE)
        _start(lab)
        yield lab
    finally:
        progress("taking the lab down")
        lab.down()


@contextmanager
def meter(lab: Lab) -> Iterator[Meter]:
    """Start the meter on the node; it ends with this context."""
    code = f"import sys; sys.path.insert(0, '/{LIBRARY}'); from monitorcost import meter; " \
           "meter.main()"
    with lab.door(NODE) as door:
        process = door.popen(["python3", "-I", "-c", code], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    with process:
        try:
            yield Meter(process)
        finally:
            process.kill()


def describe(lab: Lab) -> List[str]:
    """Return what this machine and its node are, a fact a line."""
    said = lab.execute(NODE, ["sh", "-c", "systemctl --version | head -n 1; python3 --version; "
                              "pacemakerd --version | head -n 1"], timeout=30).stdout.splitlines()
    return [machine.describe(), f"Debian {SUITE}: {', '.join(said)}"]


def _add_packages(packages: Path, node: str, disk: Path) -> None:
    """Put the packages of the peers onto alice's disk."""
    if node == NODE:
        subprocess.run(["cp", "-a", "--reflink=auto", f"{packages}/.", str(disk)], check=True,
                       timeout=START_LIMIT)


def hide_path_files(packages: str, base: Path, node: str, disk: Path) -> None:
    """Let no package's .pth file run code in every Python program of alice.

    One of those that come with fence-agents imports so much that an empty program costs almost
    twice as much. A promise of so many milliseconds beyond an empty program must not gain by that.

    packages: the directory in which Debian's Python looks for them.
    base: the image.
    """
    if node == NODE:
        for found in (base / packages).glob("*.pth"):
            hidden = disk / packages / found.name
            hidden.parent.mkdir(parents=True, exist_ok=True)
            hidden.touch()


def add_meter(node: str, disk: Path) -> None:
    """Put the meter onto alice's disk."""
    if node == NODE:
        shutil.copytree(Path(__file__).resolve().parent, disk / LIBRARY / "monitorcost",
                        ignore=shutil.ignore_patterns("__pycache__"))


def _add_bench(node: str, disk: Path) -> None:
    """Put the meter and the init scripts onto alice's disk."""
    add_meter(node, disk)
    if node != NODE:
        return
    (disk / "etc/init.d").mkdir(parents=True, exist_ok=True)
    for service in SERVICES:
        script = disk / f"etc/init.d/kopano-{service}"
        script.write_text(INIT_SCRIPT.replace("SERVICE", service))
        script.chmod(0o755)


def _start(lab: Lab) -> None:
    """Start everything on the node, ours by its own agent."""
    try:
        lab.execute(NODE, ["/bin/sh", "-eu"], input=COMPILED, timeout=30)
        lab.execute(NODE, ["/bin/sh", "-eu"], input=START_PEERS, timeout=START_LIMIT)
        act(lab, GUARD, "start", OCF_RESKEY_manual_node=NODE)
        act(lab, KOPANO, "start")
        act(lab, OCF_PY, "start")
        lab.execute(NODE, ["touch", "/run/resource-agents/Dummy-Dummy.state"], timeout=30)
    except CommandFailed as error:
        raise BenchFailed(str(error)) from error


def act(lab: Lab, contestant: Direct, action: str, **more: str) -> None:
    """Let a contestant's agents do something other than their monitor, by hand.

    By hand means without a node's name, for which an agent does without the cluster's leave.
    """
    for argv, environment in contestant.commands:
        by_hand = {name: value for name, value in environment.items()
                   if not name.startswith("OCF_RESKEY_CRM_meta_")}
        lab.execute(NODE, [argv[0], action], environment={**by_hand, **more}, timeout=START_LIMIT)


def end_labs_of_dead_runs() -> None:
    """Take down what an earlier run left that was killed."""
    for name in plan.existing():
        match = re.fullmatch(r"b(\d+)", name)
        if match and not Path(f"/proc/{match.group(1)}").exists():
            Lab(name).down()
