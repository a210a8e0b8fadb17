#!/bin/sh
# BlueMind's configuration on the other node at every change: over cluster.pcs.sh, for pcs.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# sh config-sync.pcs.sh [-f FILE], as with cluster.pcs.sh. Before, pair the nodes: on either of them, once,
# with the name of the other one: mailha sync pair NODE
# The same for crmsh is config-sync.crm; the reason of every value stands there.
set -eu

# One place decides between the file of -f and the running cluster.
case $#:${1-} in
    0:) cluster() { pcs "$@"; } ;;
    2:-f) file=$2; cluster() { pcs -f "$file" "$@"; } ;;
    *) echo "usage: sh $0 [-f FILE]" >&2; exit 2 ;;
esac

cluster resource create --no-default-ops bluemind_config ocf:mailha:config-sync \
    profile=bluemind generation_dir=/var/spool/bm-docs \
    op start interval=0s timeout=60s stop interval=0s timeout=40s \
       monitor interval=30s timeout=60s \
    meta critical=false migration-threshold=INFINITY
cluster constraint colocation add bluemind_config with bluemind INFINITY \
    id=bluemind_config_with_bluemind
cluster constraint order start bluemind then start bluemind_config kind=Mandatory \
    id=bluemind_config_after_bluemind
