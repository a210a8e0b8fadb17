#!/usr/bin/python3 -IS
# SPDX-License-Identifier: GPL-2.0-or-later
"""The shell that an iDRAC gives to who logs in by SSH, as far as it concerns the power.

No iDRAC can be had for tests, so this plays one behind a real OpenSSH server: as ForceCommand or as
login shell, without a command (interactive) or with the one in SSH_ORIGINAL_COMMAND. It needs
nothing but the standard library, and no other file of the laboratory:

    idrac.py --chassis 'PROGRAM WORD...' [--manners FILE]

PROGRAM is asked for the power with ``get power`` (it prints ``power:1`` or ``power:0``) and
``set power 0|1`` after its words, as ipmi_sim asks its chassis program.

FILE is an object of JSON that says how this iDRAC behaves; every key may be missing. What is not
there is as in the documents and in what administrators report of iDRAC 6 to 9: prompts, answers,
the line that iDRAC 9 repeats, Enter taken twice for CR LF. Only the texts about missing rights and
about sessions are not known word for word.

======== ===========================================================================================
prompt   "racadm>>" as iDRAC 9 from 4.00 on; "/admin1-> " before; "$ " a DRAC 5 or a CMC
motd     what is shown before the first prompt
echo     false: what is typed is not shown
repeats  true: the shell shows the whole racadm command once more, as iDRAC 9
colours  true: escape sequences around everything
page     true: waits for a key before the end of each answer
delay    seconds before each answer; login_delay: before the first prompt
rights   false: nothing but powerstatus is allowed
full     true: all sessions are taken
obeys    false: says that the order is done, and does nothing
modules  names of a chassis's modules: then -m is needed and the status is a bare word
answers  command -> what to do for its first, second, ... time in a session, the last one for ever.
         A text is shown instead of the answer. An object with one key and true: cut (the connection
         ends), silent (nothing more is said), frozen (nor heard), flood (no end of words), before
         the answer; done_cut, done_silent, done_frozen after it was done; null for no vice
logins   a list of such objects: what is different in the first, second, ... login
log      a file that gets a line for each login, command and end of a session
======== ===========================================================================================
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import termios
import time
import tty
from typing import Any, Dict, List, Optional

Manners = Dict[str, Any]

ACTIONS = {"powerdown": "0", "powerup": "1"}
"""What racadm is told -> what the chassis program is told."""


class Left(Exception):
    """The user is gone."""


class Cut(Exception):
    """The connection is to break."""


class Idrac:
    """One session."""

    def __init__(self, chassis: List[str], manners: Manners) -> None:
        """Start it.

        chassis: the command that knows the power, without its last words.
        manners: as in the module's docstring.
        """
        self._chassis = chassis
        logins = manners.get("logins", [])
        number = self._logins(manners.get("log"))
        self._manners = {**manners, **(logins[number] if number < len(logins) else {})}
        self._asked: Dict[str, int] = {}
        self.note("login")

    @staticmethod
    def _logins(log: Optional[str]) -> int:
        """Return how many logins there have been."""
        if log is None or not os.path.exists(log):
            return 0
        with open(log) as lines:
            return sum(line == "login\n" for line in lines)

    def note(self, what: str) -> None:
        """Leave a line in the log."""
        if "log" in self._manners:
            with open(self._manners["log"], "a") as log:
                log.write(what + "\n")

    def say(self, text: str) -> None:
        """Show text on a terminal that moves no cursor by itself."""
        data = text.replace("\n", "\r\n").encode()
        while data:
            data = data[os.write(1, data):]

    def execute(self, command: str) -> int:
        """Do what is given along with the login; return the exit code."""
        answer = self.answer(command)
        self.say(answer)
        return int(answer.startswith("ERROR"))

    def interact(self) -> None:
        """Talk until the user leaves."""
        if os.isatty(0):
            tty.setraw(0, termios.TCSANOW)
        if self._manners.get("full"):
            self.say("ERROR: RAC0218: The maximum number of user sessions is reached.\n")
            return
        time.sleep(self._manners.get("login_delay", 0))
        self.say(self._manners.get("motd", ""))
        while True:
            self.say(self._coloured(self._manners.get("prompt", "racadm>>")))
            command = self._line()
            if command in ("exit", "quit", "logout"):
                self.say("CLP Session terminated\n")
                self.note("left")
                return
            if command:
                text = self.answer(command)
                if self._manners.get("page"):
                    text = self._page(text)
                self.say(self._coloured(text))

    def answer(self, line: str) -> str:
        """Do a command; return what is shown of it, with the newline at its end."""
        words = line.split()
        if words[:1] == ["racadm"]:
            words = words[1:]
        self.note("command " + " ".join(words))
        time.sleep(self._manners.get("delay", 0))
        repeated = "racadm " + " ".join(words) + "\n" if self._manners.get("repeats") else ""
        if words[:1] != ["serveraction"]:
            return repeated + "ERROR: Invalid subcommand specified.\n"
        return repeated + self._serveraction(words[1:])

    def _serveraction(self, words: List[str]) -> str:
        modules = self._manners.get("modules", [])
        if modules:
            if words[:1] != ["-m"] or words[1:2] == [] or words[1] not in modules:
                return "ERROR: Specify a valid module name with -m.\n"
            words = words[2:]
        action = words[0] if len(words) == 1 else ""
        vice = self._vice(action)
        if isinstance(vice, str):
            return vice + "\n"
        if vice is not None and not any(name.startswith("done_") for name in vice):
            self._fall(vice)
        if action == "powerstatus":
            text = "ON" if self._power() else "OFF"
            text = (text if modules else f"Server power status: {text}") + "\n"
        elif action in ACTIONS:
            text = self._order(action)
        else:
            text = "ERROR: Invalid action specified.\n"
        if vice is not None:
            self._fall({name.replace("done_", ""): True for name in vice})
        return text

    def _order(self, action: str) -> str:
        on = action == "powerup"
        if not self._manners.get("rights", True):
            return ("ERROR: Permission denied: the user has insufficient privileges to execute "
                    "this command.\n")
        if self._power() == on:
            return f"Server is already powered {'ON' if on else 'OFF'}.\n"
        if self._manners.get("obeys", True):
            subprocess.run([*self._chassis, "set", "power", ACTIONS[action]], check=True,
                           stdout=subprocess.DEVNULL)
        return "Server power operation successful\n"

    def _vice(self, action: str) -> Any:
        """Return what is to happen instead of the answer, None for nothing."""
        planned = self._manners.get("answers", {}).get(action, [])
        number = self._asked.get(action, 0)
        self._asked[action] = number + 1
        return planned[min(number, len(planned) - 1)] if planned else None

    def _fall(self, vice: Dict[str, bool]) -> None:
        """Do what no controller should. Never returns."""
        if "cut" in vice:
            raise Cut
        if "frozen" in vice:
            os.kill(server(), signal.SIGSTOP)
        while "flood" in vice:
            self.say("the iDRAC has something to say\n" * 100)
        while True:
            signal.pause()

    def _power(self) -> bool:
        done = subprocess.run([*self._chassis, "get", "power"], check=True, encoding="utf-8",
                              stdout=subprocess.PIPE)
        return "power:1" in done.stdout

    def _coloured(self, text: str) -> str:
        if not self._manners.get("colours"):
            return text
        return "\x1b]0;iDRAC\x07\x1b[?25h\x1b[1;32m" + text.replace("\n", "\x1b[0m\n\x1b[K")

    def _page(self, text: str) -> str:
        """Show the answer as a pager does; return what the pager leaves on the screen."""
        self.say(text + "--More--")
        self._key()
        return "\b" * 8 + " " * 8 + "\b" * 8

    def _key(self) -> str:
        key = os.read(0, 1).decode("latin-1")
        if key in ("", "\x04"):
            raise Left
        return key

    def _line(self) -> str:
        """Return the line that the user types. CR and LF are Enter, each for itself."""
        typed = ""
        while True:
            key = self._key()
            if key in ("\r", "\n"):
                if self._manners.get("echo", True):
                    self.say("\n")
                return " ".join(typed.split())
            typed += key
            if self._manners.get("echo", True):
                self.say(key)


def server() -> int:
    """Return the process of sshd that has this connection: the nearest sshd among the parents."""
    process = os.getppid()
    while process > 1:
        with open(f"/proc/{process}/stat") as file:
            text = file.read()
        if text[text.index("(") + 1:text.rindex(")")].startswith("sshd"):
            return process
        process = int(text[text.rindex(")") + 2:].split()[1])
    raise ProcessLookupError("there is no sshd among the parents")


def main(arguments: List[str]) -> int:
    """Play one session; return the exit code."""
    given = dict(zip(arguments[::2], arguments[1::2]))
    manners: Manners = {}
    if "--manners" in given and os.path.exists(given["--manners"]):
        with open(given["--manners"]) as file:
            manners = json.load(file)
    idrac = Idrac(shlex.split(given["--chassis"]), manners)
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    try:
        if command:
            return idrac.execute(command)
        idrac.interact()
    except Left:
        idrac.note("left")
    except Cut:
        idrac.note("cut")
        os.kill(server(), signal.SIGKILL)   # as a controller that restarts: no word to the client
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
