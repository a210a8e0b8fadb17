# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a node itself and therefore is never copied to another one: the built-in list.

A pattern is that of fnmatch(3) over the whole path, in which "*" matches "/" as well; one that
ends in "/" means a directory and all that it holds. An administrator who knows better names the
very file in the parameter ``include``. The rules marked as absolute hold even then: they are our
own keys and state, and the guards, which systemd obeys on the node for which they were written.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """A pattern of paths that are not copied, and why; absolute: not even when named."""

    pattern: str
    reason: str
    absolute: bool = False


def _rules(reason: str, *patterns: str, absolute: bool = False) -> tuple[Rule, ...]:
    return tuple(Rule(pattern, reason, absolute) for pattern in patterns)


OWN: tuple[Rule, ...] = (
    *_rules("it is state or a key of mailha itself", "/etc/mailha/", "/var/lib/mailha/",
            "/usr/lib/ocf/", absolute=True),
    *_rules("it decides who may log in as root, mailha of the other node among them",
            "/root/.ssh/", absolute=True),
    *_rules("it is a guard of mailha, and each node has its own", "*/zz-mailha.conf",
            absolute=True),
    *_rules("it belongs to the running system and not to its configuration", "/proc/", "/sys/",
            "/dev/", "/run/", "/tmp/", "/var/tmp/", "/boot/", "/lost+found/", absolute=True),
    *_rules("it is a file that mailha is just writing", "*/.mailha-sync-*.new", absolute=True),
)

NODE: tuple[Rule, ...] = (
    *_rules("it names this node", "/etc/hostname", "/etc/HOSTNAME", "/etc/machine-id",
            "/etc/machine-info", "/etc/hostid", "/etc/mailname"),
    *_rules("it holds lines of this node alone (127.0.1.1 on Debian)", "/etc/hosts"),
    *_rules("it describes the clock of this node", "/etc/adjtime"),
    *_rules("it describes the disks of this node", "/etc/fstab", "/etc/mtab", "/etc/crypttab",
            "/etc/mdadm/", "/etc/mdadm.conf", "/etc/blkid.tab*", "/etc/blkid.conf", "/etc/lvm/",
            "/etc/multipath/", "/etc/multipath.conf", "/etc/iscsi/initiatorname.iscsi",
            "/etc/iscsi/nodes/", "/etc/iscsi/send_targets/", "/etc/iscsi/ifaces/",
            "/etc/nvme/hostnqn", "/etc/nvme/hostid", "/etc/target/", "/etc/cryptsetup-keys.d/",
            "/etc/cryptsetup-initramfs/", "/etc/smartd.conf",
            "/etc/systemd/system/*.mount", "/etc/systemd/system/*.automount",
            "/etc/systemd/system/*.swap"),
    *_rules("it lists what this node shares, which the cluster decides", "/etc/exports",
            "/etc/exports.d/"),
    # With the cache of the other node, this one takes the pool on the shared disk at its next boot.
    *_rules("it lists the pools of disks that this node takes when it boots", "/etc/zfs/"),
    *_rules("it names devices of this node", "/etc/udev/rules.d/70-persistent-*",
            "/etc/udev/rules.d/75-persistent-*", "/etc/udev/rules.d/60-net.rules",
            "/etc/udev/hwdb.bin"),
    *_rules("it is an identity of this node", "/etc/ssh/ssh_host_*",
            "/etc/krb5.keytab", "/etc/ssl/private/ssl-cert-snakeoil.key",
            "/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/pki/tls/private/localhost.key",
            "/etc/pki/tls/certs/localhost.crt", "/etc/pki/entitlement/", "/etc/pki/consumer/",
            "/etc/zypp/credentials.d/", "/etc/SUSEConnect", "/etc/dropbear/",
            "/etc/dropbear-initramfs/", "/etc/insights-client/machine-id", "/etc/salt/minion_id",
            "/etc/salt/pki/", "/etc/puppet/ssl/", "/etc/puppetlabs/puppet/ssl/",
            "/etc/chef/client.pem", "/etc/cloud/"),
    *_rules("it may name an address of this node (ListenAddress)", "/etc/ssh/sshd_config",
            "/etc/ssh/sshd_config.d/"),
    *_rules("it describes the hardware of this node", "/etc/ipmi*", "/etc/freeipmi/",
            "/etc/default/ipmi*", "/etc/default/openipmi", "/etc/sysconfig/ipmi",
            "/etc/sensors3.conf", "/etc/sensors.d/", "/etc/watchdog.conf",
            "/etc/default/watchdog", "/etc/sysconfig/watchdog", "/etc/X11/"),
)

