# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with fence_ipmi, one release of pyghmi, and controllers on its loopback.

The older release is the one of the image's Debian. The newer one is fetched from PyPI by pip, once,
into the lab's cache (`python3 -m pip download`, which needs python3-pip on the host).

Whatever a test looks for, `Machine.fence` always looks whether a success is true: in the log of the
controller itself, the last two readings before it are "off", truly, in one session, at least half a
second apart.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest

from twonode import image
from twonode.sandbox import Sandbox

HERE = Path(__file__).resolve().parent
RELEASES = ("1.5.34", "1.6.19")
WHEEL = "pyghmi-1.6.19-py3-none-any.whl"
WHEEL_SHA256 = "4d35ab89bf0217705a2deaea3335454ac56e43f369eeae663e78cb0b0082a1df"
PACKAGES = "/usr/local/lib/python3.11/dist-packages"
"""Where an administrator's pip puts packages; before Debian's own in the order of the path."""

AGENT = "/usr/sbin/fence_ipmi"
LIBRARY = "/usr/lib/ocf/lib"

DRIVER = """\
import sys, threading, time
sys.path.insert(0, "{library}")
from mailha.bmc import ipmi, ipmi_login
from mailha.fencing import failures, packages
from mailha.fencing.deadline import Deadline
packages.reach()
login = ipmi_login.Login("127.0.0.1", {port}, b"admin", b"secret")
deadline = Deadline(25)
"""
"""How a script begins that uses the library without the agent around it."""

SIMULATOR_LAN = """\
name "bob"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 {port}
  priv_limit admin
  allowed_auths_callback none md2 md5 straight
  allowed_auths_user none md2 md5 straight
  allowed_auths_operator none md2 md5 straight
  allowed_auths_admin none md2 md5 straight
  guid a123456789abcdefa123456789abcd02
  {more}
endlan
chassis_control "/simulator/chassis"
user 1 true "" "test" user 10 none md2 md5 straight
user 2 true "admin" "secret" admin 10 none md2 md5 straight
user 3 true "viewer" "v1ewer" user 10 none md2 md5 straight
"""

SIMULATOR_EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""

SIMULATOR_CHASSIS = """\
#!/bin/sh
case $1 in
    get) echo "power:$(cat /simulator/power)" ;;
    set) echo "$3" > /simulator/power ;;
esac
"""
SPACING = 0.5
HUNG = 120.0
"""Seconds after which a program hangs. No deadline of the agent's is that long."""


class Outcome(NamedTuple):
    """What an agent did: exit code, output, seconds."""

    code: int
    stdout: str
    stderr: str
    seconds: float


def newer_release() -> Path:
    """Return a directory with pyghmi 1.6.19; fetch it if it is not there."""
    place = image.CACHE / "pyghmi-1.6.19"
    image.CACHE.mkdir(parents=True, exist_ok=True)
    with open(image.CACHE / ".pyghmi.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "pyghmi").is_dir():
            place.mkdir(exist_ok=True)
            subprocess.run(
                [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
                 "--no-deps", "--only-binary", ":all:", "-d", str(place), "pyghmi==1.6.19"],
                check=True, timeout=300)
            wheel = place / WHEEL
            assert hashlib.sha256(wheel.read_bytes()).hexdigest() == WHEEL_SHA256
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)
    return place


class Controller:
    """A running controller.

    options: what a fence agent has to be given to reach it.
    """

    def __init__(self, child: subprocess.Popen[bytes], log: Optional[Path],
                 options: Dict[str, str]) -> None:
        self.child = child
        self.log = log
        self.options = options

    def events(self, *names: str) -> List[Dict[str, Any]]:
        """Return what happened at the controller, or only events of these names."""
        if self.log is None:
            return []
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if not names or line["event"] in names]

    def is_on(self) -> bool:
        """Return whether the power really is on."""
        return bool(self.events()[-1]["power"])

    def stop(self) -> None:
        """End it."""
        self.child.kill()
        self.child.wait()
        if self.child.stdout:
            self.child.stdout.close()


