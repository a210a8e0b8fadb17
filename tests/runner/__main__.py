# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the parts of the suite that argv names; `tests/run` calls this."""

from __future__ import annotations

import signal
import sys

from runner import jobs, parts
from runner.tally import FAILED, Outcome, Tally


def main() -> int:
    """Run, add up, and return the exit code."""
    tally = Tally()
    # SIGINT as well: a shell starts what is to run in the background with that one ignored, and
    # the jobs would inherit it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        parts.run(tally, sys.argv[1:])
    except KeyboardInterrupt:
        jobs.interrupt()
        tally.add(Outcome("the run itself", FAILED, 0, why="interrupted"), tell=True)
    return 0 if tally.conclude() else 1


sys.exit(main())
