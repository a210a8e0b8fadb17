# SPDX-License-Identifier: GPL-2.0-or-later
"""The README: what an administrator copies out of it works, and what it says of agents is so."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Dict, Iterator
from xml.etree import ElementTree

import pytest

from packaging_tools import machine_with_tools
from twonode.bare import BareSandbox

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text()
PARAMETERS = {"bluemind": "bluemind-shared-storage", "config-sync": "config-sync",
              "cyrus": "cyrus-buddies", "cyrus-storage": "cyrus-shared-storage",
              "fencing-guard": "manual-changeover", "kopano": "kopano-shared-storage"}
"""Agent -> the folder of examples whose README has a table of its parameters."""

PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("examples/**/*.md"),
                *CHECKOUT.glob("bench/*.md")])

LIMIT = 60


@pytest.fixture(scope="module")
def node() -> Iterator[BareSandbox]:
    """A machine with the cluster's tools, and the checkout in /checkout."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with machine_with_tools() as sandbox:
        for folder in ("agents", "bin", "examples", "fence", "lib", "man", "units"):
            shutil.copytree(CHECKOUT / folder, sandbox.path("/checkout") / folder,
                            ignore=shutil.ignore_patterns("__pycache__"))
        sandbox.path("/checkout/bench").mkdir()
        for file in ("Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md"):
            shutil.copy(CHECKOUT / file, sandbox.path("/checkout") / file)
        yield sandbox


@pytest.fixture(scope="module")
def installed(node: BareSandbox) -> BareSandbox:
    """The machine after the commands of the README's chapter "Install"."""
    block = re.search(r"```sh\n(.*?)```", README, re.DOTALL)
    assert block is not None
    node.run(["sh", "-e", "-c", f"cd /checkout\n{block.group(1)}\nrm -r /checkout"], timeout=LIMIT,
             check=True)
    return node


@pytest.mark.parametrize("agent", sorted(path.name for path in (CHECKOUT / "agents").iterdir()))
def test_the_cluster_finds_every_agent_after_the_installation(
        installed: BareSandbox, agent: str) -> None:
    done = installed.run(["crm_resource", "--show-metadata", f"ocf:mailha:{agent}"], timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert f'<resource-agent name="{agent}"' in done.stdout


@pytest.mark.parametrize("agent", sorted(path.name for path in (CHECKOUT / "fence").iterdir()))
def test_the_cluster_finds_every_fence_agent_after_the_installation(
        installed: BareSandbox, agent: str) -> None:
    done = installed.run(["stonith_admin", "--metadata", "--agent", agent], timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert f'<resource-agent name="{agent}"' in done.stdout


def test_the_library_is_compiled_after_the_installation(installed: BareSandbox) -> None:
    library = installed.path("/usr/lib/ocf/lib/mailha")
    sources = list(library.rglob("*.py"))
    assert len(sources) == len(list(library.rglob("*.pyc"))) > 10


def test_the_tool_finds_the_library_after_the_installation(installed: BareSandbox) -> None:
    done = installed.run(["mailha", "--version"], timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("agent", PARAMETERS)
def test_every_parameter_that_is_named_exists_with_that_default(
        installed: BareSandbox, agent: str) -> None:
    described = installed.run(["crm_resource", "--show-metadata", f"ocf:mailha:{agent}"],
                              timeout=LIMIT, check=True).stdout
    defaults: Dict[str, str] = {
        parameter.get("name", ""): parameter.find("content").get("default", "")  # type: ignore
        for parameter in ElementTree.fromstring(described).iter("parameter")}
    page = (CHECKOUT / "examples" / PARAMETERS[agent] / "README.md").read_text()
    table = page.partition(f"| parameter of `{agent}` |")[2].partition("\n\n")[0]
    named: Dict[str, str] = {}
    for names, values in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]*)\|", table, re.MULTILINE):
        words = re.findall(r"\w+", names)
        given = [values.strip()] if len(words) == 1 else values.strip().split(", ")
        named.update(zip(words, given))
    assert named == defaults


@pytest.mark.parametrize("command", ["lab/demo", "tests/run", "lab/lab", ".ci/run"])
def test_every_command_is_there(command: str) -> None:
    assert os.access(CHECKOUT / command, os.X_OK)


def test_there_is_one_command_for_the_demonstration_and_one_for_the_tests() -> None:
    lines = [line.strip() for line in README.splitlines() if line.startswith("    sudo ")]
    assert lines == ["sudo lab/demo", "sudo tests/run"]


def test_continuous_integration_calls_the_test_command() -> None:
    assert "exec sudo tests/run\n" in (CHECKOUT / ".ci/run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


COPIED = re.findall(r"^    (cp -r \S+) \. && (cd \S+)\n    editor (\S+) ", README, re.MULTILINE)


@pytest.mark.parametrize("number, product", enumerate(["kopano", "bluemind", "cyrus"]))
def test_what_is_copied_to_begin_with_is_whole(installed: BareSandbox, number: int,
                                               product: str) -> None:
    """Each example refers to files of its neighbours."""
    copy, enter, file = COPIED[number]
    done = installed.run(["sh", "-ec", f"mkdir -p /tmp/{product}; cd /tmp/{product}; {copy} .; "
                          f"{enter}; ls {file} cluster.pcs.sh README.md; grep -o '](\\.\\./[^)]*)' "
                          "README.md | tr -d '])(' | xargs ls"], timeout=LIMIT)
    assert done.returncode == 0 and product in enter, done.stderr


def test_contributing_fits_one_screen() -> None:
    lines = (CHECKOUT / "CONTRIBUTING.md").read_text().splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 220
