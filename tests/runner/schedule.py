# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files of tests that mostly wait run in one job, and which job begins first."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

TOGETHER: Tuple[Tuple[str, ...], ...] = (
    ("test_bluemind_releases.py", "test_bluemind_standin.py"),
    ("test_cluster_power.py", "test_cluster_unharmed.py", "test_cluster_recovery.py",
     "test_cluster_links.py"),
    ("test_cluster_fencing.py", "test_cluster_parameters.py", "test_cluster_versions.py",
     "test_cluster_changeover.py"),
    ("test_agent_killed.py", "test_agent_versions.py", "test_agent_life.py",
     "test_agent_parameters.py"),
    ("test_agent_vices.py", "test_agent_database.py", "test_agent_tester.py"),
    ("test_agent_systemd.py", "test_agent_units.py", "test_agent_surroundings.py",
     "test_agent_shortage.py", "test_agent_leftovers.py"),
)
"""Files that one laboratory serves. A boot takes up to a minute, and a lane has to be kept busy for
half of an hour: so there is more than one job for the same laboratory, and not one for all."""

SECONDS: Dict[str, float] = {
    "test_bluemind_releases.py": 503, "test_bluemind_standin.py": 110,
    "test_cluster_power.py": 158, "test_cluster_unharmed.py": 85,
    "test_cluster_recovery.py": 75, "test_cluster_links.py": 70, "test_cluster_fencing.py": 148,
    "test_cluster_parameters.py": 80, "test_cluster_versions.py": 60,
    "test_cluster_changeover.py": 50, "test_agent_killed.py": 164, "test_agent_versions.py": 65,
    "test_agent_life.py": 60, "test_agent_parameters.py": 30, "test_agent_vices.py": 186,
    "test_agent_database.py": 70, "test_agent_tester.py": 45, "test_agent_systemd.py": 110,
    "test_agent_units.py": 60, "test_agent_surroundings.py": 60, "test_agent_shortage.py": 55,
    "test_agent_leftovers.py": 45, "test_demo.py": 336, "test_examples.py": 150,
    "test_bluemind_cluster.py": 264, "test_sync_losses.py": 234,
    "test_fence_ipmi_pyghmi.py": 198, "test_lab.py": 172, "test_fence_ipmi_misbehaving.py": 150,
    "test_cyrus_buddies.py": 113, "test_fence_cluster.py": 104, "test_storage_nfs.py": 104,
    "test_fence_ipmi_reasons.py": 97, "test_agents.py": 81, "test_packages.py": 78,
    "test_cli_guards.py": 77, "test_lab_controllers.py": 68, "test_config_sync_cluster.py": 62,
    "test_fence_racadm_power.py": 60, "test_kopano_standin_lifecycle.py": 55,
    "test_kopano_standin_data.py": 52}
"""What files took on two cores, those that share a laboratory without its boot; of the others less
than 50. A run says at its end what took longest. It decides nothing but the order."""

MATRIX: Tuple[str, ...] = (
    # crm, pcs, crm_resource and stonith_admin show every agent, take good values and refuse wrong
    # ones; the examples load in both shells
    "tests/contract/test_agents.py", "tests/contract/test_fence_agents.py",
    "tests/contract/test_examples.py", "tests/contract/test_examples_buddies.py",
    # what the agents ask of systemd and of dpkg
    "tests/lab/test_lab.py", "tests/lab/test_systemd_client.py", "tests/lab/test_agent_tester.py",
    "tests/lab/test_agent_life.py", "tests/lab/test_cli_guards.py",
    # kopano, bluemind, cyrus, cyrus-storage and config-sync fail over; fencing-guard lets them
    "tests/lab/test_cluster_power.py", "tests/lab/test_cluster_recovery.py",
    "tests/lab/test_bluemind_cluster.py", "tests/lab/test_cyrus_buddies.py",
    "tests/lab/test_cyrus_storage_failover.py", "tests/lab/test_config_sync_cluster.py",
    "tests/lab/test_fencing_guard.py",
    # fence_ipmi and fence_racadm fence
    "tests/lab/test_fencing_devices.py", "tests/lab/test_fence_cluster.py")
"""What may come out otherwise on another release of Pacemaker, crmsh, pcs or systemd. The whole lab
on one release: LAB_SUITE=trixie tests/run lab."""

UNIT_SECONDS: Dict[str, float] = {
    "test_sync_killed.py": 2.8, "test_runner.py": 2.2, "test_cli_main.py": 2.0,
    "test_sync_sending.py": 1.9, "test_storage_probe_file.py": 1.8,
    "test_cyrus_storage_agent.py": 1.7, "test_bluemind_agent_monitor.py": 1.6,
    "test_kopano_agent_interrupted.py": 1.5, "test_storage_verdict.py": 1.5,
    "test_bluemind_agent_start.py": 1.3, "test_validation.py": 1.3,
    "test_bluemind_agent_refusals.py": 1.1, "test_bluemind_agent_stop.py": 1.1,
    "test_sync_receiving.py": 1.1, "test_sync_records.py": 1.0,
    "test_kopano_agent_bad_input.py": 1.0, "test_cli_sync.py": 1.0,
    "test_kopano_agent_traps.py": 0.8, "test_kopano_configuration.py": 0.7,
    "test_storage_records.py": 0.7, "test_fresh_machine.py": 0.7, "test_cyrus_agent.py": 0.7,
    "test_sync_selection.py": 0.7, "test_fencing_secrets.py": 0.7,
    "test_bluemind_agent_versions.py": 0.6, "test_kopano_agent_exit_codes.py": 0.6,
    "test_bluemind_products.py": 0.5, "test_fencing_bad_input.py": 0.5,
    "test_kopano_agent_installations.py": 0.5}
"""The same of what computes: seconds of a core, of those that take half of one or more."""

UNIT_UNKNOWN = 0.2

UNKNOWN = 30.0
"""Seconds to expect of a file that is not in the table."""


def batches(files: Sequence[Path]) -> List[List[Path]]:
    """Return the files in the lists that one job each runs: what takes longest begins first.

    Whatever runs alone at the end leaves cores without work.
    """
    by_name = {path.name: path for path in files}
    found = [[by_name.pop(name) for name in names if name in by_name] for names in TOGETHER]
    found += [[path] for path in by_name.values()]
    return sorted((batch for batch in found if batch), key=lambda batch: (-expected(batch), batch))


def expected(batch: Sequence[Path]) -> float:
    """Return how many seconds a job with these files is likely to take."""
    return sum(SECONDS.get(path.name, UNKNOWN) for path in batch)


def parts_of_unit(files: Sequence[Path], number: int) -> List[List[Path]]:
    """Return the files in as many lists, which take about as long as each other."""
    def seconds(path: Path) -> float:
        return UNIT_SECONDS.get(path.name, UNIT_UNKNOWN)

    lists: List[List[Path]] = [[] for _ in range(number)]
    for path in sorted(files, key=lambda path: (-seconds(path), path)):
        min(lists, key=lambda each: sum(map(seconds, each))).append(path)
    return [each for each in lists if each]
