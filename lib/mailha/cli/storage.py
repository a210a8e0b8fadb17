# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha storage``: what every path of a Cyrus stands on, and whether that is fit for mail.

The verdicts of ocf:mailha:cyrus-storage for people, before there is any cluster: on a new node, on
one whose start was refused, in a script that checks many. Nothing is written, and a dead server is
never waited for.
"""

from __future__ import annotations

import argparse
import os
from typing import Any, Union

from mailha import errors
from mailha.agents.cyrus_storage import AGENT
from mailha.cli import target
from mailha.cli.negative import Negative
from mailha.cli.terminal import Terminal
from mailha.cluster import cib, resources
from mailha.cluster.resources import Resource
from mailha.products.cyrus import paths, reading, storage
from mailha.products.cyrus.imapd import Imapd
from mailha.products.cyrus.paths import Target
from mailha.products.cyrus.storage import Demand
from mailha.profiles import cyrus as profiles
from mailha.storage import rules
from mailha.storage.rules import SPLIT, STRICT
from mailha.storage.verdict import Survey, Verdict
from mailha.system.machine import Machine
from mailha.validation import Invalid
from mailha.validation.text import Path

DESCRIPTION = """\
Show every path that Cyrus's configuration names, with the mount on which it
lies, the devices under it, and whether it is fit for mail: the verdicts of
ocf:mailha:cyrus-storage, whose parameters have the same names. No cluster is
needed, unless RESOURCE is given. Paths that are not mounted on a passive node
are unfit there, as they should be. A dead server or disk is never waited for."""

MEANINGS = {
    rules.BLOCK.name: "must be on a block device that is mounted for it",
    rules.ANY_LASTING.name: "must be on a block device or on NFS, mounted for it",
    rules.EPHEMERAL.name: "may be in memory or on the system's disk, but on no server",
    paths.WITH_STATE.name: "as ephemeral, or on NFS if configdirectory may be there",
}
"""The rules in the words of the legend."""

EPILOG = "\n".join([
    "rules (the column RULE; --policy and --profile say which path has which):",
    *(f"  {name:<11} {words}" for name, words in MEANINGS.items()),
    "With --no-require-mount, the disk of the system is as good as another one.",
    "",
    "verdicts:",
    "  fit         Cyrus may start on it ('fit, missing': it does not exist yet)",
    "  UNFIT       it may not; the line below says why",
    "  UNKNOWN     it could not be found out; the line below says why",
    "",
    "exit code:",
    "  0  all paths are fit",
    "  1  at least one is unfit",
    "  2  the command line is wrong",
    "  3  it could not be found out: no configuration, no answer from a disk",
])

TYPE = f"ocf:mailha:{AGENT.name}"

HEADING = ("PATH", "FOR", "RULE", "MOUNT", "TYPE", "ON", "VERDICT")

FORMAT = 1
"""Of the JSON document. Members are only added to it; what is there keeps its meaning."""

PATIENCE = 5.0
"""Seconds for each look at a local disk that may be slow or dead."""

TROUBLE = 3
"""The exit code where there is no answer."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Give the parser its arguments."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
    parser.add_argument("--paths", metavar="PATH[,PATH...]", action="append",
                        help="further paths that must be on block devices; may be repeated")
    parser.add_argument("--device", metavar="[PATH=]DEVICE[,...]", action="append",
                        help="what must be mounted: for everything that must be on a block device, "
                             "or at and below PATH; /dev/..., UUID=..., LABEL=... or "
                             "SERVER:/EXPORT; may be repeated")
    parser.add_argument("--no-require-mount", dest="require_mount", action="store_const",
                        const="false", help="take directories on the disk of the operating "
                        "system, too, if they exist")


def needs_root(options: argparse.Namespace) -> bool:
    """Tell whether only root may do it. Others are told what they may not read."""
    return False


