#!/bin/sh
# Cyrus IMAP on two nodes with shared storage, for pcs.
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

# Cyrus
cluster resource create --no-default-ops cyrus_guard ocf:mailha:fencing-guard \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=20s \
    --group cyrus
cluster resource create --no-default-ops cyrus_lib ocf:heartbeat:Filesystem \
    device=/dev/mapper/cyrus-lib directory=/var/lib/cyrus fstype=ext4 options=noatime \
    op start interval=0s timeout=60s stop interval=0s timeout=60s \
       monitor interval=20s timeout=40s \
       monitor interval=60s timeout=60s OCF_CHECK_LEVEL=20 \
    --group cyrus
cluster resource create --no-default-ops cyrus_spool ocf:heartbeat:Filesystem \
    device=/dev/mapper/cyrus-spool directory=/var/spool/cyrus fstype=ext4 options=noatime \
    op start interval=0s timeout=60s stop interval=0s timeout=60s \
       monitor interval=20s timeout=40s \
       monitor interval=60s timeout=60s OCF_CHECK_LEVEL=20 \
    --group cyrus
disks="/var/lib/cyrus=/dev/mapper/cyrus-lib"
disks="$disks /var/spool/cyrus=/dev/mapper/cyrus-spool"
cluster resource create --no-default-ops cyrus_storage ocf:mailha:cyrus-storage \
    policy=strict device="$disks" \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=30s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group cyrus
cluster resource create --no-default-ops cyrus_ip ocf:heartbeat:IPaddr2 \
    ip=192.168.122.100 cidr_netmask=24 nic=eth0 \
    op start interval=0s timeout=20s stop interval=0s timeout=20s \
       monitor interval=10s timeout=20s \
    --group cyrus
cluster resource create --no-default-ops cyrus_imapd systemd:cyrus-imapd \
    op start interval=0s timeout=300s stop interval=0s timeout=120s \
       monitor interval=20s timeout=100s \
    --group cyrus
cluster constraint location cyrus prefers bob=50
