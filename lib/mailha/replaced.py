# SPDX-License-Identifier: GPL-2.0-or-later
"""When the package is replaced while an agent runs: the same call once more, with the new library.

A package manager replaces the files of the library one by one. An agent that is started meanwhile,
or one that is still running, meets modules of two releases: a name is missing, a function takes
other arguments. Of 9,668 monitors that ran during a hundred upgrades 35 ended so, each of which
Pacemaker would have answered with a restart of mail. Nothing is wrong but the moment, so the
agent begins anew a fifth of a second later, once, in what is left of its time.

Loaded when an action has failed in a way that no code of ours means.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping

BEGUN = "MAILHA_BEGUN"
"""The variable by which the second call knows that it is one, and when the first began: seconds of
the monotonic clock, which all processes share. The executables set it, too."""

PAUSE = 0.2
"""Seconds without a change after which the package is taken to be whole again."""

LONGEST_WAIT = 2.0
"""Seconds that are waited for that; unpacking takes less than half of one."""

RECENT = 60.0
"""Seconds. Half of the library may have been replaced before this process has begun."""

_CONFUSED = (ImportError, AttributeError, TypeError, NameError)
# What modules that do not belong together end in.

LIBRARY = os.path.dirname(os.path.abspath(__file__))


def by_an_upgrade(failure: BaseException, library: str = LIBRARY) -> bool:
    """Tell whether an action may have failed because the library was just being replaced.

    An import that fails needs no further proof: the library that is installed has no such imports.
    """
    if isinstance(failure, ImportError):
        return (failure.name or "mailha").split(".")[0] == "mailha"
    return isinstance(failure, _CONFUSED) and changed_since(_began() - RECENT, library)


def changed_since(when: float, library: str = LIBRARY) -> bool:
    """Tell whether a file of the library has been replaced since then.

    when: in seconds of the wall clock. It is the time of the inode's last change that counts: that
    of the content is the packager's.
    """
    for directory, below, names in os.walk(library):
        # Python itself writes here, at any time.
        below[:] = [name for name in below if name != "__pycache__"]
        for name in (*names, "."):
            try:
                if os.lstat(f"{directory}/{name}").st_ctime >= when:
                    return True
            except FileNotFoundError:
                return True
    return False


def wait_until_whole(library: str = LIBRARY, *,
                     clock: "Callable[[], float]" = time.monotonic,
                     sleep: "Callable[[float], None]" = time.sleep) -> None:
    """Wait until nothing of the library has changed for a while, at the most LONGEST_WAIT."""
    end = clock() + LONGEST_WAIT
    sleep(PAUSE)
    while clock() < end and changed_since(time.time() - PAUSE, library):
        sleep(PAUSE)


def begin_again(environment: "Mapping[str, str]", begun: float, flags: str) -> None:
    """Replace this process by the same call. Returns only if it cannot.

    begun: when the first call began, by the monotonic clock. flags: the interpreter's, as in the
    first line of the executable.
    """
    try:
        os.execve(sys.executable, [sys.executable, flags, *sys.argv],
                  {**environment, BEGUN: f"{begun:.3f}"})
    except OSError:
        return


def _began() -> float:
    """Return when this process was started, in seconds of the wall clock."""
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age
