# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:cyrus-storage: Cyrus starts only on storage that is fit for it.

It stands in the group between Filesystem and the mail service. This is its declaration; what each
action does stands in the module of that name, which is loaded when the action is called.
"""

from __future__ import annotations

from mailha.ocf.declaration import Action, Agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailha.errors import MailhaError
    from mailha.ocf.call import Call
    from mailha.ocf.declaration import Parameter
    from mailha.system.machine import Machine


def _start(call: Call, machine: Machine | None = None) -> None:
    """Leave the marker if every path is fit."""
    from mailha.agents.cyrus_storage.start import start as act
    act(call, machine or _machine())


def _monitor(call: Call, machine: Machine | None = None) -> None:
    """Return if the marker is there and every path is still fit."""
    from mailha.agents.cyrus_storage.monitor import monitor as act
    act(call, machine or _machine())


def _stop(call: Call, machine: Machine | None = None) -> None:
    """Take the marker away and touch nothing else. Never fails."""
    from mailha.agents.cyrus_storage.marker import Marker
    warning = Marker(machine or _machine(), call.resource).clear()
    if warning:
        call.log.warning(warning)


def _reload_agent(call: Call, machine: Machine | None = None) -> None:
    """Fail as the next monitor would if what runs is not fit under the changed parameters."""
    from mailha.agents.cyrus_storage.monitor import monitor as act
    act(call, machine or _machine())
    call.log.info("the changed parameters are in force")


def _findings(call: Call, machine: Machine | None = None) -> Iterable[MailhaError]:
    """Return what a start on this node would be refused for."""
    from mailha.agents.cyrus_storage.start import findings as find
    return find(call, machine or _machine())


def _machine() -> Machine:
    """Return this machine."""
    from mailha.system.machine import Machine
    return Machine()


def _parameters() -> tuple[Parameter, ...]:
    from mailha.agents.cyrus_storage.parameters import PARAMETERS
    return PARAMETERS


AGENT = Agent(
    "cyrus-storage",
    short="Lets Cyrus start only on storage that is fit for it",
    long="""
Cyrus maps its indexes into memory, locks them between processes and renames files that are in use.
A network file system does none of this as a disk does, and a directory on which nothing is mounted
is an empty mail server. Either of them costs mail, and neither keeps Cyrus from starting. This
resource does: put it into the group behind the Filesystem resources and before Cyrus (or BlueMind).

start looks at every path that Cyrus's configuration names, with @include and BlueMind's
/etc/cyrus-partitions, and at those of the parameters. Each must lie on a mount of a known, fit
type that is really mounted there, whole and writable, whose devices exist down to the disks: ext4,
xfs, btrfs and others on local disks, LVM, md, multipath, Fibre Channel, iSCSI or DRBD, and the
cluster file systems GFS2 and OCFS2. NFS and its like, FUSE, overlays, automounter triggers,
read-only file systems and files on a server behind a loop device are refused; so is the wrong disk
if the parameter device names the right one. What means nothing after a restart (lock, proc,
temporary files and caches) may be in memory.

An unfit path is refused with "not installed" (5) and the reason, so that the other node may try;
the node is banned until the failure is cleaned up ("crm resource cleanup" or "pcs resource
cleanup"), or failure-timeout is over. Nothing is ever touched before its mount has been accepted
from the kernel's table, so a dead server cannot delay the answer.

monitor is "not running" without the marker that start left in this boot, whatever is mounted: a
disk that was mounted by hand, or GFS2 on both nodes, does not make this resource run twice. With
it, depth 0 gives the same verdict again, also for the mounts that the running Cyrus sees (its unit
may have a mount namespace of its own). Depth 10 uses a probe file in a child process to try what
Cyrus relies on: locks, shared mappings, rename, link, fsync. A full disk is a warning only. start
does that, too, and says which paths do not exist yet: on the wrong disk, none of them does. stop
removes the marker, touches nothing else and always succeeds.

'mailha storage' shows the same verdicts as a table, also before there is a cluster.
""",
    parameters=_parameters,
    actions=(
        Action("start", _start, timeout=60),
        Action("stop", _stop, timeout=20),
        Action("monitor", _monitor, timeout=30, interval=30, depth=0),
        Action("monitor", _monitor, timeout=60, interval=120, depth=10),
        Action("reload-agent", _reload_agent, timeout=30),
    ),
    findings=_findings,
)
