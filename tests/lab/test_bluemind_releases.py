# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:bluemind on a node with real systemd, PostgreSQL, Cyrus, Postfix and nginx."""

from __future__ import annotations

import shlex
import time
from typing import Dict, Generator, List

import bluemind_nodes
import pytest
from bluemind_agent_node import AGENT, BlueMindNode
from waiting import wait_for

CORE, CYRUS, TIKA = "bm-core.service", "bm-cyrus-imapd.service", "bm-tika.service"
OPTIONAL = ("tika", "eas", "mapi", "xmpp", "ips", "sds-proxy", "php-fpm", "keycloak")


@pytest.fixture(scope="module")
def machines(bluemind_machines: Dict[str, bluemind_nodes.Node]
             ) -> Generator[Dict[str, BlueMindNode], None, None]:
    """Return the nodes with all releases, their disks mounted."""
    found = {}
    for name, each in bluemind_machines.items():
        each.reset()
        each.mount()
        found[name] = BlueMindNode(each)
    yield found
    for name, each in bluemind_machines.items():
        found[name].close()
        each.reset()
        each.unmount()


@pytest.fixture
def mail(machines: Dict[str, BlueMindNode], request: pytest.FixtureRequest) -> BlueMindNode:
    """Return the node with a release, 4.9 unless another is asked for, and nothing running."""
    found = machines[getattr(request, "param", "target")]
    found.reset()
    return found


@pytest.fixture
def serving(machines: Dict[str, BlueMindNode], request: pytest.FixtureRequest) -> BlueMindNode:
    """Return a node on which all of it serves; who has it so already is not started again."""
    found = machines[getattr(request, "param", "target")]
    found.sh("find /etc/bluemind-standin -type f ! -name users -delete")
    if found.monitor().code != 0:
        found.reset()
        found.started()
    return found


def begun(mail: BlueMindNode, unit: str) -> int:
    """Return when systemd called a unit active, in microseconds of this boot."""
    return int(mail.sh(f"systemctl show -P ActiveEnterTimestampMonotonic {unit}"))


@pytest.mark.parametrize("mail", ["three", "four", "target", "five"], indirect=True)
def test_it_starts_in_order_serves_and_stops(mail: BlueMindNode) -> None:
    assert mail.probe().code == 7
    mail.started()
    for level in (0, 10):
        answer = mail.monitor(level)
        assert answer.code == 0, str(answer)
    assert mail.probe().code == 0
    assert mail.running() == sorted(mail.units)
    database = next(unit for unit in mail.units if "postgresql" in unit)
    order = [database, CORE, "bm-ysnp.service", CYRUS, "bm-lmtpd.service", "postfix@-.service"]
    order = [unit for unit in order if unit in mail.units]
    times = [begun(mail, unit) for unit in order]
    assert times == sorted(times)
    mail.stopped()
    assert mail.probe().code == 7


def kill_each(mail: BlueMindNode, units: List[str]) -> None:
    """Kill the process of one unit after the other; each is noticed and started again."""
    optional = {f"bm-{name}.service" for name in OPTIONAL}
    for unit in units:
        mail.kill(mail.pid(unit))
        answer = wait_for(f"the death of {unit}", lambda: found if (
            found := mail.monitor()).code else None)
        assert answer.code == (190 if unit in optional else 1), f"{unit}: {answer}"
        mail.started()
        assert mail.monitor().code == 0


def test_each_service_that_is_killed_is_noticed_and_started_again(serving: BlueMindNode) -> None:
    """With real systemd: what is optional degrades, what is not has failed."""
    kill_each(serving, serving.units)


@pytest.mark.parametrize("serving", ["three", "five"], indirect=True)
def test_so_it_is_with_init_scripts_and_with_units_that_systemd_restarts(
        serving: BlueMindNode) -> None:
    kill_each(serving, [CORE, "bm-tika.service", "postfix@-.service"])


def test_a_stop_of_the_target_says_done_while_services_still_write(mail: BlueMindNode) -> None:
    """The trap: the disk would go from under them. Our stop waits for each control group."""
    mail.tell("bm-core", stop_seconds=6)
    mail.started()
    mail.sh("systemctl start bluemind.target")
    before = time.monotonic()
    mail.sh("systemctl stop bluemind.target")
    assert time.monotonic() - before < 5.0 and CORE in mail.running()
    mail.stopped()
    mail.sh("umount /var/spool/bm-hsm && umount /var/spool/cyrus")


