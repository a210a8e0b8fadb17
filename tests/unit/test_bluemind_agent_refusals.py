# SPDX-License-Identifier: GPL-2.0-or-later
"""What keeps ocf:mailha:bluemind from starting, and says why, before anything has been started."""

from __future__ import annotations

import errno
from typing import Callable

import pytest
from bluemind_node import ADDRESS, Node, VERSIONS
from configurations import DATA
from fake_machine import FakeUnit, Program
from mailha.profiles import bluemind as profile

Make = Callable[..., Node]
BM = "/etc/bm/"


# Directories

@pytest.mark.parametrize("release", ["3.5", "4.1", "4.9", "5.1"])
def test_each_directory_that_the_documents_list_has_to_be_mounted(make_bluemind: Make,
                                                                  release: str) -> None:
    """ysnp, Elasticsearch and core would make empty ones under the mount points."""
    node = make_bluemind(release)
    for path, users in node.profile.directories.items():
        if not set(users) & set(node.names):
            continue
        node.machine.unmount(path)
        node.refuses(1, path, "no mount point")
        node.machine.mount(path, "ext4", "/dev/san")
    node.started()


def test_a_directory_that_was_bound_before_its_disk_was_mounted_is_refused(mailnode: Node) -> None:
    """Bind mounts in /etc/fstab show the empty directory on which the disk is mounted later."""
    machine = mailnode.machine
    machine.unmount("/var/spool/bm-hsm")
    machine.bind("/var/spool/bm-hsm", "/srv/bluemind/spool/bm-hsm")
    mailnode.refuses(1, "/var/spool/bm-hsm", "'/srv/bluemind/spool/bm-hsm' of this node's own root")
    machine.files.put("/var/spool/bm-hsm/.mailha-data", b"")
    mailnode.started()


def test_the_lists_are_those_of_the_documents() -> None:
    spool = {"bm-docs", "bm-elasticsearch", "bm-hsm", "cyrus", "postfix", "sieve"}
    library = {"/var/lib/cyrus", "/var/lib/postgresql"}
    of = {release.name: set(release.directories) for release in profile.RELEASES}
    assert of["3.x"] == {f"/var/spool/{name}" for name in spool} | library
    assert of["4.2 to 4.9"] == of["4.0 and 4.1"] == of["3.x"] | {
        "/var/spool/bm-hollowed", "/var/spool/bm-mapi"}
    assert of["5.x"] == of["4.2 to 4.9"] - {"/var/spool/sieve", "/var/lib/cyrus"}


def test_a_directory_of_a_service_that_is_not_here_does_not_matter(make_bluemind: Make) -> None:
    node = make_bluemind("4.9", without=["mapi"])
    node.machine.unmount("/var/spool/bm-mapi")
    node.started()


def test_other_directories_can_be_named(mailnode: Node) -> None:
    mailnode.machine.unmount("/var/spool/sieve")
    mailnode.started(shared_dirs="/var/spool/cyrus, /var/lib/cyrus")


def test_a_directory_that_no_document_lists_is_a_warning(mailnode: Node) -> None:
    mailnode.machine.unmount("/var/spool/bm-filehosting")
    log = mailnode.start().log
    assert "/var/spool/bm-filehosting lies on this node's own root file system" in log
    assert "/var/backups/bluemind" not in log


def test_a_directory_that_is_mounted_read_only_is_refused(mailnode: Node) -> None:
    mailnode.machine.mount("/var/spool/cyrus", "ext4", "/dev/san", "ro")
    mailnode.refuses(1, "/var/spool/cyrus", "read-only")


def test_without_require_mount_nothing_is_asked(mailnode: Node) -> None:
    mailnode.machine.unmount("/var/spool/cyrus")
    mailnode.started(require_mount="false")


# Files

@pytest.mark.parametrize("release, names", [
    ("3.5", ("bm.ini", "bm-core.tok", "mcast.id")),
    ("4.9", ("bm.ini", "bm-core.tok", "mcast.id", "server.uid")),
    ("5.1", ("bm.ini", "bm-core.tok", "mcast.id", "server.uid"))])
def test_a_file_that_is_missing_or_empty(make_bluemind: Make, release: str,
                                         names: tuple[str, ...]) -> None:
    node = make_bluemind(release)
    for name in names:
        whole = node.machine.files.content.pop(BM + name)
        node.refuses(5, BM + name, "copy it from the node that ran last")
        for empty in (b"", b"\n"):
            node.machine.files.put(BM + name, empty)
            node.refuses(5, f"{BM + name} is empty")
        node.machine.files.put(BM + name, whole)
    node.started()


