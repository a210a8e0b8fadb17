# SPDX-License-Identifier: GPL-2.0-or-later
"""A shell at a controller: one login with OpenSSH's client, then one command after another.

ssh runs in a pseudo terminal of its own, which pexpect makes, because it takes a password only
there. The terminal tells what no text can feign, and what nobody has to guess:

* ssh asks for a secret when the terminal reads lines and shows nothing of what is typed. Only then
  is a secret typed, so that it is never shown, and never sent to a shell as a command. A banner may
  say "password:" as often as it likes.
* the controller has let us in when ssh has made the terminal raw. What came before is ssh's own and
  the banner; what comes then is the shell's.

No exception of pexpect gets out of here: its text holds everything that was read.
"""

from __future__ import annotations

import os
import re
import signal
import termios
import time

from mailha.bmc import screen, ssh_command, ssh_failures
from mailha.bmc.ssh_failures import Place
from mailha.fencing import packages
from mailha.fencing.failures import (FencingFailed, LoginRefused, NotUnderstood, SessionLost,
                                     Silent, TimeUp)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from mailha.fencing.deadline import Deadline
    from mailha.fencing.settings import Settings

PROMPT = r"^[^\n]{0,60}(?:->|racadm>>|\$)"
"""How the last line ends when the shell waits: iDRAC 6 to 9 before 4.00 "/admin1-> ", after it
"racadm>>", DRAC 5 and chassis controllers "$ "."""

_PAGER = re.compile(r"(?:-- ?more ?--|\(more\)|press (?:any key|<?enter>?|<?return>?|<?space)"
                    r"[^\n]*) *\Z", re.IGNORECASE)

_LONGEST_PAGER = 200
"""Characters of a line at which a pager waits."""

_NEW_SECRET = re.compile(r"\b(?:new|change|again|retype|confirm)\b", re.IGNORECASE)
_SECRET = re.compile(r"pass ?(?:word|phrase|code|wort)?\b|\bPIN\b", re.IGNORECASE)

LOGIN = 15.0
"""Seconds that a login may take at most. An iDRAC takes 2 to 5."""

AGAIN = 5.0
"""Seconds for the connection and its encryption when the controller has answered before."""

ANSWER = 12.0
"""Seconds that one command may take at most. A racadm command takes 1 to 5 on an iDRAC."""

_SETTLED = 0.1
"""Seconds of silence behind the first prompt: a greeting may have a line that looks like one."""

_WAITS = 4.0
"""Seconds of silence behind an unknown line without an end, after which it is taken for a prompt
that is not known."""

_EMPTY = 1.0
"""Seconds of silence behind a prompt after which a command has really answered nothing."""

_MOST = 1 << 18
"""Bytes that one answer may have."""

_TICK = 0.05


