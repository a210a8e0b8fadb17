# SPDX-License-Identifier: GPL-2.0-or-later
"""The dialogue with ssh in its terminal: when something is typed, and what counts as an answer.

pexpect is a stand-in that plays a script; the terminal is a real one, because its modes decide.
"""

from __future__ import annotations

import os
import sys
import termios
import types
from typing import Any, Callable, Iterator, List, Union

import pytest

from mailha.bmc.ssh import ANSWER, LOGIN, PROMPT, Shell
from mailha.bmc.ssh_failures import Place
from mailha.fencing.deadline import Deadline
from mailha.fencing.failures import (FencingFailed, LoginRefused, NotUnderstood, SessionLost,
                                     SessionsExhausted, Silent, TimeUp)

PLACE = Place("192.0.2.1 port 22", "192.0.2.1", 22, "fencer", "/known", "")
SECRET = "s3cret"
STATUS = "racadm serveraction powerstatus"


class ExceptionPexpect(Exception):
    """What pexpect raises; its text is all that was read, which nobody may see."""

    def __init__(self) -> None:
        super().__init__(f"buffer: {SECRET}")


class EOF(ExceptionPexpect):
    """The terminal is closed."""


class TIMEOUT(ExceptionPexpect):
    """Nothing came."""


class Mode(str):
    """A step of a script: ssh changes the mode of its terminal to asking, raw or talk."""


TYPED = object()
"""A step of a script: nothing more comes until something is typed."""

END = object()
"""A step of a script: ssh ends."""

Step = Union[bytes, Mode, object]


class Child:
    """An ssh that plays a script."""

    pid = 0

    def __init__(self, steps: List[Step]) -> None:
        self.steps = list(steps)
        self.typed: List[bytes] = []
        self.now = 0.0
        self.child_fd, self._ssh = os.openpty()

    def read_nonblocking(self, size: int, timeout: float) -> bytes:
        while self.steps and isinstance(self.steps[0], Mode):
            self._set_mode(str(self.steps.pop(0)))
        if not self.steps or self.steps[0] is TYPED:
            self.now += timeout
            raise TIMEOUT
        if self.steps[0] is END:
            raise EOF
        step = self.steps.pop(0)
        assert isinstance(step, bytes)
        return step

    def send(self, data: bytes) -> None:
        self.typed.append(data)
        if self.steps and self.steps[0] is TYPED:
            self.steps.pop(0)

    def isalive(self) -> bool:
        return False

    def close(self) -> None:
        os.close(self.child_fd)
        os.close(self._ssh)

    def _set_mode(self, mode: str) -> None:
        attributes = termios.tcgetattr(self._ssh)
        attributes[3] |= termios.ICANON | termios.ECHO
        if mode == "asking":
            attributes[3] &= ~termios.ECHO
        elif mode == "raw":
            attributes[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(self._ssh, termios.TCSANOW, attributes)


ASKING, RAW, TALK = Mode("asking"), Mode("raw"), Mode("talk")
LOGGED_IN: List[Step] = [ASKING, b"fencer@192.0.2.1's password: ", TYPED, b"\r\n", TALK, RAW,
                         b"racadm>>"]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Shell]]:
    """Return a function that makes a shell out of a script."""
    module: Any = types.ModuleType("pexpect")
    module.ExceptionPexpect, module.EOF, module.TIMEOUT = ExceptionPexpect, EOF, TIMEOUT
    monkeypatch.setitem(sys.modules, "pexpect", module)
    children: List[Child] = []

    def make(*steps: Step, seconds: float = 24.0, key: str = "") -> Shell:
        child = Child(list(steps))
        children.append(child)
        return Shell(child, PLACE._replace(key=key), PROMPT, SECRET,
                     Deadline(seconds, clock=lambda: child.now))

    yield make
    for child in children:
        child.close()


def typed(shell: Shell) -> List[bytes]:
    """Return what was typed into a shell's ssh."""
    sent: List[bytes] = shell._child.typed
    return sent


def now(shell: Shell) -> float:
    """Return how many seconds have passed for a shell."""
    seconds: float = shell._child.now
    return seconds


def answer(shell: Shell, whole: Callable[[str], bool] = bool) -> str:
    """Return the answer to a question for the power."""
    return shell.ask(STATUS, whole)


# --- the login


def test_the_secret_is_typed_once_when_ssh_asks(play: Callable[..., Shell]) -> None:
    shell = play(*LOGGED_IN)
    shell.log_in()
    assert typed(shell) == [b"s3cret\n"]


def test_a_banner_that_asks_gets_nothing(play: Callable[..., Shell]) -> None:
    shell = play(b"fencer@192.0.2.1's password: ", *LOGGED_IN)
    shell.log_in()
    assert typed(shell) == [b"s3cret\n"]
    silent = play(b"fencer@192.0.2.1's password: ")
    with pytest.raises(Silent):
        silent.log_in()
    assert typed(silent) == []


