# SPDX-License-Identifier: GPL-2.0-or-later
"""The layer of real mail software that the nodes of BlueMind and of Cyrus have over the image."""

from __future__ import annotations

from twonode.layer import Recipe

# Unconfigured, Postfix is installed without main.cf and master.cf; who uses it writes his own. Of
# PostgreSQL the first database is not made, because its data belong on a shared disk.
_BEFORE = r"""
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/lab.conf
find /etc/systemd/system -type l | sort > /var/cache/enabled
"""

# On a node only the cluster may be enabled; see image.FINISH. Mail of Cyrus and of PostgreSQL that
# lay below the mount point of a shared disk would look like mail.
_AFTER = r"""
find /etc/systemd/system -type l | sort | comm -23 - /var/cache/enabled | xargs -r rm
rm -f /etc/rc?.d/S* /var/cache/enabled
find /var/lib/postgresql /var/lib/cyrus /var/spool/cyrus /var/spool/sieve -mindepth 1 -delete
mkdir -p /var/spool/sieve
rm -f /etc/nginx/sites-enabled/default /etc/mailname
"""

MAIL = Recipe("mail", (
    "postgresql", "nginx-light", "libnginx-mod-mail",
    "postfix", "cyrus-imapd", "cyrus-pop3d", "cyrus-admin", "cyrus-clients", "cyrus-replication",
    "sasl2-bin", "libsasl2-modules",
), before=_BEFORE, after=_AFTER)