def test_without_the_token_anybody_could_initialise_the_database(mailnode: Node) -> None:
    mailnode.machine.files.remove(BM + "bm-core.tok")
    mailnode.refuses(5, "anybody may initialise its database")


def test_3_x_has_no_server_uid(make_bluemind: Make) -> None:
    node = make_bluemind("3.5")
    node.machine.files.remove(BM + "server.uid")
    node.started()


def test_a_file_on_a_broken_disk_is_refused(mailnode: Node) -> None:
    mailnode.machine.files.failing[BM + "mcast.id"] = errno.EIO
    mailnode.refuses(5, "mcast.id", "cannot be read")


def test_a_resource_without_java_services_needs_none_of_them(mailnode: Node) -> None:
    for name in ("bm.ini", "bm-core.tok", "mcast.id", "server.uid"):
        mailnode.machine.files.remove(BM + name)
    mailnode.started(services="postgresql postfix")


def test_a_clone_of_blueminds_own_replication_is_refused(mailnode: Node) -> None:
    mailnode.machine.files.put(BM + "continuous.clone", b"")
    mailnode.refuses(5, "continuous.clone", "second master")


# Addresses

@pytest.mark.parametrize("key", ["host", "hz-member-address"])
def test_an_address_that_is_not_here(mailnode: Node, key: str) -> None:
    """The floating address has to be up first; a node's own would fail on the other node."""
    mailnode.machine.files.put(BM + "bm.ini", f"host={ADDRESS}\n{key}=192.0.2.77\n".encode())
    mailnode.refuses(1, f"{key} = 192.0.2.77", "IPaddr2")


def test_the_floating_address_has_to_be_up_first(mailnode: Node) -> None:
    mailnode.machine.sockets.addresses.discard(ADDRESS)
    mailnode.refuses(1, ADDRESS, "no address of this node", "IPaddr2")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", ADDRESS])
def test_loopback_and_the_floating_address_are_right(mailnode: Node, host: str) -> None:
    mailnode.machine.files.put(BM + "bm.ini", f"[global]\nhost = {host}\n".encode())
    mailnode.started()


def test_a_name_is_resolved(mailnode: Node) -> None:
    mailnode.machine.files.put(BM + "bm.ini", b"host = mail.example.com\n")
    mailnode.machine.children.answer(["getent"], stdout=f"{ADDRESS} STREAM\n".encode())
    mailnode.started()


def test_a_name_that_leads_elsewhere_is_refused(mailnode: Node) -> None:
    mailnode.machine.files.put(BM + "bm.ini", b"host = mail.example.com\n")
    mailnode.machine.children.answer(["getent"], stdout=b"192.0.2.9 STREAM\n192.0.2.9 DGRAM\n")
    mailnode.refuses(1, "host = mail.example.com", "192.0.2.9")


@pytest.mark.parametrize("more", [{"code": 2}, {"stdout": b"nonsense\n"}, {"takes": 600.0}])
def test_a_name_that_cannot_be_resolved_is_a_doubt_and_no_refusal(mailnode: Node,
                                                                  more: dict[str, object]) -> None:
    mailnode.machine.files.put(BM + "bm.ini", b"host = mail.example.com\n")
    mailnode.machine.children.answer(["getent"], **more)  # type: ignore[arg-type]
    answer = mailnode.start()
    assert answer.code == 0 and "WARNING" in answer.log and "mail.example.com" in answer.log


# Units

def test_the_group_is_the_profile_cut_down_to_the_units_that_exist(make_bluemind: Make) -> None:
    node = make_bluemind("4.9", without=["xmpp", "mapi", "nginx"])
    answer = node.start()
    assert answer.code == 0 and "xmpp" not in answer.log
    assert node.monitor().code == 0


def test_a_service_that_is_named_has_to_exist(make_bluemind: Make) -> None:
    node = make_bluemind("4.9", without=["nginx"])
    node.refuses(5, "bm-nginx", "no unit", services="core nginx")


def test_a_masked_unit_is_refused(mailnode: Node) -> None:
    mailnode.unit("postfix").load = "masked"
    mailnode.refuses(5, "postfix.service", "systemctl unmask")


def test_a_masked_optional_unit_is_left_out_and_degrades(mailnode: Node) -> None:
    mailnode.unit("tika").load = "masked"
    answer = mailnode.start()
    assert answer.code == 0 and "optional service tika is left out" in answer.log
    assert mailnode.monitor().code == 190


def test_a_service_that_the_administrator_has_disabled_is_left_out(mailnode: Node) -> None:
    mailnode.machine.files.put(BM + "bm-milter.disabled", b"")
    answer = mailnode.start()
    assert answer.code == 0 and "bm-milter.disabled" in answer.log
    assert "bm-milter.service" not in mailnode.launched()
    assert mailnode.monitor().code == 0, "that is as the administrator wants it"


