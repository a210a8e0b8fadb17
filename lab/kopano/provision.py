# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay the stand-in on a node's disk, and mail's data on the shared disks.

``provision`` runs on the host, before a node boots: it writes into the upper directory of the
overlay that is the node's disk. ``prepare_shared`` runs once, when a node is up and nobody uses
the shared disks yet.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Callable, List, Tuple

from twonode.lab import LabError

from . import layout
from .standin import schema
from .standin.release import DEFAULT, Release

# The same on every node: files on the shared disk belong to numbers, not to names.
KOPANO_ID = 990
MYSQL_PASSWORD = "lab-kopano"
USERS = tuple(
    schema.User(f"test{number}", f"test{number}@example.com", f"test{number}")
    for number in range(1, 6))

# Runs one command on one node: (node, argv, input=bytes, timeout=seconds).
Execute = Callable[..., Any]

_SOURCE = Path(__file__).resolve().parent / "standin"


class ProvisionFailed(LabError):
    """The image or the disk is not fit; the text says what and what to do."""


def provision(node_name: str, disk_root: Path, *, image: Path, version: str = DEFAULT,
              kopano_ip: str = "198.51.100.100", mysql_ip: str = "198.51.100.101") -> None:
    """Write everything that a node needs to run Kopano, MariaDB and Apache under a cluster.

    node_name: for messages only; the nodes are alike, as the cluster wants them.
    disk_root: upper directory of the overlay that becomes the node's disk.
    image: the root image below it, with mariadb-server, python3-pymysql and apache2.
    version: the Kopano to pretend; the keys in /etc/kopano are spelled accordingly.
    kopano_ip, mysql_ip: the floating addresses of the two groups.

    Nothing is enabled, and the image enables nothing either: only the cluster starts services.
    ProvisionFailed tells what is wrong with the image, ValueError with ``version``.
    """
    release = Release(version)
    for needed in ("usr/sbin/mariadbd", "usr/sbin/apache2"):
        if not (image / needed).exists():
            raise ProvisionFailed(f"{node_name}: the image {image} has no /{needed}; build it "
                                  "again with mariadb-server and apache2")
    disk = _Disk(disk_root)
    _add_account(disk, image)
    install(disk_root, version)
    addresses = layout.Addresses(kopano_ip, mysql_ip, MYSQL_PASSWORD)
    texts = layout.configuration(addresses, listen_keys=release.has_listen_key("dagent"))
    for service, text in texts.items():
        # The database's password stands in there.
        disk.write(f"etc/kopano/{service}.cfg", text, mode=0o640, owner=(0, KOPANO_ID))
    disk.write("etc/mysql/mariadb.conf.d/99-lab.cnf", layout.mariadb(mysql_ip))
    disk.write("etc/apache2/conf-enabled/zz-lab-status.conf", layout.APACHE_STATUS)


def install(disk_root: Path, version: str = DEFAULT) -> None:
    """Write what a package would: the stand-in, its executables, units and directories."""
    disk = _Disk(disk_root)
    for module in sorted(_SOURCE.glob("*.py")):
        disk.write(f"{layout.PACKAGE}/standin/{module.name}", module.read_text(encoding="utf-8"))
    disk.write(f"{layout.PACKAGE}/version", f"{version}\n")
    for service in layout.SERVICES + layout.IDLE_SERVICES + ("admin",):
        disk.write(f"usr/sbin/kopano-{service}", layout.executable(service), mode=0o755)
    for service in layout.SERVICES + layout.IDLE_SERVICES:
        disk.write(f"usr/lib/systemd/system/kopano-{service}.service", layout.unit(service))
    disk.write("usr/lib/tmpfiles.d/kopano.conf", layout.TMPFILES)
    for directory in ("var/lib/kopano", "var/log/kopano"):
        disk.directory(directory, mode=0o750, owner=(KOPANO_ID, KOPANO_ID))


