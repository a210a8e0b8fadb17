# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages that do, when they are updated, what those of BlueMind do.

They start BlueMind on whatever node they are updated: bm-node activates the trigger bluemindtarget,
on which bm-conf starts bluemind.target; bm-conf enables anew every unit that is enabled; and an
update of a service's package starts the service. What the scriptlets of the RPMs do besides is in
RPM_SCRIPTLETS, to be played by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterable, List

from bluemind import units
from bluemind.releases import SYSV, TARGET, Release

CACHE = "var/cache/bluemind"
"""Where the packages lie on a node, a directory for each version."""

RPM_SCRIPTLETS = "usr/share/bluemind-standin/rpm-scriptlets"

UPDATED = ("bm-conf", "bm-core", "bm-node", "bm-ysnp", "bm-lmtpd", "bm-webserver")
"""What there are newer packages of; as far as the release has them."""

_START = """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl start {name}
fi
"""

_CONF = """\
#!/bin/sh
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
triggered)
    systemctl start bluemind.target || true
    ;;
configure)
    systemctl daemon-reload
    enabled=
    for unit in {units}; do
        if systemctl --quiet is-enabled $unit 2>/dev/null; then
            enabled="$enabled $unit"
        fi
    done
    [ -z "$enabled" ] || systemctl --quiet reenable $enabled
    ;;
esac
"""

_SCRIPTLETS = """\
#!/bin/sh
# What the scriptlets of BlueMind's RPMs do on an update: %post of each service, %postun of bm-conf.
for unit in {units}; do
    systemctl start $unit
done
systemctl start bluemind.target
"""


# With a target it only asks systemd, and does not wait for anything. Before, it called the services
# one after the other.
_BMCTL = """\
#!/bin/sh
# bmctl of mailha's lab, in the manner of BlueMind's.
services='{units}'
case "$1" in
start | stop | restart)
    exec systemctl "$1" {what}
    ;;
status)
    systemctl --no-pager status bm-core
    ;;
*)
    echo "usage: bmctl start|stop|restart|status"
    ;;
esac
"""


def names(release: Release) -> List[str]:
    """Return the names of the packages of a release."""
    return ["bm-conf", *release.own_units]


def write_trees(place: Path, release: Release, version: str, only: Iterable[str],
                postgresql: str) -> None:
    """Write the directories of which dpkg-deb makes packages.

    place: where each package gets a directory of its name.
    release: whose services they are. version: what they say they are.
    only: names of packages.
    postgresql: the major version of PostgreSQL on the nodes.
    """
    for name in only:
        tree = place / name
        control = tree / "DEBIAN"
        control.mkdir(parents=True)
        control.chmod(0o755)
        (control / "control").write_text(
            f"Package: {name}\nVersion: {version}-1\nArchitecture: all\nPriority: optional\n"
            "Maintainer: the laboratory of mailha <root@localhost>\n"
            f"Description: {name} of the laboratory, which is not BlueMind's\n")
        script = control / "postinst"
        script.write_text(_CONF.format(units=" ".join(release.own_units)) if name == "bm-conf"
                          else _START.format(name=name))
        script.chmod(0o755)
        triggers = {"bm-conf": "interest bluemindtarget\n", "bm-node": "activate bluemindtarget\n"}
        if name in triggers and release.manner == TARGET:
            (control / "triggers").write_text(triggers[name])
        for path, text in _content(release, version, name, postgresql).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
            (tree / path).chmod(0o755 if path.startswith(("etc/init.d", "usr/bin")) else 0o644)


def scriptlets(release: Release) -> str:
    """Return the script of RPM_SCRIPTLETS."""
    return _SCRIPTLETS.format(units=" ".join(release.own_units))


def _content(release: Release, version: str, name: str, postgresql: str) -> Dict[str, str]:
    """Return the files of a package."""
    directory = "usr/lib/systemd/system"
    found: Dict[str, str] = {}
    if name == "bm-conf":
        if release.manner == TARGET:
            found[f"{directory}/bluemind.target"] = units.BLUEMIND_TARGET
        found["usr/bin/bmctl"] = _BMCTL.format(
            units=" ".join(release.names),
            what="bluemind.target" if release.manner == TARGET else "$services")
        return found
    if name == "bm-core":
        found["usr/share/bm-core/version"] = f"{version}\n"
    real = {"bm-cyrus-imapd": units.cyrus, "bm-nginx": units.nginx}
    services = {service.name: service for service in release.services}
    if name in real:
        found[f"{directory}/{name}.service"] = real[name](release)
    elif name == "bm-postgresql":
        found[f"{directory}/{name}.service"] = units.postgresql(release, postgresql)
    elif release.manner == SYSV and not services[name].oneshot:
        found[f"etc/init.d/{name}"] = units.init_script(services[name])
    else:
        found[f"{directory}/{name}.service"] = units.unit(release, services[name])
    return found
