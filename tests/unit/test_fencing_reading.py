# SPDX-License-Identifier: GPL-2.0-or-later
"""stdin and the command line: as fence_ipmilan reads them, without what it loses or shows."""

from __future__ import annotations

from typing import Dict

import pytest

from fencing_node import GOOD, Node, call
from mailha.agents import fence_ipmi, fence_racadm
from mailha.fencing import reading
from mailha.fencing.failures import WrongInput

OPTIONS = fence_ipmi.AGENT.options


def lines(text: bytes) -> Dict[str, str]:
    """Return what stdin means."""
    return reading.from_lines(text, OPTIONS).texts


def words(*arguments: str) -> Dict[str, str]:
    """Return what the command line means."""
    return reading.from_arguments(arguments, OPTIONS).texts


@pytest.mark.parametrize("password", [
    "a=b", "it's", "back\\slash", "$(reboot)", "`x`", "a;b", "a#b", "#a", "a|b & c", "tab\there",
    "schl\u00fcssel", "\u5bc6\u7801", " leading", "trailing ", "  both  ", "a\"b", "\"", "'q'",
    "a%sb", "-o off", "\u00a0nbsp\u00a0"])
def test_a_password_arrives_as_it_was_sent(password: str) -> None:
    assert lines(f"password={password}\n".encode())["password"] == password
    assert words(f"--password={password}")["password"] == password
    assert words("-p", password)["password"] == password
    node = Node()
    said = call(node, {**GOOD, "action": "status", "password": password})
    assert said.code == 0 and node.passwords == [password]


def test_a_password_that_is_no_utf_8_arrives_byte_by_byte() -> None:
    text = lines(b"password=\xfcber\xff\n")["password"]
    assert text.encode("utf-8", "surrogateescape") == b"\xfcber\xff"


@pytest.mark.parametrize("text, value", [
    (b'password="two words"', "two words"), (b'password=" ends "', " ends "),
    (b'password="a"b"', 'a"b'), (b'password=""', ""), (b'password="a" ', "a"),
    (b'password= "a"', ' "a"'), (b'  password="a"', "a"), (b'password="a"\r', "a"),
    (b'password=a\r', "a"), (b'password="a', '"a')])
def test_a_value_in_double_quotes_is_what_is_between_them(text: bytes, value: str) -> None:
    assert lines(text)["password"] == value


@pytest.mark.parametrize("text", [
    b"ip=192.0.2.7", b"ip= 192.0.2.7 ", b"\tip=192.0.2.7", b'ip="192.0.2.7"', b"ip=192.0.2.7\r\n",
    b"ipaddr=192.0.2.7", b"ip = 192.0.2.7", b"ip=192.0.2.6\nip=192.0.2.7",
    b"ipaddr=192.0.2.6\nip=192.0.2.7", b"#ip=192.0.2.6\n\n  # ip=1\nip=192.0.2.7"])
def test_a_line_is_read_as_it_was_meant(text: bytes) -> None:
    assert lines(text) == {"ip": "192.0.2.7"}


def test_a_dash_and_an_underscore_are_one_letter_in_a_name() -> None:
    for name in ("power_timeout", "power-timeout"):
        assert lines(f"{name}=30".encode()) == {"power_timeout": "30"}
        assert words(f"--{name}=30") == {"power_timeout": "30"}


@pytest.mark.parametrize("old, new", [
    ("ipaddr", "ip"), ("login", "username"), ("passwd", "password"),
    ("passwd_script", "password_script"), ("port", "plug"), ("sudo", "use_sudo"),
    ("debug", "debug_file")])
def test_an_old_name_means_the_new_option(old: str, new: str) -> None:
    assert lines(f"{old}=1".encode()) == {new: "1"}


def test_the_last_of_several_wins_and_the_log_names_the_option_only() -> None:
    given = reading.from_lines(b"password=first\npassword=second\n", OPTIONS)
    assert given.texts == {"password": "second"}
    assert len(given.notes) == 1 and "option password" in given.notes[0]
    assert "first" not in given.notes[0] and "second" not in given.notes[0]


@pytest.mark.parametrize("line", [
    "pasword=hunter2hunter2", "hunter2hunter2", "my hunter2hunter2=x", "=hunter2hunter2",
    "hunter2hunter2hunter2hunter2hunter2=x", "pcmk_host_list=hunter2hunter2"])
def test_an_unknown_line_is_ignored_and_logged_without_anything_secret(line: str) -> None:
    node = Node()
    said = call(node, stdin=("\n".join([*(f"{k}={v}" for k, v in GOOD.items()), "action=status",
                                        "verbose=1", line])).encode())
    assert said.code == 0
    assert "hunter2" not in said.everything
    assert "unknown and ignored" in said.logged and "line 6" in said.logged
    if line.startswith("pasword"):
        assert "pasword" in said.logged


def test_the_name_of_the_node_is_no_unknown_option() -> None:
    given = reading.from_lines(b"nodename=bob\nplug=bob\n", OPTIONS)
    assert given.nodename == "bob" and given.notes == [] and given.texts == {"plug": "bob"}


