# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of examples/cyrus-buddies: what a start would say of them, and that they are one."""

from __future__ import annotations

import re
from typing import Dict, List

import pytest

from failover.product import EXAMPLES
from failover.products import cyrus
from mailha.products.cyrus import claims, cyrusconf, imapd, instance, listeners
from mailha.products.cyrus.claims import Claim

FOLDER = EXAMPLES / "cyrus-buddies"
ROOT = "/usr/local/cyrus-server1"
PORTS: Dict[str, int] = {}
"""The example names no port by a name: not every node knows the same ones."""


def text(name: str) -> str:
    """Return a file of the example."""
    return (FOLDER / name).read_text()


def findings(imapd_conf: str, cyrus_conf: str, root: str, address: str) -> List[str]:
    """Return what would keep an instance with these files from starting."""
    entries, warnings = cyrusconf.parse(cyrus_conf.encode(), f"{root}/etc/cyrus.conf")
    found = [str(each) for each in instance.findings(
        entries, listeners.places(entries, PORTS), path=f"{root}/etc/cyrus.conf",
        configuration=f"{root}/etc/imapd.conf", address=address)]
    configuration = imapd.read(lambda path: imapd_conf.encode(), f"{root}/etc/imapd.conf")
    return [*found, *warnings, *configuration.warnings]


def claimed(imapd_conf: str, cyrus_conf: str) -> List[Claim]:
    """Return what an instance with these files has for itself."""
    entries, _ = cyrusconf.parse(cyrus_conf.encode(), "cyrus.conf")
    configuration = imapd.read(lambda path: imapd_conf.encode(), "imapd.conf")
    return claims.of(configuration, listeners.places(entries, PORTS))


def test_a_start_has_nothing_against_the_files_of_the_example() -> None:
    address, = set(re.findall(r"instance_root=\S+server1 ip=(\S+)", text("cluster.crm")))
    assert findings(text("nodes/imapd.conf"), text("nodes/cyrus.conf"), ROOT, address) == []


def test_imap_pop3_lmtp_and_sieve_are_asked_for_their_greetings() -> None:
    entries, _ = cyrusconf.parse(text("nodes/cyrus.conf").encode(), "cyrus.conf")
    assert [place.speaks for place in listeners.places(entries, PORTS)] == [
        "imap", "tls", "pop3", "lmtp", "sieve", "lmtp"]


def test_what_lasts_lies_in_the_tree_and_the_rest_in_a_directory_of_its_own() -> None:
    own = claimed(text("nodes/imapd.conf"), text("nodes/cyrus.conf"))
    assert [each.path for each in claims.outside(own, ROOT)] == [
        "/run/cyrus-server1/proc", "/run/cyrus-server1/lock"]


def test_the_files_for_the_second_instance_share_nothing_with_the_first() -> None:
    files = [[text(f"nodes/{name}").replace("server1", server) for name in
              ("imapd.conf", "cyrus.conf")] for server in ("server1", "server2")]
    assert claims.shared(claimed(*files[0]), claimed(*files[1]), "server2") is None


@pytest.mark.parametrize("server", cyrus.SERVERS, ids=lambda server: server.name)
def test_a_start_has_nothing_against_the_files_of_the_laboratory(server: cyrus.Server) -> None:
    files = cyrus.configuration_files(server)
    assert findings(files["imapd.conf"], files["cyrus.conf"], server.root, server.address) == []


@pytest.mark.parametrize("name", ["cluster.crm", "cluster.pcs.sh", "ring.crm", "ring.pcs.sh"])
def test_disk_tree_address_and_name_of_an_instance_have_one_number(name: str) -> None:
    numbers = re.findall(r"server(\d)", text(name))
    for number in sorted(set(numbers)):
        assert f"/dev/mapper/cyrus-server{number} directory=/usr/local/cyrus-server{number}" \
            in text(name)
        assert f"instance_root=/usr/local/cyrus-server{number} ip=192.168.122.11{number}" \
            in text(name)
        assert f"imapd_conf=/usr/local/cyrus-server{number}/etc/imapd.conf" in text(name)
        assert text(name).count(f"ip=192.168.122.11{number}") == 2
