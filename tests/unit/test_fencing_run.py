# SPDX-License-Identifier: GPL-2.0-or-later
"""Actions, exit codes, reasons, the log's one line, the right node, values that cannot be right."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict

import pytest

from fencing_node import FENCER, GOOD, Clock, Node, agent_for, call, off
from mailha.agents import fence_ipmi
from mailha.fencing import failures, identity, run, values
from mailha.fencing.deadline import Phases
from mailha.fencing.failures import Interrupted, Silent, TimeUp
from mailha.fencing.settings import Settings

HERE = os.uname().nodename


@pytest.mark.parametrize("is_on, action, code, stdout", [
    (True, "status", 0, "Status: ON\n"), (False, "status", 2, "Status: OFF\n"),
    (True, "monitor", 0, ""), (False, "monitor", 0, "")])
def test_what_only_looks_reads_once_and_ends_as_pacemaker_expects(
        is_on: bool, action: str, code: int, stdout: str) -> None:
    node = Node(is_on)
    said = call(node, {**GOOD, "action": action})
    assert (said.code, said.stdout, said.stderr) == (code, stdout, "")
    assert node.names() == ["login", "read", "close"]


@pytest.mark.parametrize("action", ["status", "monitor", "on", "off", "reboot"])
def test_a_controller_that_cannot_be_asked_is_one_failure_with_one_reason(action: str) -> None:
    node = Node()
    node.login_failures = [failures.LoginRefused("192.0.2.7 does not know the user fencer",
                                                 remedy="check username")]
    said = call(node, {**GOOD, "action": action})
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr == "192.0.2.7 does not know the user fencer; check username\n"
    assert 'result=failed' in said.logged and "LoginRefused" not in said.everything


def test_blanks_around_a_refused_password_are_mentioned_because_fence_ipmilan_loses_them() -> None:
    for password, mentioned in (("trail ", True), (" lead", True), ("in side", False)):
        node = Node()
        node.login_failures = [failures.LoginRefused("192.0.2.7 does not take the password")]
        said = off(node, password=password)
        assert ("blanks" in said.stderr) is mentioned and password.strip() not in said.stderr


def test_the_default_action_is_reboot() -> None:
    node = Node()
    assert call(node, GOOD).stdout == "Success: Rebooted\n"


@pytest.mark.parametrize("action", ["OFF", "Off", " off "])
def test_the_case_of_an_action_does_not_count(action: str) -> None:
    node = Node()
    assert call(node, {**GOOD, "action": action}).stdout == "Success: Powered OFF\n"


@pytest.mark.parametrize("action", ["diag", "cycle", "list", "", "off\u00a0", "enable", "stop"])
def test_an_unknown_action_is_said_in_the_words_that_pacemaker_knows(action: str) -> None:
    node = Node()
    said = call(node, {**GOOD, "action": action})
    assert said.code == (0 if action.strip() == "off" else 1)
    if said.code:
        assert said.stderr.startswith("unrecognised action") and node.events == []


def test_the_log_has_one_line_with_the_time_of_each_phase() -> None:
    node = Node()
    said = off(node)
    (line,) = said.logged.splitlines()
    assert re.fullmatch(
        r"INFO: action=off node=bob ip=192\.0\.2\.7 result=ok login=0\.010 order=0\.010 "
        r"verify=0\.520 close=0\.000 total=0\.540 logins=1 orders=1 reads=2", line), line


def test_the_line_of_a_monitor_is_for_debugging_as_there_is_one_a_minute() -> None:
    node = Node()
    assert call(node, {**GOOD, "action": "monitor"}).logged.startswith("DEBUG: action=monitor ")


def test_the_line_of_a_failure_has_the_reason() -> None:
    node = Node()
    node.order_failures = [failures.OrderRefused("192.0.2.7 refuses to power off")]
    said = off(node)
    assert said.logged.startswith("ERROR: action=off node=bob ip=192.0.2.7 result=failed ")
    assert 'reason="192.0.2.7 refuses to power off"' in said.logged


def test_verbose_has_on_stderr_what_is_logged_and_quiet_has_nothing() -> None:
    node = Node()
    assert off(node, verbose="1").stderr.startswith("INFO: action=off ")
    for more in ({"verbose_level": "2"}, {"verbose": "on", "quiet": "1"}):
        assert off(Node(), **more).stderr != ""
    assert off(Node(), verbose="1", verbose_level="0").stderr == ""
    failing = Node()
    failing.login_failures = [failures.LoginRefused("no")]
    assert (off(failing, quiet="1").code, off(failing, quiet="1").stderr) == (1, "")


def test_a_file_for_debugging_gets_what_is_logged_and_cannot_spoil_the_result(
        tmp_path: Path) -> None:
    path = tmp_path / "debug"
    assert off(Node(), debug_file=str(path)).code == 0
    assert "action=off node=bob" in path.read_text() and path.stat().st_mode & 0o077 == 0
    assert GOOD["password"] not in path.read_text()
    for bad in (tmp_path, tmp_path / "no/such"):
        said = off(Node(), debug=str(bad))
        assert said.code == 0 and "cannot write to" in said.logged


@pytest.mark.parametrize("name", ["timeout", "Timed Out", "power_timeout"])
def test_only_a_timeout_has_the_words_by_which_pacemaker_knows_one(name: str) -> None:
    node = Node()
    node.login_failures = [failures.LoginRefused(f"192.0.2.7 said {name}")]
    said = off(node)
    assert said.code == 1 and "192.0.2.7 said" in said.stderr
    assert "timeout" not in said.stderr.lower() and "timed out" not in said.stderr.lower()
    assert "timed out" in str(_time_up(Node()))


def _time_up(node: Node) -> TimeUp:
    from mailha.fencing.deadline import Deadline
    deadline = Deadline(1, node.clock, node.clock.sleep)
    with pytest.raises(TimeUp) as caught:
        deadline.pause(2)
    return caught.value


def test_a_wrong_value_of_an_option_with_such_a_name_is_no_timeout() -> None:
    said = off(Node(), power_timeout="soon")
    assert said.code == 1 and "timeout" not in said.stderr and "'soon'" in said.stderr


@pytest.mark.parametrize("error", [ValueError("x"), OSError(5, "I/O"), MemoryError(), KeyError(),
                                   RecursionError("deep"), KeyboardInterrupt(), SystemExit(0),
                                   UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")])
def test_a_defect_is_a_failure_with_one_line_and_no_traceback(error: BaseException) -> None:
    node = Node()

    def fail() -> None:
        raise error
    node.after = fail
    said = off(node)
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.count("\n") == 1 and "Traceback" not in said.stderr
    assert len(said.stderr) > 20


def test_a_secret_that_a_device_repeats_is_hidden() -> None:
    node = Node()
    node.login_failures = [failures.LoginRefused("192.0.2.7 said: horse battery? no")]
    said = off(node)
    assert "192.0.2.7 said: (secret)? no" in said.stderr
    assert "horse battery" not in said.everything
    node = Node()

    def fail() -> None:
        raise RuntimeError("Login(u'horse battery')")
    node.after = fail
    assert "horse battery" not in off(node).everything


def test_hiding_a_short_secret_does_not_tell_it() -> None:
    node = Node()
    node.login_failures = [failures.LoginRefused("the administrator said admin, not adm")]
    said = off(node, password="admin")
    assert said.stderr == "the administrator said (secret), not adm\n"


# The right node


@pytest.mark.parametrize("action", ["on", "off", "reboot", "status"])
def test_no_action_that_concerns_a_node_is_done_for_another_one(action: str) -> None:
    node = Node()
    said = call(node, {**GOOD, "action": action, "node": "alice", "nodename": "bob",
                       "plug": "bob"})
    assert said.code == 1 and node.events == []
    assert "alice" in said.stderr and "bob" in said.stderr


@pytest.mark.parametrize("nodename", ["", "bob", "BOB"])
def test_the_right_node_in_any_case_of_letters_is_acted_on(nodename: str) -> None:
    node = Node()
    assert call(node, {**GOOD, "action": "off", "node": "Bob", "nodename": nodename}).code == 0


def test_a_monitor_is_about_the_device_and_not_about_a_node() -> None:
    assert call(Node(), {**GOOD, "action": "monitor", "node": "alice", "nodename": "bob"}).code == 0


def test_an_empty_name_of_the_node_is_refused_because_it_would_let_every_node_through() -> None:
    node = Node()
    said = call(node, {**GOOD, "action": "off", "node": "", "nodename": "bob"})
    assert said.code == 1 and "option node" in said.stderr and node.events == []


@pytest.mark.parametrize("given", [{"node": HERE}, {"nodename": HERE}, {"node": HERE.upper()}])
@pytest.mark.parametrize("action", ["off", "reboot"])
def test_by_hand_nobody_switches_off_the_node_on_which_he_sits(action: str,
                                                               given: Dict[str, str]) -> None:
    for environment in ({}, {"PCMK_service": "stonith_admin"}):
        node = Node()
        said = call(node, {**GOOD, "action": action, **given}, environment=environment)
        assert said.code == 1 and "by hand" in said.stderr and node.events == []
    node = Node()
    assert call(node, {**GOOD, "action": action, **given}, environment=FENCER).code == 0


@pytest.mark.parametrize("name, hostname, same", [
    ("bob", "bob", True), ("bob", "bob.example.com", True), ("bob.example.com", "bob", True),
    ("Bob", "bOB", True), ("bob.example.com", "bob.example.net", False), ("bob", "bobby", False),
    ("bob2", "bob", False)])
def test_a_machine_is_known_with_and_without_its_domain(name: str, hostname: str,
                                                        same: bool) -> None:
    settings = Settings.of(fence_ipmi.AGENT, ip="192.0.2.7", node=name)
    if same:
        with pytest.raises(failures.WrongNode):
            identity.require(settings, "off", by_fencer=False, hostname=hostname)
    else:
        identity.require(settings, "off", by_fencer=False, hostname=hostname)


@pytest.mark.parametrize("action", ["on", "status", "monitor"])
def test_by_hand_everything_else_is_allowed(action: str) -> None:
    assert call(Node(), {**GOOD, "action": action, "node": HERE}, environment={}).code == 0


# Values


@pytest.mark.parametrize("more", [
    {"verbose": "2"}, {"verbose": "0"}, {"lanplus": "y"}, {"debug": "1"}, {"debug_file": "log"},
    {"login_timeout": "7200"}, {"power_timeout": "86400"}, {"retry_on": "-1"}, {"delay": "-1"},
    {"power_wait": "-2"}, {"shell_timeout": "99999"}, {"stonith_status_sleep": "2"}])
def test_what_is_harmless_in_a_definition_for_fence_ipmilan_keeps_no_node_from_being_fenced(
        more: Dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    node = Node()
    said = call(node, {**GOOD, **more, "action": "off"})
    assert (said.code, said.stdout, node.is_on) == (0, "Success: Powered OFF\n", False)
    assert bool(said.stderr) == (more.get("verbose") == "2")
    assert list(tmp_path.iterdir()) == []


def test_a_relative_debug_file_is_said_and_an_immense_slowness_is_an_hour() -> None:
    said = call(Node(), {**GOOD, "debug": "1", "action": "off"})
    assert "option debug_file is no absolute path" in said.everything
    assert Settings.of(fence_ipmi.AGENT, ip="192.0.2.7",
                       power_timeout="86400")["power_timeout"] == 3600


def test_a_person_at_a_terminal_is_told_what_is_waited_for(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert "terminal" not in call(Node(), {**GOOD, "action": "status"}).everything
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 0)
    said = call(Node(), {**GOOD, "action": "status"})
    assert (said.code, said.stdout) == (0, "Status: ON\n")
    assert said.stderr.startswith("INFO: reading lines of name=value from the terminal, up to ")


def test_a_signal_that_is_lost_in_the_end_of_a_session_still_ends_the_action() -> None:
    """close() forgives everything, and with it what the handler of a signal raises in it."""
    class Told(Node):
        def connect(self, settings: Any, deadline: Any, phases: Any) -> Any:
            self.tries = getattr(self, "tries", 0) + 1
            deadline.stop(Interrupted("off was told to end by signal 15 and is not done"))
            raise Silent("the controller began a login and then gave no answer")

    node = Told()
    said = call(node, {**GOOD, "action": "off"})
    assert said.code == 1 and node.tries == 1 and node.is_on
    assert "told to end by signal 15" in said.stderr and "timed out" not in said.stderr


def test_the_command_line_may_give_a_switch_a_value() -> None:
    said = call(Node(), arguments=["-a", "192.0.2.7", "--lanplus=0", "-o", "status"])
    assert said.code == 1 and "option lanplus" in said.stderr


@pytest.mark.parametrize("more, complaint", [
    ({"method": "cycle"}, "not safe"), ({"method": "CYCLE"}, "not safe"),
    ({"method": "fly"}, "onoff"), ({"lanplus": "0"}, "IPMI 1.5"),
    ({"lanplus": "off"}, "IPMI 1.5"), ({"lanplus": "maybe"}, "true"),
    ({"auth": "md5"}, "IPMI 1.5"), ({"auth": "none"}, "IPMI 1.5"), ({"target": "0x20"}, "bridged"),
    ({"cipher": "0"}, "3 or 17"), ({"cipher": "1"}, "3 or 17"), ({"cipher": "zzz"}, "number"),
    ({"cipher": ""}, "without a value"), ({"privlvl": "bogus"}, "operator"),
    ({"hexadecimal_kg": "abc"}, "even"), ({"hexadecimal_kg": "xyzw"}, "hexadecimal"),
    ({"hexadecimal_kg": "aa" * 21}, "40 digits"), ({"ipport": "0"}, "65535"),
    ({"ipport": "70000"}, "65535"), ({"ipport": "623x"}, "port"),
    ({"delay": "abc"}, "time"), ({"delay": "1e3"}, "time"),
    ({"delay": "3 weeks"}, "unit"), ({"power_wait": "abc"}, "time"),
    ({"delay": "99999999999999999999"}, "range"), ({"delay": ""}, "without a value"),
    ({"power_timeout": "soon"}, "soon"), ({"retry_on": "x"}, "time"), ({"ip": ""}, "ip"),
    ({"ip": "127.0.0.1 -A none -X"}, "ip"), ({"ip": "-X"}, "dash"), ({"ip": "192.0.2.300"}, "ip"),
    ({"ip": "10.1"}, "ip"), ({"ip": "a b"}, "blank"), ({"ip": "b\u00fccher"}, "ip"),
    ({"ip": "x" * 300}, "ip"), ({"node": "b ob"}, "node"), ({"node": "-x"}, "node"),
    ({"port_as_ip": "perhaps"}, "true"), ({"username": "x" * 17}, "16"),
    ({"password": "x" * 21}, "20"), ({"username": "a\u202eb"}, "username"),
    ({"password_file": "relative"}, "slash"), ({"password_script": "./x"}, "absolute"),
    ({"password_script": "/bin/cat /x | head -1"}, "shell"), ({"password_script": "'"}, "words"),
    ({"verbose_level": "very"}, "verbose_level"),
    ({"power_timeout": "-1"}, "time"), ({"verbose": "loud"}, "true")])
@pytest.mark.parametrize("action", ["off", "status", "validate-all"])
def test_a_value_that_cannot_be_right_is_refused_with_its_option_before_anything_is_done(
        more: Dict[str, str], complaint: str, action: str) -> None:
    node = Node()
    said = call(node, {**GOOD, **more, "action": action})
    assert said.code == 1 and node.events == []
    (name,) = more
    assert complaint in said.stderr, said.stderr
    assert name.replace("timeout", "time-out") in said.stderr or name in said.stderr
    assert len(said.stderr.splitlines()) == 1 or action == "validate-all"
    if name in ("hexadecimal_kg", "password"):
        assert more[name] not in said.everything


def test_bytes_that_are_no_utf_8_are_refused_in_everything_but_a_password() -> None:
    for name in ("ip", "node", "username", "action", "privlvl", "delay"):
        node = Node()
        said = call(node, stdin=b"ip=192.0.2.7\naction=status\n" + name.encode() + b"=\xff\xfe\n")
        assert said.code == 1 and node.events == [] and "Traceback" not in said.everything


@pytest.mark.parametrize("text, value", [
    ("192.0.2.7", "192.0.2.7"), ("2001:DB8::1", "2001:db8::1"), ("[2001:db8::1]", "2001:db8::1"),
    ("fe80::1%eth0", "fe80::1%eth0"), ("BMC-bob.example.com.", "bmc-bob.example.com"),
    ("bob_ipmi", "bob_ipmi"), ("::ffff:127.0.0.1", "::ffff:127.0.0.1"), ("localhost", "localhost")])
def test_an_address_is_taken_in_all_the_ways_in_which_people_write_it(text: str,
                                                                      value: str) -> None:
    assert values.address(text) == value


@pytest.mark.parametrize("text", [
    "fe80::1%", "192.0.2.7%eth0", "fe80::1%a/b", "::1::", "a..b", "-a", "a-", "[::1", "a/b",
    "a:623", "bob ipmi", "$(reboot)", "bob;reboot", "", " ", "fe80::1%eth0 -X",
    "1" * 64 + ".example"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(values.Invalid):
        values.address(text)


def test_all_wrong_values_are_said_at_once() -> None:
    said = call(Node(), {"action": "off", "delay": "x", "privlvl": "y", "method": "cycle"})
    for name in ("ip", "delay", "privlvl", "method"):
        assert f"option {name}:" in said.stderr


def test_what_has_no_effect_is_accepted_and_said_to_have_none() -> None:
    idle = {"power_wait": "4", "login_timeout": "9", "shell_timeout": "9", "retry_on": "3",
            "disable_timeout": "true", "stonith_status_sleep": "2", "plug_separator": ";",
            "ipmitool_path": "/opt/ipmitool", "ipmitool_timeout": "4", "use_sudo": "1",
            "sudo_path": "/usr/bin/sudo"}
    said = off(Node(), **idle)
    assert said.code == 0 and said.stderr == ""
    for name in idle:
        assert f"INFO: {name} has no effect: " in said.logged
    said = call(Node(), {**GOOD, **idle, "action": "validate-all"})
    for name in idle:
        assert f"WARNING: {name} has no effect: " in said.stderr


def test_a_secret_is_never_a_plain_value() -> None:
    settings = Settings.of(agent_for(Node()), **GOOD)
    with pytest.raises(KeyError):
        settings["password"]
    with pytest.raises(KeyError):
        settings.secret("ip")
    assert settings.secret("password") == GOOD["password"]
    assert settings.secret("hexadecimal_kg") == ""


def test_settings_have_types_and_defaults() -> None:
    settings = Settings.of(fence_ipmi.AGENT, ip="BOB", delay="2", cipher="17", privlvl="OPERATOR")
    assert [settings[name] for name in ("ip", "ipport", "delay", "cipher", "privlvl", "username",
                                        "lanplus", "quiet", "node", "power_timeout")] == \
        ["bob", 623, 2.0, 17, "operator", None, True, False, None, 20.0]
    assert settings.is_set("delay") and not settings.is_set("ipport")


# validate-all


def test_validate_all_takes_a_good_definition_and_asks_nobody() -> None:
    node = Node()
    said = call(node, {**GOOD, "node": "bob", "action": "validate-all"})
    assert (said.code, said.stdout, said.stderr) == (0, "", "") and node.events == []


def test_validate_all_warns_of_a_name_that_cannot_be_resolved(
        monkeypatch: pytest.MonkeyPatch) -> None:
    import _socket

    def fail(*words: object) -> None:
        raise _socket.gaierror(-2, "Name or service not known")
    monkeypatch.setattr("_socket.getaddrinfo", fail)
    said = call(Node(), {**GOOD, "node": "bob", "ip": "no.such.example", "action": "validate-all"})
    assert said.code == 0
    assert said.stderr == ("WARNING: option ip: the name no.such.example cannot be resolved on "
                           "this node: Name or service not known\n")


def test_validate_all_does_not_wait_for_a_name_service_that_is_silent(
        monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    released = threading.Event()
    monkeypatch.setattr("_socket.getaddrinfo", lambda *words: released.wait(60))
    monkeypatch.setattr("mailha.fencing.validate.PATIENCE", 0.05)
    said = call(Node(), {**GOOD, "node": "bob", "ip": "slow.example", "action": "validate-all"})
    released.set()
    assert said.code == 0 and "was not resolved within 0.05 s" in said.stderr


def test_validate_all_warns_without_a_node_and_is_silent_with_port_as_ip() -> None:
    assert "option node is not set" in call(Node(), {**GOOD, "action": "validate-all"}).stderr
    said = call(Node(), {"username": "x", "password": "y", "plug": "192.0.2.7", "port_as_ip": "1",
                         "action": "validate-all"})
    assert (said.code, said.stderr) == (0, "")


def test_validate_all_names_the_package_of_a_missing_library() -> None:
    node = Node()
    said = call(node, {**GOOD, "node": "bob", "action": "validate-all"},
                agent=agent_for(node, libraries=("pyghmi_that_is_not_there",)))
    assert said.code == 1
    assert "python3-pyghmi_that_is_not_there" in said.stderr and "ERROR: " in said.stderr


def test_validate_all_says_unknown_options_without_their_values() -> None:
    said = call(Node(), {**GOOD, "node": "bob", "pasword": "hunter2", "action": "validate-all"})
    assert said.code == 0 and "option pasword in line" in said.stderr
    assert "hunter2" not in said.everything


# Small parts


def test_a_phase_that_comes_twice_adds_up_and_one_that_fails_counts() -> None:
    clock = Clock()
    phases = Phases(clock)
    for _ in range(2):
        with phases("login"):
            clock.sleep(0.25)
    with pytest.raises(ValueError):
        with phases("order"):
            clock.sleep(1)
            raise ValueError
    phases.count("reads")
    assert phases.fields() == ["login=0.500", "order=1.000", "total=1.500", "reads=1"]
    assert phases.counted("reads") == 1 and phases.counted("orders") == 0


def test_words_that_mean_a_timeout_are_replaced_in_any_case() -> None:
    assert run.in_other_words("Timeout TIMED OUT power_timeout") == \
        "time-out ran out of time power_time-out"
