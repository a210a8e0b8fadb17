# SPDX-License-Identifier: GPL-2.0-or-later
"""Small cluster configurations for the tests of the cluster room."""

from __future__ import annotations

from pathlib import Path

from mailha.cluster import cib, stonith

DATA = Path(__file__).parent / "data" / "cib"
"""Configurations written by crmsh and pcs of Pacemaker 2.1.5, and by pcs and tools of 3.0.0."""


def device(name: str, *, targets: str = "", agent: str = "fence_ipmilan", more: str = "",
           target_role: str = "", parameters: str = "") -> str:
    """Return the XML of a fencing device."""
    if targets:
        parameters += f'<nvpair id="{name}-l" name="pcmk_host_list" value="{targets}"/>'
    role = f'<nvpair id="{name}-r" name="target-role" value="{target_role}"/>'
    meta = f'<meta_attributes id="{name}-m">{role}</meta_attributes>' if target_role else ""
    return (f'<primitive id="{name}" class="stonith" type="{agent}">{meta}'
            f'<instance_attributes id="{name}-i">{parameters}</instance_attributes>{more}'
            '</primitive>')


def properties(**values: str) -> str:
    """Return the XML of the bootstrap property set."""
    pairs = "".join(f'<nvpair id="o-{name}" name="{name.replace("_", "-")}" value="{value}"/>'
                    for name, value in values.items())
    return f'<cluster_property_set id="cib-bootstrap-options">{pairs}</cluster_property_set>'


def configuration(*, options: str = "", resources: str = "", constraints: str = "",
                  nodes: str = '<node id="1" uname="alice"/><node id="2" uname="bob"/>',
                  more: str = "") -> cib.Cib:
    """Return a parsed configuration of two nodes."""
    return cib.parse(f"<configuration><crm_config>{options}</crm_config><nodes>{nodes}</nodes>"
                     f"<resources>{resources}</resources><constraints>{constraints}</constraints>"
                     f"{more}</configuration>".encode())


BOTH = device("st-alice", targets="alice") + device("st-bob", targets="bob")


def refusal(information: cib.Cib, node: str = "alice", **more: str) -> str:
    """Return why the node may not start, empty if it may."""
    return stonith.examine(information, node, **more).reason
