# SPDX-License-Identifier: GPL-2.0-or-later
"""Every guard on this node: whose it is, whether it is in force, and what it holds back."""

from __future__ import annotations

from typing import Any

from mailha import errors
from mailha.cli.terminal import Terminal
from mailha.cluster import cib as cluster_information
from mailha.cluster import resources
from mailha.services import active, guards
from mailha.system.machine import Machine
from mailha.system.units import SystemdUnavailable, UnitError
from mailha.validation import Invalid, Name

FOREIGN = "?"
"""The owner of a file that has a guard's name and does not say whose guard it is."""

PATIENCE = 10.0
"""Seconds for one answer of systemd."""

PATIENCE_WITH_CIB = 3.0
"""Seconds for the cluster's configuration, which a node without a cluster does not have."""

HEADING = ("UNIT", "RESOURCE", "GUARD", "AT BOOT", "ACTIVE HERE")


class Guard:
    """One drop-in. unit: the unit that it is for. owner: its resource, or FOREIGN."""

    def __init__(self, unit: str, owner: str) -> None:
        self.unit = unit
        self.owner = owner


def find(machine: Machine) -> list[Guard]:
    """Return all guards on this node, by resource and unit. Raises errors.Failed."""
    found = []
    for directory in machine.files.names(guards.DIRECTORY):
        unit = directory[:-len(".d")]
        if directory.endswith(".d") and unit:
            whose = owner(machine, unit)
            found += [Guard(unit, whose)] if whose else []
    return sorted(found, key=lambda guard: (guard.owner, guard.unit))


def owner(machine: Machine, unit: str) -> str:
    """Return whose guard a unit carries, FOREIGN if that is not said, "" if it carries none.

    Raises errors.Failed if it cannot be read.
    """
    whose = guards.owner(machine, unit)
    if not whose and not machine.files.exists(guards.path_of(unit)):
        return ""
    try:
        return Name().parse(whose)
    except Invalid:
        return FOREIGN


def at_boot(properties: dict[str, Any]) -> str:
    """Return whether a unit is enabled at boot, in systemd's word; "-" where it has none."""
    return str(properties.get("UnitFileState") or "-")


def show(machine: Machine, terminal: Terminal) -> None:
    """Print the table, and below each guard that is not in force the reason why."""
    found = find(machine)
    if not found:
        terminal.say("No unit on this node carries a guard.")
        return
    rows: list[tuple[str, ...]] = [HEADING]
    notes = [""]
    silence = ""
    for guard in found:
        try:
            # A systemd that has been waited for once is not waited for at every unit.
            boot, flaw = ("-", silence) if silence else _look(machine, guard)
        except SystemdUnavailable as error:
            boot, flaw = "-", error.reason
            silence = "systemd does not answer"
        running = "-" if guard.owner == FOREIGN else \
            "yes" if active.is_active(machine, guard.owner) else "no"
        rows.append((guard.unit, guard.owner, "not in force" if flaw else "in force", boot,
                     running))
        notes.append(flaw)
    terminal.table(rows, notes)
    _explain(machine, terminal, found, rows[1:])


def _explain(machine: Machine, terminal: Terminal, found: list[Guard],
             rows: list[tuple[str, ...]]) -> None:
    """Say what the table means: why a unit does not start, what to disable, whose guard is left.

    rows: of the table, one for each guard.
    """
    held = sorted({row[1] for row in rows if row[2] == "in force" and row[4] == "no"})
    if held:
        terminal.say()
        terminal.say("A guarded unit starts only while its resource is active on this node; "
                     "systemd skips every other start over its condition. Not active here: "
                     f"{', '.join(held)}. Where 'crm_mon -1r' shows it started on no node: 'crm "
                     f"resource start {held[0]}' or 'pcs resource enable {held[0]}'.")
    # What a generator enables ("enabled-runtime": postfix@-, postgresql@15-main) stays enabled.
    enabled = [row[0] for row in rows if row[3] == "enabled" and row[1] != FOREIGN]
    if enabled:
        terminal.say()
        terminal.say("Enabled at boot, where the guard holds it back. To spare systemd the try:")
        terminal.line(f"    systemctl disable {' '.join(enabled)}")
    _name_orphans(machine, terminal, found)


def _name_orphans(machine: Machine, terminal: Terminal, found: list[Guard]) -> None:
    """Name the guards whose resource the cluster does not have (any more)."""
    try:
        cib = cluster_information.read(machine, PATIENCE_WITH_CIB)
    except errors.MailhaError:
        # No cluster runs, or this user may not ask it: then nobody knows.
        return
    for name in sorted({guard.owner for guard in found} - {FOREIGN}):
        if resources.find(cib, name) is None and not active.is_active(machine, name):
            units = [guard.unit for guard in found if guard.owner == name]
            terminal.say()
            terminal.say(f"Orphaned: the cluster has no resource '{name}', so nothing can start "
                         f"{', '.join(units)}. To take these guards off:")
            terminal.line(f"    mailha guards off {name}")


def _look(machine: Machine, guard: Guard) -> tuple[str, str]:
    """Return whether a unit is enabled at boot, and why its guard is not in force, "" if it is.

    Raises SystemdUnavailable.
    """
    try:
        unit = machine.systemd.units([guard.unit], timeout=PATIENCE)[guard.unit]
        properties = machine.systemd.properties(guard.unit, timeout=PATIENCE)
    except UnitError as error:
        return "-", error.reason
    boot = at_boot(properties)
    if guard.owner == FOREIGN:
        return boot, f"{guards.path_of(guard.unit)} is no guard of mailha's and is never touched"
    if unit.load == "masked":
        return boot, "the unit is masked, so it cannot be started at all"
    if unit.load != "loaded":
        return boot, (f"there is no such unit (systemd: {unit.load}); it is guarded as soon as it "
                      "is there")
    flaw = guards.flaw(properties, guard.owner)
    return boot, f"{flaw}: see 'systemctl cat {guard.unit}'" if flaw else ""
