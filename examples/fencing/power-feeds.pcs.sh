#!/bin/sh
# BMC first, and where that has no power either, both power feeds of the node. For pcs.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run it after cluster.pcs.sh of any example with a pair of nodes, whose two devices it keeps:
#     pcs cluster cib new.xml
#     sh power-feeds.pcs.sh -f new.xml
#     pcs cluster cib-push new.xml
# Without -f every command goes straight into the running cluster. The same configuration for crmsh is
# power-feeds.crm; the reason of every value stands there.
set -eu

# One place decides between the file of -f and the running cluster.
case $#:${1-} in
    0:) cluster() { pcs "$@"; } ;;
    2:-f) file=$2; cluster() { pcs -f "$file" "$@"; } ;;
    *) echo "usage: sh $0 [-f FILE]" >&2; exit 2 ;;
esac

# Level 1
cluster stonith update fence_bob pcmk_reboot_retries=1 pcmk_off_retries=1
cluster stonith update fence_alice pcmk_reboot_retries=1 pcmk_off_retries=1

# Level 2
cluster stonith create fence_feed_a fence_apc_snmp \
    ip=192.168.123.31 snmp_version=3 username=fencing snmp_sec_level=authPriv \
    snmp_auth_prot=SHA snmp_priv_prot=AES password_script=/etc/mailha/pdu-password \
    snmp_priv_passwd_script=/etc/mailha/pdu-privacy-password \
    "pcmk_host_map=bob:3;alice:4" power_wait=3 \
    op start interval=0s timeout=60s monitor interval=300s timeout=60s \
    meta migration-threshold=INFINITY
cluster stonith create fence_feed_b fence_apc_snmp \
    ip=192.168.123.32 snmp_version=3 username=fencing snmp_sec_level=authPriv \
    snmp_auth_prot=SHA snmp_priv_prot=AES password_script=/etc/mailha/pdu-password \
    snmp_priv_passwd_script=/etc/mailha/pdu-privacy-password \
    "pcmk_host_map=bob:3;alice:4" power_wait=3 \
    op start interval=0s timeout=60s monitor interval=300s timeout=60s \
    meta migration-threshold=INFINITY

# Which first
cluster stonith level add 1 bob fence_bob
cluster stonith level add 2 bob fence_feed_a fence_feed_b
cluster stonith level add 1 alice fence_alice
cluster stonith level add 2 alice fence_feed_a fence_feed_b
