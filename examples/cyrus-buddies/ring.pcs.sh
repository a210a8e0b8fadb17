#!/bin/sh
# Cyrus on four nodes in a ring: instance n is at home on node n, its buddy is node n+1. For pcs.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Best into a file first, so that nothing starts before its constraints are there:
#     pcs cluster cib new.xml
#     sh ring.pcs.sh -f new.xml
#     pcs cluster cib-push new.xml
# Without -f every command goes straight into the running cluster. The same configuration for crmsh is
# ring.crm; the reason of every value stands there.
set -eu

# One place decides between the file of -f and the running cluster.
case $#:${1-} in
    0:) cluster() { pcs "$@"; } ;;
    2:-f) file=$2; cluster() { pcs -f "$file" "$@"; } ;;
    *) echo "usage: sh $0 [-f FILE]" >&2; exit 2 ;;
esac

# The whole cluster. Two nodes lost at once need a qdevice: README.md.
cluster property set stonith-enabled=true stonith-timeout=120s
cluster resource defaults update resource-stickiness=200 migration-threshold=3 \
    failure-timeout=10min multiple-active=stop_unexpected

# Fencing
cluster stonith create fence_alice fence_ipmi \
    ip=192.168.123.26 username=fencing privlvl=operator password_script=/etc/mailha/bmc-password \
    node=alice pcmk_host_list=alice \
    op start interval=0s timeout=60s monitor interval=120s timeout=60s \
    meta migration-threshold=INFINITY
cluster stonith create fence_bob fence_ipmi \
    ip=192.168.123.25 username=fencing privlvl=operator password_script=/etc/mailha/bmc-password \
    node=bob pcmk_host_list=bob \
    op start interval=0s timeout=60s monitor interval=120s timeout=60s \
    meta migration-threshold=INFINITY
cluster stonith create fence_carol fence_ipmi \
    ip=192.168.123.27 username=fencing privlvl=operator password_script=/etc/mailha/bmc-password \
    node=carol pcmk_host_list=carol \
    op start interval=0s timeout=60s monitor interval=120s timeout=60s \
    meta migration-threshold=INFINITY
cluster stonith create fence_dave fence_ipmi \
    ip=192.168.123.28 username=fencing privlvl=operator password_script=/etc/mailha/bmc-password \
    node=dave pcmk_host_list=dave \
    op start interval=0s timeout=60s monitor interval=120s timeout=60s \
    meta migration-threshold=INFINITY
cluster constraint location fence_alice avoids alice
cluster constraint location fence_bob avoids bob
cluster constraint location fence_carol avoids carol
cluster constraint location fence_dave avoids dave

# server1: at home on alice, its buddy is bob
cluster resource create --no-default-ops server1_guard ocf:mailha:fencing-guard \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=20s \
    --group server1
cluster resource create --no-default-ops server1_disk ocf:heartbeat:Filesystem \
    device=/dev/mapper/cyrus-server1 directory=/usr/local/cyrus-server1 fstype=ext4 \
    options=noatime \
    op start interval=0s timeout=60s stop interval=0s timeout=60s \
       monitor interval=20s timeout=40s \
       monitor interval=60s timeout=60s OCF_CHECK_LEVEL=20 \
    --group server1
cluster resource create --no-default-ops server1_storage ocf:mailha:cyrus-storage \
    imapd_conf=/usr/local/cyrus-server1/etc/imapd.conf \
    device=/dev/mapper/cyrus-server1 \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=30s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group server1
cluster resource create --no-default-ops server1_ip ocf:heartbeat:IPaddr2 \
    ip=192.168.122.111 cidr_netmask=24 nic=eth0 \
    op start interval=0s timeout=20s stop interval=0s timeout=20s \
       monitor interval=10s timeout=20s \
    --group server1
cluster resource create --no-default-ops server1_cyrus ocf:mailha:cyrus \
    instance_root=/usr/local/cyrus-server1 ip=192.168.122.111 \
    op start interval=0s timeout=600s stop interval=0s timeout=300s \
       monitor interval=30s timeout=60s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group server1
cluster constraint location server1 prefers alice=100 bob=50

# server2: at home on bob, its buddy is carol
cluster resource create --no-default-ops server2_guard ocf:mailha:fencing-guard \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=20s \
    --group server2