def test_what_ignores_sigterm_is_killed_in_time(mail: BlueMindNode) -> None:
    mail.tell("bm-milter", ignore_term=1)
    mail.started()
    answer = mail.stopped(timeout=30)
    assert "milter has not ended in time and is killed" in answer.stderr
    assert mail.state("bm-milter.service") == "inactive", "its failure is forgotten"


def test_a_core_that_is_ready_and_does_not_serve_is_waited_for(mail: BlueMindNode) -> None:
    mail.tell("bm-core", serve_after=4)
    before = time.monotonic()
    mail.started()
    assert time.monotonic() - before >= 4.0


@pytest.mark.parametrize("mail", ["target", "five"], indirect=True)
def test_an_administrative_state_is_left_alone(mail: BlueMindNode) -> None:
    mail.tell("bm-core", state="CORE_STATE_UPGRADE")
    answer = mail.started()
    assert "state UPGRADE" in answer.stderr
    for state in ("UPGRADE", "MAINTENANCE", "CLONING", "DEMOTED"):
        mail.tell("bm-core", state=f"CORE_STATE_{state}")
        for level in (0, 10):
            answer = mail.monitor(level)
            assert answer.code == 190 and state in answer.reason
        assert mail.probe().code == 0
    mail.tell("bm-core")
    assert mail.monitor(10).code == 0


def test_a_state_in_which_it_serves_nobody_is_a_failure(serving: BlueMindNode) -> None:
    serving.tell("bm-core", state="CORE_STATE_NOT_INSTALLED")
    answer = serving.monitor()
    assert answer.code == 1 and "NOT_INSTALLED" in answer.reason


def test_a_start_limit_that_is_used_up_keeps_nothing_from_starting(mail: BlueMindNode) -> None:
    mail.write("/run/systemd/system/bm-eas.service.d/limit.conf",
               "[Unit]\nStartLimitIntervalSec=600\nStartLimitBurst=1")
    mail.tell("bm-eas", exit_at_start=7)
    with mail.undone("systemctl daemon-reload",
                     "rm -rf /run/systemd/system/bm-eas.service.d; systemctl daemon-reload"):
        answer = mail.start(optional_services="none")
        assert answer.code == 1 and "eas" in answer.reason
        mail.stopped(optional_services="none")
        mail.tell("bm-eas")
        mail.started(optional_services="none")
        mail.stopped()


def test_a_service_that_is_disabled_by_a_marker_is_left_out(mail: BlueMindNode) -> None:
    mail.sh("touch /etc/bm/bm-tika.disabled")
    mail.started()
    assert TIKA not in mail.running() and mail.monitor().code == 0
    mail.sh("touch /etc/bm/bm-core.disabled")
    assert mail.monitor(10).code == 0, "it says nothing about a core that serves"
    mail.stopped()
    answer = mail.start()
    assert answer.code == 5 and "bm-core.disabled" in answer.reason and mail.running() == []


def test_a_guarded_unit_starts_neither_by_hand_nor_by_the_target(mail: BlueMindNode) -> None:
    mail.started()
    mail.stopped()
    mail.sh(f"systemctl start bluemind.target {' '.join(mail.units)}", timeout=120)
    assert mail.running() == []
    show = mail.sh("mailha guards show")
    assert CORE in show and "skips every other start" in " ".join(show.split())
    mail.sh("systemctl stop bluemind.target")


@pytest.mark.parametrize("mail", ["three"], indirect=True)
def test_an_init_script_is_guarded_like_any_unit(mail: BlueMindNode) -> None:
    mail.started()
    mail.stopped()
    for order in ("systemctl start", "invoke-rc.d --quiet", "service"):
        what = f"{order} bm-core" + ("" if order.startswith("systemctl") else " start")
        mail.sh(f"{what} || :")
        assert mail.running() == [], what
    assert "bm-core.service" in mail.sh("mailha guards show")


