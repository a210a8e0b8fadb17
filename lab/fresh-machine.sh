# SPDX-License-Identifier: GPL-2.0-or-later
# What the commands of this project need from a fresh Debian, for sh; lab/demo and tests/run source
# it. It says in one sentence what stands against running here, and fetches missing packages.
#
#     program=lab/demo                  who speaks in messages
#     must_be_root                      ends with 4 if we are not
#     must_be_able_to_run_nodes         ends with 1 if this machine cannot; takes less than 2 s
#     fetch python3 iproute2 ...        installs what is missing, or ends with 1
#     nodes_need                        the packages that a laboratory needs on the host
#     leave_no_files_of_root DIRECTORY  keeps python3 from leaving some in somebody's checkout
#
# Nothing is started and nothing is enabled on this machine, and no file of it is changed but by its
# own package manager.

# The same figures as in lab/twonode/preflight.py, which needs a python3 to look closer.
OLDEST_KERNEL=5.10
MEMORY_MEBIBYTES=1500
DISK_MEBIBYTES=2500

nodes_need='python3 iproute2 mmdebstrap'

PATH=$PATH:/usr/sbin:/sbin      # which su leaves out, and dpkg insists on

LOCK_PATIENCE=600       # seconds that another package manager may take
ASK_AGAIN_AFTER=3       # seconds

say() {
    printf '%s: %s\n' "$program" "$*" >&2
}

refuse() {
    say "$@"
    refused=yes
}

must_be_root() {
    if [ "$(id -u)" -ne 0 ]; then
        say "only root can make machines and install packages: run sudo $program"
        exit 4
    fi
}

# They could not remove them.
leave_no_files_of_root() {
    [ "$(stat -c %u "$1")" -eq "$(id -u)" ] || export PYTHONDONTWRITEBYTECODE=1
}

# One sentence for each thing that is wanting, then the end. What must be tried is tried in
# namespaces that vanish with the trial.
must_be_able_to_run_nodes() {
    refused=
    check_kernel
    check_memory
    check_disk /var
    if check_namespaces; then check_mounts; fi
    check_loops
    [ -z "$refused" ] || exit 1
}

check_kernel() {
    release=$(uname -r)
    oldest=$(printf '%s\n%s\n' "$OLDEST_KERNEL" "$release" | sort -V | head -n 1)
    [ "$oldest" = "$OLDEST_KERNEL" ] ||
        refuse "the kernel is $release, older than $OLDEST_KERNEL: boot that of Debian 11 or later"
}

check_memory() {
    available=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
    [ "${available:-0}" -ge "$MEMORY_MEBIBYTES" ] ||
        refuse "${available:-0} MiB of memory are available and two nodes want $MEMORY_MEBIBYTES:" \
               "end something, or use a larger machine"
}

check_disk() {
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    [ "${free:-0}" -ge "$DISK_MEBIBYTES" ] ||
        refuse "$1 has ${free:-0} MiB free and the laboratory wants $DISK_MEBIBYTES: make room"
}

check_namespaces() {
    if ! unshare --mount --propagation private --net --uts --ipc --pid --cgroup --fork true \
            2>/dev/null; then
        refuse "namespaces cannot be made here: leave the container you may be in, or give it" \
               "all capabilities"
        return 1
    fi
}

# The directory of the trials lies where the nodes' disks are going to be.
check_mounts() {
    trial=$(mktemp -d /var/lib/.mailha-trial-XXXXXX 2>/dev/null) || {
        refuse "/var/lib cannot be written to: make it writable"
        return
    }
    mkdir "$trial/l" "$trial/u" "$trial/w" "$trial/m"
    try_to_mount -t overlay overlay -o "lowerdir=$trial/l,upperdir=$trial/u,workdir=$trial/w" ||
        refuse "overlayfs cannot be mounted below /var/lib: let that be on ext4, xfs or btrfs," \
               "on a kernel with overlayfs"
    # On a directory of our own: where the host has it mounted already it cannot be mounted again.
    try_to_mount -t cgroup2 cgroup2 ||
        refuse "there are no cgroups of version 2: boot a kernel that has them (CONFIG_CGROUPS)"
    rm -rf "$trial"
}

try_to_mount() {
    unshare --mount --propagation private --cgroup --fork mount "$@" "$trial/m" 2>/dev/null
}

check_loops() {
    [ -e /dev/loop-control ] ||
        refuse "there are no loop devices (/dev/loop-control): run modprobe loop, or leave the" \
               "container you may be in"
}

