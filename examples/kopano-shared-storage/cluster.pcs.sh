#!/bin/sh
# Kopano on two nodes with shared storage, for pcs.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Best into a file first, so that nothing starts before its constraints are there:
#     pcs cluster cib new.xml
#     sh cluster.pcs.sh -f new.xml
#     pcs cluster cib-push new.xml
# Without -f every command goes straight into the running cluster. The same configuration for crmsh is
# cluster.crm; the reason of every value stands there.
set -eu

# One place decides between the file of -f and the running cluster.
case $#:${1-} in
    0:) cluster() { pcs "$@"; } ;;
    2:-f) file=$2; cluster() { pcs -f "$file" "$@"; } ;;
    *) echo "usage: sh $0 [-f FILE]" >&2; exit 2 ;;
esac

# The whole cluster. No no-quorum-policy=ignore: corosync.conf says two_node.
cluster property set stonith-enabled=true stonith-timeout=120s
cluster resource defaults update resource-stickiness=200 migration-threshold=3 \
    failure-timeout=10min multiple-active=stop_unexpected

# Fencing
cluster stonith create fence_bob fence_ipmi \
    ip=192.168.123.25 username=fencing privlvl=operator password_script=/etc/mailha/bmc-password \
    node=bob pcmk_host_list=bob pcmk_delay_base=5s \
    op start interval=0s timeout=60s monitor interval=120s timeout=60s \
    meta migration-threshold=INFINITY
cluster stonith create fence_alice fence_ipmi \
    ip=192.168.123.26 username=fencing privlvl=operator password_script=/etc/mailha/bmc-password \
    node=alice pcmk_host_list=alice \
    op start interval=0s timeout=60s monitor interval=120s timeout=60s \
    meta migration-threshold=INFINITY
cluster constraint location fence_bob avoids bob
cluster constraint location fence_alice avoids alice

# MariaDB
cluster resource create --no-default-ops mysql_guard ocf:mailha:fencing-guard \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=20s \
    --group mysql
cluster resource create --no-default-ops mysql_fs ocf:heartbeat:Filesystem \
    device=/dev/mapper/mysql directory=/var/lib/mysql fstype=ext4 options=noatime \
    op start interval=0s timeout=60s stop interval=0s timeout=60s \
       monitor interval=20s timeout=40s \
       monitor interval=60s timeout=60s OCF_CHECK_LEVEL=20 \
    --group mysql
cluster resource create --no-default-ops mysql_ip ocf:heartbeat:IPaddr2 \
    ip=192.168.122.101 cidr_netmask=24 nic=eth0 \
    op start interval=0s timeout=20s stop interval=0s timeout=20s \
       monitor interval=10s timeout=20s \
    --group mysql
cluster resource create --no-default-ops mysqld systemd:mariadb \
    op start interval=0s timeout=900s stop interval=0s timeout=300s \
       monitor interval=20s timeout=100s \
    --group mysql

# Kopano
cluster resource create --no-default-ops kopano_guard ocf:mailha:fencing-guard \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=20s \
    --group kopano
cluster resource create --no-default-ops kopano_fs ocf:heartbeat:Filesystem \
    device=/dev/mapper/kopano directory=/var/lib/kopano fstype=ext4 options=noatime \
    op start interval=0s timeout=60s stop interval=0s timeout=60s \
       monitor interval=20s timeout=40s \
       monitor interval=60s timeout=60s OCF_CHECK_LEVEL=20 \
    --group kopano
cluster resource create --no-default-ops kopano_ip ocf:heartbeat:IPaddr2 \
    ip=192.168.122.100 cidr_netmask=24 nic=eth0 \
    op start interval=0s timeout=20s stop interval=0s timeout=20s \
       monitor interval=10s timeout=20s \
    --group kopano
cluster resource create --no-default-ops kopano_services ocf:mailha:kopano \
    op start interval=0s timeout=600s stop interval=0s timeout=600s \
       monitor interval=30s timeout=60s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group kopano

# Kopano waits for its database; no colocation, each group can move alone.
cluster constraint order start mysql then start kopano kind=Mandatory id=kopano_after_mysql
cluster constraint location mysql prefers bob=50
cluster constraint location kopano prefers bob=50

# WebApp: Apache on both nodes
cluster resource create --no-default-ops apache ocf:heartbeat:apache \
    configfile=/etc/apache2/apache2.conf statusurl=http://127.0.0.1/server-status \
    op start interval=0s timeout=40s stop interval=0s timeout=60s \
       monitor interval=60s timeout=30s
cluster resource clone apache apache_clone meta interleave=true
