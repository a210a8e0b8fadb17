# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages that only some tests or benches need: installed once over the image, kept beside it.

The image stays as it is, small and the same for everyone. What the packages add to it lies in a
directory of its own, a layer, which a sandbox or the nodes of a lab put over the image.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, List, Mapping, Optional, Sequence, Tuple

from twonode import aptsources, image
from twonode.plan import DATA
from twonode.bare import BareSandbox

# No service may start while it is installed (policy-rc.d).
INSTALL = r"""
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
{before}
dpkg --force-unsafe-io {excludes} --install --recursive /var/cache/layer
{after}
rm -f /usr/sbin/policy-rc.d
rm -rf /var/cache/layer
"""

LIMIT = 900.0
"""Seconds that fetching or installing may take; here both together take half a minute."""


class LayerFailed(Exception):
    """The packages could not be had; the text says what apt or dpkg said last."""


@dataclass(frozen=True)
class Recipe:
    """What a layer is made of.

    name: what needs it.
    packages: the names of Debian's packages.
    before, after: shell commands, run where the packages are installed.
    """

    name: str
    packages: Tuple[str, ...]
    before: str = ""
    after: str = ""

    def installation(self) -> str:
        """Return the shell script that installs the packages, which lie in /var/cache/layer."""
        excludes = " ".join(f"--path-exclude='{pattern}'" for pattern in image.LEFT_OUT)
        return INSTALL.format(before=self.before.strip(), after=self.after.strip(),
                              excludes=excludes)


def place(suite: str, recipe: Recipe) -> Path:
    """Return where the layer over the image of `suite` lies, or will lie once it is built."""
    text = "\0".join([*recipe.packages, recipe.installation()])
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return image.CACHE / f"layer-{recipe.name}-{image.place(suite).name}-{mark}"


def ensure(suite: str, recipe: Recipe, progress: Callable[[str], None]) -> Path:
    """Return the layer's directory; build it first if there is none.

    progress: called with a line of text for each step.
    Raises LayerFailed, image.ImageFailed, and aptsources.NoSources.
    """
    base = image.ensure(suite, progress)
    target = place(suite, recipe)
    if target.is_dir():
        return target
    with _only_builder():
        if not target.is_dir():
            _remove_old(suite, recipe)
            progress(f"adding to the lab's image, once: {' '.join(recipe.packages)}")
            _build(suite, recipe, base, target, progress)
    return target


@contextmanager
def _only_builder() -> Iterator[None]:
    """Let one process at a time build a layer."""
    with open(image.CACHE / ".layer.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_old(suite: str, recipe: Recipe) -> None:
    """Remove the layers of the same name over earlier images, and what killed builds left."""
    for old in [*image.CACHE.glob(f"layer-{recipe.name}-{suite}-*"),
                *image.CACHE.glob(".layer-building-*"), *DATA.glob(".layer-building-*")]:
        shutil.rmtree(old)


def _build(suite: str, recipe: Recipe, base: Path, target: Path,
           progress: Callable[[str], None]) -> None:
    """Build the layer where a sandbox can stand on it, then bring it to its place in one step."""
    DATA.mkdir(parents=True, exist_ok=True)
    arrived = target.with_name(f".layer-building-{target.name}")
    with tempfile.TemporaryDirectory(prefix=".layer-building-", dir=DATA) as directory:
        disk = Path(directory) / "disk"
        fetched = disk / "var/cache/layer"
        try:
            _fetch(suite, recipe, base, Path(directory) / "apt", fetched, aptsources.POCKETS)
        except LayerFailed as error:
            # As of image.ensure(): an archive may have lost what the indexes of updates name.
            progress(f"{error}; once more, from {suite} without its updates")
            shutil.rmtree(fetched)
            _fetch(suite, recipe, base, Path(directory) / "again", fetched, ("",))
        progress("installing")
        with BareSandbox(base, disk=disk) as sandbox:
            said = sandbox.run(["/bin/sh", "-eu"], input=recipe.installation(), timeout=LIMIT)
        if said.returncode != 0:
            raise LayerFailed(f"installing {' '.join(recipe.packages)} failed: "
                              f"{_last(said.stdout + said.stderr)}")
        try:
            # The layer may hold whiteouts and extended attributes of the overlay.
            _run(["cp", "-a", str(disk), str(arrived)])
            os.rename(arrived, target)
        finally:
            shutil.rmtree(arrived, ignore_errors=True)


def _fetch(suite: str, recipe: Recipe, base: Path, apt: Path, packages: Path,
           pockets: Sequence[str]) -> None:
    """Fetch the packages and all that the image lacks for them into the directory `packages`.

    pockets: of the archive, as of aptsources.derive().
    apt: scratch space. The host's own lists, packages and settings are neither used nor changed,
    except for where it fetches from.
    """
    for directory in (packages / "partial", apt / "lists/partial", apt / "sources", apt / "empty"):
        directory.mkdir(parents=True)
    (apt / "sources/layer.sources").write_text(aptsources.render(aptsources.derive(
        aptsources.read_host(), host=aptsources.host_codename(), suite=suite, pockets=pockets)))
    settings = apt / "apt.conf"
    settings.touch(mode=0o600)          # a proxy's password may stand in there
    settings.write_text(aptsources.host_options() + "".join(
        f'{key} "{value}";\n' for key, value in {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": apt / "empty",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": apt / "empty",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": apt / "sources",
            "Dir::State": apt,
            "Dir::State::lists": apt / "lists",
            "Dir::State::status": base / "var/lib/dpkg/status",
            "Dir::Cache": apt,
            "Dir::Cache::archives": packages,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
        }.items()))
    environment = {**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C"}
    _run(["apt-get", "--quiet=2", "update"], environment)
    _run(["apt-get", "--quiet=2", "--yes", "--download-only", "install", *recipe.packages],
         environment)


def _run(argv: List[str], environment: Optional[Mapping[str, str]] = None) -> None:
    """Run a command of the host. Raises LayerFailed."""
    done = subprocess.run(argv, env=environment, timeout=LIMIT, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding="utf-8", errors="replace")
    if done.returncode != 0:
        raise LayerFailed(f"{' '.join(argv)} ended with {done.returncode}: {_last(done.stdout)}")


def _last(text: str) -> str:
    """Return the last lines of a command's output as one."""
    return " | ".join(text.strip().splitlines()[-5:])