def run(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Print the table or the document.

    Raises Negative if a path is unfit, Invalid for a value that its option does not take, and
    errors.Failed if anything cannot be found out.
    """
    demand = _demand(machine, options)
    try:
        survey = Survey(machine, timeout=PATIENCE)
        configuration = reading.patiently(machine, survey.table, demand.configuration,
                                          demand.partitions, PATIENCE)
        targets = demand.targets(configuration)
        demand.require_known_paths(targets)
        answers = storage.examine_each(survey, demand, targets)
        known = [(each, found) for each, found in zip(targets, answers)
                 if isinstance(found, Verdict)]
        unknown = _look(machine, known)
    except errors.MailhaError as error:
        if options.json:
            _print_json(terminal, {**_head(demand), "fit": False, "error": str(error)})
        raise
    found = [unknown.get(each.path, answer) for each, answer in zip(targets, answers)]
    if options.json:
        _print_json(terminal, _document(demand, configuration, targets, found))
    else:
        _print_table(terminal, demand, configuration, targets, found)
    unfit = [answer.path for answer in found if isinstance(answer, Verdict) and not answer.fit]
    untold = [each.path for each, answer in zip(targets, found) if not isinstance(answer, Verdict)]
    if unfit:
        raise Negative(f"{len(unfit)} of {len(targets)} paths are unfit for Cyrus on this node: "
                       + ", ".join(unfit))
    if untold:
        raise errors.Failed(f"of {len(untold)} of {len(targets)} paths it could not be found out "
                            f"whether they are fit: {', '.join(untold)}")


def _look(machine: Machine, known: list[tuple[Target, Verdict]]) -> dict[str, errors.MailhaError]:
    """See which paths exist; return what went wrong, by path. A disk may have died meanwhile."""
    wrong: dict[str, errors.MailhaError] = {}
    by_disk: dict[str, list[tuple[Target, Verdict]]] = {}
    for each, verdict in known:
        by_disk.setdefault(verdict.mount_point, []).append((each, verdict))
    for together in by_disk.values():
        try:
            storage.require_presence(machine, [each for each, _ in together],
                                     [verdict for _, verdict in together], PATIENCE)
        except errors.MailhaError as error:
            wrong.update((each.path, error) for each, _ in together)
    return wrong


def _demand(machine: Machine, options: argparse.Namespace) -> Demand:
    """Return what the command line demands, and for the rest the resource or the defaults.

    Raises Invalid for a value that its option does not take, errors.Failed for such a one of the
    resource.
    """
    resource = _resource(machine, options.resource) if options.resource else None
    values: dict[str, Any] = {}
    for parameter in AGENT.parameters:
        given = getattr(options, parameter.name)
        text = " ".join(given) if isinstance(given, list) else given
        try:
            if text is not None:
                values[parameter.name] = parameter.type.parse(
                    _from_here(text) if isinstance(parameter.type, Path) else text)
                continue
        except Invalid as error:
            raise Invalid(f"--{parameter.name.replace('_', '-')}: {error}") from None
        text = _value(resource, parameter.name) if resource is not None else None
        try:
            values[parameter.name] = parameter.type.parse(text) if text \
                else parameter.default_value()
        except Invalid as error:
            raise errors.Failed(f"parameter {parameter.name} of '{options.resource}': {error}",
                                remedy="correct it in the cluster") from None
    return Demand.of(values)


def _from_here(path: str) -> str:
    """Return a path of the command line from / on.

    The kernel gives the directory in which we are without symbolic links, so that ".." at the
    beginning means what it says.
    """
    if path.startswith("/") or not path.strip():
        return path
    here = os.getcwd()
    while path.startswith(("./", "../")):
        first, _, path = path.partition("/")
        here = here.rpartition("/")[0] if first == ".." else here
    return f"{here.rstrip('/')}/{path}"


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


Answer = Union[Verdict, errors.MailhaError]


def _print_table(terminal: Terminal, demand: Demand, configuration: Imapd, targets: list[Target],
                 answers: list[Answer]) -> None:
    """Print what people read, and each warning to stderr."""
    rows: list[tuple[str, ...]] = [HEADING]
    notes = [""]
    warnings = demand.warnings(configuration)
    for each, found in zip(targets, answers):
        head = (_printable(each.path), ", ".join(each.names), each.rule.name)
        if isinstance(found, Verdict):
            rows.append((*head, _printable(found.mount_point) or "-", found.type or "-",
                         _printable(" > ".join(found.chain) or found.source) or "-",
                         _word(each, found)))
            notes.append("" if found.fit else _printable(_reason(found)))
            warnings += found.warnings
        else:
            rows.append((*head, "-", "-", "-", "UNKNOWN"))
            notes.append(_printable(str(found)))
    terminal.table(rows, notes)
    terminal.line("")
    terminal.items([(name, words) for name, words in MEANINGS.items()
                    if any(each.rule.name == name for each in targets)])
    for warning in dict.fromkeys(warnings):
        terminal.warn(warning)


def _word(path: Target, found: Verdict) -> str:
    """Return the verdict for the table."""
    if not found.fit:
        return "UNFIT"
    # What means nothing after a restart is missing before every first start.
    return "fit, missing" if found.exists is False and path.rule.name in storage.LASTING \
        else "fit"


def _document(demand: Demand, configuration: Imapd, targets: list[Target],
              answers: list[Answer]) -> dict[str, Any]:
    """Return the JSON document."""
    return {
        **_head(demand),
        "files": configuration.files,
        "fit": all(isinstance(found, Verdict) and found.fit for found in answers),
        "warnings": demand.warnings(configuration),
        "rules": MEANINGS,
        "paths": [_entry(each, found) for each, found in zip(targets, answers)]}


def _entry(path: Target, found: Answer) -> dict[str, Any]:
    """Return what the document says of one path."""
    head = {"path": path.path, "for": list(path.names), "rule": path.rule.name}
    if not isinstance(found, Verdict):
        return {**head, "fit": None, "error": str(found)}
    return {**head, "resolved": found.real, "mount": found.mount_point, "type": found.type,
            "source": found.source, "chain": list(found.chain), "exists": found.exists,
            "fit": found.fit, "reason": found.reason, "remedy": found.remedy,
            "warnings": list(found.warnings)}


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