def test_a_banner_that_is_answered_for_the_question_that_follows_is_no_refusal(
        play: Callable[..., Shell]) -> None:
    # ssh turns the echo off and asks then; between the two the banner's last line stands there.
    shell = play(b"fencer@192.0.2.1's password: ", ASKING, TYPED, b"fencer@192.0.2.1's password: ",
                 b"\r\n", TALK, RAW, b"racadm>>")
    shell.log_in()
    assert typed(shell) == [SECRET.encode() + b"\n"]


def test_a_shell_that_asks_gets_nothing(play: Callable[..., Shell]) -> None:
    shell = play(RAW, b"password: ")
    with pytest.raises(NotUnderstood, match="shows no prompt"):
        shell.log_in()
    assert typed(shell) == []


@pytest.mark.parametrize("question", [b"(fencer@x) Password: ", b"Enter PASSCODE: ",
                                      b"Passwort:", b"fencer's password: "])
def test_every_way_to_ask_for_the_password_is_known(
        play: Callable[..., Shell], question: bytes) -> None:
    shell = play(ASKING, question[:5], question[5:], TYPED, TALK, RAW, b"$ ")
    shell.log_in()
    assert typed(shell) == [b"s3cret\n"]


def test_a_second_question_means_that_the_first_answer_was_wrong(
        play: Callable[..., Shell]) -> None:
    shell = play(*LOGGED_IN[:5], ASKING, b"fencer@192.0.2.1's password: ", TYPED, RAW, b"$ ")
    with pytest.raises(LoginRefused, match="wrong user name or password"):
        shell.log_in()
    assert typed(shell) == [b"s3cret\n"]


def test_a_second_question_after_a_partial_success_is_answered(play: Callable[..., Shell]) -> None:
    shell = play(*LOGGED_IN[:5], b"Authenticated using \"password\" with partial success.\r\n",
                 ASKING, b"(fencer@x) Password: ", TYPED, TALK, RAW, b"racadm>>")
    shell.log_in()
    assert typed(shell) == [b"s3cret\n"] * 2


@pytest.mark.parametrize("question, reason", [
    (b"New password: ", "wants a new password"), (b"Retype new password: ", "wants a new password"),
    (b"(current) UNIX password, to change it: ", "wants a new password"),
    (b"One-time code: ", "asks fencer for more than a password"),
    (b"Verification code for s3cret: ", "asks fencer for more than a password")])
def test_what_is_no_question_for_the_password_gets_none(
        play: Callable[..., Shell], question: bytes, reason: str) -> None:
    shell = play(ASKING, question, TYPED)
    with pytest.raises(LoginRefused, match=reason) as caught:
        shell.log_in()
    assert typed(shell) == [] and SECRET not in str(caught.value)


def test_the_end_of_ssh_before_and_after_the_login_is_told_apart(
        play: Callable[..., Shell]) -> None:
    with pytest.raises(LoginRefused):
        play(ASKING, b"password: ", TYPED, TALK,
             b"\r\nfencer@192.0.2.1: Permission denied (password).\r\n", END).log_in()
    with pytest.raises(SessionsExhausted):
        play(*LOGGED_IN[:-1], b"No more sessions are available.\r\n", END).log_in()
    with pytest.raises(SessionLost):
        play(*LOGGED_IN[:5], b"Authenticated to 192.0.2.1 ([192.0.2.1]:22) using \"password\".\r\n",
             END).log_in()


def test_a_login_that_does_not_go_on_ends_in_time(play: Callable[..., Shell]) -> None:
    asked = play(*LOGGED_IN[:4])
    with pytest.raises(Silent, match="does not get on with the login"):
        asked.log_in()
    assert LOGIN <= now(asked) < LOGIN + 1
    unasked = play(b"Welcome\r\n")
    with pytest.raises(Silent):
        unasked.log_in()
    assert now(unasked) < 11
    late = play(*LOGGED_IN[:-1], seconds=7.0)
    with pytest.raises(TimeUp, match="does not show its prompt; then the action timed out"):
        late.log_in()
    assert now(late) < 7.0


def test_what_looks_like_a_prompt_in_a_greeting_is_none(play: Callable[..., Shell]) -> None:
    shell = play(*LOGGED_IN[:-1], b"It costs 5 $", b" or more\r\n", b"racadm>>", b" and so on\r\n",
                 b"/admin1-> ", TYPED, b"x")
    shell.log_in()
    assert shell._text().endswith("/admin1-> ")


# --- commands