def test_a_core_that_is_disabled_was_demoted_or_copied(mailnode: Node) -> None:
    mailnode.machine.files.put(BM + "bm-core.disabled", b"")
    mailnode.refuses(5, "bm-core.disabled", "demoted", "remove")


def test_a_service_of_another_release_is_refused(make_bluemind: Make) -> None:
    make_bluemind("5.1").refuses(5, "has no service cyrus", services="core cyrus")


def test_two_resources_never_share_a_service(mailnode: Node) -> None:
    mailnode.resource = "bluemind_web"
    mailnode.started(services="nginx webserver", optional_services="none")
    mailnode.resource = "bluemind_services"
    answer = mailnode.start()
    assert answer.code == 5 and "'bluemind_web'" in answer.reason
    assert mailnode.alive() == ["bm-nginx.service", "bm-webserver.service"]


def test_services_can_be_split_over_two_resources(mailnode: Node) -> None:
    web = "nginx webserver hps eas php-fpm"
    mail = " ".join(name for name in mailnode.names if name not in web.split())
    mailnode.resource = "mail"
    mailnode.started(services=mail)
    mailnode.resource = "web"
    mailnode.started(services=web)
    assert mailnode.monitor(services=web).code == 0
    assert mailnode.stop(services=web).code == 0
    mailnode.resource = "mail"
    assert mailnode.monitor(services=mail).code == 0


def test_debians_empty_units_are_seen_through(mailnode: Node) -> None:
    """postgresql.service and postfix.service run /bin/true and stay active (exited) for ever."""
    systemd = mailnode.machine.systemd
    database = mailnode.unit("postgresql").program
    mail = mailnode.unit("postfix").program
    del systemd._units["bm-postgresql.service"]
    nothing = {"ExecStart": [("/bin/true", ["/bin/true"], False)]}
    mailnode.machine.files.put("/bin/true", b"")
    for version in ("9.6", "13", "15"):
        mailnode.machine.files.put(f"/etc/postgresql/{version}/main/postgresql.conf", b"")
    systemd.add("postgresql.service", FakeUnit(remain=True, properties=nothing))
    systemd.add("postfix.service", FakeUnit(remain=True, properties=nothing))
    for name, program in (("postgresql@15-main.service", database),
                          ("postgresql@9.6-main.service", database),
                          ("postgresql@13-main.service", database), ("postfix@-.service", mail)):
        systemd.add(name, FakeUnit(program=program))
    mailnode.started()
    assert {"postgresql@15-main.service", "postfix@-.service"} <= set(mailnode.launched())
    assert mailnode.monitor().code == 0
    running = systemd._units["postgresql@15-main.service"].main
    assert running is not None
    running.die()
    assert mailnode.monitor().code == 1
    mailnode.stops()


def test_of_several_databases_the_one_on_blueminds_port_counts(mailnode: Node) -> None:
    """Debian makes 16/main on the next port when the package of PostgreSQL 16 is installed."""
    systemd = mailnode.machine.systemd
    database = mailnode.unit("postgresql").program
    del systemd._units["bm-postgresql.service"]
    for version, port in (("15", "port = 5432"), ("16", "port = 5433\t# of Debian")):
        mailnode.machine.files.put(f"/etc/postgresql/{version}/main/postgresql.conf", port.encode())
        systemd.add(f"postgresql@{version}-main.service", FakeUnit(program=database))
    mailnode.started()
    assert "postgresql@15-main.service" in mailnode.launched()
    assert "postgresql@16-main.service" not in mailnode.launched()


def test_a_required_service_without_a_unit_is_named(make_bluemind: Make) -> None:
    """A node that lacks a package would else take over without IMAP, and say nothing."""
    log = make_bluemind("4.9", without=["cyrus", "xmpp"]).start().log
    assert "there are no units here for cyrus, which BlueMind 4.9.2-1 has" in log


def test_a_required_service_that_is_disabled_is_a_warning(mailnode: Node) -> None:
    """BlueMind's own restore leaves such files, and so does a copy of /etc/bm."""
    mailnode.machine.files.put(BM + "bm-cyrus-imapd.disabled", b"")
    mailnode.machine.files.put(BM + "bm-tika.disabled", b"")
    log = mailnode.start().log
    assert "WARNING: cyrus is left out" in log and "INFO: tika is left out" in log


def test_an_upgrade_of_the_database_that_waits_is_a_warning(mailnode: Node) -> None:
    mailnode.machine.files.put(BM + "pg.need.postupgrade", b"")
    assert "upgrades PostgreSQL's data at this start" in mailnode.start().log