class Shell:
    """An interactive session at a controller, from the first prompt on."""

    def __init__(self, child: Any, place: Place, prompt: str, secret: str,
                 deadline: Deadline) -> None:
        """Talk to an ssh that has just been started.

        child: pexpect's. place: where it leads to. prompt: regular expression for the end of the
        line at which the shell waits. secret: what is typed for the login. deadline: of the whole
        action.
        """
        self._child = child
        self._place = place
        self._prompt = re.compile(rf"(?:{prompt})[ ]*\Z")
        self._secret = secret
        self._deadline = deadline
        self._received = b""        # since the last thing that was sent
        self._over = False          # ssh has ended, or is not to be waited for any more
        self._pages = 0

    def ask(self, line: str, whole: Callable[[str], bool]) -> str:
        """Type a command and return what it says, without its echo and without the prompt.

        whole: whether a text may be the whole answer; a prompt alone may still be the echo being
        drawn anew. Raises SessionLost, SessionsExhausted, Silent, NotUnderstood and TimeUp.
        """
        # What has come since the last prompt answers nothing that is asked now.
        while self._receive(0):
            pass
        self._check_not_over()
        self._received = b""
        self._send(line.encode() + b"\r")
        begun = self._deadline.clock()
        end = self._latest(ANSWER)
        while True:
            text = self._text()
            if self._prompt.search(screen.last_line(text)):
                answer = _without_echo(text, line)
                if whole(answer) or not self._receive(_EMPTY):
                    self._check_not_over()
                    return answer
                continue
            if self._turn_page(text) or self._receive(_TICK):
                continue
            self._check_not_over()
            if self._deadline.clock() > end:
                said = f", and said {screen.quoted(text, self._secret)}" if text.strip() else ""
                raise self._too_late(f"{self._place.where} has not answered `{line}` for "
                                     f"{self._deadline.clock() - begun:.0f} s{said}")

    def close(self) -> None:
        """Log out and see that ssh is gone. Raises nothing and takes less than a second."""
        try:
            if not self._over:
                self._child.send(b"exit\r")
                self._wait_for_end(0.3)
            for number, seconds in ((signal.SIGTERM, 0.2), (signal.SIGKILL, 0.3)):
                if self._child.isalive():
                    os.kill(self._child.pid, number)
                    self._wait_for_end(seconds)
            if not self._child.isalive():
                self._child.close()
        except Exception:               # a session that has not ended well is no reason to fail
            pass

    def log_in(self) -> None:
        """Wait until the controller has let us in and shows its prompt.

        Raises everything that mailha.bmc.ssh_failures knows, and TimeUp.
        """
        begun = self._deadline.clock()
        end = self._latest(LOGIN)
        contact = self._latest(max(AGAIN, self._deadline.contact()))
        answers = 0
        while True:
            if self._over:
                self._fail_login()
            mode = self._mode()
            if mode == "raw":
                break
            question = screen.last_line(self._text()).strip()
            if mode == "asking" and question and not (answers and self._is_same_question()):
                # A question without a colon at its end may be the first half of one.
                if question.endswith(":") or not self._receive(_TICK):
                    self._answer(question, answers)
                    answers += 1
            elif not self._receive(_TICK) and self._deadline.clock() > (end if answers
                                                                        else contact):
                raise self._too_late(f"{self._place.where} takes the connection and does not get "
                                     "on with the login for "
                                     f"{self._deadline.clock() - begun:.0f} s")
        self._wait_for_prompt(end)

    def _latest(self, seconds: float) -> float:
        """Return the end of a wait, before the action's own, so that the reason can be said."""
        return min(self._deadline.clock() + seconds, self._deadline.end - _TICK)

    def _too_late(self, what: str) -> FencingFailed:
        """Return the failure for a wait that was too long, of its own or because of the action."""
        remedy = "restart the controller (racadm racreset)"
        if self._deadline.clock() < self._deadline.end - 2 * _TICK:
            return Silent(what, remedy=remedy)
        return TimeUp(f"{what}; then the action timed out", remedy=remedy)

    def _wait_for_prompt(self, end: float) -> None:
        """Read the greeting up to the first prompt."""
        silent_since = self._deadline.clock()
        while True:
            text = self._text()
            if self._prompt.search(screen.last_line(text)):
                if not self._receive(_SETTLED):
                    self._check_not_over()
                    return
                continue
            if self._turn_page(text) or self._receive(_TICK):
                silent_since = self._deadline.clock()
                continue
            self._check_not_over()
            # A line that does not end is a prompt, also when nobody knows it.
            waits = screen.last_line(text) and self._deadline.clock() > silent_since + _WAITS
            if waits or self._deadline.clock() > end:
                break
        last = ssh_failures.last_words(text)
        if not last or not waits and self._deadline.end - self._deadline.clock() < 2 * _TICK:
            raise self._too_late(f"{self._place.where} lets {self._place.user} in and then does "
                                 "not show its prompt")
        raise NotUnderstood(f"{self._place.where} shows no prompt of an iDRAC but "
                            f"{screen.quoted(last, self._secret)}", transient=False,
                            remedy="give its prompt as a regular expression in command_prompt")

    def _answer(self, question: str, answers: int) -> None:
        """Type the secret, or raise LoginRefused if it is not what ssh asks for."""
        said = screen.quoted(question, self._secret)
        if _NEW_SECRET.search(question):
            raise LoginRefused(f"{self._place.where} wants a new password for {self._place.user}: "
                               f"it asks {said}", remedy="log in by hand and give it one")
        if not _SECRET.search(question):
            raise LoginRefused(f"{self._place.where} asks {self._place.user} for more than a "
                               f"password: {said}", remedy="use a user without a second factor")
        # Some iDRACs take the password and then ask for it once more by another method; ssh calls
        # that a partial success. Any other second question means that the first answer was wrong,
        # and a second wrong one may lock the user out.
        if answers and (answers > 2 or "partial success" not in self._text()):
            raise ssh_failures.login_refused(self._place)
        self._received = b""
        self._send(self._secret.encode("utf-8", "surrogateescape") + b"\n")

    def _is_same_question(self) -> bool:
        """Tell whether what asks is the question that was answered already.

        A banner may look like one and stand there when ssh has turned off the echo and not asked
        yet: then the answer comes before the question. ssh begins a new line when it has read one.
        """
        return "\n" not in self._text()

    def _fail_login(self) -> None:
        """Raise why ssh has ended before there was a prompt."""
        text = self._text()
        why = ssh_failures.why_no_shell if "Authenticated to " in text \
            else ssh_failures.why_no_login
        raise why(text, self._place, self._secret)

    def _check_not_over(self) -> None:
        """Raise why the session has ended, if it has."""
        if self._over:
            raise ssh_failures.why_no_shell(self._text(), self._place, self._secret)

    def _turn_page(self, text: str) -> bool:
        """Press a key if a pager waits for one; tell whether it did."""
        # Of the end only: over a flood on one line the search would take minutes.
        found = _PAGER.search(screen.last_line(text)[-_LONGEST_PAGER:])
        if not found or self._pages > 50:
            return False
        self._pages += 1
        self._received += b"\n"         # so that it is not seen again
        self._send(b"\r" if re.search("enter|return", found[0], re.IGNORECASE) else b" ")
        return True

    def _mode(self) -> str:
        """Tell what the terminal is for now: "asking" for a secret, "raw" for a shell, "talk"."""
        try:
            flags = termios.tcgetattr(self._child.child_fd)[3]
        except termios.error:
            return "talk"
        if not flags & termios.ICANON:
            return "raw"
        return "talk" if flags & termios.ECHO else "asking"

    def _text(self) -> str:
        """Return what has come since the last thing that was sent."""
        return screen.shown(self._received)

    def _receive(self, seconds: float) -> bool:
        """Take what comes within some seconds; tell whether something came. Raises TimeUp."""
        pexpect = _library()
        if self._over:
            return False
        try:
            data: bytes = self._child.read_nonblocking(65536, min(seconds, self._deadline.left()))
        except pexpect.TIMEOUT:
            return False
        except (pexpect.ExceptionPexpect, OSError):
            self._over = True
            return False
        self._received += data
        if len(self._received) > _MOST:
            raise NotUnderstood(f"{self._place.where} does not stop talking: "
                                f"{screen.quoted(self._text(), self._secret, end=80)}",
                                remedy="restart the controller")
        return True

    def _send(self, data: bytes) -> None:
        """Type something. Raises SessionLost."""
        try:
            self._child.send(data)
        except OSError as error:
            self._over = True
            raise SessionLost(f"{self._place.where} ended the session: {error.strerror}") from None

    def _wait_for_end(self, seconds: float) -> None:
        """Read on until ssh has ended."""
        pexpect = _library()
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._child.isalive():
            try:
                self._child.read_nonblocking(65536, 0.02)
            except pexpect.TIMEOUT:
                pass
            except (pexpect.ExceptionPexpect, OSError):
                time.sleep(0.005)       # the terminal is closed; the process is about to be


