# SPDX-License-Identifier: GPL-2.0-or-later
"""The parameters of ocf:mailha:cyrus, and what two of them cannot mean at once."""

from __future__ import annotations

from mailha.mailserver.parameters import MANUAL_NODE, REQUIRE_MOUNT, require_stonith
from mailha.ocf import Parameter
from mailha.profiles.cyrus import USER
from mailha.system.addresses import canonical
from mailha.validation.network import Address
from mailha.validation.text import Choice, Path, User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping


def contradictions(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return which parameters contradict each other, or what an instance is for."""
    ip = canonical(parameters["ip"])
    if ip in ("0.0.0.0", "::") or ip == "::1" or ip.startswith("127."):
        yield (f"ip={parameters['ip']} is no floating address: the other instances would have it "
               "in common; name the address of an IPaddr2 in front of this resource")
    if not parameters["instance_root"]:
        for name in ("imapd_conf", "cyrus_conf"):
            if not parameters[name]:
                yield (f"neither instance_root nor {name} is set, so that nobody knows which "
                       "instance is meant; set instance_root, or both imapd_conf and cyrus_conf")


PARAMETERS = (
    Parameter("ip", Address(), required=True, unique_group="ip",
              short="address of this instance alone",
              long="""\
The floating address that the instance has for itself. Every TCP service of its cyrus.conf must
listen on it and on no other one. An IPaddr2 in front of this resource brings it up."""),
    Parameter("instance_root", Path(), unique_group="instance_root",
              short="directory of this instance",
              long="""\
The directory with the whole instance, where its disk is mounted: etc/imapd.conf and etc/cyrus.conf,
bin (if it has programs of its own) and data. With it, imapd_conf, cyrus_conf, binary_dir and
data_dir need only be set where they differ."""),
    Parameter("imapd_conf", Path(), unique_group="imapd_conf",
              short="imapd.conf of this instance",
              long="""\
The imapd.conf of this instance. Not set: etc/imapd.conf in instance_root. Unless it is
/etc/imapd.conf, each command in cyrus.conf has to name it with -C."""),
    Parameter("cyrus_conf", Path(), unique_group="cyrus_conf",
              short="cyrus.conf of this instance",
              long="The cyrus.conf of this instance. Not set: etc/cyrus.conf in instance_root."),
    Parameter("binary_dir", Path(),
              short="directory of Cyrus's programs",
              long="""\
The directory with the master and the programs that it runs. Not set: bin in instance_root if there
is a master in it, else where the distribution has them."""),
    Parameter("data_dir", Path(),
              short="directory of the data, which must be mounted",
              long="""\
The directory with the data: where its disk is mounted, and where the version that last ran is
recorded. Not set: data in instance_root if a disk is mounted there, else instance_root itself,
else the configdirectory of imapd.conf."""),
    REQUIRE_MOUNT,
    Parameter("user", User(), default=USER,
              short="user of Cyrus",
              long="""\
The user whom the master becomes and whom the data belongs to. The data must belong to the number
that this user has on each node."""),
    Parameter("manager", Choice("systemd", "direct"), default="systemd",
              short="who runs the master",
              long="""\
systemd runs mailha-cyrus@RESOURCE.service, which comes with this package. direct lets the agent run
the master itself, on nodes without systemd."""),
    require_stonith("Two Cyrus servers on the same\ndata destroy it, and lose mail that they have "
                    "acknowledged."),
    MANUAL_NODE,
)
