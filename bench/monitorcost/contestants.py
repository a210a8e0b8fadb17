# SPDX-License-Identifier: GPL-2.0-or-later
"""Who competes, as data.

A `Direct` contestant is run by the meter as pacemaker-execd would run it: the commands of a group
one after the other. A `Clustered` one is left to Pacemaker, which repeats its monitors by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple, Union

SERVICES = ("server", "spooler", "dagent", "monitor", "gateway", "ical")
"""The six services of the Kopano group."""

KOPANO_IP, MYSQL_IP = "198.51.100.100", "198.51.100.101"

AGENTS = "/usr/lib/ocf/resource.d"

# What pacemaker-execd 2.1 gives an agent for a recurring monitor, beside its parameters.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "HA_LOGFACILITY": "daemon", "HA_logfacility": "daemon",
    "HA_debug": "0", "PCMK_debug": "0",
    "OCF_ROOT": "/usr/lib/ocf", "OCF_RA_VERSION_MAJOR": "1", "OCF_RA_VERSION_MINOR": "1",
    "OCF_EXIT_REASON_PREFIX": "ocf-exit-reason:", "OCF_OUTPUT_FORMAT": "text",
    "OCF_RESKEY_crm_feature_set": "3.16.2",
    "OCF_RESKEY_CRM_meta_timeout": "60000", "OCF_RESKEY_CRM_meta_name": "monitor",
    "OCF_RESKEY_CRM_meta_on_node": "alice", "OCF_RESKEY_CRM_meta_on_node_uuid": "1",
    "OCF_RESKEY_CRM_meta_interval": "30000",
}

Command = Tuple[List[str], Dict[str, str]]


@dataclass(frozen=True)
class Direct:
    """Commands that together are one monitor of the group; each has to end with code 0.

    turns: how often it is run a round. What costs a few milliseconds is run more often, because a
    disturbance of a few milliseconds is a large part of that.
    """

    name: str
    commands: Tuple[Command, ...]
    turns: int = 1


@dataclass(frozen=True)
class Clustered:
    """A resource of the cluster, a group or a primitive, whose monitors Pacemaker repeats.

    monitors: how many recurring monitors it has in all.
    starts: how many processes Pacemaker starts for all of them, an agent being one.
    turns: how often it is watched a round.
    """

    name: str
    resource: str
    monitors: int
    starts: int
    turns: int = 1


Contestant = Union[Direct, Clustered]

IDLE = Clustered("nothing", "", 0, 0)
"""Pacemaker without any recurring monitor: what it costs then is taken off from the others."""


def agent(provider: str, kind: str, instance: str = "", action: str = "monitor", level: int = 0,
          **parameters: str) -> Command:
    """Return the command that is an OCF agent's action, its recurring monitor by default.

    level: OCF_CHECK_LEVEL, which Pacemaker passes only where it is not 0.
    """
    return [f"{AGENTS}/{provider}/{kind}", action], {
        **ENVIRONMENT,
        "OCF_RESOURCE_INSTANCE": instance or kind,
        "OCF_RESOURCE_TYPE": kind, "OCF_RESOURCE_PROVIDER": provider,
        **({"OCF_CHECK_LEVEL": str(level)} if level else {}),
        **{f"OCF_RESKEY_{name}": value for name, value in parameters.items()}}


def program(*argv: str, **environment: str) -> Command:
    """Return a command that is no agent, in an agent's environment."""
    return list(argv), {**ENVIRONMENT, **environment}


TURNS = 3

BARE = Direct("python3 -I -c pass", (program("/usr/bin/python3", "-I", "-c", "pass"),), TURNS)

BARE_WITHOUT_SITE = Direct("python3 -IS -c pass",
                           (program("/usr/bin/python3", "-IS", "-c", "pass"),), TURNS)

KOPANO = Direct("ocf:mailha:kopano monitor", (agent("mailha", "kopano"),), TURNS)

KOPANO_DEEP = Direct("ocf:mailha:kopano monitor, depth 10",
                     (agent("mailha", "kopano", level=10),), TURNS)

GUARD = Direct("ocf:mailha:fencing-guard monitor", (agent("mailha", "fencing-guard"),), TURNS)

KOPANO_CLUSTERED = Clustered("ocf:mailha:kopano, run by Pacemaker", "kopano", 1, 1)

SYSTEMD = Clustered("6 × systemd:, run by Pacemaker", "six-systemd", len(SERVICES), 0)

LSB = Direct("6 × LSB status", tuple(
    program(f"/etc/init.d/kopano-{service}", "status") for service in SERVICES))

