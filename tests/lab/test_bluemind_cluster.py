# SPDX-License-Identifier: GPL-2.0-or-later
"""The example's cluster with a BlueMind: updates on both nodes, in the right and in a wrong order.

One cluster serves all tests, which follow one after the other as an administrator's days do. Mail
comes in by SMTP all the while; at the end every acknowledged message is read by IMAP.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Dict, Generator, List, Optional
from xml.etree import ElementTree

import pytest
import runbooks
from conftest import SUITE, keep
from waiting import wait_for

from bluemind.layout import DATA
from bluemind.releases import RELEASES
from failover import faults
from failover.cluster import Cluster
from failover.product import places
from failover.products.bluemind import SERVICES, BlueMind
from twonode.lab import LabError

FIRMWARE_SECONDS = 5.0

LIMIT = 240.0
"""Seconds for a changeover: fourteen mounts and twenty services, one after the other."""


class Site:
    """The cluster, and what an administrator does."""

    def __init__(self, cluster: Cluster) -> None:
        """Take a cluster that is up, and let mail run."""
        self.cluster = cluster
        self.lab = cluster.lab
        [self.postman] = cluster.product.postmen(self._connect)
        self.postman.start()

    @property
    def active(self) -> str:
        """The node on which BlueMind runs, when it does: a recovery may be under way."""
        def look() -> Optional[str]:
            state = self.cluster.state()
            return state.only_place(SERVICES) if state is not None else None

        return self.cluster.wait_until("BlueMind runs in one place", look) or ""

    @property
    def passive(self) -> str:
        """The other one."""
        return next(node for node in self.cluster.nodes if node != self.active)

    def sh(self, node: str, script: str, *, check: bool = True) -> str:
        """Run a shell script on a node and return what it printed."""
        said = self.lab.execute(node, ["/bin/sh", "-ec", script], timeout=LIMIT, check=check)
        return said.stdout

    def play(self, block: str, *, on: str, **words: str) -> str:
        """Give a node the commands of the manual's procedure; block, words: as of runbooks.play."""
        return runbooks.play(self.lab, on, block, **words)

    def version(self, node: str) -> str:
        """Return the version of BlueMind's packages on a node."""
        return self.sh(node, "dpkg-query -W -f '${Version}' bm-core").partition("-")[0]

    def all_run(self, on: str) -> None:
        """Wait until everything runs on a node, with both nodes there and no failure left."""
        self.cluster.wait_until(f"everything runs on {on}",
                                lambda: self.cluster.all_run(on), timeout=LIMIT)

    def mail_is_accepted(self) -> None:
        """Wait until a letter is accepted from now on."""
        now = time.time()
        wait_for("mail", lambda: self.postman.acknowledged_since(now))

    def failures(self) -> Dict[str, str]:
        """Return the reason of each failed operation that crm_mon lists, by operation and node."""
        root = ElementTree.fromstring(
            self.sh(self.cluster.running_nodes()[0], "crm_mon -1 --output-as=xml"))
        return {f"{each.get('op_key')} {each.get('node')} {each.get('exitcode')}":
                str(each.get("exitreason")) for each in root.iter("failure")}

    def _connect(self, address: str, port: int, timeout: float) -> socket.socket:
        try:
            return self.lab.connect(address, port, timeout)
        except LabError as error:
            raise OSError(str(error)) from error


@pytest.fixture(scope="module")
def site(image: Path) -> Generator[Site, None, None]:
    """Return the cluster with BlueMind and mail running; at its end no mail is lost."""
    cluster = Cluster(BlueMind(), f"t{os.getpid()}-m", SUITE, post_seconds=FIRMWARE_SECONDS)
    with keep(cluster.lab):
        cluster.up(lambda line: print(line, file=sys.stderr))
        site = Site(cluster)
        site.mail_is_accepted()
        yield site
        waiting = site.postman.finish(60)
        assert waiting == 0, site.postman.refusals[-1:]
        acknowledged = {receipt.message_id for receipt in site.postman.receipts}
        state = cluster.state()
        there = cluster.product.look_for(acknowledged, cluster.lab,
                                         places(state.active if state else {}), site._connect,
                                         lambda line: print(line, file=sys.stderr))
        assert len(acknowledged - there) == 0, "acknowledged messages are lost"


# -- the passive node ---------------------------------------------------------------------------

PROGRAMS = "pgrep -f '[b]luemind-standin/run|[c]yrmaster|[p]ostgres|[p]ostfix|[n]ginx' || :"


def below_the_mount_points(site: Site, node: str) -> str:
    """Return all that is on a passive node's own disk where mail's directories belong."""
    return site.sh(node, f"cd /var; find {' '.join(DATA)} /srv/bluemind -printf '%p %y %T@\\n'")


