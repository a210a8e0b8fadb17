# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demonstration's cluster loads: the example, with the laboratory's values."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Dict, List

import pytest

from failover import configuration, products
from failover.product import EXAMPLES, NodeFile
from failover.products.kopano import MYSQL_ADDRESS, Kopano
from twonode.plan import BMC_PASSWORD, Plan

PLAN = Plan("demo", "bookworm", "/image", ("alice", "bob"), {"kopano": 512, "mysql": 512}, 15.0)
KOPANO = Kopano()


def primitives(text: str) -> Dict[str, str]:
    """Return the definition of each primitive by its name."""
    joined = text.replace("\\\n", " ")
    return {line.split()[1]: line for line in joined.splitlines() if line.startswith("primitive ")}


def intervals(definition: str) -> List[str]:
    return re.findall(r"op monitor interval=(\w+)", definition)


def test_it_is_the_example_but_for_values() -> None:
    example = (EXAMPLES / KOPANO.example / "cluster.crm").read_text().splitlines()
    lab = configuration.cluster(KOPANO, PLAN).splitlines()
    assert len(example) == len(lab)
    for old, new in zip(example, lab):
        if old != new:
            assert re.sub(r"[\w./-]*\d[\w./-]*|/dev/\S+|username=\w+", "", old) == \
                re.sub(r"[\w./-]*\d[\w./-]*|/dev/\S+|username=\w+", "", new)


def test_no_address_device_or_secret_of_elsewhere_is_left() -> None:
    text = configuration.cluster(KOPANO, PLAN)
    assert not re.search(r"192\.168|/dev/mapper|CHANGE-ME", text)
    assert BMC_PASSWORD not in text


def test_each_fence_device_has_the_controller_of_the_node_that_it_kills() -> None:
    found = primitives(configuration.cluster(KOPANO, PLAN))
    for node in PLAN.nodes:
        device = found[f"fence_{node}"]
        assert f" ip={PLAN.bmc_address(node)} " in device
        assert f" pcmk_host_list={node} " in device
        assert f" node={node} " in device
        assert " stonith:fence_ipmi " in device


def test_a_fault_of_kopano_is_found_in_three_seconds() -> None:
    found = primitives(configuration.cluster(KOPANO, PLAN))
    assert intervals(found["kopano_services"]) == ["3s", "12s"]
    assert "interval=12s timeout=60s OCF_CHECK_LEVEL=10" in found["kopano_services"]


def test_no_resource_has_two_monitors_of_one_interval() -> None:
    """Pacemaker tells operations apart by name and interval, and would keep only one."""
    for name, definition in primitives(configuration.cluster(KOPANO, PLAN)).items():
        assert len(set(intervals(definition))) == len(intervals(definition)), name


def test_fence_devices_keep_their_pace() -> None:
    assert intervals(primitives(configuration.cluster(KOPANO, PLAN))["fence_bob"]) == ["120s"]


def test_resources_are_all_primitives_but_the_fence_devices() -> None:
    assert configuration.resources(configuration.cluster(KOPANO, PLAN)) == [
        "mysql_guard", "mysql_fs", "mysql_ip", "mysqld", "kopano_guard", "kopano_fs", "kopano_ip",
        "kopano_services", "apache"]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of the example that a test may change."""
    shutil.copytree(EXAMPLES / KOPANO.example, tmp_path / KOPANO.example)
    return tmp_path


@pytest.mark.parametrize("old, new, complaint", [
    ("username=fencing", "username=root", "no longer says 'username=fencing privlvl=operator'"),
    (" privlvl=operator", "", "no longer says 'username=fencing privlvl=operator'"),
    ("ip=192.168.122.100 ", "ip=192.168.122.99 ", r"no longer says 'ip=192\.168\.122\.100'"),
    ("node=bob", "node=bob ip2=192.168.9.9", r"has 192\.168\.9\.9, which the laboratory"),
])
def test_an_example_that_has_changed_is_not_loaded_half_replaced(
        examples: Path, old: str, new: str, complaint: str) -> None:
    path = examples / KOPANO.example / "cluster.crm"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(configuration.ExampleChanged, match=complaint):
        configuration.cluster(KOPANO, PLAN, examples)


def test_the_password_lies_in_a_file_for_root_alone(tmp_path: Path) -> None:
    configuration.install_secret("alice", tmp_path)
    script = tmp_path / "etc/mailha/bmc-password"
    assert script.stat().st_mode & 0o777 == 0o700
    assert f"'{BMC_PASSWORD}'" in script.read_text()


def test_files_of_the_example_lie_on_the_nodes_with_the_values_of_the_laboratory(
        tmp_path: Path) -> None:
    configuration.install(tmp_path, KOPANO.node_files)
    mariadb = (tmp_path / "etc/mysql/mariadb.conf.d/99-cluster.cnf").read_text()
    assert f"bind-address = {MYSQL_ADDRESS}\n" in mariadb
    assert (tmp_path / "etc/systemd/system/mariadb.service.d/needs-mount.conf").exists()
    with pytest.raises(configuration.ExampleChanged):
        configuration.install(tmp_path, [NodeFile(KOPANO.node_files[0].source, "x", 0o644,
                                                  {"192.168.122.9": "1"})])


def test_every_product_has_a_name_an_example_and_a_place_for_what_it_names() -> None:
    assert "kopano" in products.names()
    for name in products.names():
        product = products.load(name)
        assert product.name == name
        text = configuration.cluster(product, PLAN)
        assert {product.main, *product.everywhere} <= set(configuration.resources(text))
        assert {product.resource_of(service) for service in product.killed} <= set(
            configuration.resources(text))
        for disk in product.disks:
            assert re.search(rf"/dev/san-{disk}\b", text), f"{name} never mounts its disk {disk}"
    with pytest.raises(LookupError, match="no demonstration of exim, but of"):
        products.load("exim")
