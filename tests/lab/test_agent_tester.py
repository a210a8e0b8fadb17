# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf-tester itself, on a node where Kopano can really be started."""

from __future__ import annotations

import shlex
from typing import Dict
from xml.etree import ElementTree

import pytest

from agent_node import AGENT, ALL, Node

PARAMETERS: Dict[str, Dict[str, str]] = {
    "zero": {},
    "all": {"services": ALL, "optional_services": "gateway, ical", "data_dir": "/var/lib/kopano",
            "require_mount": "true", "config_dir": "/etc/kopano", "binary_dir": "/usr/sbin",
            "manager": "direct", "require_stonith": "true", "manual_node": "alice"}}


def test_all_parameters_are_all_that_there_are(node: Node) -> None:
    root = ElementTree.fromstring(node.sh(f"{AGENT} meta-data"))
    assert {element.get("name") for element in root.iter("parameter")} == set(PARAMETERS["all"])


@pytest.mark.parametrize("given", list(PARAMETERS))
def test_ocf_tester_has_nothing_against_it(node: Node, given: str) -> None:
    parameters = PARAMETERS[given]
    options = [word for name, value in parameters.items() for word in ("-o", f"{name}={value}")]
    command = shlex.join(["ocf-tester", "-n", "test", *options, AGENT])
    said = node.sh(f"{command} 2>&1", check=False, timeout=300)
    assert said.endswith(f"{AGENT} passed all tests\n") and "* rc=" not in said, said
