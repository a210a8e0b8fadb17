# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha accept-version``: the administrator's word that a newer release may open the data.

A start refuses a release that is newer than what last ran on the data, because it would upgrade the
database and there is no way back. This command gives the word that such a start waits for: for the
version that is installed on this node now, on this node, for one start.

It says what it can find out. What last ran is known only where the data is mounted, and where it
shows that no word is needed, or that none would help, none is given.
"""

from __future__ import annotations

import argparse
import time

from mailha import errors
from mailha.cli import target
from mailha.cli.products import PRODUCTS
from mailha.cli.target import Target
from mailha.cli.terminal import Terminal
from mailha.cluster.resources import every, without_instance
from mailha.storage import acceptance, last_run, mounted
from mailha.storage.last_run import Record
from mailha.storage.version import Version
from mailha.system.machine import Machine

DESCRIPTION = """\
Give your word that the version of the mail server that is installed on this node may open the data
of RESOURCE although it is a newer release than what last ran on it. The next start of RESOURCE on
this node then upgrades the database. There is no way back: make a backup first. The word is valid
on this node, for this version, for one start."""

PATIENCE_WITH_PACKAGES = 30.0
PATIENCE_WITH_DISK = 5.0
"""Seconds for the database of packages, and for each look at the data's disk."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Give the parser its arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("resource", metavar="RESOURCE", help="name of the resource in the cluster")
    target.declare_product(parser)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--show", action="store_true", help="only show which version is accepted")
    way.add_argument("--restored", action="store_true",
                     help="the data have been restored from a backup of the installed version, "
                          "whatever their record says")
    way.add_argument("--withdraw", action="store_true", help="take the word back")


def needs_root(options: argparse.Namespace) -> bool:
    """Tell whether only root may do it."""
    return not options.show


