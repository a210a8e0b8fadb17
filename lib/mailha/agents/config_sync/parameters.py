# SPDX-License-Identifier: GPL-2.0-or-later
"""The parameters of ocf:mailha:config-sync.

All but the place of the number can be changed while it runs: the sender then begins anew with them.
"""

from __future__ import annotations

from mailha.ocf.declaration import Parameter
from mailha.validation.storage import Paths
from mailha.validation.text import Boolean, Choice, Path, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

NONE = "none"
"""The profile that names nothing."""

PARAMETERS = (
    Parameter("profile", Choice("bluemind", "kopano", "cyrus", NONE), required=True,
              reloadable=True,
              short="the product whose configuration is replicated",
              long="""\
bluemind: /etc, the files outside of it that BlueMind's documents name, and /var/lib/bm-ca. kopano:
/etc/kopano, MariaDB's, Postfix's and the web server's configuration, and /etc/default and
/etc/sysconfig of Kopano. cyrus: imapd.conf, cyrus.conf, Postfix, saslauthd and what goes with them.
none: nothing but what include names."""),
    Parameter("include", Paths(slash=True), reloadable=True,
              short="further files and directories",
              long="""\
Absolute paths, separated by blanks or commas. A directory, or a path that ends with a slash, is
replicated with all below it, except for what never is. A file that is named here is replicated
even though it would be withheld or is one that never is; only the state and keys of mailha itself
stay."""),
    Parameter("exclude", Words(unique=False), reloadable=True,
              short="patterns of paths that are not replicated",
              long="""\
Patterns of the shell (*, ?, [...]) for whole paths, separated by blanks or commas, such as
/etc/apache2/sites-enabled/* or *.local. What matches a directory holds for all below it. The
passive node keeps what it has there."""),
    Parameter("peers", Words(), reloadable=True,
              short="the nodes that get the configuration",
              long="""\
The names of the nodes that are sent to. Not set: all other nodes of the cluster. A node that is not
paired ('mailha sync pair NODE') is reported."""),
    Parameter("generation_dir", Path(), unique_group="generation",
              short="where on the shared disk the starts are counted",
              long="""\
A directory on the disk that moves with the mail service, such as /var/spool/cyrus. A file in it
holds the number of the starts, which keeps a node that was active before from overwriting the
configuration of the one that is. Not set: the number is a property in the cluster's configuration.
Set it where there is such a disk: only the active node can write there."""),
    Parameter("apply_sysctl", Boolean(), default="false", reloadable=True,
              short="load changed kernel settings on the passive node",
              long="""\
Whether a change of /etc/sysctl.conf or /etc/sysctl.d is put into force on the passive node at once
(sysctl --system). Not set, it is from its next boot on."""),
)


def contradictions(values: Mapping[str, Any]) -> Iterable[str]:
    """Yield what contradicts itself among the values."""
    if values["profile"] == NONE and not values["include"]:
        yield ("nothing is to be replicated: profile is 'none' and include is not set; set profile "
               "to the product, or include to paths")
