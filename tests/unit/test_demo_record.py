# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demonstration reads from journals, and the timeline that it makes of it.

The messages are those that Corosync 3.1.7 and Pacemaker 2.1.5 have written, but where it says so.
"""

from __future__ import annotations

import re
from typing import Dict, List

import pytest

from failover import record, timeline
from failover.cluster import parse
from failover.faults import Fault
from failover.mail import Receipt
from failover.record import Happening


def entry(message: object, program: str = "pacemaker-controld",
          when: float = 100.5) -> Dict[str, object]:
    return {"SYSLOG_IDENTIFIER": program, "MESSAGE": message,
            "__REALTIME_TIMESTAMP": str(int(when * 1e6))}


def told(*entries: Dict[str, object]) -> List[Happening]:
    return list(record.happenings(iter(entries), "alice"))  # type: ignore[arg-type]


@pytest.mark.parametrize("program, message, kind, subject, text", [
    ("corosync", "  [TOTEM ] A processor failed, forming new configuration: token timed out"
     " (1000ms), waiting 1200ms for consensus.", "missed", "A processor",
     "alice: the other node is silent"),
    ("pacemaker-controld", " notice: Node bob state is now lost", "lost", "bob",
     "alice: bob is lost"),
    ("pacemaker-controld", " notice: Node bob state is now member", "back", "bob",
     "alice: bob is back in the cluster"),
    ("pacemaker-controld", " notice: Peer bob was terminated (reboot) by alice on behalf of"
     " pacemaker-controld.101@alice: OK", "fenced", "bob", "bob fenced by alice"),
    ("pacemaker-controld", " notice: Result of start operation for mysql_fs on alice: ok",
     "started", "mysql_fs", "mysql_fs started on alice"),
    ("pacemaker-controld", " notice: Result of stop operation for kopano_services on bob: ok",
     "stopped", "kopano_services", "kopano_services stopped on bob"),
    ("pacemaker-controld", " notice: Result of monitor operation for kopano_services on bob: error"
     " (server: kopano-server.service is failed (failed))", "found", "kopano_services",
     "kopano_services on bob: error, server: kopano-server.service is failed (failed)"),
    ("pacemaker-controld", " notice: Result of start operation for mysqld on alice: error (failed)",
     "failed", "mysqld", "mysqld: start on alice: error, failed"),
    ("pacemaker-controld", " notice: Result of monitor operation for bluemind_services on bob:"
     " OCF_DEGRADED (tika does not answer)", "found", "bluemind_services",
     "bluemind_services on bob: degraded, tika does not answer"),
    ("pacemaker-controld", " notice: Result of monitor operation for bluemind_services on bob:"
     " Service is active but might fail soon (tika does not answer)", "found", "bluemind_services",
     "bluemind_services on bob: degraded, tika does not answer"),
    # Pacemaker 2.0
    ("pacemaker-controld", " notice: Result of start operation for mysql_fs on alice: 0 (ok)",
     "started", "mysql_fs", "mysql_fs started on alice"),
    ("pacemaker-controld", " notice: Result of monitor operation for x on alice: 7 (not running)",
     "found", "x", "x on alice: not running"),
])
def test_a_line_of_a_log_is_a_happening(
        program: str, message: str, kind: str, subject: str, text: str) -> None:
    [found] = told(entry(message, program))
    assert (found.kind, found.subject, found.text) == (kind, subject, text)
    assert found.when == 100.5


@pytest.mark.parametrize("program, message", [
    ("pacemaker-controld", " notice: Result of monitor operation for mysql_fs on alice: ok"),
    ("pacemaker-controld", " notice: Result of monitor operation for mysql_fs on alice: 0 (ok)"),
    ("pacemaker-controld", " notice: Result of probe operation for apache on alice: not running"),
    ("pacemaker-controld", " notice: Peer bob was not terminated (reboot) by alice on behalf of"
     " pacemaker-controld.101: No route to host"),
    ("pacemaker-fenced", " notice: Node bob state is now lost"),
    ("pacemaker-controld", [78, 111, 255]),
])
def test_what_says_nothing_new_is_no_happening(program: str, message: object) -> None:
    assert told(entry(message, program)) == []


def fault(ended: float, *happenings: Happening) -> Fault:
    return Fault("Node failure", "bob's power was cut", 1000.0, list(happenings), ended)


def test_the_timeline_counts_from_the_fault_and_is_in_order() -> None:
    lines = timeline.render(
        fault(1015.0, Happening(1002.06, "lost", "bob", "alice", "alice: bob is lost"),
              Happening(1010.4, "fenced", "bob", "alice", "bob fenced by alice"),
              Happening(1016.0, "started", "a", "alice", "a started on alice"),
              Happening(1017.0, "started", "b", "alice", "b started on alice")),
        [[Receipt(999.9, "1"), Receipt(1014.2, "2"), Receipt(1014.4, "3")]])
    assert [line.split() for line in lines[1:]] == [
        "0.0 s fault bob's power was cut".split(),
        "2.1 s detected alice: bob is lost".split(),
        "10.4 s fenced bob fenced by alice".split(),
        "14.2 s mail first mail accepted again, after 14.2 s without".split(),
        "16.0 s restart a started on alice".split(),
        "17.0 s b started on alice".split()]


def test_only_the_first_sign_of_a_fault_is_called_its_detection() -> None:
    lines = timeline.render(fault(1003.0, Happening(1001, "missed", "A", "alice", "silent"),
                                  Happening(1002, "lost", "bob", "alice", "lost")), [[]])
    assert sum("detected" in line for line in lines) == 1


def test_mail_that_went_on_is_not_said_to_have_stopped() -> None:
    receipts = [Receipt(1000 + tenth / 10, str(tenth)) for tenth in range(100)]
    assert "mail never stopped" in timeline.render(fault(1005.0), [receipts])[-1]


def test_of_several_postmen_the_one_who_waited_longest_counts() -> None:
    steady = [Receipt(1000 + tenth / 10, str(tenth)) for tenth in range(100)]
    patient = [Receipt(1000.2, "a"), Receipt(1004.2, "b")]
    for deliveries in ([steady, patient], [patient, steady]):
        assert "after 4.0 s without" in timeline.render(fault(1005.0), deliveries)[-1]
    assert "no mail was accepted" in timeline.render(fault(1005.0), [steady, []])[-1]


def test_mail_that_never_came_back_is_said_to() -> None:
    lines = timeline.render(fault(1005.0), [[Receipt(999.0, "before")]])
    assert "no mail was accepted any more" in lines[-1]


def test_a_pause_that_begins_after_the_recovery_is_not_of_this_fault() -> None:
    pause = timeline.longest_pause(
        [Receipt(1000.5, "a"), Receipt(1001.0, "b"), Receipt(1031.0, "c")], 1000.0, 1000.9)
    assert pause == timeline.Pause(1000.0, 1000.5)


CRM_MON = """
<pacemaker-result><nodes>
  <node name="alice" online="true" pending="false"/><node name="bob" online="true" pending="{0}"/>
