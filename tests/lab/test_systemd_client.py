# SPDX-License-Identifier: GPL-2.0-or-later
"""mailha's client of systemd against real systemd, on a node of the lab.

Each test sends a few lines of Python to the node, which run there with the installed library and
print what they found as JSON.
"""

from __future__ import annotations

import json
import textwrap
from typing import Any, Callable

import pytest

from twonode.lab import Lab

UNITS = {
    "steady": "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nAlias=other-name.service\n",
    "template@": "[Service]\nExecStart=/bin/sleep infinity\n",
    "notifying": "[Service]\nType=notify\nExecStart=/bin/sleep infinity\n"
                 "TimeoutStartSec=infinity\n",
    "lying": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    "leaving": "[Service]\nKillMode=process\n"
               "ExecStart=/bin/sh -c 'sleep infinity & exec sleep infinity'\n",
    "crashing": "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=1h\n",
    "stubborn": "[Service]\nTimeoutStopSec=infinity\n"
                "ExecStart=/bin/sh -c 'trap : TERM; touch /run/deaf; while :; do sleep 1; done'\n",
    "sliced": "[Service]\nSlice=mail-box.slice\nExecStart=/bin/sleep infinity\n",
    "waiting": "[Unit]\nAfter=notifying.service\n[Service]\nExecStart=/bin/sleep infinity\n",
}

PRELUDE = """
import json, os, subprocess, sys, threading, time
sys.path.insert(0, "/usr/lib/ocf/lib")
from mailha.system import bus, cgroups, systemd
from mailha.system.machine import Machine
machine = Machine()
WAY = %r
def client(timeout=60.0):
    found = systemd.Systemd(timeout=timeout)
    if WAY == "bus":
        found._ways = found._ways[1:]
    if WAY == "systemctl":
        found._ways = [bus.Bus("/run/nothing")]
        found._share_of_dbus = 0.0
    return found
manager = client()
def see(name):
    unit = manager.units([name], details=True)[name]
    return [unit.name, unit.load, unit.active, unit.sub, unit.job]
def until(condition):
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
def settled(job):
    until(lambda: not manager.job_state(job))
def tell(value):
    print(json.dumps(value))
"""