def prepare_shared(execute: Execute, node: str, *, version: str = DEFAULT,
                   mysql_device: str = "/dev/san-mysql", kopano_device: str = "/dev/san-kopano",
                   network: str = "198.51.100.0/255.255.255.0", timeout: float = 120) -> None:
    """Fill the two shared disks, from ``node``, and leave them unmounted.

    execute: called as ``execute(node, argv, input=bytes, timeout=seconds)``; whatever it raises for
    a command that fails is raised from here.
    A device without a file system gets ext4. On the first one MariaDB is initialised, with the
    database kopano as of release ``version``, the five mail users of ``USERS``, and a database user
    who may come from ``network`` and owns that database only. Disks that are prepared already are
    left as they are.
    """
    script = _SHARED_SCRIPT.format(
        mysql_device=mysql_device, kopano_device=kopano_device, owner=KOPANO_ID,
        statements=";\n".join(_bootstrap(Release(version), network)) + ";")
    execute(node, ["/bin/sh", "-eu"], input=script.encode("utf-8"), timeout=timeout)


_SHARED_SCRIPT = """
mounted=
clean_up() {{ for place in $mounted; do umount "$place"; done; }}
trap clean_up EXIT
for device in {mysql_device} {kopano_device}; do
    blkid "$device" >/dev/null 2>&1 || mkfs.ext4 -q "$device"
done
mount {kopano_device} /var/lib/kopano
mounted="/var/lib/kopano"
install -d -m 0750 -o {owner} -g {owner} /var/lib/kopano
install -d -m 0750 -o {owner} -g {owner} /var/lib/kopano/attachments
mount {mysql_device} /var/lib/mysql
mounted="$mounted /var/lib/mysql"
if [ ! -d /var/lib/mysql/kopano ]; then
    chown mysql:mysql /var/lib/mysql
    chmod 0700 /var/lib/mysql
    mariadb-install-db --user=mysql --datadir=/var/lib/mysql --skip-test-db >/dev/null
    mariadbd --user=mysql --datadir=/var/lib/mysql --bootstrap <<'END_OF_STATEMENTS'
{statements}
END_OF_STATEMENTS
fi
sync -f /var/lib/mysql /var/lib/kopano
"""


def _bootstrap(release: Release, network: str) -> List[str]:
    """Return the SQL for a fresh MariaDB, one statement a line as --bootstrap wants it."""
    name = f"kopano@{schema.quote(network)}"
    return [
        # --bootstrap runs without privileges until they are loaded.
        "FLUSH PRIVILEGES",
        "CREATE DATABASE kopano CHARACTER SET utf8mb4",
        f"CREATE USER {name} IDENTIFIED BY {schema.quote(MYSQL_PASSWORD)}",
        f"GRANT ALL ON kopano.* TO {name}",
        "USE kopano",
        *schema.statements(release, USERS),
    ]


class _Disk:
    """The upper directory of a node's disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, path: str, *, mode: int = 0o755, owner: Tuple[int, int] = (0, 0)) -> None:
        """Make one directory, its parents like those of any package."""
        place = self.root / path
        for parent in reversed(Path(path).parents):
            (self.root / parent).mkdir(exist_ok=True)
        place.mkdir(exist_ok=True)
        place.chmod(mode)
        os.chown(place, *owner)

    def write(self, path: str, text: str, *, mode: int = 0o644,
              owner: Tuple[int, int] = (0, 0)) -> None:
        """Write one file."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)
        os.chown(place, *owner)


def _add_account(disk: _Disk, image: Path) -> None:
    """Add user and group kopano to the node's own copies of the account files."""
    lines = {
        "passwd": f"kopano:x:{KOPANO_ID}:{KOPANO_ID}:Kopano:/var/lib/kopano:/usr/sbin/nologin",
        "group": f"kopano:x:{KOPANO_ID}:",
        "shadow": "kopano:!:19000::::::",
        "gshadow": "kopano:!::",
    }
    for name, line in lines.items():
        place = disk.root / "etc" / name
        if not place.exists():
            if not (image / "etc" / name).exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy_up(image / "etc" / name, place)
        text = place.read_text(encoding="utf-8")
        if any(entry.startswith("kopano:") for entry in text.splitlines()):
            continue
        if any(entry.split(":")[2:3] == [str(KOPANO_ID)] for entry in text.splitlines()
               if name in ("passwd", "group")):
            raise ProvisionFailed(f"/etc/{name} of {image} gives the number {KOPANO_ID} to "
                                  "somebody else than kopano; choose another KOPANO_ID")
        place.write_text(text + line + "\n", encoding="utf-8")


def _copy_up(source: Path, target: Path) -> None:
    shutil.copy2(source, target)
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
