#!/bin/sh
# The configuration of Cyrus follows the active node, for pcs.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run it after cluster.pcs.sh of cyrus-shared-storage, in the same way. The same configuration
# for crmsh is cyrus.crm; what it is good for stands there.
set -eu

# One place decides between the file of -f and the running cluster.
case $#:${1-} in
    0:) cluster() { pcs "$@"; } ;;
    2:-f) file=$2; cluster() { pcs -f "$file" "$@"; } ;;
    *) echo "usage: sh $0 [-f FILE]" >&2; exit 2 ;;
esac

cluster resource create --no-default-ops cyrus_config ocf:mailha:config-sync \
    profile=cyrus generation_dir=/var/spool/cyrus \
    op start interval=0s timeout=60s stop interval=0s timeout=40s \
       monitor interval=30s timeout=60s \
    meta critical=false migration-threshold=INFINITY
cluster constraint colocation add cyrus_config with cyrus INFINITY \
    id=cyrus_config_with_cyrus
cluster constraint order start cyrus then start cyrus_config kind=Mandatory \
    id=cyrus_config_after_cyrus
