# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha guards``: the drop-ins that keep managed units from running outside the cluster.

The first start of a resource writes them by itself. Written before, they keep a unit that its
package enables, or starts when it is installed, from running even once. They are taken off when a
unit leaves the cluster's hands, and when the package of mailha is removed.

A file of the same name that does not say whose it is has been written by somebody else. It is shown
and never touched.
"""

from __future__ import annotations

import argparse

from mailha import errors
from mailha.cli import guard_table, target
from mailha.cli.guard_table import Guard
from mailha.cli.target import Target
from mailha.cli.terminal import Terminal
from mailha.cluster import resources
from mailha.cluster.resources import without_instance
from mailha.services import active, guards, lock
from mailha.services.service import SYSTEMD, Service
from mailha.system.files import FileLock
from mailha.system.machine import Machine
from mailha.system.units import Unit
from mailha.validation import Invalid, Words

DESCRIPTION = """\
A guard is a drop-in of a systemd unit that lets only the cluster start it: not the boot, not an
update of its package, not 'systemctl start'. A resource guards its units at its first start on a
node. 'guards on' does it before, even before the software is installed."""

PATIENCE_WITH_SYSTEMD = 60.0
PATIENCE_WITH_LOCK = 5.0
"""Seconds: for each answer of systemd, whose reload can be slow, and for a start or stop that is
under way."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Give the parser its arguments."""
    parser.description = DESCRIPTION
    verbs = parser.add_subparsers(metavar="on|off|show", dest="verb", required=True)
    on = verbs.add_parser("on", help="guard the units of a resource, and prove it",
                          description="Guard the units of RESOURCE on this node, and prove that "
                          "the guards are in force.")
    on.add_argument("resource", metavar="RESOURCE", help="name of the resource in the cluster")
    target.declare_product(on)
    on.add_argument("--services", nargs="+", metavar="SERVICE",
                    help="the services that it runs, where the cluster cannot tell; without it "
                         "the parameter 'services' in the cluster's configuration counts")
    off = verbs.add_parser("off", help="take the guards of a resource off again",
                           description="Take the guards of RESOURCE off on this node. Its units "
                           "can then be started outside the cluster again: at boot, too, where "
                           "they are enabled.")
    off.add_argument("resource", metavar="RESOURCE", nargs="?", help="whose guards")
    off.add_argument("--all", action="store_true", help="those of all resources; needs neither "
                     "the cluster nor systemd")
    off.add_argument("--force", action="store_true",
                     help="even while the resource is active on this node")
    show = verbs.add_parser("show", help="show every guard on this node",
                            description="Show every guard on this node, and whether it is in "
                                        "force.")
    on.set_defaults(act=_on)
    off.set_defaults(act=_off, usage=off)
    show.set_defaults(act=_show)


def needs_root(options: argparse.Namespace) -> bool:
    """Tell whether only root may do it."""
    return bool(options.verb != "show")


