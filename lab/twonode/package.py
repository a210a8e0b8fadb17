# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite as its users get it: a Debian package, built from this checkout and installed by dpkg.

Nodes and sandboxes run what the package lays, not what the checkout holds: a file that debian/
forgets, a mode that it changes and a maintainer script that fails are seen by every test, and
editing the checkout disturbs no running laboratory.

Both steps cost seconds, so both results are kept beside the image, under names that hold a digest
of all that they are made of: the package by its sources, and what dpkg has written when it
installed that package over an image and its layers. What was not wanted for a while is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Sequence

from twonode import image, layer
from twonode.bare import BareSandbox
from twonode.plan import DATA

CHECKOUT = Path(__file__).resolve().parents[2]

SOURCES = ("Makefile", "LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "setup.cfg",
           "agents", "bin", "fence", "lib/mailha", "units", "examples", "debian", "rpm", "man",
           "bench/README.md")
"""What a package is made of; not the laboratory, the benches and the tests."""

TOOLS = layer.Recipe("package", ("debhelper", "dh-python", "dpkg-dev", "make"))

LIBRARY = "usr/lib/ocf/lib/mailha"
"""Where the package lays the library, without the slash in front."""

ARRIVED = "/var/cache/apt/archives"
"""Where a node has the package that it is to install, as if apt had fetched it."""

# Without a compiler (-d): nothing is compiled, and it would double the layer.
BUILD = "cd /usr/src/mailha && dpkg-buildpackage -d -us -uc -b"

INSTALL = ["dpkg", "--force-unsafe-io", "--path-include=/usr/share/*", "--install"]
"""The command that installs the package whose path follows. The image leaves out documents and
manual pages; those of the suite belong on the node that it is tried on."""

# What a sandbox or dpkg leaves in a layer that is nobody's concern.
_TRACES = ("etc/hosts", "var/cache", "var/log", "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend")

LIMIT = 600.0
"""Seconds that building or installing may take on a busy machine; here ten and three."""

UNWANTED_AFTER = 6 * 3600.0
"""Seconds after which a package that nobody asked for any more is removed: each is 7 MiB, and there
is a new one for every change of the checkout."""


class PackageFailed(layer.LayerFailed):
    """The package could not be built or installed; the text says what the tool said last."""


def sources(checkout: Path = CHECKOUT, root: str = "mailha") -> bytes:
    """Return the sources as an archive of root's files that unpacks to the directory `root`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in _files(checkout):
            archive.add(path, f"{root}/{path.relative_to(checkout)}", recursive=False,
                        filter=_as_released)
    return stream.getvalue()


def digest(checkout: Path = CHECKOUT) -> str:
    """Return what tells these sources from all others: names, contents, and what is a program."""
    found = hashlib.sha256()
    for path in _files(checkout):
        content = path.read_bytes()
        name = f"{path.relative_to(checkout)}\0{path.stat().st_mode & 0o100}\0{len(content)}\0"
        found.update(name.encode() + content)
    return found.hexdigest()[:12]


def ensure(suite: str, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Return the path of the package, built from the checkout with the tools of a release.

    suite: one of image.SUITES.
    progress: called with a line of text for each step.
    Raises PackageFailed, layer.LayerFailed, image.ImageFailed and aptsources.NoSources.
    """
    tools = layer.ensure(suite, TOOLS, progress)
    kept = image.CACHE / f"package-{digest()}-{tools.name}"
    with _only_one():
        if not kept.is_dir():
            _remove_unwanted()
            progress("building the package")
            _build(image.ensure(suite), tools, kept)
        os.utime(kept)
        [found] = kept.glob("mailha_*.deb")
        return found


def lay(base: Path, layers: Sequence[Path], target: Path,
        progress: Callable[[str], None] = lambda line: None) -> None:
    """Make `target` the layer that dpkg writes when it installs the package over an image.

    base: what image.ensure returned.
    layers: what else will lie below, the uppermost first: dpkg knows the packages of all of them.
    target: a directory that does not exist yet; a copy, for as long as the caller wants it.
    Raises what ensure() raises.
    """
    found = ensure(base.name.partition("-")[0], progress)
    below = hashlib.sha256("\0".join(map(str, [base, *layers])).encode()).hexdigest()[:12]
    kept = found.parent.with_name(f"{found.parent.name}-over-{below}")
    with _only_one():
        if not kept.is_dir():
            progress("installing the package")
            _install(found, base, layers, kept)
        os.utime(kept)
        _copy(kept, target)


