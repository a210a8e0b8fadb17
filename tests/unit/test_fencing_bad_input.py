# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever stands on stdin or on the command line: one answer, never a traceback, never a lie."""

from __future__ import annotations

from typing import Dict, List

from hypothesis import assume, given
from hypothesis import strategies as some

from fencing_node import GOOD, Node, Said, agent_for, call
from mailha.agents import fence_ipmi
from mailha.fencing import reading, standard
from mailha.fencing.failures import WrongInput

NAMES = [name for option in fence_ipmi.AGENT.options
         for name in (option.name, *option.obsoletes)]
LETTERS = [option.letter for option in fence_ipmi.AGENT.options if option.letter]

words = some.one_of(
    some.text(max_size=20), some.sampled_from(
        ["", "0", "1", "-1", "yes", "off", "on", "reboot", "status", "192.0.2.7", "::1", "a b",
         "$(reboot)", "'", '"', "%s", "\u202e", "\ud800", "9" * 30, "cycle", "onoff", "bob"]))


# No lambdas: hypothesis reads the source of each one again for every value that it makes.
def line(name: str, value: str) -> bytes:
    """Return a line of stdin."""
    return f"{name}={value}".encode("utf-8", "surrogatepass")


def word(name: str, value: str) -> str:
    """Return a word of the command line."""
    return f"--{name}={value}"


lines = some.one_of(
    some.binary(max_size=40),
    some.builds(line, some.sampled_from(NAMES + ["nodename", "pcmk_host_list"]), words))


def check(said: Said, node: Node) -> None:
    """Say whether this was one sensible answer."""
    assert said.code in (0, 1, 2)
    assert "Traceback" not in said.everything and "a defect" not in said.everything
    if said.code == 1:
        assert said.stdout == ""
    if said.stdout == "Success: Powered OFF\n":
        assert not node.is_on and node.names()[-3:] == ["read", "read", "close"]
    if node.events:
        assert said.stdout != "" or said.code == 1 or node.names() == ["login", "read", "close"]
    assert node.open_sessions == 0


@given(given=some.lists(lines, max_size=12))
def test_no_stdin_makes_a_traceback_or_a_false_success(given: List[bytes]) -> None:
    # What would write files or run programs is for other tests.
    text = b"\n".join(given)
    assume(not any(word in text for word in (b"debug", b"script", b"file", b"delay")))
    node = Node()
    check(call(node, stdin=text), node)


@given(given=some.lists(some.one_of(
    words, some.sampled_from([f"--{name.replace('_', '-')}" for name in NAMES]),
    some.sampled_from([f"-{letter}" for letter in LETTERS]),
    some.builds(word, some.sampled_from(NAMES), words)),
    min_size=1, max_size=8))
def test_no_command_line_makes_a_traceback_or_a_false_success(given: List[str]) -> None:
    given = [word.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
             for word in given]
    assume(not any("script" in word or "file" in word or "deb" in word or "del" in word
                   or "pas" in word or word[:2] in ("-D", "-S")
                   or word.startswith("-") and not word.startswith("--")
                   and ("D" in word or "S" in word) for word in given))
    node = Node()
    check(call(node, arguments=tuple(given)), node)


@given(name=some.sampled_from([option.name for option in fence_ipmi.AGENT.options
                               if not option.secret and not option.idle
                               and option.name not in ("debug_file", "password_script",
                                                       "password_file", "help", "version")]),
       value=words)
def test_a_value_is_taken_or_refused_by_its_name(name: str, value: str) -> None:
    node = Node()
    texts: Dict[str, str] = {**GOOD, "action": "status", name: value}
    said = call(node, stdin="".join(f"{key}={text}\n" for key, text in texts.items())
                .encode("utf-8", "surrogatepass"))
    check(said, node)
    if said.code == 1 and name != "action" and not said.stderr == "":
        assert name in said.stderr or name.replace("timeout", "time-out") in said.stderr \
            or "option" in said.stderr


@given(action=some.text(max_size=12))
def test_no_other_word_is_an_action(action: str) -> None:
    assume(action.strip().lower() not in (*standard.ACTIONS, "meta-data"))
    assume("\n" not in action and not action.strip().startswith('"'))
    node = Node()
    said = call(node, stdin=f"ip=192.0.2.7\naction={action}\n".encode("utf-8", "surrogatepass"))
    assert said.code == 1 and node.events == [] and said.stdout == ""


@given(password=some.text(some.characters(blacklist_characters="\n\0", blacklist_categories=["Cs"]),
                          max_size=20))
def test_every_password_arrives_or_is_refused_and_is_never_shown(password: str) -> None:
    assume(not password.rstrip().endswith('"') and not password.endswith("\r"))
    assume(len(password.encode()) <= 20)
    node = Node()
    said = call(node, {**GOOD, "action": "status", "password": password})
    assert said.code == 0 and node.passwords == [password]
    if len(password) > 7:
        assert password not in said.everything


@given(first=some.binary(max_size=200))
def test_reading_raises_nothing_but_wrong_input(first: bytes) -> None:
    try:
        found = reading.from_lines(first, agent_for(Node()).options)
    except WrongInput as error:
        assert "\n" not in str(error)
    else:
        assert all("\n" not in note for note in found.notes)
