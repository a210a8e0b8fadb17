# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the tests that run in a real cluster.

They need root and a machine that can run a lab; without root they are skipped, and on a machine
that cannot run a lab they fail, because a skipped cluster test looks like a passed one.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Generator, List

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

import agent_node  # noqa: E402
from kopano import provision  # noqa: E402
from twonode import evidence, plan, preflight  # noqa: E402
from twonode import image as root_image  # noqa: E402
from twonode.lab import Lab  # noqa: E402

SUITE = os.environ.get("LAB_SUITE", "bookworm")
"""The release of the nodes; `tests/run matrix` runs these tests on each."""

_living: List[Lab] = []


@pytest.fixture(scope="session")
def image() -> Path:
    """Return the root image of the release, built now if need be."""
    if os.geteuid() != 0:
        pytest.skip("only root can make machines")
    findings = preflight.check(SUITE)
    assert not findings, "; ".join(findings)
    return root_image.ensure(SUITE, lambda line: print(line, file=sys.stderr))


@pytest.fixture(scope="module")
def make_lab(image: Path) -> Generator[Callable[..., Lab], None, None]:
    """Return a function that brings up a lab, with the keywords of Lab; it ends with the module."""
    _end_labs_of_dead_sessions()
    numbers = itertools.count()
    made: List[Lab] = []

    def make(**options: Any) -> Lab:
        lab = Lab(f"t{os.getpid()}-{next(numbers)}", **{"suite": SUITE, **options})
        made.append(lab)
        _living.append(lab)
        lab.up()
        return lab

    yield make
    for lab in made:
        _living.remove(lab)
        lab.down()


@pytest.fixture(scope="session")
def agents_node(image: Path) -> Generator[agent_node.Node, None, None]:
    """Return the one node on which all tests of an agent call it; it ends with the session."""
    _end_labs_of_dead_sessions()
    lab = Lab(f"t{os.getpid()}-a", provision=[functools.partial(provision.provision, image=image)])
    _living.append(lab)
    try:
        lab.up()
        node = agent_node.prepared(lab)
        yield node
        node.close()
    finally:
        _living.remove(lab)
        lab.down()


@pytest.fixture
def node(agents_node: agent_node.Node) -> Generator[agent_node.Node, None, None]:
    """Return the same as it is before anything was started; a test must stop what it starts."""
    yield agents_node
    left = agents_node.living()
    agents_node.reset()
    assert not left, f"the test has left processes: {left}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Save what the nodes say at the moment in which a test fails."""
    outcome = yield
    if outcome.get_result().failed:
        test = re.sub(r"[^\w.-]+", "_", item.nodeid)
        for lab in _living:
            evidence.save(lab, evidence.PLACE / test / lab.name)


def _end_labs_of_dead_sessions() -> None:
    """Take down what an earlier session of these tests left when it was killed."""
    for name in plan.existing():
        match = re.fullmatch(r"t(\d+)-\w+", name)
        if match and not Path(f"/proc/{match.group(1)}").exists():
            Lab(name).down()
