# SPDX-License-Identifier: GPL-2.0-or-later
"""What clusters out there have in their configurations changes only where somebody sees it.

Names, defaults and types of parameters and actions are promises: a configuration that was written
for the release before has to go on working. So the metadata of every agent lie in the repository,
and a change of them is part of the change that is reviewed.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

import pytest

from mailha.fencing import metadata as fence_metadata
from mailha.ocf import metadata as ocf_metadata

CHECKOUT = Path(__file__).resolve().parents[2]
RECORDED = CHECKOUT / "tests" / "unit" / "data" / "metadata"

OCF_AGENTS = sorted(path.name for path in (CHECKOUT / "agents").iterdir() if path.is_file())
FENCE_AGENTS = sorted(path.name for path in (CHECKOUT / "fence").iterdir() if path.is_file())


def current(name: str) -> str:
    """Return the metadata of an agent as it is now."""
    agent = importlib.import_module(f"mailha.agents.{name.replace('-', '_')}").AGENT
    if name in FENCE_AGENTS:
        return fence_metadata.text(agent)
    return ocf_metadata.document(agent).decode("ascii")


@pytest.mark.parametrize("name", [*OCF_AGENTS, *FENCE_AGENTS])
def test_the_metadata_are_those_that_were_reviewed(name: str) -> None:
    recorded = (RECORDED / f"{name}.xml").read_text()
    changed = [line for line in difflib.unified_diff(
        recorded.split("\n"), current(name).split("\n"), "recorded", "now", lineterm="", n=0)]
    assert not changed, "\n".join([
        f"the metadata of {name} have changed. Does a configuration that was written before still "
        "work? Then renew them by 'make metadata', and let the change be reviewed with yours:",
        *changed])


def test_no_agent_has_gone_without_a_word() -> None:
    assert sorted(path.stem for path in RECORDED.glob("*.xml")) == sorted(
        [*OCF_AGENTS, *FENCE_AGENTS])
