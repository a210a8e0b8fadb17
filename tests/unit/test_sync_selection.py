# SPDX-License-Identifier: GPL-2.0-or-later
"""Which paths are replicated: the built-in list, what is named, and what names the node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mailha import errors
from mailha.profiles.configuration import PROFILES
from mailha.sync.files.identity import Identity, full_name, gather
from mailha.sync.files.never import NEVER, Rule
from mailha.sync.files.selection import Selection, build
from mailha.sync.passive.hooks import SERVICES
from mailha.sync.trouble import ProtocolError
from mailha.system.machine import Machine

ETC = Selection(["/etc"])


@pytest.mark.parametrize("path", """
    /etc/hostname /etc/machine-id /etc/machine-info /etc/hostid /etc/adjtime /etc/fstab /etc/mtab
    /etc/crypttab /etc/mdadm/mdadm.conf /etc/mdadm.conf /etc/blkid.tab.old /etc/resolv.conf
    /etc/hosts /etc/iscsi/initiatorname.iscsi /etc/iscsi/nodes/a/b /etc/iscsi/send_targets/x
    /etc/nvme/hostnqn /etc/nvme/hostid /etc/multipath/wwids /etc/multipath/bindings
    /etc/multipath.conf /etc/lvm/lvm.conf /etc/lvm/devices/system.devices /etc/lvm/lvmlocal.conf
    /etc/udev/rules.d/70-persistent-net.rules /etc/udev/rules.d/75-persistent-net-generator.rules
    /etc/udev/rules.d/60-net.rules /etc/systemd/network/10-lan.network
    /etc/systemd/system/srv-mail.mount /etc/systemd/system/dev-sdb.swap
    /etc/ssh/ssh_host_ed25519_key /etc/ssh/sshd_config /etc/krb5.keytab
    /etc/ssl/private/ssl-cert-snakeoil.key /etc/pki/tls/private/localhost.key /etc/ipmi.conf
    /etc/ipmi_sensors /etc/freeipmi/freeipmi.conf /etc/default/ipmievd /etc/watchdog.conf
    /etc/default/watchdog /etc/sysconfig/sbd /etc/default/sbd /etc/default/grub
    /etc/default/grub.d/a.cfg /etc/grub.d/40_custom /etc/grub2-efi.cfg /etc/kernel/postinst.d/x
    /etc/initramfs-tools/modules /etc/dracut.conf /etc/dracut.conf.d/a.conf /etc/modprobe.d/a.conf
    /etc/zipl.conf /etc/network/interfaces /etc/netplan/01.yaml /etc/dhcp/dhclient.conf
    /etc/NetworkManager/system-connections/lan.nmconnection /etc/NetworkManager/conf.d/a.conf
    /etc/sysconfig/network /etc/sysconfig/network/ifcfg-eth0
    /etc/sysconfig/network-scripts/route-eth0 /etc/nmstate/a.yml /etc/corosync/corosync.conf
    /etc/corosync/authkey /etc/pacemaker/authkey /etc/drbd.conf /etc/drbd.d/r0.res
    /etc/csync2.cfg /etc/lsyncd/lsyncd.conf.lua /etc/pcs/settings.conf /etc/booth/booth.conf
    /etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/passwd- /etc/subuid /etc/subgid
    /etc/.pwd.lock /etc/ld.so.cache /etc/apt/sources.list /etc/yum.repos.d/a.repo
    /etc/pki/entitlement/1.pem /etc/pki/consumer/cert.pem /etc/dpkg/origins/default
    /etc/alternatives/editor /etc/rc3.d/S01postfix
    /etc/systemd/system/multi-user.target.wants/postfix.service /etc/.updated
    /etc/selinux/targeted/active/policy.kern /etc/cron.d/csync2 /etc/exports /etc/bm/default
    /etc/systemd/system/bm-core.service.d/zz-mailha.conf /etc/mailha/sync/key
    /etc/zfs/zpool.cache /etc/cryptsetup-keys.d/data.key /etc/init.d/rc3.d/S05postfix
    /etc/wireguard/wg0.conf /etc/salt/pki/minion/minion.pem /etc/dropbear/dropbear_rsa_host_key