def test_a_password_line_without_its_equals_sign_is_refused() -> None:
    with pytest.raises(WrongInput):
        lines(b"password\n")


def test_endless_input_is_refused() -> None:
    with open("/dev/zero", "rb") as endless, pytest.raises(WrongInput, match="bytes"):
        reading.read_all(endless.fileno())


@pytest.mark.parametrize("arguments", [
    ("-a", "192.0.2.7", "-l", "fencer", "-p", "x", "-o", "off"),
    ("-a192.0.2.7", "-lfencer", "-px", "-ooff"),
    ("--ip=192.0.2.7", "--username=fencer", "--password=x", "--action=off"),
    ("--ip", "192.0.2.7", "--username", "fencer", "--password", "x", "--action", "off"),
    ("--ip=192.0.2.7", "--user=fencer", "--password=x", "--act=off"),
    ("--ipaddr=192.0.2.7", "--login=fencer", "--passwd=x", "-o", "on", "-o", "off")])
def test_the_command_line_has_the_ways_of_getopt(arguments: str) -> None:
    assert words(*arguments) == {"ip": "192.0.2.7", "username": "fencer", "password": "x",
                                 "action": "off"}


def test_letters_may_be_bundled_and_the_last_may_have_a_value() -> None:
    assert words("-vPa", "192.0.2.7") == {"verbose": "1", "lanplus": "1", "ip": "192.0.2.7"}
    assert words("-vvqCthree") == {"verbose": "1", "quiet": "1", "cipher": "three"}


@pytest.mark.parametrize("letter, name", [
    ("a", "ip"), ("u", "ipport"), ("l", "username"), ("p", "password"), ("S", "password_script"),
    ("P", "lanplus"), ("A", "auth"), ("C", "cipher"), ("L", "privlvl"), ("m", "method"),
    ("o", "action"), ("v", "verbose"), ("D", "debug_file"), ("V", "version"), ("h", "help"),
    ("q", "quiet"), ("n", "plug")])
def test_every_letter_of_fence_ipmilan_means_the_same(letter: str, name: str) -> None:
    found = {option.letter: option.name for option in OPTIONS if option.letter}
    assert found[letter] == name


def test_no_letter_and_no_name_means_two_options() -> None:
    for agent in (fence_ipmi.AGENT, fence_racadm.AGENT):
        letters = [option.letter for option in agent.options if option.letter]
        assert len(letters) == len(set(letters))
        names = [name for option in agent.options for name in (option.name, *option.obsoletes)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("arguments, complaint", [
    (("off",), "belongs to no option"), (("-a", "192.0.2.7", "off"), "belongs to no option"),
    (("--", "off"), "belongs to no option"), (("-",), "belongs to no option"),
    (("",), "belongs to no option"), (("-y",), "no option -y"), (("--colour=1",), "no option"),
    (("--i=1",), "may be"), (("--ip",), "no value"), (("-a",), "no value"),
    (("-n", "1"), "no plugs"), (("--=x",), "no option")])
def test_a_command_line_that_cannot_be_meant_is_refused(arguments: tuple[str, ...],
                                                        complaint: str) -> None:
    with pytest.raises(WrongInput, match=complaint) as caught:
        words(*arguments)
    assert "\n" not in str(caught.value)


def test_a_refused_argument_is_not_shown_because_it_may_be_a_password() -> None:
    for arguments in (("hunter2",), ("-p", "x", "hunter2"), ("--hunter2 is it=1",)):
        with pytest.raises(WrongInput) as caught:
            words(*arguments)
        assert "hunter2" not in str(caught.value)


def test_a_password_on_the_command_line_is_taken_and_complained_about_without_it() -> None:
    node = Node()
    said = call(node, arguments=("-a", "192.0.2.7", "-p", "hunter2", "-o", "status"))
    assert said.code == 0 and node.passwords == ["hunter2"]
    assert "WARNING: option password is on the command line" in said.logged
    assert "hunter2" not in said.everything


def test_a_plug_is_taken_on_the_command_line_with_port_as_ip() -> None:
    assert words("--port-as-ip", "-n", "192.0.2.7")["plug"] == "192.0.2.7"
    node = Node()
    said = call(node, arguments=("--port-as-ip", "-n", "192.0.2.8", "-o", "status", "-v"))
    assert said.code == 0 and "ip=192.0.2.8" in said.logged


def test_the_name_that_pacemaker_gives_as_plug_is_harmless() -> None:
    node = Node()
    said = call(node, {**GOOD, "action": "status", "plug": "bob", "nodename": "bob"})
    assert said.code == 0 and "ip=192.0.2.7" in said.logged


def test_plug_is_the_address_with_port_as_ip_on_stdin_too() -> None:
    node = Node()
    said = call(node, {**GOOD, "action": "status", "plug": "192.0.2.9", "port_as_ip": "1",
                       "nodename": "bob"})
    assert said.code == 0 and "ip=192.0.2.9" in said.logged
    said = call(node, {**GOOD, "action": "status", "plug": "192.0.2.9", "port_as_ip": "0"})
    assert said.code == 0 and "ip=192.0.2.7" in said.logged
