# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha storage``: what every path of a Cyrus stands on, and whether that is fit for mail.

The verdicts of ocf:mailha:cyrus-storage for people, before there is any cluster: on a new node, on
one whose start was refused, in a script that checks many. Nothing is written, and a dead server is
never waited for.
"""

from __future__ import annotations

import argparse
from typing import Any

from mailha import errors
from mailha.cli.terminal import Terminal
from mailha.products.cyrus import reading, storage
from mailha.products.cyrus.imapd import Imapd
from mailha.products.cyrus.paths import Target
from mailha.products.cyrus.storage import Demand
from mailha.profiles import cyrus as profiles
from mailha.storage.rules import SPLIT, STRICT
from mailha.storage.verdict import Survey, Verdict
from mailha.system.machine import Machine
from mailha.validation import Invalid, Path, Type
from mailha.validation.storage import Devices, Paths

NAME = "storage"
SUMMARY = "show whether each path of Cyrus is on storage that is fit for it"

DESCRIPTION = """\
Show every path that Cyrus's configuration names, with the mount on which it lies, the devices under
it, and whether it is fit for mail: the verdicts of ocf:mailha:cyrus-storage, whose parameters have
the same names. Needs no cluster. Paths that are not mounted on a passive node are unfit there, as
they should be. The exit code is 0 if all paths are fit, and 1 if not."""

HEADING = ("PATH", "FOR", "RULE", "MOUNT", "TYPE", "ON", "VERDICT")

FORMAT = 1
"""Of the JSON document. Members are only added to it; what is there keeps its meaning."""

PATIENCE = 5.0
"""Seconds for each look at a local disk that may be slow or dead."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Give the parser its arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("--json", action="store_true", help="print a JSON document, for programs")
    parser.add_argument("--policy", choices=(STRICT, SPLIT), default=STRICT,
                        help="what may be on NFS: nothing (strict, the default) or the messages "
                             "(split)")
    parser.add_argument("--profile", choices=tuple(profiles.PROFILES), default=profiles.USUAL,
                        help=f"the product that Cyrus is part of (default: {profiles.USUAL})")
    parser.add_argument("--imapd-conf", metavar="FILE", default=profiles.CONFIGURATION,
                        help="Cyrus's configuration (default: %(default)s)")
    parser.add_argument("--partitions-file", metavar="FILE", default=profiles.PARTITIONS,
                        help="BlueMind's file with more partitions (default: %(default)s)")
    parser.add_argument("--paths", metavar="PATH", nargs="+", default=[],
                        help="further paths that must be on block devices")
    parser.add_argument("--device", metavar="DEVICE", nargs="+", default=[],
                        help="what must be mounted there: DEVICE or PATH=DEVICE")
    parser.add_argument("--no-require-mount", action="store_true",
                        help="take paths on the disk of the operating system, too")


def needs_root(options: argparse.Namespace) -> bool:
    """Tell whether only root may do it. Others are told what they may not read."""
    return False


def run(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Print the table or the document. Raises errors.Failed if a path is unfit or unknown."""
    demand = _demand(options)
    try:
        survey = Survey(machine, timeout=PATIENCE)
        configuration = reading.patiently(machine, survey.table, demand.configuration,
                                          demand.partitions, PATIENCE)
        targets = demand.targets(configuration)
        verdicts = storage.examine(survey, demand, targets)
    except errors.MailhaError as error:
        if options.json:
            _print_json(terminal, {**_head(demand), "fit": False, "error": str(error)})
        raise
    if options.json:
        _print_json(terminal, _document(demand, configuration, targets, verdicts))
    else:
        _print_table(terminal, demand, configuration, targets, verdicts)
    unfit = [each for each in verdicts if not each.fit]
    if unfit:
        raise errors.Failed(f"{len(unfit)} of {len(verdicts)} paths are unfit for Cyrus on this "
                            f"node: {', '.join(each.path for each in unfit)}")


def _demand(options: argparse.Namespace) -> Demand:
    """Return what the command line demands. Raises errors.Failed for what no parameter takes."""
    return Demand(
        policy=options.policy, profile=options.profile,
        configuration=_parsed(Path(), "--imapd-conf", options.imapd_conf),
        partitions=_parsed(Path(), "--partitions-file", options.partitions_file),
        further=_parsed(Paths(), "--paths", " ".join(options.paths)),
        devices=_parsed(Devices(), "--device", " ".join(options.device)),
        require_mount=not options.no_require_mount)


def _parsed(kind: Type, option: str, text: str) -> Any:
    """Return the value of an option, by the type that the agent's parameter has."""
    if not text:
        return kind.absent
    try:
        return kind.parse(text)
    except Invalid as error:
        raise errors.Failed(f"{option}: {error}") from None


def _print_table(terminal: Terminal, demand: Demand, configuration: Imapd, targets: list[Target],
                 verdicts: list[Verdict]) -> None:
    """Print what people read, and each warning to stderr."""
    rows: list[tuple[str, ...]] = [HEADING]
    notes = [""]
    for target, verdict in zip(targets, verdicts):
        rows.append((_printable(target.path), ", ".join(target.names), target.rule.name,
                     _printable(verdict.mount_point) or "-", verdict.type or "-",
                     _printable(" > ".join(verdict.chain) or verdict.source) or "-",
                     "fit" if verdict.fit else "UNFIT"))
        notes.append("" if verdict.fit else _printable(_reason(verdict)))
    terminal.table(rows, notes)
    for warning in demand.warnings(configuration):
        terminal.warn(warning)
    for verdict in verdicts:
        for warning in verdict.warnings:
            terminal.warn(warning)


def _document(demand: Demand, configuration: Imapd, targets: list[Target],
              verdicts: list[Verdict]) -> dict[str, Any]:
    """Return the JSON document."""
    return {
        **_head(demand),
        "files": configuration.files,
        "fit": all(verdict.fit for verdict in verdicts),
        "warnings": demand.warnings(configuration),
        "paths": [{
            "path": target.path, "for": list(target.names), "rule": target.rule.name,
            "resolved": verdict.real, "mount": verdict.mount_point, "type": verdict.type,
            "source": verdict.source, "chain": list(verdict.chain), "fit": verdict.fit,
            "reason": verdict.reason, "remedy": verdict.remedy,
            "warnings": list(verdict.warnings)} for target, verdict in zip(targets, verdicts)]}


def _head(demand: Demand) -> dict[str, Any]:
    """Return what every document begins with."""
    return {"format": FORMAT, "policy": demand.policy, "imapd_conf": demand.configuration}


def _print_json(terminal: Terminal, document: dict[str, Any]) -> None:
    """Print a document. It is plain ASCII: a path need not be UTF-8."""
    import json
    terminal.line(json.dumps(document, indent=2))


def _reason(verdict: Verdict) -> str:
    """Return reason and remedy of a verdict in one sentence."""
    return f"{verdict.reason}; {verdict.remedy}" if verdict.remedy else verdict.reason


def _printable(text: str) -> str:
    """Return a text for one cell of the table: what is no printable character is escaped."""
    return "".join(
        letter if letter.isprintable()
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii") for letter in text)
