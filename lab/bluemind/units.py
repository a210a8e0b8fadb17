# SPDX-License-Identifier: GPL-2.0-or-later
"""Units and init scripts in the manner of each release."""

from __future__ import annotations

from bluemind.releases import TARGET, Release, Service

JAVA = "/usr/lib/jvm/bm-jdk/bin/java"
PROGRAM = "/usr/lib/bluemind-standin/run"

RUN = '''\
# SPDX-License-Identifier: GPL-2.0-or-later
"""A service of BlueMind in mailha's lab: a stand-in, not BlueMind."""
import sys

sys.path.insert(0, "/usr/lib/bluemind-standin")
from standin.main import main  # noqa: E402

main(sys.argv[1:])
'''
"""The text of PROGRAM."""

BLUEMIND_TARGET = """\
[Unit]
Description=BlueMind services
After=network-online.target
[Install]
WantedBy=multi-user.target
"""


def command(service: Service) -> str:
    """Return what runs a service. A Java machine names its class behind its options."""
    return f"{JAVA} -I -S {PROGRAM} {service.name} {service.main.split()[0]}"


def unit(release: Release, service: Service) -> str:
    """Return the unit of a Java service, of a release that has units."""
    target = release.manner == TARGET
    after = " ".join(f"{name}.service" for name in service.after
                     if name in release.names or name == release.database)
    seconds = {"bm-core": release.core_start_seconds}.get(service.name, 90)
    lines = ["[Unit]", f"Description={service.name} (stand-in of mailha's lab)",
             f"After=network-online.target {after}".rstrip(),
             f"ConditionPathExists=!/etc/bm/{service.name}.disabled"]
    lines += ["PartOf=bluemind.target"] if target else []
    lines += [f"StartLimitIntervalSec=30\nStartLimitBurst={service.start_limit}"
              ] if release.restarts else []
    if service.oneshot:
        lines += ["[Service]", "Type=oneshot", "RemainAfterExit=yes", "TimeoutStartSec=1h",
                  "ExecStart=/bin/true"]
    else:
        # It is Type=notify without PIDFile=; BlueMind's own name the pid file in argv[1].
        lines += ["[Service]", "Type=notify", f"TimeoutStartSec={seconds}s",
                  f"ExecStart={command(service)} /run/{service.name}.pid",
                  "SuccessExitStatus=129 143"]
        lines += ["Restart=on-failure", "OOMPolicy=kill"] if release.restarts else []
    if service.account != ("root", "root"):
        lines += ["User={}\nGroup={}".format(*service.account),
                  f"ExecStartPre=+/usr/bin/install -o {service.account[0]} /dev/null "
                  f"/run/{service.name}.pid"]
    lines += ["[Install]",
              f"WantedBy={'bluemind.target' if target else 'multi-user.target'}"]
    return "\n".join(lines) + "\n"


def init_script(service: Service) -> str:
    """Return the init script of a Java service, of 3.x."""
    needs = " ".join(name for name in service.after if name != "bm-pimp") or "$network"
    return f"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          {service.name}
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Should-Start:      {needs}
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: {service.name} (stand-in of mailha's lab)
### END INIT INFO
pid_file=/var/run/{service.name}.pid
case "$1" in
start)
    [ -e /etc/bm/{service.name}.disabled ] && exit 0
    start-stop-daemon --start --oknodo --background --pidfile $pid_file --startas \\
        {command(service).split()[0]} -- {command(service).split(' ', 1)[1]} $pid_file
    ;;
stop)
    start-stop-daemon --stop --oknodo --retry TERM/60/KILL/5 --pidfile $pid_file
    rm -f $pid_file
    ;;
restart | force-reload)
    "$0" stop
    "$0" start
    ;;
status)
    start-stop-daemon --status --pidfile $pid_file
    ;;
*)
    echo "usage: $0 start|stop|restart|status" >&2
    exit 2
    ;;
esac
"""


def cyrus(release: Release) -> str:
    """Return bm-cyrus-imapd: the real Cyrus under BlueMind's name."""
    return _real(release, "bm-cyrus-imapd", "Type=simple\n"
                 "ExecStart=/usr/sbin/cyrmaster -l 32 -C /etc/imapd.conf -M /etc/cyrus.conf")


def nginx(release: Release) -> str:
    """Return bm-nginx: the real nginx under BlueMind's name, which is not in the target."""
    return _real(release, "bm-nginx", """\
Type=forking
PIDFile=/run/nginx.pid
ExecStart=/usr/sbin/nginx
ExecReload=/usr/sbin/nginx -s reload
KillMode=mixed
TimeoutStopSec=10""", in_target=False)


def postgresql(release: Release, version: str) -> str:
    """Return bm-postgresql: the real PostgreSQL under BlueMind's name.

    version: its major version, as "15".
    """
    return _real(release, "bm-postgresql", f"""\
Type=notify
User=postgres
RuntimeDirectory=postgresql
ExecStart=/usr/lib/postgresql/{version}/bin/postgres -D /var/lib/postgresql/{version}/main \
-c config_file=/etc/postgresql/{version}/main/postgresql.conf
KillMode=mixed
KillSignal=SIGINT
TimeoutSec=300""")


def _real(release: Release, name: str, service: str, *, in_target: bool = True) -> str:
    target = release.manner == TARGET and in_target
    return "\n".join([
        "[Unit]", f"Description={name}, a program of Debian in mailha's lab",
        "After=network-online.target", *(["PartOf=bluemind.target"] if target else []),
        "[Service]", service, "[Install]",
        f"WantedBy={'bluemind.target' if target else 'multi-user.target'}"]) + "\n"
