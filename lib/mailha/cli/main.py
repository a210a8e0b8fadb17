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
from typing import NoReturn, Sequence

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
    """A parser that complains in one line, and does not guess what an abbreviation may mean."""

    def __init__(self, **options: object) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """End with the code for a wrong command line."""
        said = " ".join(message.split())
        choice, missing = _CHOICE.fullmatch(said), _MISSING.fullmatch(said)
        if choice:
            said = f"{choice[1]} is not one of " + choice[2].replace("'", "")
        elif missing:
            said = f"{missing[1]} is missing"
        raise _WrongUsage(f"{said}; '{self.prog} --help' shows how it is used")


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
            made.set_defaults(run=module.run, needs_root=module.needs_root,
                              trouble=getattr(module, "TROUBLE", FAILED))
    help_parser = commands.add_parser("help", help="show how a command is used")
    help_parser.add_argument("topic", nargs="?", choices=sorted(parsers), metavar="COMMAND",
                             help="one of %(choices)s")
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
        top, parsers = parser(argv)
        options = top.parse_args(argv)
        if options.run is None:
            screen.line(parsers.get(options.topic, top).format_help().rstrip())
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
