# SPDX-License-Identifier: GPL-2.0-or-later
"""All contestants."""

from __future__ import annotations

from synccost import csync2, incron, lsyncd, ours
from synccost.contestant import Contestant

OURS = Contestant("mailha sync", ours.setup)

LSYNCD = (
    Contestant("lsyncd (15 s)", lsyncd.setup("", shared=False), limit=25.0, together=True,
               rounds=2),
    Contestant("lsyncd, delay 0", lsyncd.setup("delay = 0,", shared=False)),
    Contestant("lsyncd, delay 0, ControlMaster", lsyncd.setup("delay = 0,", shared=True)),
)

PEERS = (
    *LSYNCD,
    Contestant("csync2 at each event", csync2.setup),
    Contestant("incron, rsync, ControlMaster", incron.setup),
)

ALL = (OURS, *PEERS)
