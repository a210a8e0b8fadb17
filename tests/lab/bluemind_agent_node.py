# SPDX-License-Identifier: GPL-2.0-or-later
"""A node with real systemd and a BlueMind of the lab, on which the agent is called.

PostgreSQL, Cyrus, Postfix and nginx are real, the Java services a stand-in. There is no Pacemaker
here: the tests are the caller, as Pacemaker would be. Address and disk are brought up by hand, as
other members of the group would have done before.
"""

from __future__ import annotations

from typing import Any, List

import agent_node
import bluemind_nodes
from bluemind import layout
from bluemind.provision import ADDRESS, PLACE
from calling import Answer, Running

AGENT = "/usr/lib/ocf/resource.d/mailha/bluemind"
RESOURCE = "bluemind_services"
KEPT = "/root/bm.kept"

_RESET = """
for unit in {units}; do systemctl kill --signal=KILL $unit 2>/dev/null || :; done
pkill -KILL -f '[n]et.bluemind|[o]rg.elasticsearch|[o]rg.keycloak|[e]xchange.http' || :
ip addr show dev lo | grep -q {address} || ip addr add {address}/32 dev lo
for each in {directories}; do
    mountpoint -q /var/$each || mount --bind {place}/$each /var/$each
done
rm -rf /run/mailha /var/log/java_pid* /etc/bm /var/spool/bm-docs/.mailha-last-run /var/lib/mailha
cp -a {kept} /etc/bm
find /etc/bluemind-standin -type f ! -name users -delete
for unit in {units}; do systemctl stop $unit 2>/dev/null || :; done
systemctl reset-failed
"""

_RUNNING = """
for unit in {units}; do
    for group in $(find /sys/fs/cgroup -path "*/system.slice/*$unit/cgroup.procs" 2>/dev/null); do
        if grep -q . $group; then echo $unit; fi
    done
done
"""


class BlueMindNode(agent_node.Node):
    """A node with a release of BlueMind. units: of its services, as systemd knows them."""

    def __init__(self, its: bluemind_nodes.Node) -> None:
        """Take a node of the laboratory that has its disk mounted."""
        super().__init__(its.lab, its.name)
        self.release = its.release
        self.sh(f"[ -e {KEPT} ] || cp -a /etc/bm {KEPT}")
        version = self.sh("ls /etc/postgresql").strip()
        self.units = [f"{name}.service" for name in its.release.own_units if name != "bm-pimp"]
        self.units += ["postfix@-.service"]
        self.units += [] if its.release.restarts else [f"postgresql@{version}-main.service"]

    def begin(self, action: str, **options: Any) -> Running:
        """Call the agent and return at once; see agent_node.Node.begin."""
        usual = {"start": 900.0, "stop": 600.0}.get(action, 60.0)
        return super().begin(action, **{"resource": RESOURCE, "program": AGENT, "timeout": usual,
                                        **options})

    def stopped(self, **options: Any) -> Answer:
        """Stop the resource, which has to succeed and to leave nothing."""
        answer = self.stop(**options)
        assert answer.code == 0, str(answer)
        assert self.running() == [], str(answer)
        assert self.jobs() == "", f"orders are left in systemd's queue: {self.jobs()}"
        return answer

    def reset(self) -> None:
        """Kill every service and forget what a test did; guards of units stay, as in real life."""
        self.sh(_RESET.format(units=" ".join(self.units), address=ADDRESS, place=PLACE, kept=KEPT,
                              directories=" ".join(layout.DATA)), timeout=180)

    def running(self) -> List[str]:
        """Return the units in whose control groups there is a process, whatever systemd says."""
        return sorted(set(self.sh(_RUNNING.format(units=" ".join(self.units))).split()))

    def jobs(self) -> str:
        """Return systemd's queued orders for BlueMind's units."""
        return self.sh("systemctl list-jobs --no-legend --plain | "
                       "grep -E 'bm-|postfix|postgresql' || :")

    def pid(self, unit: str) -> int:
        """Return a process of a unit: its main one, or where there is none the first of all."""
        found = int(self.sh(f"systemctl show -P MainPID {unit}"))
        return found or int(self.sh("cat $(find /sys/fs/cgroup -path "
                                    f"'*/system.slice/*{unit}/cgroup.procs' | tail -n 1)"
                                    ).split()[0])

    def state(self, unit: str) -> str:
        """Return what systemd says of a unit."""
        return self.sh(f"systemctl is-active {unit} || :").strip()

    def tell(self, unit: str, **settings: object) -> None:
        """Tell a stand-in to behave so; without settings as ever."""
        path = f"/etc/bluemind-standin/{unit}"
        if settings:
            self.write(path, "\n".join(f"{key} = {value}" for key, value in settings.items()))
        else:
            self.sh(f"rm -f {path}")
