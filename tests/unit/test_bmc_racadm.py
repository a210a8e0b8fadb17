# SPDX-License-Identifier: GPL-2.0-or-later
"""What racadm answers and what it means: a reading is one line, and nothing else is one."""

from __future__ import annotations

import time
from typing import Callable, List, Type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.agents.fence_racadm import AGENT
from mailha.bmc import racadm, ssh_failures
from mailha.fencing.failures import (FencingFailed, NotUnderstood, OrderRefused, PrivilegeTooLow,
                                     SessionsExhausted)
from mailha.fencing.settings import Settings

SECRET = "s3cret"


class Answers:
    """A shell that gives one answer to everything."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: List[str] = []

    def ask(self, line: str, whole: Callable[[str], bool]) -> str:
        self.asked.append(line)
        return self.answer

    def close(self) -> None:
        self.asked.append("exit")


def controller(answer: str, module: str = "") -> racadm.Racadm:
    """Return a controller that gives one answer to everything."""
    return racadm.Racadm(Answers(answer), "192.0.2.1", user="fencer",  # type: ignore[arg-type]
                         module=module, secret=SECRET)


@pytest.mark.parametrize("answer, on", [
    ("Server power status: ON", True), ("Server power status: OFF", False),
    ("Server Power Status: OFF", False), ("Server power status: off.", False),
    ("Server power status: Powering OFF", True), ("Server power status: Powering ON", True),
    ("SECURITY WARNING: the default password is in use\nServer power status: ON", True)])
def test_the_line_of_an_idrac_is_the_power(answer: str, on: bool) -> None:
    assert controller(answer).is_on() is on


@pytest.mark.parametrize("answer, on", [("ON", True), ("OFF", False), ("Powering OFF", True),
                                        ("Server power status: OFF", False)])
def test_the_word_of_a_chassis_is_the_power(answer: str, on: bool) -> None:
    assert controller(answer, "server-1").is_on() is on


@pytest.mark.parametrize("answer", [
    "", "OFF", "ON", "Server power status:", "Server power status: OFFLINE",
    "Server power status: OFF (cached)", "The server power status: OFF", "status: OFF",
    "Server power status: OFF\nServer power status: OFF", "OFF Server power status: ON",
    "Server power status: OFF Server power status: ON", "Server power status: NOT OFF",
    "ERROR: the Server power status: OFF", "-> Server power status: OFF",
    "Server power operation successful", "racadm serveraction powerstatus", "P0wer is OFF"])
def test_what_is_not_the_line_is_no_reading(answer: str) -> None:
    with pytest.raises(NotUnderstood):
        controller(answer).is_on()


@given(st.text(max_size=200))
def test_no_noise_is_a_reading(text: str) -> None:
    readings = [line.strip().lower() for line in text.split("\n")]
    try:
        on = controller(text).is_on()
    except FencingFailed as failure:
        assert str(failure).isprintable()
    else:
        assert any(line.startswith("server power status") for line in readings), on


@given(st.text(alphabet=st.characters(blacklist_characters="\n"), max_size=40),
       st.text(alphabet=st.characters(blacklist_characters="\n"), max_size=40))
def test_a_reading_inside_of_another_line_is_none(before: str, after: str) -> None:
    line = f"{before}Server power status: OFF{after}"
    if line.strip(" .").lower() != "server power status: off":
        with pytest.raises(FencingFailed):
            controller(line).is_on()


@pytest.mark.parametrize("answer", ["Server power operation successful", "",
                                    "Server power operation initiated successfully",
                                    "Powering off the server.",
                                    "Only for users with permission\nServer power operation "
                                    "successful"])
def test_an_order_that_is_taken_or_answered_with_unknown_words_is_left_to_the_readings(
        answer: str) -> None:
    controller(answer).order(False)


@pytest.mark.parametrize("answer", [
    "Server is already powered OFF.", "ERROR: Server is already powered OFF",
    "ERROR: RAC0999: not supported in present state", "Error: the operation failed",
    "ERROR: Unable to perform the requested operation.",
    "ERROR: the command was successfully parsed, but failed"])
def test_a_refusal_is_a_reason_to_look_and_is_quoted(answer: str) -> None:
    with pytest.raises(OrderRefused) as caught:
        controller(answer).order(False)
    assert caught.value.look and answer in str(caught.value) and "192.0.2.1" in str(caught.value)


@pytest.mark.parametrize("answer", [
    "Permission denied", "ERROR: Insufficient privileges to execute the command",
    "ERROR: RAC1000: User does not have the required privilege.", "You are not authorized to do so",
    "Access denied", "ERROR: this is not permitted for read-only users"])
def test_a_lack_of_rights_is_said_as_such(answer: str) -> None:
    for act in (lambda: controller(answer).order(False), controller(answer).is_on):
        with pytest.raises(PrivilegeTooLow) as caught:
            act()
        assert "fencer" in str(caught.value) and not caught.value.transient


@pytest.mark.parametrize("answer", [
    "RAC0218: The maximum number of user sessions is reached", "Too many sessions",
    "ERROR: no more sessions are available", "The session limit is exceeded"])
def test_a_lack_of_sessions_is_said_as_such(answer: str) -> None:
    with pytest.raises(SessionsExhausted) as caught:
        controller(answer).is_on()
    assert caught.value.transient


@pytest.mark.parametrize("answer, transient", [
    ("ERROR: Invalid subcommand specified.", False), ("COMMAND NOT RECOGNIZED", False),
    ("ERROR: Specify a valid module name with -m.", False),
    ("ERROR: RAC0999: The iDRAC is busy", True), ("", True)])
def test_a_command_that_does_not_exist_is_not_tried_for_ever(answer: str, transient: bool) -> None:
    with pytest.raises(NotUnderstood) as caught:
        controller(answer).is_on()
    assert caught.value.transient is transient


@pytest.mark.parametrize("failure, answer", [
    (OrderRefused, f"ERROR: {SECRET} \x1b]0;x\x07 {'x' * 500}"),
    (PrivilegeTooLow, f"permission denied to {SECRET}\n{'y' * 500}")])
def test_a_quoted_answer_is_short_and_printable_and_without_the_password(
        failure: Type[FencingFailed], answer: str) -> None:
    with pytest.raises(failure) as caught:
        controller(answer).order(False)
    assert SECRET not in str(caught.value) and "***" in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_orders_and_readings_are_serveraction_and_nothing_else() -> None:
    shell = Answers("Server power status: ON")
    power = racadm.Racadm(shell, "", user="")           # type: ignore[arg-type]
    power.is_on()
    power.order(True)
    power.order(False)
    racadm.Racadm(shell, "", module="server-3").is_on()  # type: ignore[arg-type]
    power.close()
    assert shell.asked == ["racadm serveraction powerstatus", "racadm serveraction powerup",
                           "racadm serveraction powerdown",
                           "racadm serveraction -m server-3 powerstatus", "exit"]


def settings(**texts: str) -> Settings:
    """Return settings of the agent."""
    return Settings(AGENT, {"ip": "192.0.2.1", "username": "fencer", "password": "x", **texts})


def test_plug_is_a_server_in_its_chassis_only_where_that_is_said() -> None:
    assert racadm.module(settings(plug="alice")) == ""
    assert racadm.module(settings(plug="server-2")) == ""
    assert racadm.module(settings(plug="server-2", drac_version="DRAC CMC")) == "server-2"
    assert racadm.module(settings(plug="alice", module="server-4")) == "server-4"


@pytest.mark.parametrize("texts, reason", [
    ({"module": "all"}, "no server of a chassis"), ({"module": "switch-1"}, "no server"),
    ({"module": "server-1;reboot"}, "no server"), ({"module": "server-0"}, "no server"),
    ({"drac_version": "DRAC MC"}, "nobody can be sure"), ({"ssh": "0"}, "telnet"),
    ({"secure": "false"}, "telnet"), ({"host_key_checking": "no"}, "accept-new"),
    ({"host_key_checking": "maybe"}, "maybe"), ({"command_prompt": "("}, "regular expression"),
    ({"command_prompt": ".*"}, "empty line"), ({"username": "-oProxyCommand=x"}, "dash"),
    ({"ssh_options": "-oProxyCommand=x"}, "ProxyCommand"), ({"ipport": "0"}, "ipport"),
    ({"identity_file": "relative"}, "identity_file")])
def test_what_would_be_unsafe_or_makes_no_sense_is_refused(
        texts: "dict[str, str]", reason: str) -> None:
    names = {old: option.name for option in AGENT.options for old in option.obsoletes}
    found = settings(**{names.get(name, name): text for name, text in texts.items()})
    assert len(found.problems) == 1 and reason in found.problems[0]


def findings(**texts: str) -> str:
    """Return what is wrong with settings that are right one by one."""
    assert AGENT.check is not None
    return " | ".join(map(str, AGENT.check(settings(**texts))))


def test_what_contradicts_itself_is_found() -> None:
    assert "username: it is not set" in findings(username="")
    assert "both are set" in findings(inet4_only="1", inet6_only="1")
    assert "no server of a chassis" in findings(drac_version="DRAC CMC", plug="alice")
    assert "plug" not in findings(drac_version="DRAC CMC", plug="alice", module="server-1")
    assert "plug" not in findings(drac_version="DRAC CMC", plug="server-1")
    nothing = Settings(AGENT, {"ip": "192.0.2.1", "username": "fencer"})
    assert AGENT.check is not None
    assert "neither a password nor an identity_file" in " | ".join(map(str, AGENT.check(nothing)))


def test_host_key_checking_is_on_unless_a_new_key_may_be_taken() -> None:
    assert settings()["host_key_checking"] == "yes"
    assert settings(host_key_checking="1")["host_key_checking"] == "yes"
    assert settings(host_key_checking="accept-new")["host_key_checking"] == "accept-new"
    assert settings()["known_hosts_file"] == "/etc/ssh/ssh_known_hosts"


def test_a_flood_of_words_that_begin_a_known_text_is_judged_at_once() -> None:
    """Half of it took 6 s, in which no watchdog of Python's could speak."""
    flood = "limit already " * 10000
    begun = time.monotonic()
    assert not ssh_failures.SESSIONS.search(flood) and not racadm._ALREADY.search(flood)
    assert time.monotonic() - begun < 5