# fetch PACKAGE...
fetch() {
    missing=
    for package; do
        case "$missing " in *" $package "*) continue ;; esac
        status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || :
        [ "$status" = installed ] || missing="$missing $package"
    done
    [ -z "$missing" ] || fetch_missing $missing
}

# Installs what fetch found missing; everything of ours is gone at the end, whatever the end is.
fetch_missing() {
    [ "$(id -u)" -eq 0 ] || {
        say "packages are missing; install them with: apt-get install --no-install-recommends $*"
        exit 1
    }
    said=$(mktemp) || exit 1
    trap end_of_fetching EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    forbid_starting
    say "fetching $*"
    # The lists may be old, or not there yet: then they are fetched, and it is tried once more.
    if ! apt_get install "$@"; then
        say "fetching the lists of packages"
        # It succeeds although an archive cannot be reached; what it said is looked at later.
        apt_get update || fetching_failed
        cp "$said" "$said.lists"
        say "fetching $*"
        apt_get install "$@" || fetching_failed
    fi
    end_of_fetching
    trap - EXIT HUP INT TERM
}

# apt_get COMMAND...: with the host's own configuration, as soon as nobody else uses it. What it
# says is kept in the file $said. needrestart, where it is installed, restarts nothing meanwhile.
apt_get() {
    waited=0
    while :; do
        if LC_ALL=C DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
                apt-get --quiet --yes --no-install-recommends \
                -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
                -o Dpkg::Use-Pty=0 "$@" </dev/null >"$said" 2>&1; then
            return 0
        fi
        somebody_else_has_the_lock || return 1
        [ "$waited" -lt "$LOCK_PATIENCE" ] || return 1
        holder=$(sed -n 's/.*held by process \([0-9]* ([^)]*)\).*/ (process \1)/p' "$said")
        [ $((waited % 15)) -ne 0 ] ||
            say "another package manager is at work$(echo "$holder" | head -n 1); waiting for it," \
                "$waited s so far"
        sleep "$ASK_AGAIN_AFTER"
        waited=$((waited + ASK_AGAIN_AFTER))
    done
}

somebody_else_has_the_lock() {
    grep -q 'Could not get lock\|Unable to acquire the dpkg frontend lock' "$said"
}

# What apt says of an archive that it does not reach, as words between bars.
UNREACHABLE='Could not resolve|Temporary failure|Could not connect|Connection failed|timed out'
UNREACHABLE="$UNREACHABLE|Network is unreachable|Cannot initiate the connection"

# Ends with the sentence that fits what apt said last.
fetching_failed() {
    touch "$said.lists"
    if somebody_else_has_the_lock; then
        say "another package manager is at work for more than $LOCK_PATIENCE s: try again when it" \
            "has ended"
    elif grep -q 'dpkg was interrupted' "$said"; then
        say "an earlier installation was interrupted: run dpkg --configure -a first"
    elif grep -q "don't have enough free space\|No space left" "$said"; then
        say "the disk is too full to install packages: make room on /var"
    elif grep -qE "$UNREACHABLE" "$said" "$said.lists"; then
        say "the package archive cannot be reached: connect this machine to its network, or correct" \
            "the sources and the proxy in /etc/apt ($(unreached))"
    elif grep -q 'Unable to locate package\|has no installation candidate' "$said"; then
        say "apt does not know a package that is needed: this wants Debian 12 or later with its" \
            "main archive in /etc/apt ($(last_error))"
    else
        say "packages could not be installed: $(last_error)"
    fi
    exit 1
}

unreached() {
    grep -hE "$UNREACHABLE" "$said" "$said.lists" | head -n 1 | sed 's/^[EW]: //; s/^ *//' | cut -c 1-150
}

last_error() {
    sed -n 's/^E: //p' "$said" | head -n 1
}

# While we install, no package may start its services (policy-rc.d of invoke-rc.d(8)). A policy of
# the host's own is left alone. Ours is void as soon as we are gone, even if we were killed.
POLICY=/usr/sbin/policy-rc.d

forbid_starting() {
    if [ -e "$POLICY" ] && ! grep -qs "^# Made by mailha's fresh-machine.sh" "$POLICY"; then
        return
    fi
    {
        echo '#!/bin/sh'
        echo "# Made by mailha's fresh-machine.sh while it installs packages, and void after that."
        echo "[ -d /proc/$$ ] || exit 0"
        echo 'exit 101'
    } >"$POLICY.$$"
    chmod 755 "$POLICY.$$"
    mv "$POLICY.$$" "$POLICY"
    our_policy=yes
}

end_of_fetching() {
    rm -f "$said" "$said.lists" "$POLICY.$$"
    [ -z "${our_policy:-}" ] || rm -f "$POLICY"
    our_policy=
}
