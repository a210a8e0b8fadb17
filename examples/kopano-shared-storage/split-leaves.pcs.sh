#!/bin/sh
# Gateway and ical as resources of their own, for pcs: run it after cluster.pcs.sh, in the same way.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The same configuration for crmsh is split-leaves.crm; what it is good for stands there.
set -eu

# One place decides between the file of -f and the running cluster.
case $#:${1-} in
    0:) cluster() { pcs "$@"; } ;;
    2:-f) file=$2; cluster() { pcs -f "$file" "$@"; } ;;
    *) echo "usage: sh $0 [-f FILE]" >&2; exit 2 ;;
esac

# Two resources never share a service: what a leaf runs leaves kopano_services first.
cluster resource update kopano_services services="server spooler dagent monitor"
for leaf in gateway ical; do
    cluster resource create --no-default-ops "kopano_$leaf" ocf:mailha:kopano \
        services="$leaf" \
        op start interval=0s timeout=600s stop interval=0s timeout=600s \
           monitor interval=30s timeout=60s \
           monitor interval=120s timeout=60s OCF_CHECK_LEVEL=10 \
        meta critical=false
    cluster constraint colocation add "kopano_$leaf" with kopano INFINITY \
        id="kopano_${leaf}_with_kopano"
    cluster constraint order start kopano then start "kopano_$leaf" kind=Mandatory \
        id="kopano_${leaf}_after_kopano"
done