def run(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Give, show or withdraw the word. Raises errors.MailhaError."""
    if options.show:
        _show(machine, terminal, options.resource)
    elif options.withdraw:
        _withdraw(machine, terminal, options.resource)
    else:
        found = target.find(machine, terminal, options.resource, options.product)
        _accept(machine, terminal, found, restored=options.restored)


def _accept(machine: Machine, terminal: Terminal, resource: Target, *, restored: bool) -> None:
    """Give the word, where it is of use, and say what follows from it."""
    _require_keeper(resource)
    product = resource.product
    installed = product.version_of(machine, resource, PATIENCE_WITH_PACKAGES)
    before, known = _last_run(machine, resource)
    if before is not None:
        if installed.older(before.version) and restored:
            acceptance.accept(machine, resource.name, installed, restored=True)
            _tell_restored(terminal, resource, installed, before)
            return
        if installed.older(before.version):
            raise errors.Failed(
                f"{product.name} {installed} on this node is older than {before.version}, which "
                f"ran on this data on node '{before.node}': no word can help",
                remedy="update this node; the older version cannot read the newer data. Only where "
                       f"a backup of {installed} has been restored: 'mailha accept-version "
                       f"--restored {resource.name}'")
        if not installed.newer_release(before.version):
            terminal.say(f"{product.name} {installed} on this node needs no word: {known}, which "
                         "is the same release.")
            return
    acceptance.accept(machine, resource.name, installed, restored=restored)
    terminal.say(f"Accepted: {product.name} {installed}, which is installed on this node, may open "
                 f"the data of '{resource.name}'.")
    terminal.say()
    terminal.say(f"{known[:1].upper()}{known[1:]}.")
    terminal.say()
    _explain(terminal, resource, installed, certain=before is not None)


def _tell_restored(terminal: Terminal, resource: Target, installed: Version, before: Record
                   ) -> None:
    """Say what the word for restored data means."""
    terminal.say(f"Accepted: {resource.product.name} {installed} may start over the data of "
                 f"'{resource.name}', whose record still names {before.version} (node "
                 f"'{before.node}'), because a backup of {installed} has been restored. If that is "
                 "not so, the start destroys them.")
    terminal.say()
    terminal.say("Restore the database and the directories from one and the same backup. Then let "
                 "the cluster try again:")
    terminal.line(f"     crm_resource --cleanup -r {without_instance(resource.name)}")
    terminal.say()
    terminal.say("Until that start you can take your word back:")
    terminal.line(f"     mailha accept-version --withdraw {resource.name}")


def _explain(terminal: Terminal, resource: Target, installed: Version, *, certain: bool) -> None:
    """Say what happens next and what there is to do. certain: that it is an upgrade."""
    terminal.say(("The" if certain else "If it was an older release, the")
                 + f" next start of '{resource.name}' on this node upgrades the database. There is "
                   "no way back to the older release, on any node.")
    terminal.items([
        (" 1.", "Make a backup of the database and of the data directory now."),
        (" 2.", f"Install {installed} on the other nodes as well: what they have now could not "
                "take over any more."),
        (" 3.", "Let the cluster try again:")])
    terminal.line(f"     crm_resource --cleanup -r {without_instance(resource.name)}")
    terminal.say()
    terminal.say("Until that start you can take your word back:")
    terminal.line(f"     mailha accept-version --withdraw {resource.name}")


def _require_keeper(resource: Target) -> None:
    """Refuse a resource that never asks for a word, because it runs no service with the data."""
    product = resource.product
    if resource.cib is None or any(map(product.keeps_data, resource.possible("services"))):
        return
    keepers = []
    for each in every(resource.cib):
        if each.agent == product.type:
            other = Target(each.identifier, product, resource.cib, each)
            if any(map(product.keeps_data, other.possible("services"))):
                keepers.append(f"'{each.identifier}'")
    raise errors.Failed(
        f"'{resource.name}' does not run {product.name}'s {product.keeper}, which alone upgrades "
        "the data, so it never asks for a version to be accepted",
        remedy=f"name {' or '.join(keepers)}" if keepers else "")


def _last_run(machine: Machine, resource: Target) -> tuple[Record | None, str]:
    """Look what last ran on the data; return its record, and what is known in words.

    Nothing is written, and a disk that does not answer keeps nobody waiting for long.
    """
    directories = resource.product.data_directories(machine, resource)
    if len(directories) > 1:
        return None, "what last ran is not known: data_dir depends on a rule"
    if not directories:
        return None, "what last ran is not known: data_dir is not set"
    directory = directories[0]
    try:
        if resource.possible("require_mount") != [False]:
            mounted.require(machine, directory, timeout=PATIENCE_WITH_DISK)
        record = last_run.read(machine, directory, PATIENCE_WITH_DISK)
    except errors.MailhaError as error:
        return None, f"what last ran on the data is not known here: {error.reason}"
    if record is None:
        return None, f"there is no record of what last ran on the data in {directory}"
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record.when))
    return record, (f"{resource.product.name} {record.version} last ran on the data, on node "
                    f"'{record.node}', started {when}")


def _show(machine: Machine, terminal: Terminal, name: str) -> None:
    """Show the version that is accepted for a resource, and which one is installed."""
    words = _words(machine, name)
    for word in words:
        version = acceptance.accepted(machine, word)
        if version is None:
            continue    # a start has just used it up
        terminal.say(f"Version {version} is accepted for the next start of '{word}' on this node.")
        _compare(machine, terminal, version)
    if not words:
        terminal.say(f"No version is accepted for '{name}' on this node.")


def _compare(machine: Machine, terminal: Terminal, version: Version) -> None:
    """Say whether the accepted version is one that is installed here."""
    silent = []
    for product in PRODUCTS:
        try:
            installed = product.installed_version(machine, PATIENCE_WITH_PACKAGES)
        except errors.MailhaError as error:
            silent.append(error.reason)
            continue
        if installed.text == version.text:
            terminal.say(f"It is the {product.name} that is installed on this node.")
        else:
            terminal.say(f"But {product.name} {installed} is installed on this node: give your "
                         "word again with 'mailha accept-version' if you mean that one.")
    if len(silent) == len(PRODUCTS):
        for reason in silent:
            terminal.say(f"{reason}.")


def _withdraw(machine: Machine, terminal: Terminal, name: str) -> None:
    """Take back the word for a resource, the cluster's configuration being of no account."""
    words = _words(machine, name)
    for word in words:
        if acceptance.consume(machine, word):
            terminal.say(f"Withdrawn: no version is accepted for '{word}' on this node any more.")
    if not words:
        terminal.say(f"No version was accepted for '{name}' on this node.")


def _words(machine: Machine, name: str) -> list[str]:
    """Return the names under which there is a word for a resource, those of instances included.

    The CIB is not asked: a word may be left of a resource that has been deleted.
    """
    target.check_name(name)
    plain = without_instance(name)
    return [word for word in machine.files.names(acceptance.DIRECTORY)
            if not word.startswith(".") and without_instance(word) == plain]