WAYS = ["private", "bus", "systemctl"]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Return a lab whose alice has the units of these tests."""
    lab = make_lab(disks={})
    for name, text in UNITS.items():
        lab.copy_in("alice", f"/etc/systemd/system/{name}.service", text.encode())
    lab.execute("alice", ["sh", "-ec", "cd /etc/systemd/system; ln -s /dev/null hidden.service; "
                          "ln -s steady.service other-name.service; systemctl daemon-reload"],
                timeout=60)
    return lab


@pytest.fixture(params=WAYS)
def ask(request: pytest.FixtureRequest, lab: Lab) -> Callable[[str], Any]:
    """Return a function that runs code on alice and returns what it tells, for each way to it."""
    return asker(lab, request.param)


@pytest.fixture
def ask_directly(lab: Lab) -> Callable[[str], Any]:
    """Return the same for the client as it is."""
    return asker(lab, "private")


def asker(lab: Lab, way: str) -> Callable[[str], Any]:
    def run(code: str) -> Any:
        script = PRELUDE % way + textwrap.dedent(code)
        said = lab.execute("alice", ["python3", "-I", "-c", script], timeout=240)
        return json.loads(said.stdout)
    return run


def test_every_kind_of_unit_comes_out_right(ask: Callable[[str], Any]) -> None:
    found = ask("""
        settled(manager.start("other-name.service"))
        tell([see(name) for name in ["steady.service", "other-name.service", "hidden.service",
              "missing.service", "template@.service", "template@1.service", "no name.service",
              "basic.target"]])
    """)
    assert found == [
        ["steady.service", "loaded", "active", "running", ""],
        ["steady.service", "loaded", "active", "running", ""],
        ["hidden.service", "masked", "inactive", "dead", ""],
        ["missing.service", "not-found", "inactive", "dead", ""],
        ["template@.service", "not-found", "inactive", "dead", ""],
        ["template@1.service", "loaded", "inactive", "dead", ""],
        ["no name.service", "not-found", "inactive", "dead", ""],
        ["basic.target", "loaded", "active", "active", ""]]


def test_main_process_and_control_group(ask: Callable[[str], Any]) -> None:
    steady, sliced, members, guessed, properties = ask("""
        for name in ("steady.service", "sliced.service"):
            settled(manager.start(name))
        found = manager.units(["steady.service", "sliced.service"], details=True)
        each = [[unit.main_process, unit.control_group] for unit in found.values()]
        said = manager.properties("sliced.service")
        tell([*each, machine.cgroups.processes(each[1][1]),
              machine.cgroups.populated(cgroups.usual("sliced.service")),
              [int(said["MainPID"]), said["ControlGroup"]]])
    """)
    assert steady[1] == "/system.slice/steady.service"
    assert sliced[1] == "/mail.slice/mail-box.slice/sliced.service"
    assert members == [sliced[0]] and properties == sliced and guessed is False


def test_refusals_have_their_names(ask: Callable[[str], Any]) -> None:
    assert ask("""
        def refusal(call):
            try:
                return call()
            except systemd.UnitError as error:
                return error.name
        manager.reset_failed("missing.service")
        tell([refusal(lambda: manager.start("hidden.service")),
              refusal(lambda: manager.start("missing.service")),
              refusal(lambda: manager.kill("missing.service", 15))])
    """) == ["org.freedesktop.systemd1.UnitMasked", "org.freedesktop.systemd1.NoSuchUnit", False]


def test_job_that_waits_for_another_can_be_cancelled(ask: Callable[[str], Any]) -> None:
    found = ask("""
        first = manager.start("notifying.service")
        until(lambda: manager.job_state(first) == "running")
        second = manager.start("waiting.service")
        seen = [see("notifying.service"), see("waiting.service"), manager.job_state(second)]
        for job in (second, first, second):
            manager.cancel(job)
        seen.append([manager.job_state(first), manager.job_state(second)])
        settled(manager.stop("notifying.service"))
        tell(seen)
    """)
    assert found == [["notifying.service", "loaded", "activating", "start", "start"],
                     ["waiting.service", "loaded", "inactive", "dead", "start"], "waiting",
                     ["", ""]]


def test_systemd_lies_where_the_control_group_does_not(ask: Callable[[str], Any]) -> None:
    lying, empty, leaving, left = ask("""
        settled(manager.start("lying.service"))
        settled(manager.start("leaving.service"))
        group = manager.units(["leaving.service"], details=True)["leaving.service"].control_group
        until(lambda: len(machine.cgroups.processes(group)) == 2)
        settled(manager.stop("leaving.service"))
        told = [see("lying.service")[2:4],
                machine.cgroups.populated(cgroups.usual("lying.service")),
                see("leaving.service")[2:4], machine.cgroups.populated(group)]
        for pid in machine.cgroups.processes(group):
            machine.processes.signal(machine.processes.read(pid), 9)
        until(lambda: not machine.cgroups.populated(group))
        settled(manager.stop("lying.service"))
        tell(told)
    """)
    assert (lying, empty) == (["active", "exited"], False)
    assert (leaving, left) == (["inactive", "dead"], True)


def test_crash_loop_is_not_stopped_and_failure_is_forgotten(ask: Callable[[str], Any]) -> None:
    assert ask("""
        manager.start("crashing.service")
        until(lambda: see("crashing.service")[3] == "auto-restart")
        told = [see("crashing.service")[2:4]]
        settled(manager.stop("crashing.service"))
        manager.reset_failed("crashing.service")
        tell(told + [see("crashing.service")[2]])
    """) == [["activating", "auto-restart"], "inactive"]


def test_stop_that_lasts_is_ended_by_sigkill(ask: Callable[[str], Any]) -> None:
    assert ask("""
        machine.files.remove("/run/deaf")
        settled(manager.start("stubborn.service"))
        until(lambda: machine.files.exists("/run/deaf"))
        job = manager.stop("stubborn.service")
        until(lambda: see("stubborn.service")[3] == "stop-sigterm")
        told = [see("stubborn.service")[2:], manager.job_state(job)]
        told.append(manager.kill("stubborn.service", 9))
        settled(job)
        told.append(machine.cgroups.populated(cgroups.usual("stubborn.service")))
        manager.reset_failed("stubborn.service")
        tell(told)
    """) == [["deactivating", "stop-sigterm", "stop"], "running", True, False]


def test_reexec_and_reload_never_make_a_running_unit_look_stopped(
        ask_directly: Callable[[str], Any]) -> None:
    calls, wrong = ask_directly("""
        settled(manager.start("steady.service"))
        def disturb():
            for _ in range(5):
                subprocess.run(["systemctl", "daemon-reexec"], check=True)
                subprocess.run(["systemctl", "daemon-reload"], check=True)
        thread = threading.Thread(target=disturb)
        thread.start()
        calls, wrong = 0, []
        while thread.is_alive():
            calls += 1
            if see("steady.service") != ["steady.service", "loaded", "active", "running", ""]:
                wrong.append(see("steady.service"))
        thread.join()
        tell([calls, wrong])
    """)
    assert wrong == [] and calls > 5


def test_reload_works_beside_reexec(ask_directly: Callable[[str], Any]) -> None:
    assert ask_directly("""
        other = subprocess.Popen(["systemctl", "daemon-reexec"])
        manager.reload()
        other.wait()
        tell(see("steady.service")[1])
    """) == "loaded"


def test_new_units_are_seen_after_reload(ask: Callable[[str], Any]) -> None:
    assert ask("""
        path = "/run/systemd/system/fresh.service"
        with open(path, "w") as file:
            file.write("[Service]\\nExecStart=/bin/true\\n")
        manager.reload()
        before = see("fresh.service")[1]
        os.unlink(path)
        manager.reload()
        tell([before, see("fresh.service")[1], manager.state() in ("running", "degraded")])
    """) == ["loaded", "not-found", True]


def test_private_socket_works_without_the_bus(ask_directly: Callable[[str], Any]) -> None:
    assert ask_directly("""
        subprocess.run(["systemctl", "stop", "dbus.socket", "dbus.service"], check=True)
        try:
            told = see("steady.service")[1]
        finally:
            subprocess.run(["systemctl", "start", "dbus.socket", "dbus.service"], check=True)
        tell(told)
    """) == "loaded"


def test_bus_works_without_the_private_socket(ask_directly: Callable[[str], Any]) -> None:
    assert ask_directly("""
        os.rename("/run/systemd/private", "/run/systemd/private.away")
        try:
            told = [see("steady.service")[1], manager.state() in ("running", "degraded")]
        finally:
            os.rename("/run/systemd/private.away", "/run/systemd/private")
        tell(told)
    """) == ["loaded", True]
