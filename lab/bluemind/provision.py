# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay a BlueMind on a node's disk, and its first data on the shared one.

What is the same on every node is made once, by the programs of the image in a sandbox: packages are
built and installed, PostgreSQL's first databases and a certificate are made. Each node gets a copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Tuple

from bluemind import layout, packages, units
from bluemind.releases import DEFAULT, RELEASES, SYSV, Release
from twonode.lab import LabError
from twonode.bare import BareSandbox
from twonode.plan import DATA as LABS

ADDRESS = "198.51.100.100"
DEVICE = "/dev/san-bluemind"
PLACE = "/srv/bluemind"
"""Where the shared disk is mounted; from there its directories are bound to their own places."""

DATABASES = "var/lib/bluemind-standin/postgresql.tar"

LIMIT = 300.0

_SOURCE = Path(__file__).resolve().parent / "standin"

Execute = Callable[..., Any]
"""Runs a command on a node: (node, argv, input=text, timeout=seconds)."""

_MAKE = r"""
set -eu
export LC_ALL=C.UTF-8
mkdir -p /usr/lib/jvm/bm-jdk/bin
cp "$(readlink -f /usr/bin/python3)" /usr/lib/jvm/bm-jdk/bin/java
for version in /var/cache/bluemind/trees/*; do
    target=/var/cache/bluemind/$(basename $version)
    mkdir -p $target
    for tree in $version/*; do
        dpkg-deb --root-owner-group -Znone --build $tree $target >/dev/null
    done
done
rm -rf /var/cache/bluemind/trees
dpkg --force-unsafe-io --install /var/cache/bluemind/{version}/*.deb >/dev/null
python3 -m compileall -q /usr/lib/bluemind-standin/standin

openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=mail.example.com \
    -keyout /etc/bm/bm.pem -out /etc/ssl/certs/bm_cert.pem 2>/dev/null
cat /etc/ssl/certs/bm_cert.pem >>/etc/bm/bm.pem
cat /etc/bm/bm.pem >/etc/ssl/certs/bm_cert.pem
chmod 0400 /etc/bm/bm.pem /etc/ssl/certs/bm_cert.pem

pg_createcluster --start-conf={start} {postgresql} main >/dev/null
cat >/etc/postgresql/{postgresql}/main/conf.d/lab.conf <<'END'
listen_addresses = '*'
ssl = off
shared_buffers = 16MB
max_connections = 40
END
for database in bj '"bj-data"'; do
    echo "CREATE DATABASE $database" | su postgres -s /bin/sh -c \
        "/usr/lib/postgresql/{postgresql}/bin/postgres --single -D \
        /var/lib/postgresql/{postgresql}/main -c \
        config_file=/etc/postgresql/{postgresql}/main/postgresql.conf template1" >/dev/null
done
tar -C /var/lib -cf /{databases} postgresql
find /var/lib/postgresql -mindepth 1 -delete
{enable}
"""

# The units of BlueMind are enabled in its target, as its packages leave them; the target itself and
# what is beside it an administrator has disabled, who gave them to the cluster.
_ENABLE = "systemctl --quiet enable {units}\n"

_FILL = r"""
set -eu
mkdir -p {place}
mount {device} {place}
trap 'umount {place}' EXIT
[ ! -e {place}/lib ] || exit 0
for directory in {directories}; do
    mkdir -p {place}/$directory /var/$directory
    chown --reference=/var/$directory {place}/$directory
    chmod --reference=/var/$directory {place}/$directory
done
cp -a /var/spool/postfix/. {place}/spool/postfix/
tar -C {place}/lib -xf /{databases}
install -d -o cyrus -g mail -m 0750 {place}/spool/cyrus/data {place}/spool/cyrus/meta
install -d -o cyrus -g mail -m 0750 {place}/spool/bm-hsm/cyrus-archives
install -d -o cyrus -g mail -m 0750 {place}/lib/cyrus/socket {place}/lib/cyrus/db
sync -f {place}
"""


class ProvisionFailed(LabError):
    """What a node has in common with the others could not be made; the text says why."""