</nodes><resources>
  <resource id="fence_bob" role="Started" active="true" failed="false"><node name="alice"/>
  </resource>
  <group id="kopano">
    <resource id="kopano_fs" role="Started" active="true" failed="false" pending="Monitoring">
      <node name="bob"/></resource>
    <resource id="kopano_ip" role="Started" active="true" failed="false" pending="Stopping">
      <node name="bob"/></resource>
    <resource id="kopano_services" role="Started" active="true" failed="true"><node name="bob"/>
    </resource></group>
  <clone id="apache_clone">
    <resource id="apache" role="Started" active="true" failed="false"><node name="alice"/>
    </resource>
    <resource id="apache" role="Started" active="true" failed="false"><node name="bob"/></resource>
  </clone></resources>
  <failures><failure op_key="x"/></failures></pacemaker-result>"""


def test_only_what_runs_and_is_well_and_stays_is_active() -> None:
    state = parse(CRM_MON.format("false"))
    assert state is not None
    assert state.online == {"alice", "bob"}
    assert state.only_place("kopano_fs") == "bob"
    assert state.only_place("kopano_ip") is None
    assert state.only_place("kopano_services") is None
    assert state.active["apache"] == {"alice", "bob"}
    assert state.only_place("apache") is None
    assert state.failures == 1
    assert not state.idle
    calm = parse(re.sub(' pending="(Stopp|Monitor)ing"', "", CRM_MON.format("false")))
    assert calm is not None and calm.idle


def test_a_node_that_still_joins_is_not_online() -> None:
    state = parse(CRM_MON.format("true"))
    assert state is not None and state.online == {"alice"}


def test_a_crm_mon_without_a_cluster_is_no_state() -> None:
    assert parse("crm_mon: Error: cluster is not available on this node") is None
