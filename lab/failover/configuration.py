# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration of the laboratory's cluster, derived from the example that it demonstrates.

Nothing of the example is repeated here, so what is shown is what an administrator can load. The
laboratory differs in two things only: its addresses and devices, and the pace of its monitors, so
that a fault is found in seconds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, NamedTuple

from twonode.plan import BMC_PASSWORD, BMC_USER, Plan

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/kopano-shared-storage"

KOPANO_ADDRESS = "198.51.100.100"
MYSQL_ADDRESS = "198.51.100.101"

FASTER = 10
"""How many times as often as in the example a resource is monitored."""

SHORTEST_INTERVAL = 3
"""Seconds between two monitors, at least."""


class ExampleChanged(Exception):
    """The example no longer says what the laboratory wants to replace; the text says what."""


class NodeFile(NamedTuple):
    """A file of the example that lies on both nodes."""

    source: str     # below nodes/
    place: str      # on a node, without the slash in front
    mode: int


NODE_FILES = (
    NodeFile("bmc-password", "etc/mailha/bmc-password", 0o700),
    NodeFile("mariadb.cnf", "etc/mysql/mariadb.conf.d/99-cluster.cnf", 0o644),
    NodeFile("mariadb-needs-mount.conf",
             "etc/systemd/system/mariadb.service.d/needs-mount.conf", 0o644),
)
"""What the cluster needs beside Kopano's own files, which come from the stand-in."""


def cluster(plan: Plan, example: Path = EXAMPLE) -> str:
    """Return what `crm configure load update` is to load into the cluster of `plan`.

    Raises ExampleChanged when the example and this module no longer fit.
    """
    text = (example / "cluster.crm").read_text()
    _replace(text, _differences(plan))
    return adapt(text, plan)


def adapt(text: str, plan: Plan) -> str:
    """Return a configuration of any of the examples as the cluster of `plan` can load it.

    Raises ExampleChanged for what it names that the laboratory does not have.
    """
    differences = _differences(plan)
    text = _replace(text, {old: new for old, new in differences.items() if old in text})
    left = re.search(r"192\.168\.\S*|/dev/mapper/\S*|CHANGE-ME", text)
    if left:
        raise ExampleChanged(f"a configuration of the examples has {left.group()}, which the "
                             "laboratory does not know how to replace")
    return _at_the_pace_of_the_lab(text)


def node_files(example: Path = EXAMPLE) -> Dict[str, str]:
    """Return the text of each of NODE_FILES by its place, with the laboratory's values."""
    texts = {file.place: (example / "nodes" / file.source).read_text() for file in NODE_FILES}
    secret, database = NODE_FILES[0].place, NODE_FILES[1].place
    texts[secret] = _replace(texts[secret], {"CHANGE-ME": BMC_PASSWORD})
    texts[database] = _replace(texts[database], {"192.168.122.101": MYSQL_ADDRESS})
    return texts


def install(node: str, disk_root: Path) -> None:
    """Write the example's files on a node's disk before its first boot; a provision of Lab."""
    texts = node_files()
    for file in NODE_FILES:
        path = disk_root / file.place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[file.place])
        path.chmod(file.mode)


def resources(text: str) -> List[str]:
    """Return the names of the primitives in a configuration, in order, without fence devices."""
    return re.findall(r"^primitive (\S+) (?!stonith:)", text, re.MULTILINE)


def _differences(plan: Plan) -> Dict[str, str]:
    """Return what stands in the example -> what stands in the laboratory."""
    return {
        "ip=192.168.122.100": f"ip={KOPANO_ADDRESS}",
        "ip=192.168.122.101": f"ip={MYSQL_ADDRESS}",
        "ip=192.168.123.25": f"ip={plan.bmc_address('bob')}",
        "ip=192.168.123.26": f"ip={plan.bmc_address('alice')}",
        "username=fencing": f"username={BMC_USER}",
        "/dev/mapper/mysql": "/dev/san-mysql",
        "/dev/mapper/kopano": "/dev/san-kopano",
    }


def _replace(text: str, differences: Dict[str, str]) -> str:
    """Return the text with every difference made, each where a whole word of it stands."""
    for old, new in differences.items():
        pattern = rf"(?<![\w./-]){re.escape(old)}(?![\w.]*\w)"
        text, times = re.subn(pattern, lambda match: new, text)
        if not times:
            raise ExampleChanged(f"the example no longer says {old!r}, which the laboratory would "
                                 f"replace with {new!r}")
    return text


def _at_the_pace_of_the_lab(text: str) -> str:
    """Return the configuration with shorter intervals, but for those of fence devices, which
    nothing here waits for."""
    lines: List[str] = []
    fence_device = False
    for line in text.splitlines():
        if line.startswith("primitive "):
            fence_device = line.split()[2].startswith("stonith:")
        if not fence_device:
            line = re.sub(r"(op monitor interval=)(\d+)s", _shorten, line)
        lines.append(line)
    return "\n".join(lines) + "\n"


def _shorten(match: re.Match[str]) -> str:
    seconds = max(SHORTEST_INTERVAL, int(match.group(2)) // FASTER)
    return f"{match.group(1)}{seconds}s"
