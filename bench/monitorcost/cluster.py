# SPDX-License-Identifier: GPL-2.0-or-later
"""Pacemaker's own recurring monitors, switched on for a while and off again.

pacemaker-execd has no command for "run this monitor once" that would cost what a recurring monitor
costs: crm_resource --force-check does the work in a process of its own, over a connection of its
own. So the resources stand in the cluster's configuration, with a monitor every second, and in
maintenance, in which Pacemaker monitors nothing. Taking one out of maintenance is the switch.

They are not managed either, so that Pacemaker looks at what the bench has started, but never starts
or stops anything of it.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Iterator
from xml.etree import ElementTree

from twonode.lab import Lab

from monitorcost.contestants import KOPANO_CLUSTERED, SERVICES, SYSTEMD, Clustered
from monitorcost.node import NODE

INTERVAL = 1.0
"""Seconds between two monitors of a resource."""

SETTLE = 0.4
"""Part of an interval between the first monitors and the context's body, so that no monitor falls
on its beginning or, whole intervals later, on its end. Pacemaker counts the interval from the end
of a monitor, so that they come a little later each time."""

SWITCH_LIMIT = 60.0

_META = "meta is-managed=false maintenance=true"
_MONITOR = f"op monitor interval={INTERVAL:.0f}s timeout=60s on-fail=ignore"

CONFIGURATION = "\n".join([
    "property stonith-enabled=false no-quorum-policy=ignore",
    *[f"primitive systemd-{service} systemd:kopano-{service} {_MONITOR}" for service in SERVICES],
    f"group {SYSTEMD.resource} {' '.join(f'systemd-{service}' for service in SERVICES)} {_META}",
    f"primitive {KOPANO_CLUSTERED.resource} ocf:mailha:kopano {_MONITOR} {_META}",
    *[f"location only-here-{name} {name} resource-discovery=exclusive inf: {NODE}"
      for name in (SYSTEMD.resource, KOPANO_CLUSTERED.resource)],
]) + "\n"

# $1: how many recurring monitors there have to be. Pacemaker records one when it has run for the
# first time, and forgets the record when it ends. The last line is the records.
WAIT = """
look() {
    cibadmin --query --local --xpath "//lrm_rsc_op[@interval='%d']" 2>/dev/null || :
}
until [ "$(look | grep -c '<lrm_rsc_op ')" -eq "$1" ]; do
    sleep 0.1
done
look
""" % (INTERVAL * 1000)


def configure(lab: Lab) -> None:
    """Put the resources into the cluster and wait until it has looked at them once."""
    lab.execute(NODE, ["crm", "--force", "configure", "load", "update", "-"], timeout=SWITCH_LIMIT,
                input=CONFIGURATION)
    lab.execute(NODE, ["crm_resource", "--wait", f"--timeout={SWITCH_LIMIT:.0f}"],
                timeout=2 * SWITCH_LIMIT)


@contextmanager
def monitored(lab: Lab, contestant: Clustered) -> Iterator[float]:
    """Let Pacemaker repeat the monitors of a resource during this context.

    Yields the milliseconds that the slowest first one of them took, as Pacemaker measured it: they
    all run at the same time.
    """
    if not contestant.resource:
        yield 0.0
        return
    try:
        _maintain(lab, contestant, "false")
        records = _wait(lab, contestant.monitors)
        time.sleep(INTERVAL * SETTLE)
        yield max(float(record.get("exec-time", 0)) for record in records.iter("lrm_rsc_op"))
    finally:
        _maintain(lab, contestant, "true")
        _wait(lab, 0)


def _maintain(lab: Lab, contestant: Clustered, value: str) -> None:
    lab.execute(NODE, ["crm_resource", "--resource", contestant.resource, "--meta",
                       "--set-parameter", "maintenance", "--parameter-value", value],
                timeout=SWITCH_LIMIT)


def _wait(lab: Lab, monitors: int) -> ElementTree.Element:
    """Wait until Pacemaker repeats that many monitors; return its records of them."""
    said = lab.execute(NODE, ["sh", "-c", WAIT, "sh", str(monitors)], timeout=SWITCH_LIMIT).stdout
    return ElementTree.fromstring(said or "<none/>")
