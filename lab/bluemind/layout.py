# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration files of a node, as texts. BlueMind writes the real ones; these say the same."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

from bluemind.releases import Release

DATA = ("spool/bm-docs", "spool/bm-elasticsearch", "spool/bm-hsm", "spool/bm-hollowed",
        "spool/bm-mapi", "spool/bm-filehosting", "spool/cyrus", "spool/postfix", "spool/sieve",
        "spool/bluemind-pkgs", "lib/cyrus", "lib/postgresql", "backups/bluemind")
"""Directories below /var whose content lies on the shared disk, under the same names."""

DOMAIN = "example.com"


class User(NamedTuple):
    """Somebody with a mailbox."""

    email: str
    password: str


USERS = tuple(User(f"test{number}@{DOMAIN}", f"test{number}") for number in range(1, 4))

TOKEN = "5f0c7cb2-6d5e-4cf6-a5d1-8fcb2b1b0c0a"
IDENTITY = "b2d9a3c4-11aa-4c59-9a0e-0d8f7b1e6f55"
"""Read raw: a newline at its end would be another installation."""


class Place(NamedTuple):
    """A configuration file: text, mode, owner and group."""

    text: str
    mode: int = 0o644
    owner: Tuple[str, str] = ("root", "root")


def files(release: Release, address: str) -> Dict[str, Place]:
    """Return every configuration file by its path, without the slash in front.

    address: the floating one.
    """
    found = {
        "etc/bm/bm.ini": Place(_ini(address), 0o640),
        "etc/bm/bm-core.tok": Place(TOKEN, 0o440),
        "etc/bm/mcast.id": Place(IDENTITY),
        "etc/bluemind-standin/users": Place(
            "".join(f"{user.email} {user.password}\n" for user in USERS), 0o600),
        "etc/postfix/main.cf": Place(_main_cf(release)),
        "etc/postfix/mailboxes": Place("".join(f"{user.email} x\n" for user in USERS)),
        "etc/aliases": Place("postmaster: root\n"),
        "etc/nginx/nginx.conf": Place(_NGINX),
    }
    if not release.version.startswith("3."):
        found["etc/bm/server.uid"] = Place("6c1f2b70-lab")
    if release.has_cyrus:
        found.update({
            "etc/imapd.conf": Place(_IMAPD), "etc/cyrus.conf": Place(_CYRUS),
            "etc/cyrus-partitions": Place(_PARTITIONS),
            "etc/cyrus-admins": Place("admins: admin0\n"),
        })
    return found


def _ini(address: str) -> str:
    return (f"[global]\nhost = {address}\nhz-member-address = {address}\n"
            "external-url = mail.example.com\ndbtype = PGSQL\ndb = bj\nuser = bj\npassword = bj\n")


def _main_cf(release: Release) -> str:
    return f"""\
# Written by mailha's lab in place of BlueMind.
compatibility_level = 3.5
myhostname = mail.{DOMAIN}
mydestination =
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = texthash:/etc/postfix/mailboxes
virtual_transport = lmtp:inet:127.0.0.1:2400
smtpd_milters = inet:127.0.0.1:2500
milter_default_action = tempfail
# A laboratory has no patience.
queue_run_delay = 2s
minimal_backoff_time = 2s
maximal_backoff_time = 4s
"""


_PARTITIONS = """\
partition-bmexample: /var/spool/cyrus/data/bm
metapartition-bmexample: /var/spool/cyrus/meta/bm
archivepartition-bmexample: /var/spool/bm-hsm/cyrus-archives/bm
"""

_IMAPD = """\
# Written by mailha's lab in place of BlueMind.
configdirectory: /var/lib/cyrus
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
defaultpartition: bmexample
metapartition_files: header index cache expunge annotations lock dav archivecache
@include: /etc/cyrus-partitions
@include: /etc/cyrus-admins
unixhierarchysep: yes
altnamespace: no
virtdomains: userid
defaultdomain: global.virt
sievedir: /var/spool/sieve
sieveusehomedir: false
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: /var/run/saslauthd/mux
lmtp_downcase_rcpt: yes
autocreate_quota: 0
autocreate_post: yes
idlesocket: /run/cyrus/socket/idle
notifysocket: /run/cyrus/socket/notify
syslog_prefix: cyrus
"""

_CYRUS = """\
# Written by mailha's lab in place of BlueMind.
START {
    recover cmd="/usr/sbin/cyrus ctl_cyrusdb -r"
    idled cmd="idled"
}
SERVICES {
    imap cmd="imapd -U 30" listen="0.0.0.0:1143" prefork=0
    pop3 cmd="pop3d -U 30" listen="0.0.0.0:1110" prefork=0
    lmtp cmd="lmtpd -a" listen="0.0.0.0:24" prefork=0
    sieve cmd="timsieved" listen="0.0.0.0:2000" prefork=0
}
EVENTS {
    checkpoint cmd="/usr/sbin/cyrus ctl_cyrusdb -c" period=30
    delprune cmd="/usr/sbin/cyrus expire -E 3" at=0401
}
"""

_NGINX = """\
# Written by mailha's lab in place of BlueMind.
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 256; }
http {
    access_log off;
    server {
        listen 80;
        listen 443 ssl;
        ssl_certificate /etc/ssl/certs/bm_cert.pem;
        ssl_certificate_key /etc/ssl/certs/bm_cert.pem;
        location / { proxy_pass http://127.0.0.1:8080; }
    }
}
mail {
    # bm-hps knows on which server a mailbox is.
    auth_http 127.0.0.1:8079/location/host/mail/imap;
    proxy_pass_error_message on;
    server { listen 143; protocol imap; imap_capabilities IMAP4rev1; }
}
"""