def _files(checkout: Path) -> Iterator[Path]:
    """Yield the files of the sources in an order that is always the same."""
    for name in SOURCES:
        if (checkout / name).is_file():
            yield checkout / name
        for directory, below, names in os.walk(checkout / name):
            below[:] = sorted(each for each in below if each != "__pycache__")
            yield from (Path(directory) / each for each in sorted(names))


def _as_released(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make the archived file root's, and readable for everyone, whatever it is in the checkout."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


@contextmanager
def _only_one() -> Iterator[None]:
    """Let one process at a time build, install or copy; so nothing vanishes under a copy."""
    image.CACHE.mkdir(parents=True, exist_ok=True)
    with open(image.CACHE / ".package.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_unwanted() -> None:
    """Remove what nobody wanted for a while, and what killed builders left."""
    for old in image.CACHE.glob("package-*"):
        if time.time() - old.stat().st_mtime > UNWANTED_AFTER:
            shutil.rmtree(old)
    for left in [*image.CACHE.glob(".package-*-"), *DATA.glob(".package-*")]:
        shutil.rmtree(left)


def _build(base: Path, tools: Path, kept: Path) -> None:
    """Build the package and keep it with what dpkg-buildpackage writes beside it."""
    # dpkg-deb sets every file's time back to this one. Python takes a compiled module for that of a
    # source by the source's time and size, so the time has to move with what is edited.
    latest = max(int(path.stat().st_mtime) for path in _files(CHECKOUT))
    with _scratch() as directory:
        disk = directory / "disk"
        (disk / "usr/src").mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(sources())) as archive:
            archive.extractall(disk / "usr/src")
        with BareSandbox(base, layers=[tools], disk=disk) as sandbox:
            said = sandbox.run(["/bin/sh", "-euc", BUILD], timeout=LIMIT,
                               environment={"SOURCE_DATE_EPOCH": str(latest)})
        if said.returncode != 0:
            raise PackageFailed(f"building the package failed: {_last(said)}")
        shutil.rmtree(disk / "usr/src/mailha")
        _keep(disk / "usr/src", kept)


def _install(found: Path, base: Path, layers: Sequence[Path], kept: Path) -> None:
    """Install the package where nobody lives yet and keep what that has written."""
    with _scratch() as directory:
        disk = directory / "disk"
        (disk / ARRIVED.lstrip("/")).mkdir(parents=True)
        shutil.copy(found, disk / ARRIVED.lstrip("/"))
        with BareSandbox(base, layers=layers, disk=disk) as sandbox:
            said = sandbox.run([*INSTALL, f"{ARRIVED}/{found.name}"], timeout=LIMIT)
        if said.returncode != 0:
            raise PackageFailed(f"installing the package failed: {_last(said)}")
        for name in _TRACES:
            trace = disk / name
            shutil.rmtree(trace) if trace.is_dir() else trace.unlink()
        _keep(disk, kept)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Have a directory where a sandbox can stand on it."""
    DATA.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".package-", dir=DATA) as directory:
        yield Path(directory)


def _keep(made: Path, kept: Path) -> None:
    """Copy what was made beside the image, where it appears in one step."""
    arrived = kept.with_name(f".{kept.name}-")
    _copy(made, arrived)
    os.rename(arrived, kept)


def _copy(made: Path, target: Path) -> None:
    """Copy a directory with all that an overlay may have noted in it."""
    argv: List[str] = ["cp", "-a", str(made), str(target)]
    done = subprocess.run(argv, timeout=LIMIT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        raise PackageFailed(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout.strip()}")


def _last(said: "subprocess.CompletedProcess[str]") -> str:
    """Return the last lines of a command's output as one."""
    return " | ".join((said.stdout + said.stderr).strip().splitlines()[-5:])