BOOT: tuple[Rule, ...] = _rules(
    "this node boots by it", "/etc/default/grub", "/etc/default/grub.d/", "/etc/sysconfig/grub",
    "/etc/grub.d/", "/etc/grub2*.cfg", "/etc/sysconfig/bootloader", "/etc/sysconfig/kernel",
    "/etc/kernel/", "/etc/kernel-img.conf", "/etc/initramfs-tools/", "/etc/dracut.conf",
    "/etc/dracut.conf.d/", "/etc/modprobe.d/", "/etc/modules", "/etc/modules-load.d/",
    "/etc/zipl.conf")

NETWORK: tuple[Rule, ...] = _rules(
    "it describes the network of this node", "/etc/network/", "/etc/netplan/", "/etc/dhcp/",
    "/etc/dhcpcd.conf", "/etc/NetworkManager/", "/etc/sysconfig/network",
    "/etc/sysconfig/network/", "/etc/sysconfig/network-scripts/", "/etc/nmstate/",
    "/etc/systemd/network/", "/etc/wicked/", "/etc/resolv.conf", "/etc/systemd/resolved.conf",
    "/etc/networks", "/etc/keepalived/", "/etc/wireguard/", "/etc/openvpn/", "/etc/tinc/",
    "/etc/frr/", "/etc/bird*")

CLUSTER: tuple[Rule, ...] = (
    *_rules("the cluster's own tools distribute it", "/etc/corosync/", "/etc/pacemaker/",
            "/etc/cluster/", "/etc/drbd.conf", "/etc/drbd.d/", "/etc/booth/", "/etc/pcs/",
            "/etc/crm/", "/etc/pcsd/", "/etc/ha.d/", "/etc/ocfs2/", "/etc/dlm/", "/etc/sanlock/",
            "/var/lib/pcsd/", "/var/lib/pacemaker/",
            "/var/lib/corosync/", "/etc/default/corosync", "/etc/default/pacemaker",
            "/etc/sysconfig/corosync", "/etc/sysconfig/pacemaker"),
    *_rules("it is the watchdog or the fencing of this node", "/etc/sysconfig/sbd",
            "/etc/default/sbd"),
    *_rules("it belongs to another tool that replicates", "/etc/csync2*", "/etc/lsyncd*",
            "/etc/default/lsyncd", "/etc/incron*", "/var/spool/incron/", "/etc/cron.d/csync2"),
)

PACKAGES: tuple[Rule, ...] = (
    *_rules("accounts differ from node to node in their numbers", "/etc/passwd", "/etc/passwd-",
            "/etc/shadow", "/etc/shadow-", "/etc/group", "/etc/group-", "/etc/gshadow",
            "/etc/gshadow-", "/etc/subuid", "/etc/subuid-", "/etc/subgid", "/etc/subgid-",
            "/etc/.pwd.lock"),
    *_rules("it is state of the packages of this node", "/etc/ld.so.cache", "/etc/apt/",
            "/etc/yum.repos.d/", "/etc/yum/", "/etc/dnf/", "/etc/zypp/", "/etc/dpkg/",
            "/etc/alternatives/", "/etc/.updated", "/etc/selinux/", "/etc/rpm/",
            "/etc/ucf.conf", "/etc/ca-certificates.conf.dpkg-*", "/etc/.etckeeper", "/etc/.git/",
            "/etc/.gitignore"),
    *_rules("it decides what starts at boot, and services of the cluster must not",
            "/etc/rc?.d/", "/etc/rc.d/rc?.d/", "/etc/init.d/rc?.d/", "/etc/init.d/boot.d/",
            "/etc/systemd/system/*.wants/", "/etc/systemd/system/*.requires/",
            "/etc/systemd/system/*.upholds/",
            "/etc/systemd/system/default.target", "/etc/systemd/user/*.wants/", "/etc/bm/default",
            "/etc/systemd/system-preset/"),
)

EDITORS: tuple[Rule, ...] = _rules(
    # Not by a leading dot alone: .pgpass and .my.cnf are configuration.
    "an editor or a package leaves it behind", "*/.*.sw[a-z]", "*/.*.sw[a-z]x", "*/4913",
    "*/.#*", "*/#*#", "*~", "*.dpkg-new", "*.dpkg-tmp", "*.dpkg-old", "*.dpkg-dist",
    "*.dpkg-bak", "*.ucf-new", "*.ucf-old", "*.ucf-dist", "*.rpmnew", "*.rpmsave", "*.rpmorig",
    "*/.ocfs*", "*/.nfs????????*")

NEVER: tuple[Rule, ...] = OWN + NODE + BOOT + NETWORK + CLUSTER + PACKAGES + EDITORS

LINKS_OF_UNITS = "/etc/systemd/system/"
LINK_REASON = "a link among the units enables, renames or masks a unit on this node alone"
"""A mask that is copied masks the unit on the active node as well."""
