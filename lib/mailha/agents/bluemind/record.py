# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of the version that runs, kept up to date by a deep monitor.

Packages are updated on the active node while BlueMind runs, and it is started anew by its own
wizard, not by the cluster. A record that still named the version before would let the node with the
old one take over the new data.
"""

from __future__ import annotations

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf import Call
    from mailha.services.evidence import Sight
    from mailha.system.machine import Machine

# Seconds that the data's disk may take for an answer, and which part of the budget.
LONGEST, SHARE = 10.0, 0.15


def keep(call: Call, machine: Machine, seen: list[Sight]) -> None:
    """Record the version of a core that runs, if it is another one than what was recorded.

    Only an installed version that the running core was started from counts. Whatever goes wrong is
    a warning: what serves is not to be recovered for a record.
    """
    core = next((sight for sight in seen if sight.service.name == "core" and sight.serves), None)
    if core is None:
        return
    from mailha.agents.bluemind import plan
    from mailha.products.bluemind import installed
    from mailha.profiles.bluemind import SOFTWARE
    from mailha.storage import last_run
    directory = call.parameters["data_dir"]
    patience = max(1.0, min(LONGEST, call.left() * SHARE))
    try:
        version = plan.version(call, machine)
        before = last_run.read(machine, directory, patience)
        if before is not None and before.version.text == version.text:
            return
        if before is not None and version.older(before.version):
            # The record is what keeps older software from newer data; only 'mailha accept-version'
            # takes it back.
            call.log.warning(f"BlueMind {version} is installed on this node, which is older than "
                             f"{before.version} that ran on this data; it would not be started "
                             "again: update this node")
            return
        begun = machine.clock.wall() - max(map(machine.processes.age, core.processes), default=0.0)
        unpacked = installed.unpacked_at(machine, patience)
        if unpacked is not None and begun < unpacked:
            call.log.info(f"bm-core {version} is installed, and the one that runs is older: "
                          "restart it to bring the update into force")
            return
        last_run.write(machine, directory, last_run.Record(
            SOFTWARE, version, call.node or "unknown", machine.clock.wall()), patience)
        call.log.info(f"BlueMind {version} runs on this data now"
                      + (f", after {before.version}" if before is not None else ""))
    except errors.MailhaError as error:
        call.log.warning(str(error))