class Machine:
    """The machine.

    release: of its pyghmi. sandbox: for what else is to be run in it.
    """

    def __init__(self, sandbox: Sandbox, release: str) -> None:
        self.sandbox = sandbox
        self.release = release
        self._controllers: List[Controller] = []
        self._port = 7000
        self.sandbox.path("/responder.py").write_bytes((HERE / "bmc_responder.py").read_bytes())
        if release != RELEASES[0]:
            self._install(newer_release() / "pyghmi")
        done = sandbox.run(
            ["python3", "-c", "import importlib.metadata as m, pyghmi; print(pyghmi.__file__)"],
            timeout=HUNG, check=True)
        assert done.stdout.startswith(PACKAGES) == (release != RELEASES[0])

    def _install(self, package: Path) -> None:
        subprocess.run(["cp", "-r", str(package), str(self.sandbox.path(PACKAGES))], check=True)

    def controller(self, **how: Any) -> Controller:
        """Start a controller that misbehaves; see bmc_responder.DEFAULTS."""
        self._port += 1
        log = f"/tmp/bmc-{self._port}.log"
        how = {"port": self._port, "log": log, **how}
        child = self.sandbox.door.popen(["python3", "/responder.py", json.dumps(how)],
                                        stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        made = Controller(child, self.sandbox.path(log), {
            "ip": how.get("address", "127.0.0.1"), "ipport": str(self._port), "username": "admin",
            "password": "secret"})
        self._controllers.append(made)
        return made

    def simulator(self, more: str = "") -> Controller:
        """Start ipmi_sim, a controller that does as it should, with the power on.

        more: lines for its section lan.
        """
        self._port += 1
        place = self.sandbox.path("/simulator")
        (place / "state").mkdir(parents=True, exist_ok=True)
        (place / "lan.conf").write_text(SIMULATOR_LAN.format(port=self._port, more=more))
        (place / "emulation").write_text(SIMULATOR_EMULATION)
        (place / "chassis").write_text(SIMULATOR_CHASSIS)
        (place / "chassis").chmod(0o755)
        (place / "power").write_text("1\n")
        child = self.sandbox.door.popen(
            ["ipmi_sim", "-n", "-c", "/simulator/lan.conf", "-f", "/simulator/emulation",
             "-s", "/simulator/state"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        made = Controller(child, None, {
            "ip": "127.0.0.1", "ipport": str(self._port), "username": "admin",
            "password": "secret"})
        self._controllers.append(made)
        return made

    def simulated_power(self) -> str:
        """Return 1 if the power of the simulator is on, else 0."""
        return self.sandbox.path("/simulator/power").read_text().strip()

    def drive(self, controller: Controller, script: str) -> str:
        """Run a script that begins with DRIVER; return what it prints."""
        begin = DRIVER.format(port=controller.options["ipport"], library=LIBRARY)
        done = self.sandbox.run(["python3", "-IS", "-c", begin + textwrap.dedent(script)],
                                timeout=HUNG)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def stop_controllers(self) -> None:
        """End every controller."""
        while self._controllers:
            self._controllers.pop().stop()

    def fence(self, action: str, controller: Optional[Controller] = None, **options: Any,
              ) -> Outcome:
        """Call the agent as Pacemaker does; a success is looked into at once.

        options: in addition to those of the controller, or instead; None leaves one out.
        """
        given = {**(controller.options if controller else {}), "nodename": "bob", **options}
        lines = "".join(f"{name}={value}\n" for name, value in {"action": action, **given}.items()
                        if value is not None)
        begun = time.monotonic()
        done = self.sandbox.run([AGENT], input=lines, timeout=HUNG,
                                environment={"PCMK_service": "pacemaker-fenced"})
        outcome = Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)
        if controller and controller.log and outcome.code == 0 and action in ("off", "reboot"):
            assert_proven(controller.events())
        assert "Traceback" not in outcome.stderr
        assert "secret" not in outcome.stderr + outcome.stdout
        return outcome


def assert_proven(events: List[Dict[str, Any]]) -> None:
    """Fail unless the log shows two true readings as off, spaced, in a session, on on between."""
    ups = [event["time"] for event in events if event["event"] == "on"
           or event["event"] == "order" and event["what"] == 1]
    downs = [event for event in events if event["event"] == "read" and not event["said"]
             and not event["power"]]
    for first in downs:
        for second in downs:
            if second["session"] == first["session"] \
                    and second["time"] - first["time"] >= SPACING - 0.01 \
                    and not any(first["time"] <= moment <= second["time"] for moment in ups):
                return
    raise AssertionError(f"success without proof: {events}")


@pytest.fixture(scope="module", params=RELEASES, ids="pyghmi-{}".format)
def release(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The machine, one for each release of pyghmi."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(os.environ.get("LAB_SUITE", "bookworm"))) as sandbox:
        yield Machine(sandbox, request.param)


@pytest.fixture
def machine(release: Machine) -> Iterator[Machine]:
    """The machine, without controllers of the test before."""
    yield release
    release.stop_controllers()
