# SPDX-License-Identifier: GPL-2.0-or-later
"""From the command line of a bench to its exit code."""

from __future__ import annotations

import argparse
import sys
from typing import Callable, Optional, Sequence, Tuple, Type

from sidebyside import ending
from twonode import preflight


def perform(parser: argparse.ArgumentParser, argv: Optional[Sequence[str]], needs: str,
            errors: Tuple[Type[BaseException], ...],
            run: Callable[[argparse.Namespace], int]) -> int:
    """Run a bench where this machine can, and return its exit code; 2 if nothing was measured.

    needs: what has to run here, for the message. errors: those that say what is wrong.
    """
    options = parser.parse_args(argv)
    findings = preflight.check()
    if findings:
        print(f"this machine cannot run {needs}:\n  " + "\n  ".join(findings), file=sys.stderr)
        return 2
    ending.raise_on_signals()
    try:
        return run(options)
    except ending.Ended as ended:
        print(f"bench/{parser.prog}: {ended}", file=sys.stderr)
        return ended.code
    except errors as error:
        print(f"bench/{parser.prog}: {error}", file=sys.stderr)
        return 2


def at_least(least: int) -> Callable[[str], int]:
    """Return a type for the parser: a whole number from `least` on."""
    def number(text: str) -> int:
        found = int(text)
        if found < least:
            raise argparse.ArgumentTypeError(f"{found} is too few, at least {least}")
        return found
    return number


def say(line: str) -> None:
    """Tell the progress on stderr."""
    print(line, file=sys.stderr, flush=True)