class Provision:
    """Makes the nodes of a laboratory; what they have in common only for the first of them.

    release: the BlueMind that they are to have.
    """

    def __init__(self, version: str = DEFAULT, address: str = ADDRESS) -> None:
        """Choose a release, one of releases.RELEASES, and the floating address.

        Raises KeyError for another release.
        """
        self.release: Release = RELEASES[version]
        self._address = address
        self._common: "Dict[Tuple[str, ...], tempfile.TemporaryDirectory[str]]" = {}

    def node(self, disk: Path, image: Path, layers: Sequence[Path]) -> None:
        """Write everything that a node needs on its disk, before it boots.

        image, layers: what lies below the disk; one of the layers is mailserver.recipe.MAIL.
        Nothing of it is enabled at boot. Raises ProvisionFailed.
        """
        key = (str(image), *map(str, layers))
        if key not in self._common:
            LABS.mkdir(parents=True, exist_ok=True)
            _remove_what_killed_makers_left()
            self._common[key] = tempfile.TemporaryDirectory(prefix=f".bluemind-{os.getpid()}-",
                                                            dir=LABS)
            self._make(Path(self._common[key].name) / "disk", image, layers)
        made = Path(self._common[key].name) / "disk"
        subprocess.run(["cp", "-a", f"{made}/.", str(disk)], check=True, timeout=LIMIT)

    def fill(self, execute: Execute, node: str) -> None:
        """Put the first data on the shared disk, from a node that is up; leave it unmounted.

        A disk with data on it is left as it is.
        """
        execute(node, ["/bin/sh", "-s"], input=_FILL.format(
            device=DEVICE, place=PLACE, databases=DATABASES,
            directories=" ".join(layout.DATA)), timeout=LIMIT)

    def _make(self, disk: Path, image: Path, layers: Sequence[Path]) -> None:
        """Make what all nodes have in common."""
        release = self.release
        postgresql = next(path.name for layer in layers
                          for path in (layer / "usr/lib/postgresql").glob("*"))
        self._write_files(disk, layers, postgresql)
        enabled = [*release.names, *(["bm-cyrus-imapd"] if release.has_cyrus else []),
                   *(["bm-postgresql"] if release.restarts else [])]
        script = _MAKE.format(
            version=release.version, postgresql=postgresql, databases=DATABASES,
            start="manual" if release.restarts else "auto",
            enable="" if release.manner == SYSV else _ENABLE.format(units=" ".join(enabled)))
        with BareSandbox(image, layers=layers, disk=disk) as sandbox:
            said = sandbox.run(["/bin/sh", "-s"], input=script, timeout=LIMIT)
        if said.returncode != 0:
            raise ProvisionFailed("making a BlueMind ended with "
                                  f"{said.returncode}: {(said.stdout + said.stderr)[-800:]}")
        for path in ("etc/hosts", "var/cache/ldconfig"):
            shutil.rmtree(disk / path) if (disk / path).is_dir() else (disk / path).unlink(
                missing_ok=True)

    def _write_files(self, disk: Path, layers: Sequence[Path], postgresql: str) -> None:
        """Write configuration, the stand-in, and the trees of packages."""
        release = self.release
        for path, place in layout.files(release, self._address).items():
            _write(disk / path, place.text, place.mode)
        for module in _SOURCE.glob("*.py"):
            _write(disk / "usr/lib/bluemind-standin/standin" / module.name, module.read_text())
        _write(disk / units.PROGRAM.lstrip("/"), units.RUN)
        _write(disk / packages.RPM_SCRIPTLETS, packages.scriptlets(release), 0o755)
        (disk / DATABASES).parent.mkdir(parents=True)
        for directory in (*(f"var/{name}" for name in layout.DATA), "srv/bluemind"):
            (disk / directory).mkdir(parents=True, exist_ok=True)
        trees = disk / packages.CACHE / "trees"
        packages.write_trees(trees / release.version, release, release.version,
                             packages.names(release), postgresql)
        for version in release.successors():
            packages.write_trees(trees / version, release, version, [
                name for name in packages.UPDATED if name in packages.names(release)], postgresql)


def _remove_what_killed_makers_left() -> None:
    """Remove what a process made that did not live to remove it itself."""
    for old in LABS.glob(".bluemind-*-*"):
        maker = old.name.split("-")[1]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    os.chown(path, 0, 0)