""".split())
def test_never_copied(path: str) -> None:
    assert ETC.why_not(path)


@pytest.mark.parametrize("path", """
    /etc /etc/postfix/main.cf /etc/aliases /etc/aliases.db /etc/sysctl.conf
    /etc/ssl/certs/bm_cert.pem /etc/bm/bm.ini /etc/bm/bm-core.tok /etc/imapd.conf
    /etc/systemd/system/bm-core.service.d/limits.conf /etc/systemd/system/own.service
    /etc/my.cnf /etc/.pgpass /etc/hosts.allow /etc/default/kopano /etc/modules.conf /etc/init.d/bm-x
    /etc/postfix/4913.cf /etc/networks.d/a /etc/iproute2/rt_tables
""".split())
def test_copied(path: str) -> None:
    assert ETC.why_not(path) == ""


@pytest.mark.parametrize("name", [".main.cf.swp", ".main.cf.swpx", "4913", ".#main.cf", "#main.cf#",
                                  "main.cf~", "main.cf.dpkg-new", "main.cf.rpmsave"])
def test_what_an_editor_leaves_behind_is_left_out(name: str) -> None:
    assert "editor" in ETC.why_not(f"/etc/postfix/{name}")


def test_a_mask_and_an_alias_of_a_unit_stay_on_their_node() -> None:
    assert ETC.why_not("/etc/systemd/system/postfix.service", link=True)
    assert not ETC.why_not("/etc/systemd/system/postfix.service", link=False)
    assert not ETC.why_not("/etc/systemd/system/postfix.service.d/link.conf", link=True)


def test_where_a_path_of_the_list_leads_to_is_on_the_list(tmp_path: Path) -> None:
    # Under its other name the network of one node would become that of the other.
    for name in ("etc/site/netplan", "etc/site/ssh", "etc/real"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("netplan", "ssh"):
        (tmp_path / "etc" / name).symlink_to(f"site/{name}")
    (tmp_path / "etc/fstab").symlink_to("real/fstab")
    chosen = build(Machine(os.path.realpath(tmp_path)), directories=["/etc"])
    for path in ("/etc/site/netplan/a.yaml", "/etc/site/ssh/ssh_host_rsa_key", "/etc/real/fstab"):
        assert "leads there" in chosen.why_not(path)
        assert "leads there" in Selection.from_message(chosen.to_message()).why_not(path)
    assert not chosen.why_not("/etc/site/ssh/ssh_config") and not chosen.why_not("/etc/real/x")


def test_only_naming_the_file_overrides_the_list() -> None:
    assert Selection(["/etc", "/etc/network"]).why_not("/etc/network/interfaces")
    assert not Selection(["/etc"], ["/etc/hosts"]).why_not("/etc/hosts")


@pytest.mark.parametrize("path", ["/etc/mailha/sync/key", "/var/lib/mailha/sync/config/state",
                                  "/root/.ssh/authorized_keys", "/proc/sysrq-trigger",
                                  "/etc/systemd/system/a.service.d/zz-mailha.conf",
                                  "/etc/.mailha-sync-00.new"])
def test_our_own_keys_and_guards_are_not_even_copied_when_named(path: str) -> None:
    assert Selection(["/etc"], [path]).why_not(path)
    machine = Machine("/nonexistent")
    with pytest.raises(errors.WrongParameter):
        build(machine, include=[path])


def test_exclude_holds_a_directory_with_all_below_and_patterns() -> None:
    chosen = Selection(["/etc"], exclude=["/etc/apache2", "*.pem"])
    assert "'exclude' holds /etc/apache2" in chosen.why_not("/etc/apache2/sites/a.conf")
    assert chosen.why_not("/etc/ssl/a.pem")
    assert not chosen.why_not("/etc/apache2.conf")


def test_a_named_file_beats_exclude() -> None:
    assert not Selection(["/etc"], ["/etc/ssl/a.pem"], ["*.pem"]).why_not("/etc/ssl/a.pem")


def test_outside_is_outside() -> None:
    for path in ("/etcetera", "/var/lib/x", "/usr/bin/passwd"):
        assert ETC.why_not(path) == "it is in none of the directories that are replicated"


def test_include_tells_directories_from_files(tmp_path: Path) -> None:
    (tmp_path / "srv/conf").mkdir(parents=True)
    chosen = build(Machine(str(tmp_path)), include=["/srv/conf", "/srv/one", "/opt/later/"])
    assert chosen.directories == ("/opt/later", "/srv/conf")
    assert chosen.files == ("/srv/one",)


@pytest.mark.parametrize("path", ["/", "/usr", "/var/lib", "relative", "/a/../b", "/etc//x"])
def test_include_refuses_what_is_no_configuration(path: str) -> None:
    with pytest.raises(errors.WrongParameter):
        build(Machine("/nonexistent"), include=[path])


def test_a_selection_survives_the_wire() -> None:
    chosen = Selection(["/etc"], ["/etc/hosts"], ["*.bak"], [Rule("/etc/bm/*.disabled", "why")])
    again = Selection.from_message(chosen.to_message())
    for path in ("/etc/hosts", "/etc/a.bak", "/etc/bm/x.disabled", "/etc/a"):
        assert again.why_not(path) == chosen.why_not(path)


@pytest.mark.parametrize("message", [
    None, {}, {"directories": ["/"], "files": [], "exclude": [], "never": []},
    {"directories": ["/usr"], "files": [], "exclude": [], "never": []},
    {"directories": ["/etc/../usr"], "files": [], "exclude": [], "never": []},
    {"directories": ["/etc"], "files": [], "exclude": [], "never": [["a"]]},
    {"directories": ["/etc"], "files": [7], "exclude": [], "never": []}])
def test_a_hostile_selection_is_refused(message: object) -> None:
    with pytest.raises(ProtocolError):
        Selection.from_message(message)


@given(some.text(alphabet="/.*?[]!abc-\\(){}|", max_size=30), some.text(min_size=1, max_size=20))
def test_no_pattern_breaks_the_judgement(pattern: str, name: str) -> None:
    chosen = Selection(["/etc"], exclude=[pattern])
    assert isinstance(chosen.why_not(f"/etc/{name}"), str)


def test_every_rule_gives_a_reason_that_fits_into_a_sentence() -> None:
    for rule in NEVER:
        assert rule.pattern[0] in "/*" and rule.reason and rule.reason[-1] not in ".!"


class TestProfiles:
    """What is replicated of each product."""

    def test_what_bluemind_s_documents_ask_for_is_there(self) -> None:
        chosen = self.chosen("bluemind")
        for path in ("/usr/share/bm-elasticsearch/config/elasticsearch.yml", "/etc/aliases",
                     "/etc/aliases.db", "/etc/sysctl.conf", "/etc/ssl/certs/bm_cert.pem",
                     "/var/lib/bm-ca/cacert.pem", "/etc/bm/mcast.id", "/etc/bm/bm-core.tok"):
            assert chosen.why_not(path) == "", path

    @pytest.mark.parametrize("path", ["/etc/bm/bm-lmtpd.disabled", "/etc/bm/continuous.clone",
                                      "/etc/bm/default", "/etc/bm/bm.ini.10.0.0.1",
                                      "/etc/init.d/bm-iptables"])
    def test_what_makes_a_node_of_bluemind_stays(self, path: str) -> None:
        assert self.chosen("bluemind").why_not(path)

    def test_kopano_s_configuration_is_there(self) -> None:
        chosen = self.chosen("kopano")
        for path in ("/etc/kopano/server.cfg", "/etc/my.cnf", "/etc/mysql/my.cnf",
                     "/etc/postfix/main.cf", "/etc/apache2/ports.conf", "/etc/default/kopano",
                     "/etc/kopano/webapp/config.php", "/etc/sysconfig/kopano"):
            assert chosen.why_not(path) == "", path

    def test_cyrus_s_configuration_is_there(self) -> None:
        chosen = self.chosen("cyrus")
        for path in ("/etc/imapd.conf", "/etc/cyrus.conf", "/etc/postfix/main.cf",
                     "/etc/sasl2/smtpd.conf", "/etc/default/saslauthd", "/etc/aliases"):
            assert chosen.why_not(path) == "", path

    def test_services_are_known(self) -> None:
        for profile in PROFILES.values():
            assert set(profile.services) <= SERVICES.keys()

    def chosen(self, name: str) -> Selection:
        profile = PROFILES[name]
        return build(Machine("/nonexistent"), directories=profile.directories,
                     files=profile.files, never=[Rule(*pair) for pair in profile.never])


class TestIdentity:
    """Files that hold what is this node's own."""

    def test_a_node_called_mail_does_not_hold_back_what_speaks_of_mail(self) -> None:
        node = Identity("mail.example.com", ["192.0.2.1"])
        for text in ("mail", "mail_spool_directory = /var/mail", "webmail.example.com",
                     "mail.example.community", "mail.example.com.au", "my-mail.example.com",
                     "x.mail.example.com", "mail.example", "192.0.2.10", "192.0.2.1.5",
                     "1192.0.2.1"):
            assert node.found_in(text.encode()) == "", text

    @pytest.mark.parametrize("text", [
        "myhostname = mail.example.com", "MAIL.Example.COM", "root@mail.example.com",
        "mail.example.com.", "(mail.example.com)", "mail.example.com\0\0", "mail.example.com:25",
        "bind 192.0.2.1", "192.0.2.1/24", "192.0.2.1:25", "[192.0.2.1]", "192.0.2.1."])
    def test_the_full_name_and_the_address_as_a_whole_word(self, text: str) -> None:
        assert Identity("mail.example.com", ["192.0.2.1"]).found_in(b"a\n" + text.encode())

    def test_a_node_called_alice_without_a_domain_holds_nothing_back_by_name(self) -> None:
        assert Identity("alice").found_in(b"alice: root\nServerName alice") == ""

    def test_a_node_called_alice_with_a_domain(self) -> None:
        node = Identity("alice.example.com")
        assert node.found_in(b"ServerName alice.example.com\n") == "alice.example.com"
        assert node.found_in(b"alice: root\n") == ""

    @pytest.mark.parametrize("text", ["2001:db8::1", "2001:DB8:0:0::0001", "[2001:db8::1]:25",
                                      "listen 2001:0db8:0000:0000:0000:0000:0000:0001;",
                                      "2001:db8::1/64"])
    def test_an_ipv6_address_in_whatever_way_it_is_written(self, text: str) -> None:
        assert Identity("", ["2001:db8::1"]).found_in(text.encode())

    @pytest.mark.parametrize("text", ["2001:db8::10", "2001:db8::", "12:30:45", "a::b", "::"])
    def test_another_ipv6_address(self, text: str) -> None:
        assert Identity("", ["2001:db8::1"]).found_in(text.encode()) == ""

    @given(some.binary(max_size=200))
    def test_no_content_breaks_it(self, content: bytes) -> None:
        found = Identity("mail.example.com", ["192.0.2.1", "2001:db8::1"]).found_in(content)
        assert not found or found.encode() in content.lower() or ":" in found

    def test_the_full_name_comes_from_the_files_and_not_from_dns(self, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/hostname").write_text("mail\n")
        (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n"
                                            "127.0.1.1 mail.example.com mail  # own\n")
        assert full_name(Machine(str(tmp_path))) == "mail.example.com"
        (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n")
        assert full_name(Machine(str(tmp_path))) == ""

    def test_the_floating_address_is_not_fixed(self, tmp_path: Path) -> None:
        machine = Machine(str(tmp_path))

        class Sockets:
            def local_addresses(self) -> set[str]:
                return {"127.0.0.1", "::1", "fe80::1", "192.0.2.1", "192.0.2.100"}

        machine.sockets = Sockets()         # type: ignore[assignment]
        node = gather(machine, ["192.0.2.100"])
        assert node.addresses == {"192.0.2.1"}
