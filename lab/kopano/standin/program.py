# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of every service: options, configuration, and off it goes."""

from __future__ import annotations

import getopt
import importlib
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from . import BANNER, journal, options
from .configuration import Settings
from .context import Context
from .release import Release
from .vices import Vices

CONFIGURATION = Path("/etc/kopano")


class Kind(NamedTuple):
    """What distinguishes the services' starts.

    module: where its ``run`` is; bad_configuration: the exit code for a config error (measured for
    server, gateway, ical and dagent), or None where errors are ignored.
    """

    module: str
    bad_configuration: int


KINDS: Dict[str, Kind] = {
    "server": Kind("server", 255),
    "spooler": Kind("background", 1),
    "dagent": Kind("dagent", 1),
    "monitor": Kind("background", 1),
    "gateway": Kind("gateway", 1),
    "ical": Kind("ical", 0),
    "search": Kind("background", 1),
    "presence": Kind("background", 1),
}
_LONG_OPTIONS = [
    "help", "config=", "ignore-unknown-config-options", "ignore-attachment-storage-conflict",
    "ignore-database-version-conflict", "force-database-upgrade"]


def main(service: str, arguments: Sequence[str]) -> int:
    """Run ``service`` with the command line ``arguments`` and return its exit code."""
    try:
        release = Release.installed()
        vices = Vices(service)
    except ValueError as error:
        sys.stderr.write(f"kopano-{service}: {error}\n")
        return 1
    try:
        given, _ = getopt.gnu_getopt(list(arguments), "c:VFhldiuR", _LONG_OPTIONS)
    except getopt.GetoptError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    names = [name for name, _ in given]
    if "-V" in names:
        print(f"kopano-{service} {release.text}")
        return 0
    if "-h" in names or "--help" in names:
        print(_help(service, release))
        return 0
    paths = [value for name, value in given if name in ("-c", "--config")]
    settings = Settings(options.defaults(service, release))
    settings.read(Path(paths[-1]) if paths else CONFIGURATION / f"{service}.cfg",
                  must_exist=bool(paths))
    # dagent shrugs its errors off, unless the file was named on the command line (measured).
    tolerant = "--ignore-unknown-config-options" in names or service == "dagent" and not paths
    if settings.errors and not tolerant:
        for text in settings.errors:
            sys.stderr.write(f"Config error: {text}\n")
        return KINDS[service].bad_configuration
    context = Context(
        service, release, settings, vices,
        foreground="-F" in names or "-l" in names,
        options=[name.lstrip("-") for name in names])
    return _run(context)


def _run(context: Context) -> int:
    if context.vices.has("dead_but_exit_0"):
        return 0
    context.log(journal.ALWAYS, f"Starting {context.program} version {context.release.text} "
                                f"({BANNER})")
    try:
        context.check_user()
    except KeyError as error:
        context.log(journal.CRITICAL, f"Fatal: run_as_user or run_as_group is unknown: {error}")
        return KINDS[context.service].bad_configuration
    module = importlib.import_module(f".{KINDS[context.service].module}", __package__)
    code: int = module.run(context)
    return code


def _help(service: str, release: Release) -> str:
    foreground = "-l  foreground, -d  background" if service == "dagent" else "-F  foreground"
    lines: List[str] = [
        f"kopano-{service} {release.text}",
        f"{BANNER}: it behaves like the real one and keeps mail for tests only.",
        "",
        f"  -c FILE  configuration, default /etc/kopano/{service}.cfg",
        f"  {foreground}",
        "  -V  print the release",
        "",
        "Bad habits are switched on in /etc/kopano/standin.vices, lines 'service: vice=SECONDS'.",
    ]
    return "\n".join(lines)