def open_shell(settings: Settings, deadline: Deadline) -> Shell:
    """Log in at the controller and return its shell at the first prompt.

    settings: of fence_racadm. deadline: of the whole action.
    Raises FencingFailed.
    """
    secret = settings.secret("password")
    if any(ord(char) < 32 and char != "\t" or ord(char) == 127 for char in secret):
        raise LoginRefused("the password has a control character in it, which cannot be typed at "
                           "ssh's prompt", remedy="give the controller's user another password")
    key = settings["identity_file"] or ""
    if not secret and not key:
        raise LoginRefused("there is neither a password nor an identity_file to log in with",
                           remedy="set one of them")
    place = Place(settings.address(), settings["ip"], settings["ipport"], settings["username"],
                  settings["known_hosts_file"], key)
    command = ssh_command.command(settings, connect_timeout=_patience(deadline),
                                  with_password=bool(secret))
    shell = Shell(_start(command), place, settings["command_prompt"] or PROMPT, secret, deadline)
    try:
        shell.log_in()
    except BaseException:
        shell.close()
        raise
    return shell


def _patience(deadline: Deadline) -> float:
    """Return the seconds that the controller has to take the connection.

    When the time for a first answer is over, it has answered before: this is a login anew.
    """
    return deadline.contact() or min(AGAIN, deadline.left())


def _start(command: list[str]) -> Any:
    """Start ssh in a terminal of its own. Raises FencingFailed and MissingLibrary."""
    packages.reach()
    pexpect = _library()
    try:
        # Wide and high, so that no shell breaks a line or waits for a page to be read.
        child = pexpect.spawn(command[0], command[1:], timeout=None, env=ssh_command.environment(),
                              cwd="/", dimensions=(500, 250))
    except pexpect.ExceptionPexpect:
        raise ssh_command.missing_client(command[0]) from None
    except OSError as error:
        raise FencingFailed(f"cannot start {command[0]}: {error.strerror}",
                            remedy="see whether this node has processes and terminals left"
                            ) from None
    # pexpect waits before it types, lest ssh is not ready; the state of the terminal says when.
    child.delaybeforesend = child.delayafterread = None
    child.ptyproc.delayafterclose = child.ptyproc.delayafterterminate = 0.01
    return child


def _library() -> Any:
    """Return pexpect. Raises MissingLibrary."""
    try:
        import pexpect      # type: ignore[import]  # it has no types
    except ImportError as error:
        raise packages.missing("pexpect", error) from None
    return pexpect


def _without_echo(text: str, line: str) -> str:
    """Return an answer without the prompt at its end and without any line that repeats a command.

    An iDRAC 9 repeats what was typed as a whole racadm command, after the terminal's own echo.
    """
    lines = [part.strip() for part in text.split("\n")[:-1]]
    return "\n".join(part for part in lines if part and not part.endswith(line))