def test_an_update_on_the_passive_node_starts_nothing_and_touches_nothing(site: Site) -> None:
    """BlueMind's packages start it: the trigger of dpkg, each package by itself, the scriptlets."""
    passive = site.passive
    site.play("update-bluemind.guards", on=passive)
    before = below_the_mount_points(site, passive)
    # The same packages once more: what they do is the same, and the nodes stay alike.
    site.sh(passive, f"dpkg -i /var/cache/bluemind/{site.version(passive)}/*.deb")
    site.sh(passive, "dpkg-trigger --by-package=bm-node bluemindtarget; "
                     "dpkg --triggers-only --pending")
    site.sh(passive, "/usr/share/bluemind-standin/rpm-scriptlets")
    site.sh(passive, "systemctl start bluemind.target postfix postgresql")
    assert site.sh(passive, "dpkg --audit; " + PROGRAMS) == ""
    assert below_the_mount_points(site, passive) == before
    said = site.sh(passive, "mailha guards show")
    for unit in ("bm-core.service", "bm-ysnp.service", "bm-cyrus-imapd.service"):
        assert unit in said
    site.mail_is_accepted()


# -- the procedure of the man page --------------------------------------------------------------

def install(site: Site, node: str, block: str, version: str) -> None:
    """Play "apt-get upgrade": the laboratory has no archive to fetch from, but the packages."""
    assert "apt-get upgrade" in runbooks.script(block)
    site.sh(node, f"dpkg -i /var/cache/bluemind/{version}/*.deb")


def update(site: Site, shell: str, version: str, *, wizard: bool) -> None:
    """Play the procedure with crm or with pcs."""
    active, passive = site.active, site.passive
    assert "partition with quorum" in site.play("update-bluemind.before", on=active)
    for node in site.cluster.nodes:
        site.play("update-bluemind.guards", on=node)
    site.play({"crm": "update-bluemind.off.crm", "pcs": "update-bluemind.off.pcs"}[shell],
              on=active)
    before = below_the_mount_points(site, passive)
    install(site, passive, "update-bluemind.packages", version)
    assert site.play("update-bluemind.audit", on=passive) + site.sh(passive, PROGRAMS) == ""
    assert below_the_mount_points(site, passive) == before
    install(site, active, "update-bluemind.packages-active", version)
    assert site.sh(active, "dpkg --audit") == ""
    site.play("update-bluemind.accept", on=active)
    site.play("update-bluemind.restart", on=active)
    ask = runbooks.script("update-bluemind.state")
    if wizard:
        wait_for("the upgrade to be due", lambda: "UPGRADE" in site.sh(active, ask, check=False))
        # What the setup wizard asks for when the administrator lets it.
        site.sh(active, "curl -s -X POST "
                        "http://127.0.0.1:8090/api/system/installation/_upgrade")
    wait_for("BlueMind", lambda: "CORE_STATE_RUNNING" in site.sh(active, ask, check=False))
    assert site.play("update-bluemind.versions", on=active) == site.play(
        "update-bluemind.versions", on=passive)
    site.play({"crm": "update-bluemind.on.crm", "pcs": "update-bluemind.on.pcs"}[shell], on=active)
    site.all_run(active)
    # Not that nothing has failed: on a busy machine a controller may have answered too late.
    assert "bluemind_services" in site.play("update-bluemind.look", on=active)
    site.mail_is_accepted()
    assert site.version(active) == site.version(passive) == version


def newer(site: Site) -> List[str]:
    """Return the next build of the release, and the next release."""
    product = site.cluster.product
    assert isinstance(product, BlueMind)
    return RELEASES[product.release].successors()


def test_a_new_build_by_the_procedure_with_crm(site: Site) -> None:
    update(site, "crm", newer(site)[0], wizard=False)


def test_a_new_release_on_the_passive_node_alone_is_refused_and_mail_returns(site: Site) -> None:
    """The wrong order: the packages on one node, no word, and a changeover at once."""
    active, passive = site.active, site.passive
    site.sh(passive, f"dpkg -i /var/cache/bluemind/{newer(site)[1]}/*.deb")
    site.play("update-bluemind.move", on=active, alice=passive)
    wait_for("the refusal", lambda: [
        reason for operation, reason in site.failures().items()
        if operation.startswith(f"{SERVICES}_start") and operation.endswith(f"{passive} 5")
        # Pacemaker keeps 128 characters of a reason; the log has the remedy.
        and "newer release" in reason], timeout=LIMIT)
    assert "mailha accept-version" in site.sh(passive, "journalctl --no-pager -b")
    site.play("update-bluemind.clear", on=active)
    wait_for("BlueMind where it was", lambda: _runs(site, active), timeout=LIMIT)
    site.mail_is_accepted()
    site.sh(active, f"crm_resource --cleanup -r {SERVICES} --node {passive}")
    site.all_run(active)


def _runs(site: Site, node: str) -> bool:
    state = site.cluster.state()
    return state is not None and state.only_place(SERVICES) == node


def test_a_new_release_by_the_procedure_with_pcs(site: Site) -> None:
    update(site, "pcs", newer(site)[1], wizard=True)


# -- faults -------------------------------------------------------------------------------------

@pytest.mark.parametrize("service", ["bm-cyrus-imapd", "bm-tika"])
def test_a_killed_service_is_recovered_or_only_missed(site: Site, service: str) -> None:
    faults.resource_failure(site.cluster, [site.postman], service, print)


def test_the_other_node_takes_over_with_the_new_release_when_the_power_fails(site: Site) -> None:
    survivor = site.passive
    faults.node_failure(site.cluster, [site.postman], print)
    assert site.active == survivor