cluster resource create --no-default-ops server2_disk ocf:heartbeat:Filesystem \
    device=/dev/mapper/cyrus-server2 directory=/usr/local/cyrus-server2 fstype=ext4 \
    options=noatime \
    op start interval=0s timeout=60s stop interval=0s timeout=60s \
       monitor interval=20s timeout=40s \
       monitor interval=60s timeout=60s OCF_CHECK_LEVEL=20 \
    --group server2
cluster resource create --no-default-ops server2_storage ocf:mailha:cyrus-storage \
    imapd_conf=/usr/local/cyrus-server2/etc/imapd.conf \
    device=/dev/mapper/cyrus-server2 \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=30s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group server2
cluster resource create --no-default-ops server2_ip ocf:heartbeat:IPaddr2 \
    ip=192.168.122.112 cidr_netmask=24 nic=eth0 \
    op start interval=0s timeout=20s stop interval=0s timeout=20s \
       monitor interval=10s timeout=20s \
    --group server2
cluster resource create --no-default-ops server2_cyrus ocf:mailha:cyrus \
    instance_root=/usr/local/cyrus-server2 ip=192.168.122.112 \
    op start interval=0s timeout=600s stop interval=0s timeout=300s \
       monitor interval=30s timeout=60s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group server2
cluster constraint location server2 prefers bob=100 carol=50

# server3: at home on carol, its buddy is dave
cluster resource create --no-default-ops server3_guard ocf:mailha:fencing-guard \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=20s \
    --group server3
cluster resource create --no-default-ops server3_disk ocf:heartbeat:Filesystem \
    device=/dev/mapper/cyrus-server3 directory=/usr/local/cyrus-server3 fstype=ext4 \
    options=noatime \
    op start interval=0s timeout=60s stop interval=0s timeout=60s \
       monitor interval=20s timeout=40s \
       monitor interval=60s timeout=60s OCF_CHECK_LEVEL=20 \
    --group server3
cluster resource create --no-default-ops server3_storage ocf:mailha:cyrus-storage \
    imapd_conf=/usr/local/cyrus-server3/etc/imapd.conf \
    device=/dev/mapper/cyrus-server3 \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=30s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group server3
cluster resource create --no-default-ops server3_ip ocf:heartbeat:IPaddr2 \
    ip=192.168.122.113 cidr_netmask=24 nic=eth0 \
    op start interval=0s timeout=20s stop interval=0s timeout=20s \
       monitor interval=10s timeout=20s \
    --group server3
cluster resource create --no-default-ops server3_cyrus ocf:mailha:cyrus \
    instance_root=/usr/local/cyrus-server3 ip=192.168.122.113 \
    op start interval=0s timeout=600s stop interval=0s timeout=300s \
       monitor interval=30s timeout=60s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group server3
cluster constraint location server3 prefers carol=100 dave=50

# server4: at home on dave, its buddy is alice
cluster resource create --no-default-ops server4_guard ocf:mailha:fencing-guard \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=20s \
    --group server4
cluster resource create --no-default-ops server4_disk ocf:heartbeat:Filesystem \
    device=/dev/mapper/cyrus-server4 directory=/usr/local/cyrus-server4 fstype=ext4 \
    options=noatime \
    op start interval=0s timeout=60s stop interval=0s timeout=60s \
       monitor interval=20s timeout=40s \
       monitor interval=60s timeout=60s OCF_CHECK_LEVEL=20 \
    --group server4
cluster resource create --no-default-ops server4_storage ocf:mailha:cyrus-storage \
    imapd_conf=/usr/local/cyrus-server4/etc/imapd.conf \
    device=/dev/mapper/cyrus-server4 \
    op start interval=0s timeout=60s stop interval=0s timeout=20s \
       monitor interval=30s timeout=30s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group server4
cluster resource create --no-default-ops server4_ip ocf:heartbeat:IPaddr2 \
    ip=192.168.122.114 cidr_netmask=24 nic=eth0 \
    op start interval=0s timeout=20s stop interval=0s timeout=20s \
       monitor interval=10s timeout=20s \
    --group server4
cluster resource create --no-default-ops server4_cyrus ocf:mailha:cyrus \
    instance_root=/usr/local/cyrus-server4 ip=192.168.122.114 \
    op start interval=0s timeout=600s stop interval=0s timeout=300s \
       monitor interval=30s timeout=60s \
       monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
    --group server4
cluster constraint location server4 prefers dave=100 alice=50
