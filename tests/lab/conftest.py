# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the tests that run in a real cluster.

They need root and a machine that can run a lab; without root they are skipped, and on a machine
that cannot run a lab they fail, because a skipped cluster test looks like a passed one.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Generator, Iterator, List, Optional

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

import agent_node  # noqa: E402
import bluemind_nodes  # noqa: E402
from filesystems.guest import Guest  # noqa: E402
from filesystems.recipe import STORAGE  # noqa: E402
from kopano import provision  # noqa: E402
from mailserver.recipe import MAIL  # noqa: E402
from twonode import evidence, layer, plan, preflight  # noqa: E402
from twonode import image as root_image  # noqa: E402
from twonode.lab import Lab  # noqa: E402

from serving_cluster import ServingCluster  # noqa: E402

SUITE = os.environ.get("LAB_SUITE", "bookworm")
"""The release of the nodes; `tests/run matrix` runs these tests on each."""

_living: List[Lab] = []
_serving: List[ServingCluster] = []
_failed: List[pytest.Item] = []


@pytest.fixture(scope="session")
def image() -> Path:
    """Return the root image of the release, built now if need be."""
    if os.geteuid() != 0:
        pytest.skip("only root can make machines")
    findings = preflight.check(SUITE)
    assert not findings, "; ".join(findings)
    return root_image.ensure(SUITE, lambda line: print(line, file=sys.stderr))


@pytest.fixture(scope="session")
def storage_layer(image: Path) -> Path:
    """Return the layer with the packages for the tests of storage, built now if need be."""
    return layer.ensure(SUITE, STORAGE, lambda line: print(line, file=sys.stderr))


@pytest.fixture(scope="session")
def mail_layer(image: Path) -> Path:
    """Return the layer with real mail software, built now if need be."""
    return layer.ensure(SUITE, MAIL, lambda line: print(line, file=sys.stderr))


@pytest.fixture(scope="session")
def guest_of_storage(image: Path) -> Guest:
    """Return a guest with three disks that has not been booted yet.

    The kernel of bullseye's user-mode-linux (5.10) opens no file of an overlay over its host's.
    """
    suite = "bookworm" if SUITE == "bullseye" else SUITE
    packages = layer.ensure(suite, STORAGE, lambda line: print(line, file=sys.stderr))
    return Guest(root_image.place(suite), [packages], disks=3)


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


@contextlib.contextmanager
def keep(lab: Lab) -> Iterator[None]:
    """Have a laboratory looked into when a test fails, and taken down at the end."""
    _end_labs_of_dead_sessions()
    _living.append(lab)
    try:
        yield
    finally:
        _living.remove(lab)
        lab.down()


@pytest.fixture(scope="session")
def bluemind_machines(image: Path) -> Generator[Dict[str, bluemind_nodes.Node], None, None]:
    """Return one node for each manner of release of BlueMind, by name; they end with the session.

    They are of one laboratory, with one boot for the tests of the stand-in and of the agent.
    """
    lab = bluemind_nodes.lab(f"t{os.getpid()}-b", SUITE)
    with keep(lab):
        lab.up()
        yield bluemind_nodes.prepared(lab)


@pytest.fixture(scope="session")
def agents_node(image: Path) -> Generator[agent_node.Node, None, None]:
    """Return the one node on which all tests of an agent call it; it ends with the session."""
    _end_labs_of_dead_sessions()
    lab = Lab(f"t{os.getpid()}-a", suite=SUITE,
              provision=[functools.partial(provision.provision, image=image)])
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
def node(agents_node: agent_node.Node, request: pytest.FixtureRequest
         ) -> Generator[agent_node.Node, None, None]:
    """Return the same as it is before anything was started; a test must stop what it starts."""
    yield agents_node
    left = agents_node.living()
    agents_node.reset()
    assert not left or request.node in _failed, f"the test has left processes: {left}"


@pytest.fixture
def cluster(image: Path) -> Generator[ServingCluster, None, None]:
    """Return the whole cluster, healthy and with mail running; it is made for the first test only.

    After each test it is made healthy again, and every acknowledged message is looked for.
    """
    if _serving and _serving[0].spoilt:
        _end_serving()
    if not _serving:
        _end_labs_of_dead_sessions()
        made = ServingCluster(f"t{os.getpid()}-9", SUITE)
        _serving.append(made)
        _living.append(made.lab)
        made.up(lambda line: print(line, file=sys.stderr))
    serving = _serving[0]
    serving.begin()
    yield serving
    serving.end()


def _end_serving() -> None:
    """Take down the whole cluster."""
    for serving in _serving:
        _living.remove(serving.lab)
        serving.lab.down()
    _serving.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(nextitem: Optional[pytest.Item]) -> Generator[None, None, None]:
    """Take down the whole cluster as soon as no test follows that wants it: it is not idle."""
    yield
    if "cluster" not in getattr(nextitem, "fixturenames", ()):
        _end_serving()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Save what the nodes say at the moment in which a test fails."""
    outcome = yield
    if outcome.get_result().failed:
        _failed.append(item)
        test = re.sub(r"[^\w.-]+", "_", item.nodeid)
        for lab in _living:
            evidence.save(lab, evidence.PLACE / test / lab.name)


def _end_labs_of_dead_sessions() -> None:
    """Take down what an earlier session of these tests left when it was killed."""
    for name in plan.existing():
        match = re.fullmatch(r"t(\d+)-\w+", name)
        if match and not Path(f"/proc/{match.group(1)}").exists():
            Lab(name).down()
