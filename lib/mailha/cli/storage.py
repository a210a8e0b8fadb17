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
from mailha.agents.cyrus_storage import AGENT
from mailha.cli import target
from mailha.cli.terminal import Terminal
from mailha.cluster import cib, resources
from mailha.cluster.resources import Resource
from mailha.products.cyrus import reading, storage
from mailha.products.cyrus.imapd import Imapd
from mailha.products.cyrus.paths import Target
from mailha.products.cyrus.storage import Demand
from mailha.profiles import cyrus as profiles
from mailha.storage.rules import SPLIT, STRICT
from mailha.storage.verdict import Survey, Verdict
from mailha.system.machine import Machine
from mailha.validation import Invalid

NAME = "storage"
SUMMARY = "show whether each path of Cyrus is on storage that is fit for it"

DESCRIPTION = """\
Show every path that Cyrus's configuration names, with the mount on which it lies, the devices under
it, and whether it is fit for mail: the verdicts of ocf:mailha:cyrus-storage, whose parameters have
the same names. No cluster is needed, unless RESOURCE is given. Paths that are not mounted on a
passive node are unfit there, as they should be. The exit code is 0 if all paths are fit, and 1 if
not."""

TYPE = f"ocf:mailha:{AGENT.name}"

HEADING = ("PATH", "FOR", "RULE", "MOUNT", "TYPE", "ON", "VERDICT")

FORMAT = 1
"""Of the JSON document. Members are only added to it; what is there keeps its meaning."""

PATIENCE = 5.0
"""Seconds for each look at a local disk that may be slow or dead."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Give the parser its arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("resource", metavar="RESOURCE", nargs="?",
                        help="a resource of ocf:mailha:cyrus-storage, whose parameters count in "
                             "place of the defaults")
    parser.add_argument("--json", action="store_true", help="print a JSON document, for programs")
    parser.add_argument("--policy", choices=(STRICT, SPLIT),
                        help=f"what may be on NFS: nothing ({STRICT}, the default), or messages, "
                             f"archive and configdirectory ({SPLIT})")
    parser.add_argument("--profile", choices=tuple(profiles.PROFILES),
                        help=f"the product that Cyrus is part of (default: {profiles.USUAL})")
    parser.add_argument("--imapd-conf", metavar="FILE",
                        help=f"Cyrus's configuration (default: {profiles.CONFIGURATION})")
    parser.add_argument("--partitions-file", metavar="FILE",
                        help="BlueMind's file with more partitions (default: "
                             f"{profiles.PARTITIONS})")
    parser.add_argument("--paths", metavar="PATH", nargs="+",
                        help="further paths that must be on block devices")
    parser.add_argument("--device", metavar="DEVICE", nargs="+",
                        help="what must be mounted there: DEVICE or PATH=DEVICE")
    parser.add_argument("--no-require-mount", dest="require_mount", action="store_const",
                        const="false", help="take paths on the disk of the operating system, too")


def needs_root(options: argparse.Namespace) -> bool:
    """Tell whether only root may do it. Others are told what they may not read."""
    return False


def run(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Print the table or the document. Raises errors.Failed if a path is unfit or unknown."""
    demand = _demand(machine, options)
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


def _demand(machine: Machine, options: argparse.Namespace) -> Demand:
    """Return what the command line demands, and for the rest the resource or the defaults.

    Raises errors.Failed for a value that the parameter of the agent does not take.
    """
    resource = _resource(machine, options.resource) if options.resource else None
    values: dict[str, Any] = {}
    for parameter in AGENT.parameters:
        given = getattr(options, parameter.name)
        where = f"--{parameter.name.replace('_', '-')}"
        if given is None and resource is not None:
            given, where = _value(resource, parameter.name), f"parameter {parameter.name}"
        text = " ".join(given) if isinstance(given, list) else given
        try:
            values[parameter.name] = parameter.type.parse(text) if text \
                else parameter.default_value()
        except Invalid as error:
            raise errors.Failed(f"{where}: {error}") from None
    return Demand.of(values)


def _resource(machine: Machine, name: str) -> Resource:
    """Return a resource of the cluster that is run by the agent of the same verdicts."""
    target.check_name(name)
    found = resources.find(cib.read(machine, target.LONGEST_FOR_CIB), name)
    if found is None:
        raise errors.Failed(f"the cluster has no resource '{name}'",
                            remedy="'crm_resource --list' shows all of them")
    if found.agent != TYPE:
        raise errors.Failed(f"'{name}' is run by {found.agent} and not by {TYPE}",
                            remedy="name the resource that examines the storage, or none")
    return found


def _value(resource: Resource, parameter: str) -> str | None:
    """Return a parameter of a resource as it is written, None if it is not set."""
    values = resource.values(parameter)
    if len(values) > 1:
        raise errors.Failed(f"parameter {parameter} of '{resource.identifier}' depends on a rule",
                            remedy=f"give the value with --{parameter.replace('_', '-')}")
    return next(iter(values), None)


def _print_table(terminal: Terminal, demand: Demand, configuration: Imapd, targets: list[Target],
                 verdicts: list[Verdict]) -> None:
    """Print what people read, and each warning to stderr."""
    rows: list[tuple[str, ...]] = [HEADING]
    notes = [""]
    for each, verdict in zip(targets, verdicts):
        rows.append((_printable(each.path), ", ".join(each.names), each.rule.name,
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
            "path": each.path, "for": list(each.names), "rule": each.rule.name,
            "resolved": verdict.real, "mount": verdict.mount_point, "type": verdict.type,
            "source": verdict.source, "chain": list(verdict.chain), "fit": verdict.fit,
            "reason": verdict.reason, "remedy": verdict.remedy,
            "warnings": list(verdict.warnings)} for each, verdict in zip(targets, verdicts)]}


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
