# SPDX-License-Identifier: GPL-2.0-or-later
"""What fence_racadm lets others see: no secret, nowhere, and nothing of anybody's ssh config."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from idrac_host import KEY, LIMIT, LOCKED_KEY, TOP, USER, Idrac, Machine
from twonode import image
from twonode.sandbox import Sandbox

SECRET = "N0b0dy-Sees-Th1s"
"""The password of the user in this module; unlike that of the others it can be searched for."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with the suite and an SSH server."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(os.environ.get("LAB_SUITE", "bookworm"))) as sandbox:
        machine = Machine(sandbox)
        machine.run("chpasswd", input=f"{USER}:{SECRET}\n")
        yield machine


@pytest.fixture(scope="module")
def shared(machine: Machine) -> Iterator[Idrac]:
    """The iDRAC of this module."""
    idrac = Idrac(machine)
    yield idrac
    idrac.stop()


@pytest.fixture
def idrac(shared: Idrac) -> Idrac:
    """The same, with good manners and the power on."""
    shared.behave()
    return shared


def families(idrac: Idrac, options: Dict[str, Any]) -> Iterator[Dict[str, bytes]]:
    """Yield what can be seen of all processes of an off that lasts, while it lasts."""
    idrac.behave(answers={"powerdown": [{"silent": True}]})
    agent = idrac.machine.sandbox.door.popen(
        ["/usr/sbin/fence_racadm"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    assert agent.stdin is not None
    agent.stdin.write(idrac.options("off", **options).encode())
    agent.stdin.close()
    agent.stdin = None
    pause = threading.Event()
    while "powerdown" not in idrac.log:
        yield seen(idrac)
        assert agent.poll() is None
        pause.wait(0.005)
    yield seen(idrac)
    idrac.machine.run("pkill", "--signal", "TERM", "--full", "/usr/sbin/fence_racadm")
    agent.wait(timeout=LIMIT)


def seen(idrac: Idrac) -> Dict[str, bytes]:
    """Return arguments and environment of every process of the machine."""
    found: Dict[str, bytes] = {}
    for process in idrac.machine.path("/proc").iterdir():
        for name in ("cmdline", "environ") if process.name.isdigit() else ():
            try:
                found[f"{process.name} {name}"] = (process / name).read_bytes()
            except OSError:
                pass        # it has just ended
    return found


@pytest.mark.parametrize("options", [
    {"password": SECRET}, {"password": "open sesame", "identity_file": LOCKED_KEY}],
    ids=["password", "password of a key"])
def test_no_secret_is_in_the_arguments_or_the_environment_of_any_process(
        idrac: Idrac, options: Dict[str, Any]) -> None:
    secret = options["password"].encode()
    looks = list(families(idrac, options))
    clients = {content for look in looks for name, content in look.items()
               if name.endswith("cmdline") and content.startswith(b"/usr/bin/ssh\0")}
    assert clients, "ssh was never seen, so that nothing has been looked at"
    assert not [name for look in looks for name, content in look.items() if secret in content]


def test_ssh_gets_an_environment_of_three_variables(idrac: Idrac) -> None:
    variables: List[bytes] = []
    for look in families(idrac, {"password": SECRET}):
        for name, content in look.items():
            if name.endswith("cmdline") and content.startswith(b"/usr/bin/ssh\0"):
                variables = look.get(name.replace("cmdline", "environ"), b"").split(b"\0")
    assert sorted(variable.split(b"=")[0] for variable in variables if variable) \
        == [b"LC_ALL", b"PATH", b"TERM"]


@pytest.mark.parametrize("options", [
    {"password": "wrong-" + SECRET}, {"ipport": "1"}, {"known_hosts_file": "/dev/null"},
    {"command_prompt": "never"}], ids=str)
def test_no_secret_is_in_a_reason_or_in_what_is_logged(
        idrac: Idrac, options: Dict[str, str]) -> None:
    log = f"{TOP}/debug.log"
    idrac.path("../debug.log").unlink(missing_ok=True)
    done = idrac.fence("status", **{"password": SECRET, "verbose": "1", "debug_file": log,
                                    **options})
    assert done.code == 1
    logged = idrac.machine.path(log).read_text()
    assert logged and SECRET not in logged + done.errors + done.output


def test_a_controller_that_shows_the_password_makes_no_reason_show_it(idrac: Idrac) -> None:
    idrac.behave(answers={"powerdown": [f"ERROR: permission denied for {USER}:{SECRET}"]})
    done = idrac.fence("off", password=SECRET, verbose="1")
    assert done.failed or done.code == 1
    assert "permission denied for" in done.errors and SECRET not in done.errors


def test_a_banner_that_asks_for_the_password_does_not_get_it_shown(machine: Machine) -> None:
    """ssh shows a banner before it asks; what is typed too early is shown, or read by the shell."""
    machine.path(f"{TOP}/banner").write_text(f"{USER}@127.0.0.1's password: ")
    idrac = Idrac(machine, f"Banner {TOP}/banner\n")
    idrac.behave(motd=f"{USER}'s password: ")
    done = idrac.fence("off", password=SECRET)
    assert (done.code, idrac.on) == (0, False)
    assert idrac.log == ["login", "powerdown", "powerstatus", "powerstatus", "left"]
    idrac.stop()


def test_what_root_has_in_its_own_ssh_config_changes_nothing(idrac: Idrac) -> None:
    home = idrac.machine.path("/root/.ssh")
    home.mkdir(mode=0o700, exist_ok=True)
    marker = Path("/root/was-here")
    evil = ("Host *\nProxyCommand touch /root/was-here\nPort 1\nUser nobody\n"
            "StrictHostKeyChecking no\nPermitLocalCommand yes\nLocalCommand touch /root/was-here\n")
    for place in ("/root/.ssh/config", "/etc/ssh/ssh_config.d/evil.conf"):
        idrac.machine.path(place).write_text(evil)
    try:
        assert idrac.fence("status", password=SECRET).output == "Status: ON\n"
        # A known key of root's is no reason to log in, when the definition has another way.
        (home / "id_ed25519").write_bytes(idrac.machine.path(KEY).read_bytes())
        (home / "id_ed25519").chmod(0o600)
        assert idrac.fence("status", password="wr0ng").failed
        (home / "known_hosts").write_text(idrac.line_of("host-key"))
        assert idrac.fence("status", password=SECRET, known_hosts_file="/dev/null").failed
    finally:
        idrac.machine.run("rm", "-rf", "/root/.ssh", "/etc/ssh/ssh_config.d/evil.conf")
    assert not idrac.machine.path(str(marker)).exists()


@pytest.mark.parametrize("text, reason", [
    ("-o ProxyCommand=sh", "'ProxyCommand' of ssh may not be set"),
    ("-oLocalCommand=sh", "'LocalCommand' of ssh may not be set"),
    ("-o StrictHostKeyChecking=no", "host_key_checking"),
    ("-o UserKnownHostsFile=/dev/null", "known_hosts_file"),
    ("-F /tmp/config", "'-F' is not among"), ("-o 'Ciphers", "No closing quotation"),
    ("other-host.example", "is not among")])
def test_options_of_ssh_that_run_programs_or_trust_anybody_are_refused(
        idrac: Idrac, text: str, reason: str) -> None:
    for action in ("validate-all", "off"):
        done = idrac.fence(action, password=SECRET, ssh_options=text)
        assert done.code == 1 and re.search(re.escape(reason), done.errors), done
    assert idrac.log == []