@pytest.mark.parametrize("said", [
    b"racadm serveraction powerstatus\r\nServer power status: OFF\r\nracadm>>",
    b"Server power status: OFF\r\nracadm>>",
    b"racadm serveraction powerstatus\r\nracadm serveraction powerstatus\r\n\r\n"
    b"Server power status: OFF\r\n\r\nracadm>> ",
    b"\rracadm>>racadm serveraction powerstatus\r\nServer power status: OFF\r\nracadm>>",
    b"\x1b[0mracadm serveraction powerstatus\r\n\x1b[1mServer power status: OFF\x1b[0m\r\n"
    b"\x1b[Kracadm>>",
    b"\r\nracadm>>\r\nServer power status: OFF\r\nracadm>>"],
    ids=["echo", "none", "twice", "drawn anew", "colours", "prompt before"])
def test_an_answer_is_what_remains_without_echo_and_prompt(
        play: Callable[..., Shell], said: bytes) -> None:
    whole = play(*LOGGED_IN, TYPED, said)
    pieces = play(*LOGGED_IN, TYPED, *(said[at:at + 1] for at in range(len(said))))
    for shell in (whole, pieces):
        shell.log_in()
        lines = answer(shell).split("\n")
        assert [line for line in lines if "racadm>>" not in line] == ["Server power status: OFF"]
        assert typed(shell)[1:] == [STATUS.encode() + b"\r"]


def test_what_came_before_the_question_is_no_answer(play: Callable[..., Shell]) -> None:
    shell = play(*LOGGED_IN, TYPED, b"Server power status: ON\r\nracadm>>")
    shell.log_in()
    # A late word of somebody else's command, with a prompt behind it.
    shell._child.steps[:0] = [b"Server power status: OFF\r\nracadm>>"]
    assert answer(shell) == "Server power status: ON"


def test_a_prompt_alone_may_still_be_the_echo(play: Callable[..., Shell]) -> None:
    nothing = play(*LOGGED_IN, TYPED, b"\r\nracadm>>")
    nothing.log_in()
    begun = now(nothing)
    assert answer(nothing) == "" and 0.9 < now(nothing) - begun < 2
    late = play(*LOGGED_IN, TYPED, b"\r\nracadm>>", b"\r\nServer power status: ON\r\nracadm>>")
    late.log_in()
    assert "Server power status: ON" in answer(late).split("\n")


@pytest.mark.parametrize("pager, key", [(b"--More--", b" "), (b"-- more --", b" "),
                                        (b"Press any key to continue...", b" "),
                                        (b"Press <Enter> to go on", b"\r")])
def test_a_pager_gets_its_key_once(play: Callable[..., Shell], pager: bytes, key: bytes) -> None:
    shell = play(*LOGGED_IN, TYPED, b"Server power status: ON\r\n" + pager, TYPED,
                 b"\b" * len(pager) + b"\r\nracadm>>")
    shell.log_in()
    assert "Server power status: ON" in answer(shell).split("\n")
    assert typed(shell)[2:] == [key]


def test_an_answer_that_does_not_come_ends_in_time(play: Callable[..., Shell]) -> None:
    shell = play(*LOGGED_IN, TYPED, b"echo")
    shell.log_in()
    begun = now(shell)
    with pytest.raises(Silent, match="has not answered `racadm serveraction powerstatus` for 12 s"):
        answer(shell)
    assert ANSWER <= now(shell) - begun < ANSWER + 1
    short = play(*LOGGED_IN, TYPED, seconds=3.0)
    short.log_in()
    with pytest.raises((Silent, TimeUp)):
        answer(short)
    assert now(short) <= 3.1


def test_an_answer_without_an_end_is_no_answer(play: Callable[..., Shell]) -> None:
    shell = play(*LOGGED_IN, TYPED, *[b"x" * 60000] * 5)
    shell.log_in()
    with pytest.raises(NotUnderstood, match="does not stop talking"):
        answer(shell)


@pytest.mark.parametrize("last", [b"", b"Server power status: OFF", b"Server power status: OFF\r\n",
                                  b"Connection to 192.0.2.1 closed by remote host.\r\n",
                                  b"\r\nracadm>>"])
def test_a_session_that_ends_in_an_answer_has_given_none(
        play: Callable[..., Shell], last: bytes) -> None:
    shell = play(*LOGGED_IN, TYPED, *([last] if last else []), END)
    shell.log_in()
    with pytest.raises(SessionLost):
        answer(shell)


def test_no_failure_has_the_secret_or_the_text_of_an_exception_of_pexpect(
        play: Callable[..., Shell]) -> None:
    scripts: List[List[Step]] = [
        [END], [b"s3cret", END], [RAW, b"s3cret is shown\r\ns3cret: "],
        [*LOGGED_IN, TYPED, b"s3cret\r\n", END], [*LOGGED_IN, TYPED, b"s3cret s3cret"],
        [*LOGGED_IN, TYPED, *[b"s3cret" * 10000] * 5]]
    for script in scripts:
        shell = play(*script)
        with pytest.raises(FencingFailed) as caught:
            shell.log_in()
            answer(shell)
        error: Any = caught.value
        assert SECRET not in str(error) and "buffer" not in str(error)
        assert error.__cause__ is None
