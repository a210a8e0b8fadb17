# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of a node that runs the stand-in, as texts: configuration, units, executables."""

from __future__ import annotations

from typing import Dict, NamedTuple

SERVICES = ("server", "spooler", "dagent", "monitor", "gateway", "ical")
IDLE_SERVICES = ("search", "presence")
PACKAGE = "usr/lib/kopano-standin"


class Addresses(NamedTuple):
    """The floating addresses and what opens the database behind one of them."""

    kopano: str
    mysql: str
    mysql_password: str


def executable(service: str) -> str:
    """Return the script for /usr/sbin/kopano-``service``."""
    call = "admin import main" if service == "admin" else "program import main"
    arguments = "sys.argv[1:]" if service == "admin" else f'"{service}", sys.argv[1:]'
    return f'''#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-{service} of mailha's lab: a stand-in, not Kopano."""
import sys

sys.path.insert(0, "/{PACKAGE}")
from standin.{call}  # noqa: E402

sys.exit(main({arguments}))
'''


def unit(service: str) -> str:
    """Return the unit kopano-``service``.service, in the manner of Kopano 8.7's own."""
    foreground = "-l" if service == "dagent" else "-F"
    after = "network.target mariadb.service mysql.service" if service == "server" else (
        "network.target kopano-server.service")
    timeout = "TimeoutStopSec=60\n" if service == "server" else ""
    return f"""[Unit]
Description=Kopano {service} (stand-in of mailha's lab)
After={after}

[Service]
Type=simple
ExecStart=/usr/sbin/kopano-{service} {foreground}
{timeout}
[Install]
WantedBy=multi-user.target
"""


def configuration(addresses: Addresses, *, listen_keys: bool) -> Dict[str, str]:
    """Return the text of every /etc/kopano/*.cfg by service.

    listen_keys: spell addresses as 8.7 and later do, else as releases before 8.6.81 do.
    """
    kopano = addresses.kopano
    bind = f"server_bind = {kopano}\n"
    listen = {
        "server": f"server_listen = {kopano}:236 127.0.0.1:236\n",
        "dagent": f"lmtp_listen = {kopano}:2003\n",
        "gateway": f"imap_listen = {kopano}:143\npop3_listen = {kopano}:110\n",
        "ical": f"ical_listen = {kopano}:8080\n",
    } if listen_keys else {"server": bind, "dagent": bind, "gateway": bind, "ical": bind}
    # Old releases bind one address only, so that localhost does not answer.
    http = "http://localhost:236/" if listen_keys else f"http://{kopano}:236/"
    own = {
        "server": (f"mysql_host = {addresses.mysql}\nmysql_user = kopano\n"
                   f"mysql_password = {addresses.mysql_password}\nmysql_database = kopano\n"
                   "attachment_storage = files\n"
                   "attachment_path = /var/lib/kopano/attachments\n"
                   "local_admin_users = root kopano\n"),
        "gateway": f"server_socket = {http}\n",
        "ical": f"server_socket = {http}\n",
    }
    head = ("# The stand-in of mailha's lab reads this as Kopano would: key = value, last one"
            " wins.\n")
    return {
        service: (f"{head}log_method = file\nlog_file = /var/log/kopano/{service}.log\n"
                  f"log_level = 5\n{listen.get(service, '')}{own.get(service, '')}")
        for service in SERVICES + IDLE_SERVICES}


def mariadb(address: str) -> str:
    """Return MariaDB's configuration: on the floating address, small, and durable at COMMIT."""
    return f"""# Written by mailha's lab. Read last, so it wins.
[mysqld]
bind-address = {address}
datadir = /var/lib/mysql
ignore-db-dirs = lost+found
skip-name-resolve
# A COMMIT that was answered is on the disk.
innodb_flush_log_at_trx_commit = 1
# A node of the lab has little memory and a small disk.
innodb_buffer_pool_size = 16M
innodb_log_file_size = 8M
innodb_log_buffer_size = 2M
key_buffer_size = 1M
aria_pagecache_buffer_size = 1M
max_connections = 60
table_open_cache = 64
performance_schema = OFF
"""


APACHE_STATUS = """# Written by mailha's lab: what the cluster's monitor asks for.
<Location "/server-status">
    SetHandler server-status
    Require local
</Location>
"""

TMPFILES = "d /run/kopano 0775 kopano kopano -\n"