LSB_WITHOUT_SYSTEMD = Direct("6 × LSB status, not redirected", tuple(
    program(f"/etc/init.d/kopano-{service}", "status", SYSTEMCTL_SKIP_REDIRECT="1")
    for service in SERVICES))

OCF_PY = Direct("6 × ocf:heartbeat:dummypy (ocf.py)", tuple(
    agent("heartbeat", "dummypy", f"dummypy-{service}",
          state=f"/run/resource-agents/dummypy-{service}.state") for service in SERVICES))

EIGHT = ("Dummy", "IPaddr2", "Filesystem", "mysql", "pgsql", "postfix", "nginx", "apache")

HEARTBEAT = Direct("8 × ocf:heartbeat", (
    agent("heartbeat", "Dummy"),
    agent("heartbeat", "IPaddr2", ip=KOPANO_IP, cidr_netmask="24", nic="eth0"),
    agent("heartbeat", "Filesystem", device="/dev/san-kopano", directory="/var/lib/kopano",
          fstype="ext4"),
    agent("heartbeat", "mysql", binary="/usr/sbin/mariadbd", config="/etc/mysql/my.cnf",
          pid="/run/mysqld/mysqld.pid", socket="/run/mysqld/mysqld.sock"),
    agent("heartbeat", "pgsql", pgctl="/usr/lib/postgresql/15/bin/pg_ctl",
          pgdata="/var/lib/postgresql/15/main", config="/etc/postgresql/15/main/postgresql.conf",
          socketdir="/run/postgresql"),
    agent("heartbeat", "postfix"),
    agent("heartbeat", "nginx", httpd="/usr/sbin/nginx", configfile="/etc/nginx/nginx.conf"),
    agent("heartbeat", "apache", httpd="/usr/sbin/apache2",
          configfile="/etc/apache2/apache2.conf", statusurl="http://127.0.0.1/server-status"),
))

OURS = (KOPANO, KOPANO_DEEP, GUARD, KOPANO_CLUSTERED)

PEERS = (SYSTEMD, LSB_WITHOUT_SYSTEMD, LSB, OCF_PY, HEARTBEAT)

ALL: Tuple[Contestant, ...] = (BARE, BARE_WITHOUT_SITE, *OURS, *PEERS)

BLUEMIND = Direct("ocf:mailha:bluemind monitor", (agent("mailha", "bluemind"),), TURNS)

BLUEMIND_DEEP = Direct("ocf:mailha:bluemind monitor, depth 10",
                       (agent("mailha", "bluemind", level=10),), TURNS)


CYRUS_ADDRESS, CYRUS_ROOT = "198.51.100.100", "/usr/local/cyrus-server1"

CYRUS = Direct("ocf:mailha:cyrus monitor", (agent(
    "mailha", "cyrus", "server1_cyrus", ip=CYRUS_ADDRESS, instance_root=CYRUS_ROOT),), TURNS)

CYRUS_DEEP = Direct("ocf:mailha:cyrus monitor, depth 10", (agent(
    "mailha", "cyrus", "server1_cyrus", level=10, ip=CYRUS_ADDRESS,
    instance_root=CYRUS_ROOT),), TURNS)


def is_active(units: Sequence[str]) -> Direct:
    """Return what asks systemd alone, once for each unit."""
    return Direct(f"{len(units)} × systemctl is-active", tuple(
        program("/usr/bin/systemctl", "--quiet", "is-active", unit) for unit in units))


@dataclass(frozen=True)
class Field:
    """Who is measured together.

    promised: whose cost the verdict is about: the monitor that Pacemaker repeats all the time.
    compared: whose cost is compared with the empty program as well, but for information.
    allowed: milliseconds that a promised one may cost more than the empty program.
    """

    everybody: Tuple[Contestant, ...]
    promised: Tuple[Direct, ...]
    compared: Tuple[Direct, ...]
    allowed: float


KOPANO_FIELD = Field(ALL, (KOPANO,), (KOPANO_DEEP, GUARD), 5.0)


def bluemind_field(units: Sequence[str]) -> Field:
    """Return the field on a node with BlueMind. units: of its services."""
    return Field((BARE, BARE_WITHOUT_SITE, BLUEMIND, BLUEMIND_DEEP, is_active(units)),
                 (BLUEMIND,), (BLUEMIND_DEEP,), 8.0)


def cyrus_field(units: Sequence[str]) -> Field:
    """Return the field on a node with one instance of Cyrus. units: its unit."""
    return Field((BARE, BARE_WITHOUT_SITE, CYRUS, CYRUS_DEEP, is_active(units)),
                 (CYRUS,), (CYRUS_DEEP,), 5.0)