def test_a_file_without_a_host_is_a_warning_and_a_mark_at_its_begin_hides_nothing(
        mailnode: Node) -> None:
    mailnode.machine.files.put(BM + "bm.ini", b"db = bj\n")
    assert "bm.ini names no host" in mailnode.start().log
    mailnode.stops()
    mailnode.machine.files.put(BM + "bm.ini", b"\xef\xbb\xbfhost = 192.0.2.77\n")
    mailnode.refuses(1, "192.0.2.77")


def test_a_unit_may_leave_it_to_systemd_where_its_program_is(mailnode: Node) -> None:
    """Debian 13: ExecStart=postfix debian-systemd-start."""
    mailnode.unit("postfix").properties["ExecStart"] = [
        ("postfix", ["postfix", "debian-systemd-start"], False)]
    mailnode.started()
    assert mailnode.monitor().code == 0


def test_an_instance_of_a_template_does_not_hide_a_real_unit(mailnode: Node) -> None:
    """From Debian 13 on postfix.service is the real one, and postfix@.service is for others."""
    mailnode.machine.systemd.add("postfix@-.service", FakeUnit(program=Program("/bin/other")))
    mailnode.started()
    assert "postfix.service" in mailnode.launched()
    assert "postfix@-.service" not in mailnode.launched()


def test_a_lmtpd_that_is_a_service_of_its_own_in_5_x(make_bluemind: Make) -> None:
    node = make_bluemind("5.1")
    core = node.unit("core").program
    assert core is not None
    del core.listens[("127.0.0.1", 2400)]
    node.add("lmtpd")
    node.started()
    assert "bm-lmtpd.service" in node.launched() and node.monitor(10).code == 0


# The cluster

def test_stonith_has_to_be_on(mailnode: Node) -> None:
    mailnode.answer_cib("crm_stonith_off.xml")
    mailnode.refuses(5, "stonith-enabled")
    mailnode.started(require_stonith="false")


def test_a_clone_over_the_data_can_be_right_nowhere(mailnode: Node) -> None:
    whole = mailnode.environment
    mailnode.environment = lambda **more: {  # type: ignore[method-assign]
        **whole(**more), "OCF_RESKEY_CRM_meta_clone_max": "2"}
    assert mailnode.start().code == 6
    assert (DATA / "crm_stonith_off.xml").exists()


@pytest.mark.parametrize("services", ["", "core nginx tika"])
def test_validate_warns_on_a_node_without_systemd_and_without_bluemind(mailnode: Node,
                                                                       services: str) -> None:
    """crm and pcs ask on whatever machine the administrator sits at."""
    mailnode.machine.systemd.is_running = False
    for name in ("bm.ini", "bm-core.tok", "mcast.id", "server.uid"):
        mailnode.machine.files.remove(BM + name)
    answer = mailnode.call("validate-all", services=services)
    assert answer.code == 0 and "WARNING: systemd does not run" in answer.log
    mailnode.machine.systemd.is_running = True
    mailnode.install(None)
    answer = mailnode.call("validate-all", services=services)
    assert answer.code == 0 and "WARNING: BlueMind is not installed here" in answer.log


def test_without_systemd_there_is_nothing_to_start(mailnode: Node) -> None:
    mailnode.machine.systemd.is_running = False
    mailnode.refuses(5, "systemd does not run")


# Versions and releases

def test_without_the_package_nothing_starts(mailnode: Node) -> None:
    mailnode.install(None)
    mailnode.refuses(5, "bm-core", "not installed")


def test_a_release_can_be_named_where_there_is_no_package(make_bluemind: Make) -> None:
    node = make_bluemind("5.1")
    node.install(None)
    node.started(version="5.1")
    assert "bm-locator.service" not in node.launched() and node.last_run() == "5.1"


def test_a_release_that_contradicts_the_package_is_refused(mailnode: Node) -> None:
    mailnode.refuses(5, VERSIONS["4.9"], "version=auto", version="5.1")


@pytest.mark.parametrize("release, name", [
    ((3, 0), "3.x"), ((3, 5), "3.x"), ((4, 0), "4.0 and 4.1"), ((4, 1), "4.0 and 4.1"),
    ((4, 2), "4.2 to 4.9"), ((4, 9), "4.2 to 4.9"), ((4, 10), "4.2 to 4.9"), ((5, 0), "5.x"),
    ((5, 12), "5.x"), ((2, 0), "3.x"), ((6, 0), "5.x")])
def test_each_release_has_a_profile(release: tuple[int, int], name: str) -> None:
    assert profile.of_release(release).name == name
