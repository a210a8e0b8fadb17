#!/bin/sh
# The configuration of Kopano follows the active node, for pcs and Pacemaker 2.0.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run it after cluster.pcs.sh of kopano-shared-storage or kopano-drbd, in the same way. The same
# configuration for crmsh is pacemaker-2.0.crm; why it is as it is stands there.
set -eu

# One place decides between the file of -f and the running cluster.
case $#:${1-} in
    0:) cluster() { pcs "$@"; } ;;
    2:-f) file=$2; cluster() { pcs -f "$file" "$@"; } ;;
    *) echo "usage: sh $0 [-f FILE]" >&2; exit 2 ;;
esac

cluster resource create --no-default-ops kopano_config ocf:mailha:config-sync \
    profile=kopano generation_dir=/var/lib/kopano \
    op start interval=0s timeout=60s stop interval=0s timeout=40s \
       monitor interval=30s timeout=60s \
    meta migration-threshold=INFINITY
cluster constraint colocation add kopano_config with kopano 100 id=kopano_config_with_kopano
cluster constraint order start kopano then start kopano_config kind=Mandatory \
    id=kopano_config_after_kopano
