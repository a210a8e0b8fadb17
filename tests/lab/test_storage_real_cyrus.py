# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:cyrus-storage and the real Cyrus: which master is whose, and what that one sees.

Two masters of Debian's package run in mount namespaces of their own, as PrivateTmp=yes in Debian's
unit gives them one.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Generator, Iterator

import pytest

from storage_judge import call
from storage_sandbox import StorageSandbox
from waiting import wait_for

EMPTY = "START {\\n}\\nSERVICES {\\n}\\nEVENTS {\\n}\\n"


@pytest.fixture(scope="module")
def place(image: Path, mail_layer: Path) -> Generator[StorageSandbox, None, None]:
    """Return a sandbox with the real Cyrus and two instances of it, each on a disk of its own."""
    made = StorageSandbox(image, mail_layer)
    try:
        for name in ("a", "b"):
            made.mounted(made.disk(name, 32, "mkfs.ext4 -q -F -m 0"), f"/srv/{name}")
            made.sh(f"""
                mkdir -p /srv/{name}/conf/socket /srv/{name}/mail
                chown -R cyrus:mail /srv/{name}
                echo 'configdirectory: /srv/{name}/conf' > /etc/imapd-{name}.conf
                echo 'partition-default: /srv/{name}/mail' >> /etc/imapd-{name}.conf
                printf '{EMPTY}' > /etc/cyrus-{name}.conf
            """)
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def master(place: StorageSandbox, name: str, before: str = ":") -> Iterator[str]:
    """Have a master run for an instance; yields its number. before: done in its namespace."""
    number = place.sh(f"""
        unshare --mount --propagation private /bin/sh -euc '{before}
            exec /usr/sbin/cyrmaster -l 32 -C /etc/imapd-{name}.conf -M /etc/cyrus-{name}.conf \\
                -p /run/cyrus-{name}.pid' > /dev/null 2>&1 & echo $!
    """).strip()
    try:
        wait_for("the master", lambda: place.run(
            ["readlink", f"/proc/{number}/exe"], timeout=30).stdout.endswith("/master\n"))
        yield number
    finally:
        place.run(["kill", "-KILL", number], timeout=30)
        wait_for("its end", lambda: "State:\tZ" in (said := place.run(
            ["cat", f"/proc/{number}/status"], timeout=30).stdout) or not said)


def test_each_resource_looks_through_the_eyes_of_its_own_master(place: StorageSandbox) -> None:
    hide = "mount -t tmpfs none /srv/b;"
    with master(place, "a") as first, master(place, "b", hide) as second:
        # Debian's package has both under one program; nothing but -C tells them apart.
        assert len({place.sh(f"readlink /proc/{each}/exe") for each in (first, second)}) == 1
        own = place.sh("readlink /proc/self/ns/mnt")
        for each in (first, second):
            assert place.sh(f"readlink /proc/{each}/ns/mnt") != own
        for name in ("b", "a", "b"):
            conf = f"/etc/imapd-{name}.conf"
            call(place, "start", imapd_conf=conf).is_code(0)
            for level in (0, 10):
                answer = call(place, "monitor", level=level, interval=10, imapd_conf=conf)
                if name == "a":
                    answer.is_code(0)
                else:
                    answer.is_code(1, f"process {second}", "tmpfs", "/srv/b")
            call(place, "stop", imapd_conf=conf).is_code(0)
    # Without a master, what this node sees is all there is to see.
    call(place, "start", imapd_conf="/etc/imapd-b.conf").is_code(0)
    call(place, "monitor", interval=10, imapd_conf="/etc/imapd-b.conf").is_code(0)
    call(place, "stop").is_code(0)
