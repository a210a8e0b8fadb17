# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole cluster of the example, with mail running, for tests that hurt it.

One cluster serves all tests. Each test begins with everything well and mail being accepted, and
ends when everything is well again and not one acknowledged message is lost; see begin() and end().
"""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional
from xml.etree import ElementTree

import runbooks
from cluster_view import ClusterView
from failover import configuration
from failover.cluster import Cluster
from failover.mail import Postman
from failover.products import kopano
from failover.products.kopano import DATABASE, KOPANO, Kopano
from twonode.lab import LabError

FIRMWARE_SECONDS = 5.0
"""A node must not be back before the fencing that killed it has returned; that takes about 3 s."""

DEEP_INTERVAL = 5
"""Seconds between two monitors of depth 10; tests wait for them."""

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SECTIONS = ("crm_config", "constraints", "resources", "rsc_defaults", "op_defaults")
"""What a test may change of the configuration, and end() changes back, in this order: a constraint
must not outlive what a test has added."""


class ServingCluster(ClusterView):
    """The cluster, the mail that runs through it, and what an administrator does to it.

    spoilt: it has not been seen well since it was made, or since the last test began.
    """

    def __init__(self, name: str, suite: str) -> None:
        """Describe it; `up` makes it.

        name, suite: as of twonode.lab.Lab.
        """
        cluster = Cluster(Kopano(), name, suite, post_seconds=FIRMWARE_SECONDS)
        cluster.text, changed = re.subn(
            r"op monitor interval=\d+s (timeout=\d+s OCF_CHECK_LEVEL=10)",
            rf"op monitor interval={DEEP_INTERVAL}s \1", cluster.text)
        assert changed, "the example has no monitor of depth 10"
        super().__init__(cluster)
        self.spoilt = True
        self._whole: Dict[str, str] = {}
        self._postman: Optional[Postman] = None
        self._forgotten = 0.0

    # -- from test to test --------------------------------------------------------------------

    def up(self, say: Callable[[str], None]) -> None:
        """Bring it up, with everything running."""
        self.cluster.up(say)
        self._whole = self._sections()
        self.spoilt = False

    def begin(self) -> None:
        """Let mail run; return when the first letter is accepted."""
        self.spoilt = True
        self.began = time.time()
        self._forgotten = 0.0
        [postman] = self.cluster.product.postmen(self._connect)
        postman.start()
        self._postman = postman
        self.wait_until("the first letter is accepted", lambda: bool(postman.receipts))

    def end(self) -> None:
        """Undo what the test did, wait until all is well, and look for every acknowledged message.

        Raises failover.cluster.NotInTime, and AssertionError where mail is lost.
        """
        self._restore_machines()
        if self._restore_configuration():
            self.settle()
        self.wait_until("all is well again", self._all_well)
        self._look_for_mail()
        self.spoilt = False

    def _restore_machines(self) -> None:
        status = self.lab.status()["nodes"]
        for node, facts in status.items():
            for link in facts["cut"]:
                self.lab.heal(node, link)
            if not facts["controller"]:
                self.lab.bmc_on(node)
            if facts["muted"]:
                self.lab.unmute_ipmi(node)
            if facts["power"] == "off":
                self.lab.poweron(node)
        self.lab.wait_online()
        for node in self.nodes_in_state("standby"):
            self.run("crm_standby", "-N", node, "-D")

    def _restore_configuration(self) -> bool:
        """Undo what the test has changed; return whether there was something."""
        now = self._sections()
        changed = [section for section in SECTIONS
                   if section in self._whole and now.get(section) != self._whole[section]]
        for section in changed:
            self.run("cibadmin", "--replace", "--scope", section, "--xml-pipe",
                     input=self._whole[section])
        return bool(changed)

    def _sections(self) -> Dict[str, str]:
        """Return the text of each section of the configuration."""
        root = ElementTree.fromstring(self.run("cibadmin", "--query", "--scope", "configuration"))
        texts = {}
        for section in root:
            if section.tag not in SECTIONS:
                continue
            for values in section.iter("cluster_property_set"):
                for pair in list(values):
                    # Whoever cleans up leaves the time of it there.
                    if pair.get("name") == "last-lrm-refresh":
                        values.remove(pair)
            texts[section.tag] = ElementTree.tostring(section, encoding="unicode")
        return texts

    def _all_well(self) -> bool:
        state = self.cluster.all_run()
        if state is None or not self.idle():
            return False
        if state.failures:
            self.clean_up()
        return state.failures == 0

    def _look_for_mail(self) -> None:
        postman = self.postman
        waiting = postman.finish(60)
        assert waiting == 0, f"{waiting} letters wait; the last answer: {postman.refusals[-1:]}"
        acknowledged = {receipt.message_id for receipt in postman.receipts
                        if receipt.when >= self._forgotten}
        node = self.place_of(DATABASE)
        lost = acknowledged - kopano.in_database(self.lab, node)
        assert not lost, f"{len(lost)} acknowledged messages are not in the database"
        read = kopano.by_pop3(self._connect)
        unreadable = acknowledged - read
        assert not unreadable, f"{len(unreadable)} acknowledged messages cannot be read"
        # The next test has enough to read.
        self.run("mariadb", "-e", "DELETE FROM kopano.messages", node=node)

    # -- mail ---------------------------------------------------------------------------------

    @property
    def postman(self) -> Postman:
        """Who delivers the mail of this test."""
        assert self._postman is not None
        return self._postman

    def refused(self, since: float = 0.0) -> List[str]:
        """Return why letters were not accepted at the first try, since a moment."""
        return [why for when, why in list(self.postman.refusals) if when >= since]

    def mail_is_accepted(self) -> None:
        """Wait until a letter has been accepted from now on."""
        now = time.time()
        self.wait_until("mail is accepted", lambda: self.postman.acknowledged_since(now))

    def _connect(self, address: str, port: int, timeout: float) -> socket.socket:
        try:
            return self.lab.connect(address, port, timeout)
        except LabError as error:
            # Only after a test that has failed, when the laboratory goes before the postman.
            raise OSError(str(error)) from error

    def forget_mail(self) -> None:
        """Ask no more for the letters that were accepted so far: a backup does not have them."""
        self._forgotten = time.time()

    # -- what an administrator does -----------------------------------------------------------

    def play(self, block: str, *, on: str, **words: str) -> str:
        """Give a node the commands of a runbook and return what they printed.

        block, words: as of runbooks.play.
        """
        return runbooks.play(self.lab, on, block, **words)

    def kill(self, node: str, *programs: str) -> None:
        """Kill every process of the programs with signal 9."""
        self.run("killall", "-9", *programs, node=node)

    def set_property(self, name: str, value: str) -> None:
        """Set a property of the cluster."""
        self.run("crm_attribute", "--name", name, "--update", value)

    def set_parameter(self, resource: str, name: str, value: str) -> None:
        """Set a parameter of a resource."""
        self.run("crm_resource", "-r", resource, "--set-parameter", name,
                 "--parameter-value", value)

    def set_meta(self, resource: str, name: str, value: str) -> None:
        """Set a meta-attribute of a resource."""
        self.run("crm_resource", "-r", resource, "--meta", "--set-parameter", name,
                 "--parameter-value", value)

    def disable_deep_monitor(self) -> None:
        """Leave Kopano with the monitor of depth 0 alone.

        A failure that both monitors find before the recovery begins counts twice.
        """
        path = f"//op[@name='monitor'][@interval='{DEEP_INTERVAL}s']"
        element = ElementTree.fromstring(self.run("cibadmin", "--query", "--xpath", path))
        self.run("cibadmin", "--modify", "--xml-text",
                 f'<op id="{element.get("id")}" enabled="false"/>')
        self.settle()

    def clean_up(self) -> None:
        """Forgive all failures."""
        self.run("crm_resource", "--cleanup")

    def load(self, path: str) -> None:
        """Load a file of the examples over what is there, with the laboratory's addresses and pace.

        path: below examples/.
        """
        text = configuration.adapt((EXAMPLES / path).read_text(), self.lab.plan,
                                   self.cluster.product.differences)
        self.run("crm", "-F", "configure", "load", "update", "-", input=text, timeout=120)

    def bring_to(self, node: str) -> None:
        """Have both groups on a node, with mail running, for a test that begins there."""
        state = self.state()
        groups = [group for group, member in (("mysql", DATABASE), ("kopano", KOPANO))
                  if state.only_place(member) != node]
        if not groups:
            return
        for group in groups:
            self.run("crm_resource", "-r", group, "--move", "--node", node)
        self.wait_until(f"everything runs on {node}", lambda: self.cluster.all_run(node))
        for group in groups:
            self.run("crm_resource", "-r", group, "--clear")
        self.settle()
        self.mail_is_accepted()
