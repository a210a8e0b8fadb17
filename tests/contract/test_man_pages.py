# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages: one for every agent and for the tool, without a warning, at 80 columns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator

import pytest
from twonode import image
from twonode.bare import BareSandbox

CHECKOUT = Path(__file__).resolve().parents[2]

OCF_AGENTS = sorted(path.name for path in (CHECKOUT / "agents").iterdir() if path.is_file())
FENCE_AGENTS = sorted(path.name for path in (CHECKOUT / "fence").iterdir() if path.is_file())
PAGES = [*(f"ocf_mailha_{name}.7" for name in OCF_AGENTS),
         *(f"{name}.8" for name in FENCE_AGENTS), "mailha.8"]

LIMIT = 60.0


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with all pages."""
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, "-I", CHECKOUT / "man/generate", directory], check=True,
                   timeout=LIMIT)
    return directory


@pytest.fixture(scope="module")
def rendered(pages: Path) -> Iterator[Dict[str, "subprocess.CompletedProcess[str]"]]:
    """What man shows of each page on a terminal of 80 columns, and what it complains of."""
    with BareSandbox(image.ensure(os.environ.get("LAB_SUITE", "bookworm"))) as machine:
        found = {}
        for page in pages.iterdir():
            machine.path(f"/tmp/{page.name}").write_text(page.read_text())
            found[page.name] = machine.run(
                ["/bin/sh", "-c", f"man --warnings -l /tmp/{page.name} | col -bx"], timeout=LIMIT,
                environment={"MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"})
        yield found


def test_there_is_a_page_for_every_agent_and_for_the_tool(pages: Path) -> None:
    assert sorted(page.name for page in pages.iterdir()) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_gives_no_warning_and_no_line_of_prose_is_too_long(
        rendered: "Dict[str, subprocess.CompletedProcess[str]]", page: str) -> None:
    said = rendered[page]
    assert said.returncode == 0 and said.stderr == ""
    prose, _, _ = said.stdout.partition("\nEXAMPLES\n")
    assert [line for line in prose.splitlines() if len(line) > 80] == []
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert f"\n{heading}\n" in said.stdout


@pytest.mark.parametrize("agent", OCF_AGENTS)
def test_a_page_names_every_parameter_that_the_agent_declares(pages: Path, agent: str) -> None:
    import importlib
    declared = importlib.import_module(f"mailha.agents.{agent.replace('-', '_')}").AGENT
    text = (pages / f"ocf_mailha_{agent}.7").read_text()
    for parameter in declared.parameters:
        assert f"\\fB{parameter.name}\\fR" in text


@pytest.mark.parametrize("agent", FENCE_AGENTS)
def test_what_has_a_default_is_not_called_required(pages: Path, agent: str) -> None:
    text = (pages / f"{agent}.8").read_text()
    assert "Default reboot." in text and "Required." not in text
