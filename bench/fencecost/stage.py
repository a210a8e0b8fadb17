# SPDX-License-Identifier: GPL-2.0-or-later
"""The stage: a sandbox with the agents, the controller, the relay and the meter.

All of it runs on loopback of the sandbox's own network, and vanishes with the bench.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence

from twonode import image, layer
from twonode.sandbox import Sandbox

from fencecost import controller, networks
from fencecost.contestants import OURS, UNSPACED, Contest
from fencecost.figures import Run

SUITE = "bookworm"

LIBRARY = "usr/lib/mailha-bench"

RECIPE = layer.Recipe("fence", ("freeipmi-tools",))

LIMIT = 60.0
"""Seconds after which an agent is killed: Pacemaker's own default, stonith-timeout."""

START_LIMIT = 60.0

# No package's .pth file may run code in every Python program: one that comes with fence-agents
# nearly doubles the price of an empty one. It would slow down the peer, which reads such files, and
# not ours, which does not. Nor may a library that is not compiled slow down anybody.
PREPARE = f"""
rm -f /usr/lib/python3/dist-packages/*.pth
mkdir -p {UNSPACED}/fence {UNSPACED}/lib
cp -a /usr/lib/ocf/lib/mailha {UNSPACED}/lib/
cp -a {OURS.program} {UNSPACED}/fence/
"""

COMPILE = f"""
python3 -m compileall -q {UNSPACED}/lib
for source in $(find /usr/lib/ocf/lib/mailha {UNSPACED}/lib /usr/lib/python3/dist-packages/pyghmi \
    /usr/lib/python3/dist-packages/cryptography -name '*.py'); do
    name=${{source##*/}}
    ls "${{source%/*}}/__pycache__/${{name%.py}}".*.pyc > /dev/null
done
"""

# Whatever else this machine does shall disturb as little as may be. Where the kernel shares the CPU
# out among sessions first ("autogroups"), niceness counts only inside of a session.
FIRST = ["sh", "-c", '{ echo -20 > /proc/self/autogroup; } 2> /dev/null; exec nice -n -20 "$@"',
         "sh"]

SPACING = re.compile(r"^(SPACING(?:: \w+)? = )\d+(?:\.\d+)?$", re.MULTILINE)
"""The line of our library that says how far apart the two last readings are."""

VERSIONS = ("head -n 1 /etc/debian_version; python3 --version; "
            "dpkg-query --show --showformat '${Package} ${Version}\\n' fence-agents "
            "fence-agents-ipmilan python3-pyghmi python3-cryptography ipmitool freeipmi-tools "
            "openipmi 2>/dev/null")


class BenchFailed(Exception):
    """Something that is needed to measure does not run; the text says what."""


class Stage:
    """Where agents are run, one after the other."""

    def __init__(self, meter: "subprocess.Popen[bytes]", relay: "subprocess.Popen[bytes]",
                 ) -> None:
        self._meter = meter
        self._relay = relay

    def run(self, contest: Contest, seed: int) -> Run:
        """Run a contestant once, from power on. Raises BenchFailed.

        seed: which datagrams get lost, where any do.
        """
        request = contest.request
        _ask(self._relay, do="begin", seed=seed)
        answer = _ask(self._meter, do="run", argv=request.argv, environment=request.environment,
                      stdin=request.stdin, limit=LIMIT)
        count = _ask(self._relay, do="end")
        logged = self.settle()
        relayed = contest.network.relayed
        return Run(answer["code"], tuple(answer["chassis"]), answer["cpu"] * 1e3,
                   answer["wall"] * 1e3, count["sent"] if relayed else None, count["lost"],
                   answer["said"], tuple(logged))

    def settle(self) -> List[str]:
        """Wait until the controller has done all that it was told. Raises BenchFailed.

        Returns what has been written to the system's log since the last call.
        """
        logged: List[str] = _ask(self._meter, do="settle")["logged"]
        return logged


@contextmanager
def running(progress: Callable[[str], None]) -> Iterator["tuple[Stage, List[str]]"]:
    """Set the stage; yields it and what is on it, a line each. It is gone after this context.

    Raises BenchFailed, layer.LayerFailed and what a sandbox raises.
    """
    packages = layer.ensure(SUITE, RECIPE, progress)
    with Sandbox(image.ensure(SUITE, progress)) as sandbox, ExitStack() as programs:
        root = sandbox.path("/")
        _prepare(sandbox, root, packages)
        programs.enter_context(_program(sandbox, controller.command(),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        relay = programs.enter_context(_module(sandbox, "relay", json.dumps({
            "networks": [[each.address, each.delay, each.loss] for each in networks.RELAYED],
            "port": networks.PORT, "controller": networks.CONTROLLER})))
        meter = programs.enter_context(_module(sandbox, "meter", networks.CONTROLLER,
                                               str(networks.PORT)))
        stage = Stage(meter, relay)
        stage.settle()
        yield stage, _describe(sandbox)


def without_spacing(source: str) -> str:
    """Return our library's module with no time between the two last readings.

    Raises BenchFailed where it is not to be found: a measurement of something else is worse than
    none.
    """
    changed, times = SPACING.subn(r"\g<1>0.0", source)
    if times != 1:
        raise BenchFailed(f"mailha/fencing/transition.py says SPACING {times} times, not once: "
                          "the bench cannot take the spacing out")
    return changed


def _prepare(sandbox: Sandbox, root: Path, packages: Path) -> None:
    """Put everything on the sandbox's disk."""
    subprocess.run(["cp", "-a", "--reflink=auto", f"{packages}/.", str(root)], check=True,
                   timeout=START_LIMIT)
    if not (root / OURS.program.lstrip("/")).exists():
        raise BenchFailed("there is no fence/fence_ipmi in this checkout")
    shutil.copytree(Path(__file__).resolve().parent, root / LIBRARY / "fencecost",
                    ignore=shutil.ignore_patterns("__pycache__"))
    controller.write_files(root)
    _shell(sandbox, PREPARE)
    module = root / UNSPACED.lstrip("/") / "lib/mailha/fencing/transition.py"
    module.write_text(without_spacing(module.read_text()))
    _shell(sandbox, COMPILE)


def _shell(sandbox: Sandbox, script: str) -> None:
    done = sandbox.run(["/bin/sh", "-eu"], input=script, timeout=START_LIMIT)
    if done.returncode != 0:
        raise BenchFailed(f"the sandbox could not be prepared: {done.stderr.strip()[-1000:]}")


def _module(sandbox: Sandbox, name: str, *arguments: str) -> Any:
    """Start a module of ours in the sandbox, in a process of its own."""
    code = f"import sys; sys.path.insert(0, '/{LIBRARY}'); from fencecost import {name}; " \
           f"{name}.main()"
    return _program(sandbox, ["python3", "-I", "-c", code, *arguments], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE)


@contextmanager
def _program(sandbox: Sandbox, argv: Sequence[str], **streams: Any,
             ) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a program in the sandbox, in a session of its own, for as long as this context."""
    with sandbox.door.popen([*FIRST, *argv], start_new_session=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def _ask(process: "subprocess.Popen[bytes]", **request: Any) -> Dict[str, Any]:
    """Send a request to a program of ours and return the answer. Raises BenchFailed."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = b""
    if not answer:
        raise BenchFailed("a program of the bench ended; its last words are above")
    found: Dict[str, Any] = json.loads(answer)
    return found


def _describe(sandbox: Sandbox) -> List[str]:
    said = sandbox.run(["sh", "-c", VERSIONS], timeout=START_LIMIT).stdout.split("\n")
    return ["Debian " + ", ".join(line for line in said if line)]
