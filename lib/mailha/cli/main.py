# SPDX-License-Identifier: GPL-2.0-or-later
"""From the command line of ``mailha`` to its exit code.

0: done. 1: it could not be done; one line on stderr says why, and what to do. 2: the command line
is wrong. 130: interrupted. For a subcommand that answers a question, 0 is "yes", 1 is "no", and 3
says that there is no answer.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from typing import Any, Mapping, NoReturn, Sequence

import mailha
from mailha import errors
from mailha.cli import terminal
from mailha.cli.negative import Negative
from mailha.cli.terminal import Terminal
from mailha.ocf import defect
from mailha.system.machine import Machine
from mailha.validation import Invalid

COMMANDS = {
    "accept-version": "let the installed release open the data of an older one",
    "guards": "keep the units of a resource from running outside the cluster",
    "removal": "make this node ready for a removal of the package",
    "storage": "show whether each path of Cyrus is on storage that is fit for it",
    "sync": "replicate configuration from the active node: pair nodes, look, repair"}
"""The purpose of each subcommand, which is the module of its name in this package."""

SUCCESS, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """\
The administrator's tool of mailha, the Pacemaker agents for mail servers. It works on the node on
which it is called."""


# What argparse says of the two commonest slips, in English; of others its words are good enough.
_CHOICE = re.compile(r"argument .+?: invalid choice: (.+) \(choose from (.+)\)")
_MISSING = re.compile(r"the following arguments are required: (.+)")


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line, and does not guess what an abbreviation may mean.

    below: the parsers of what may follow, by name: commands, or the verbs of one.
    """

    def __init__(self, **options: object) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)  # type: ignore[arg-type]
        self._verbs: Any = None
        self._given: Sequence[str] = ()

    @property
    def below(self) -> Mapping[str, _Parser]:
        """Return what may follow: a command, or a verb of one."""
        found: Mapping[str, _Parser] = self._verbs.choices if self._verbs else {}
        return found

    def add_subparsers(self, **options: Any) -> Any:
        """Have commands, or verbs."""
        self._verbs = super().add_subparsers(**options)
        return self._verbs

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is not known here, and not one level above.

        argparse leaves that to the uppermost parser, whose help is of no help.
        """
        self._given = args
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"'{' '.join(unknown)}' means nothing here")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """End with the code for a wrong command line."""
        said = " ".join(message.split())
        choice, missing = _CHOICE.fullmatch(said), _MISSING.fullmatch(said)
        if choice:
            said = f"{choice[1]} is not one of " + choice[2].replace("'", "")
        elif missing:
            # What is wrong comes before what is missing: it may have been meant for that.
            wrong = [word for word in self._given if word.startswith("-") and word.strip("-")
                     and word.partition("=")[0] not in self._option_string_actions]
            said = f"'{wrong[0]}' means nothing here" if wrong else f"{missing[1]} is missing"
        raise _WrongUsage(f"{said}; '{self.prog} --help' shows how it is used")

    def named(self, words: Sequence[str]) -> _Parser:
        """Return the parser of a command, or of a verb of one. Raises _WrongUsage."""
        found = self
        for word in words:
            if word not in found.below:
                known = ", ".join(found.below)
                found.error(f"'{word}' is not one of {known}" if known
                            else f"'{word}' means nothing here")
            found = found.below[word]
        return found


class _WrongUsage(Exception):
    """The command line means nothing; the text says why."""


def parser(argv: Sequence[str]) -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser of the command line, and that of each subcommand by name.

    argv: the command line. Only what stands in it is loaded: all subcommands together take longer
    than what most of them do.
    """
    top = _Parser(prog="mailha", description=DESCRIPTION)
    top.add_argument("--version", action="version", version=f"mailha {mailha.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True)
    parsers: dict[str, _Parser] = {}
    for name, purpose in COMMANDS.items():
        made = parsers[name] = commands.add_parser(name, help=purpose)
        if name in argv:
            module = importlib.import_module(f"mailha.cli.{name.replace('-', '_')}")
            module.declare(made)
            if made.below:
                made.epilog = f"'mailha help {name} VERB' shows how one of them is used."
            made.set_defaults(run=module.run, needs_root=module.needs_root,
                              trouble=getattr(module, "TROUBLE", FAILED))
    help_parser = commands.add_parser("help", help="show how a command, or a verb of it, is used",
                                      usage="mailha help [-h] [COMMAND [VERB]]")
    help_parser.add_argument("topic", nargs="*", metavar="COMMAND [VERB]",
                             help=f"one of {', '.join(COMMANDS)}, and of guards or sync a verb")
    help_parser.set_defaults(run=None)
    return top, parsers


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Do what the command line asks for, and end the process. argv: without the program."""
    terminal.open_standard_files()
    code = perform(sys.argv[1:] if argv is None else argv, Machine(), terminal.standard())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass        # closed, or nobody reads it: the answer is in the exit code
    # The interpreter's own end would complain, in many lines, about a stdout that is gone.
    os._exit(code)


def perform(argv: Sequence[str], machine: Machine, screen: Terminal) -> int:
    """Do what the command line asks for and return the exit code. Never raises."""
    trouble = FAILED
    try:
        top, _ = parser(argv)
        options = top.parse_args(argv)
        if options.run is None:
            screen.line(top.named(options.topic).format_help().rstrip())
        else:
            trouble = options.trouble
            if options.needs_root(options) and os.geteuid() != 0:
                raise errors.NotRoot(f"only root may do this, and you have the id {os.geteuid()}",
                                     remedy="use sudo")
            options.run(machine, screen, options)
    except _WrongUsage as error:
        screen.error(str(error))
        return WRONG_USAGE
    except SystemExit as end:       # --help and --version
        return end.code if isinstance(end.code, int) else SUCCESS
    except Invalid as error:
        screen.error(str(error))
        return WRONG_USAGE
    except errors.MailhaError as error:
        screen.error(str(error))
        return FAILED if isinstance(error, Negative) else trouble
    except KeyboardInterrupt:
        screen.error("interrupted")
        return INTERRUPTED
    # The one place that may catch everything: an administrator can do nothing with a traceback.
    except Exception as error:
        screen.error(f"defect of mailha: {type(error).__name__} at {defect.place_of(error)}: "
                     f"{error}; report it to the authors of mailha")
        return trouble
    if screen.failure:
        screen.error(f"it is done, but stdout could not be written: {screen.failure}")
        return trouble
    return SUCCESS