def run(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Do what the verb says. Raises errors.MailhaError."""
    options.act(machine, terminal, options)


def _show(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Print the table of all guards."""
    guard_table.show(machine, terminal)


# on

def _on(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Guard the units of a resource and prove it."""
    if not machine.systemd.running():
        raise errors.Failed("systemd does not run here, so there is nothing to guard",
                            remedy="boot the node with systemd")
    resource = target.find(machine, terminal, options.resource, options.product)
    given = None if options.services is None else " ".join(options.services)
    names = _services(resource, given)
    seen = _units(machine, resource, names)
    held = lock.take(machine, resource.name, PATIENCE_WITH_LOCK)
    try:
        for unit in seen.values():
            _refuse_others(machine, resource, unit.name)
        before = {unit.name: guards.owner(machine, unit.name) for unit in seen.values()}
        _write(machine, resource, seen)
    finally:
        held.release()
    terminal.items([(unit.name, _told(unit, before[unit.name], resource))
                    for unit in seen.values()])
    _warn_of_strays(machine, terminal, resource, seen)
    terminal.say(f"Only the cluster resource '{resource.name}' can start these units on this node "
                 "now.")


def _services(resource: Target, given: str | None) -> tuple[str, ...]:
    """Return the services of a resource: those given, else those that its parameter names.

    Empty for all that are on this node.
    """
    known = resource.product.services
    managers = resource.possible("manager") if resource.product.has("manager") else [SYSTEMD]
    if SYSTEMD not in managers:
        raise errors.Failed(f"'{resource.name}' runs its services without systemd (manager="
                            f"{managers[0]}), so it has no units to guard")
    configured: list[tuple[str, ...]] = resource.possible("services") if resource.cib else []
    if given is None:
        if not configured and () == resource.product.parse("services", ""):
            return ()
        if not configured:
            raise errors.Failed(
                f"which services '{resource.name}' runs is not known without the cluster's "
                "configuration", remedy="name them with --services, as in --services "
                                        f"{' '.join(list(known)[:3])}")
        if len(configured) > 1:
            raise errors.Failed(f"which services '{resource.name}' runs depends on a rule",
                                remedy="name those that it runs on this node with --services")
        return configured[0]
    try:
        names: tuple[str, ...] = Words(allowed=tuple(known)).parse(given)
    except Invalid as error:
        raise errors.Failed(f"--services: {error}",
                            remedy="name services as the parameter 'services' does") from None
    strangers = [name for name in names if configured and () not in configured
                 and not any(name in each for each in configured)]
    if strangers:
        raise errors.Failed(
            f"'{resource.name}' does not run {', '.join(strangers)}: a guard would keep its unit "
            "from ever being started", remedy="name services that its parameter 'services' names")
    return names


def _units(machine: Machine, resource: Target, names: tuple[str, ...]) -> dict[str, Unit]:
    """Return the unit of each service as systemd sees it."""
    return resource.product.units(machine, names, PATIENCE_WITH_SYSTEMD, resource.name)


def _refuse_others(machine: Machine, resource: Target, unit: str) -> None:
    """Refuse a unit whose guard is somebody else's. Two resources never share a service."""
    owner = guard_table.owner(machine, unit)
    if owner in ("", resource.name):
        return
    if owner == guard_table.FOREIGN:
        raise errors.Failed(f"{guards.path_of(unit)} is there and is no guard of mailha's",
                            remedy="find out whose it is, and rename it")
    configured = resource.cib is not None and resources.find(resource.cib, owner) is not None
    if configured or active.is_active(machine, owner):
        raise errors.Failed(
            f"{unit} is guarded for the resource '{owner}', which "
            + ("the cluster still has" if configured else "is active on this node"),
            remedy=f"name each service in one resource only: compare 'services' of '{owner}' and "
                   f"'{resource.name}'; then 'mailha guards off {owner}'")


def _write(machine: Machine, resource: Target, seen: dict[str, Unit]) -> None:
    """Write the guards. Those of units that systemd has loaded are proven to be in force."""
    absent = [unit.name for unit in seen.values() if unit.load != "loaded"]
    loaded = [Service(name, unit=unit.name) for name, unit in seen.items()
              if unit.load == "loaded"]
    changed = [guards.set_up(machine, unit, resource.name) for unit in absent]
    if any(changed):
        # For a unit that is installed from here on without its package reloading systemd.
        machine.systemd.reload(timeout=PATIENCE_WITH_SYSTEMD)
    guards.prepare(machine, loaded, resource.name, timeout=PATIENCE_WITH_SYSTEMD)


def _told(unit: Unit, before: str, resource: Target) -> str:
    """Return what has come of one unit."""
    if unit.load == "masked":
        return "guarded, and masked: it cannot be started at all until 'systemctl unmask'"
    if unit.load != "loaded":
        return f"guarded as soon as it is there (systemd: {unit.load})"
    if before == resource.name:
        return "guarded as before"
    return f"guarded, before for '{before}'" if before else "guarded"


def _warn_of_strays(machine: Machine, terminal: Terminal, resource: Target,
                    seen: dict[str, Unit]) -> None:
    """Warn of units that run although the cluster has not started them: a guard stops nothing."""
    if active.is_active(machine, resource.name):
        return
    running = [unit.name for unit in seen.values() if unit.active not in ("inactive", "failed")]
    if running:
        terminal.warn(f"{', '.join(running)} runs outside the cluster, and a guard stops nothing: "
                      f"'systemctl stop {' '.join(running)}'")


# off

def _off(machine: Machine, terminal: Terminal, options: argparse.Namespace) -> None:
    """Take the guards of one resource off, or of all."""
    if bool(options.resource) == options.all:
        options.usage.error("name one RESOURCE, or say --all")
    if options.resource:
        target.check_name(options.resource)
    found = [guard for guard in guard_table.find(machine) if guard.owner != guard_table.FOREIGN]
    chosen = [guard for guard in found if options.all
              or without_instance(guard.owner) == without_instance(options.resource)]
    if not chosen:
        _say_none(terminal, options, sorted({guard.owner for guard in found}))
        return
    _take_off(machine, terminal, chosen, force=options.force)


def take_off_all(machine: Machine, terminal: Terminal, *, force: bool) -> None:
    """Take all guards off, if there are any. Raises errors.MailhaError."""
    chosen = [guard for guard in guard_table.find(machine) if guard.owner != guard_table.FOREIGN]
    if chosen:
        _take_off(machine, terminal, chosen, force=force)


def _take_off(machine: Machine, terminal: Terminal, chosen: list[Guard], *, force: bool) -> None:
    """Take these guards off. Raises errors.MailhaError."""
    owners = sorted({guard.owner for guard in chosen})
    held = []
    try:
        for owner in owners:
            held += _hold(machine, terminal, owner, force=force)
        for owner in owners:
            _refuse_active(machine, terminal, owner, force=force)
        for guard in chosen:
            guards.take_down(machine, guard.unit)
        _after(machine, terminal, chosen)
    finally:
        for each in held:
            each.release()


def _say_none(terminal: Terminal, options: argparse.Namespace, others: list[str]) -> None:
    """Say that there is nothing to take off; others: whose guards there are."""
    if options.all:
        terminal.say("No unit on this node carries a guard.")
        return
    names = ", ".join(f"'{name}'" for name in others)
    terminal.say(f"No unit on this node carries a guard of '{options.resource}'"
                 + (f"; there are guards of {names}." if others else ", nor of any other."))


def _hold(machine: Machine, terminal: Terminal, owner: str, *, force: bool) -> list[FileLock]:
    """Keep a start or stop of the resource from running meanwhile."""
    try:
        return [lock.take(machine, owner, PATIENCE_WITH_LOCK)]
    except errors.MailhaError as error:
        if not force:
            raise
        terminal.warn(f"{error.reason}; going on because of --force")
        return []


def _refuse_active(machine: Machine, terminal: Terminal, owner: str, *, force: bool) -> None:
    """Refuse to take guards off units that the cluster is running."""
    if not active.is_active(machine, owner):
        return
    what = (f"'{owner}' is active on this node: without the guards systemd restarts its services "
            "on its own account and kills them in the middle of a long stop")
    if not force:
        raise errors.Failed(what, remedy="stop it first ('crm resource stop' or 'pcs resource "
                                         "disable') or move it away; --force does it all the same")
    terminal.warn(what)


def _after(machine: Machine, terminal: Terminal, chosen: list[Guard]) -> None:
    """Let systemd read its units anew and say what every one may do again."""
    reloaded = machine.systemd.running()
    if reloaded:
        try:
            machine.systemd.reload(timeout=PATIENCE_WITH_SYSTEMD)
        except errors.MailhaError as error:
            raise errors.Failed(f"the guards are removed, but systemd still has them in mind: "
                                f"{error.reason}", remedy="run 'systemctl daemon-reload'") from None
    terminal.items([(guard.unit, _freed(machine, guard) if reloaded else "guard removed")
                    for guard in chosen])
    if not reloaded:
        terminal.say("systemd does not run here, so only the files were removed.")
    terminal.say("These units can be started outside the cluster again. Where a resource still "
                 "names them, its next start on this node guards them anew.")


def _freed(machine: Machine, guard: Guard) -> str:
    """Return what a unit may do without its guard; a condition may be left from another file."""
    try:
        properties = machine.systemd.properties(guard.unit, timeout=PATIENCE_WITH_SYSTEMD)
    except errors.MailhaError as error:
        return f"guard removed; {error.reason}"
    marker = active.path_of(guard.owner)
    if any(row[0] == "ConditionPathExists" and row[3] == marker
           for row in properties.get("Conditions", [])):
        return ("guard removed, but its condition stands in another file, too: see 'systemctl cat "
                f"{guard.unit}'")
    state = guard_table.at_boot(properties)
    if state == "enabled":
        return "guard removed; it is enabled at boot"
    return "guard removed"
