# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration of the laboratory's cluster, derived from the example that it demonstrates.

Nothing of the example is repeated here, so what is shown is what an administrator can load. The
laboratory differs in two things only: its addresses and devices, and the pace of its monitors, so
that a fault is found in seconds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterable, List, Mapping

from failover.product import EXAMPLES, NodeFile, Product
from twonode.plan import BMC_OPERATOR, BMC_PASSWORD, BMC_USER, Plan

SECRET = NodeFile("kopano-shared-storage/nodes/bmc-password", "etc/mailha/bmc-password", 0o700,
                  {"CHANGE-ME": BMC_PASSWORD})
"""What every example's fence devices ask for the password; all of them take it from there."""

FASTER = 10
"""How many times as often as in the example a resource is monitored."""

SHORTEST_INTERVAL = 3
"""Seconds between two monitors, at least."""


class ExampleChanged(Exception):
    """The example no longer says what the laboratory wants to replace; the text says what."""


def cluster(product: Product, plan: Plan, examples: Path = EXAMPLES) -> str:
    """Return what `crm configure load update` is to load into the cluster of `plan`.

    Raises ExampleChanged when the example and the product no longer fit.
    """
    text = "\n".join((examples / product.example / name).read_text()
                     for name in ("cluster.crm", *product.over))
    _replace(text, {**_common(plan), **product.differences})
    return adapt(text, plan, product.differences)


def adapt(text: str, plan: Plan, own: Mapping[str, str] = {}) -> str:
    """Return a configuration of any of the examples as the cluster of `plan` can load it.

    own: Product.differences of the product whose example it is.
    Raises ExampleChanged for what it names that the laboratory does not have.
    """
    return _at_the_pace_of_the_lab(with_values(text, plan, own))


def with_values(text: str, plan: Plan, own: Mapping[str, str] = {}) -> str:
    """Return a configuration for crmsh or for pcs with the laboratory's values, at its own pace.

    own, errors: as of adapt().
    """
    by_ssh = {"username=fencing identity_file": f"username={BMC_USER} identity_file"}
    differences = {**_common(plan), **by_ssh, **own}
    text = _replace(text, {old: new for old, new in differences.items() if old in text})
    left = re.search(r"192\.168\.\S*|/dev/mapper/\S*|CHANGE-ME", text)
    if left:
        raise ExampleChanged(f"a configuration of the examples has {left.group()}, which the "
                             "laboratory does not know how to replace")
    return text


def node_files(files: Iterable[NodeFile], examples: Path = EXAMPLES) -> Dict[str, str]:
    """Return the text of each file by its place, with the laboratory's values."""
    return {file.place: _replace((examples / file.source).read_text(), file.differences)
            for file in files}


def install(disk_root: Path, files: Iterable[NodeFile]) -> None:
    """Write files of the examples on a node's disk before its first boot."""
    files = list(files)
    texts = node_files(files)
    for file in files:
        path = disk_root / file.place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[file.place])
        path.chmod(file.mode)


def install_secret(node: str, disk_root: Path) -> None:
    """Write what fence devices ask for the BMCs' password; a provision of Lab."""
    install(disk_root, [SECRET])


def resources(text: str) -> List[str]:
    """Return the names of the primitives in a configuration, in order, without fence devices."""
    return re.findall(r"^primitive (\S+) (?!stonith:)", text, re.MULTILINE)


def _common(plan: Plan) -> Dict[str, str]:
    """Return what stands in every example -> what stands in the laboratory."""
    return {
        "ip=192.168.123.25": f"ip={plan.bmc_address('bob')}",
        "ip=192.168.123.26": f"ip={plan.bmc_address('alice')}",
        "username=fencing privlvl=operator": f"username={BMC_OPERATOR} privlvl=operator",
    }


def _replace(text: str, differences: Mapping[str, str]) -> str:
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
