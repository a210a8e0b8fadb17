#!/bin/sh
# A second network to each BMC, for when the switch of the first one is dead. For pcs.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run it after cluster.pcs.sh of any example with a pair of nodes, whose two devices it keeps:
#     pcs cluster cib new.xml
#     sh second-path.pcs.sh -f new.xml
#     pcs cluster cib-push new.xml
# Without -f every command goes straight into the running cluster. The same configuration for crmsh is
# second-path.crm; the reason of every value stands there.
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
cluster stonith create fence_bob_second fence_ipmi \
    ip=192.168.124.25 username=fencing privlvl=operator password_script=/etc/mailha/bmc-password \
    node=bob pcmk_host_list=bob \
    op start interval=0s timeout=60s monitor interval=300s timeout=60s \
    meta migration-threshold=INFINITY
cluster stonith create fence_alice_second fence_ipmi \
    ip=192.168.124.26 username=fencing privlvl=operator password_script=/etc/mailha/bmc-password \
    node=alice pcmk_host_list=alice \
    op start interval=0s timeout=60s monitor interval=300s timeout=60s \
    meta migration-threshold=INFINITY
cluster constraint location fence_bob_second avoids bob
cluster constraint location fence_alice_second avoids alice

# Which first
cluster stonith level add 1 bob fence_bob
cluster stonith level add 2 bob fence_bob_second
cluster stonith level add 1 alice fence_alice
cluster stonith level add 2 alice fence_alice_second