@pytest.mark.parametrize("spoil, code, word", [
    ("umount /var/spool/bm-docs", 1, "/var/spool/bm-docs"),
    ("umount /var/lib/cyrus", 1, "/var/lib/cyrus"),
    ("rm /etc/bm/bm-core.tok", 5, "bm-core.tok"),
    (": >/etc/bm/mcast.id", 5, "mcast.id"),
    ("rm /etc/bm/server.uid", 5, "server.uid"),
    ("touch /etc/bm/continuous.clone", 5, "continuous.clone"),
    ("ip addr del 198.51.100.100/32 dev lo", 1, "198.51.100.100"),
])
def test_a_refused_start_starts_nothing(mail: BlueMindNode, spoil: str, code: int,
                                        word: str) -> None:
    mail.sh(spoil)
    answer = mail.start()
    assert answer.code == code and word in answer.reason, str(answer)
    assert mail.running() == [] and mail.marks() == ""


def test_a_disk_that_goes_from_under_it_is_noticed(serving: BlueMindNode) -> None:
    serving.sh("umount -l /var/spool/bm-hsm")
    answer = serving.monitor()
    assert answer.code == 1 and "/var/spool/bm-hsm" in answer.reason
    serving.stopped()


def test_an_index_that_is_not_green_degrades(serving: BlueMindNode) -> None:
    serving.tell("bm-elasticsearch", status="yellow")
    assert serving.monitor().code == 0
    answer = serving.monitor(10)
    assert answer.code == 190 and "yellow" in answer.reason


def test_who_runs_out_of_memory_is_named_once(serving: BlueMindNode) -> None:
    pid = serving.pid("bm-webserver.service")
    serving.kill(pid, signal="USR1")
    wait_for("the heap dump", lambda: serving.sh(f"ls /var/log/java_pid{pid}.hprof || :"))
    answer = serving.monitor(10)
    assert answer.code == 0 and "service webserver ran out of memory" in answer.stderr
    assert "out of memory" not in serving.monitor(10).stderr


def test_probes_leave_no_failed_login_in_any_log(serving: BlueMindNode) -> None:
    since = serving.sh("date +%s").strip()
    for _ in range(3):
        assert serving.monitor(10).code == 0
    said = serving.sh(f"journalctl --quiet --no-pager --since=@{since} || :;"
                      " cat /var/log/postgresql/*.log || :")
    for word in ("FATAL", "authentication failed", "SASL", "lost connection"):
        assert word not in said, said


def test_a_copy_of_core_outside_of_its_unit_is_found_and_ended(mail: BlueMindNode) -> None:
    command = mail.sh("systemctl show -P ExecStart bm-core.service | "
                      "sed 's/.*argv\\[\\]=\\([^;]*\\);.*/\\1/'").strip()
    mail.sh(f"systemd-run --quiet --unit=stray {command}")
    try:
        wait_for("the copy", lambda: mail.sh("pgrep -f '[c]oreLauncher' || :"))
        answer = mail.probe()
        assert answer.code == 1 and "outside of its unit" in answer.reason, str(answer)
        mail.stopped()
        assert mail.sh("pgrep -f '[c]oreLauncher' || :") == ""
    finally:
        mail.sh("systemctl stop stray; systemctl reset-failed stray 2>/dev/null || :")


PARAMETERS = {"zero": "", "all": (
    "-o 'services=core ysnp node elasticsearch postgresql tika' -o optional_services=tika "
    "-o version=4.9 -o data_dir=/var/spool/bm-docs -o 'shared_dirs=/var/spool/bm-docs' "
    "-o require_mount=true -o config_dir=/etc/bm -o update_timeout=10min "
    "-o require_stonith=true -o manual_node=alice")}


@pytest.mark.parametrize("given", list(PARAMETERS))
def test_ocf_tester_has_nothing_against_it(mail: BlueMindNode, given: str) -> None:
    said = mail.sh(f"ocf-tester -n test {PARAMETERS[given]} {shlex.quote(AGENT)} 2>&1",
                   check=False, timeout=900)
    assert said.endswith(f"{AGENT} passed all tests\n") and "* rc=" not in said, said


def test_the_socket_of_a_unit_is_known_by_its_control_group(serving: BlueMindNode) -> None:
    """Java machines have hundreds of open files, through which nobody has to look."""
    script = ("import sys; sys.path.insert(0, '/usr/lib/ocf/lib'); "
              "from mailha.system.machine import Machine; machine = Machine(); "
              "group = machine.cgroups.number('/system.slice/bm-core.service'); "
              "print([each.group == group for each in machine.sockets.listeners() "
              "if each.port == 8090], group)")
    assert serving.sh(f"python3 -I -c {shlex.quote(script)}").startswith("[True]")
