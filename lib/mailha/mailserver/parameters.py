# SPDX-License-Identifier: GPL-2.0-or-later
"""The parameters that mean the same in every mail agent."""

from __future__ import annotations

from mailha.ocf import Parameter
from mailha.validation.text import Boolean, Name

REQUIRE_MOUNT = Parameter(
    "require_mount", Boolean(), default="true", reloadable=True,
    short="require that data_dir is mounted",
    long="""\
Whether start insists that data_dir is a mount point, or has a file called .mailha-data in it. Put
that file there, with the disk mounted, if data_dir is a directory on a larger mounted disk. Say
false only if the data is on the node's own disk.""")

MANUAL_NODE = Parameter(
    "manual_node", Name(), default="", reloadable=True,
    short="the only node that may run it without STONITH",
    long="""\
For changeover by hand in a cluster without STONITH: the name of the one node that may run the
resource. To change over, make certain that this node is off, then name the other one.""")


def require_stonith(danger: str) -> Parameter:
    """Return the parameter. danger: what two active servers do to the data, one sentence."""
    return Parameter(
        "require_stonith", Boolean(), default="true", reloadable=True,
        short="require that the other nodes can be fenced",
        long=f"""\
Whether start insists that STONITH is on and covers every other node. {danger}
Say false only if a fencing-guard in front of it asks the same.""")
