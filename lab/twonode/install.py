# SPDX-License-Identifier: GPL-2.0-or-later
"""Putting the suite on a machine: a copy, so that editing the checkout disturbs no running lab.

The suite travels as a tar archive, which can be unpacked onto a disk that is not in use yet and,
through a pipe, on a machine that is running.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Iterable, Iterator, Optional, Tuple

CHECKOUT = Path(__file__).resolve().parents[2]

LIBRARY = "usr/lib/ocf/lib/mailha"

PLACES = (
    ("agents", "usr/lib/ocf/resource.d/mailha"),
    ("fence", "usr/sbin"),
    ("lib/mailha", LIBRARY),
    ("bin", "usr/sbin"),
    ("units", "usr/lib/systemd/system"),
)
"""Folder of the checkout -> place on a node, without the slash in front. A folder that does not
exist is left out."""

COMPILE = ["python3", "-m", "compileall", "-q", "/" + LIBRARY]
"""The command that byte-compiles the library, to be run on the machine. A package does the same
when it is installed, and a monitor without it is several times as slow."""

REMOVE = ["rm", "-rf", "/usr/lib/ocf/resource.d/mailha", "/" + LIBRARY]
"""The command that removes what a folder owns alone, so that no deleted module stays behind."""


def files(checkout: Path = CHECKOUT) -> Iterator[Tuple[Path, str]]:
    """Yield every file of the suite, with its place on a node."""
    for folder, place in PLACES:
        for directory, below, names in os.walk(checkout / folder):
            below[:] = sorted(name for name in below if name != "__pycache__")
            for name in sorted(names):
                path = Path(directory) / name
                yield path, f"{place}/{path.relative_to(checkout / folder)}"


def archive(checkout: Path = CHECKOUT) -> bytes:
    """Return the suite as a tar archive of root's files, with paths as on a node."""
    return _tar(files(checkout))


def pack(directory: Path, place: str) -> bytes:
    """Return all files of a directory as a tar archive that puts them below `place`."""
    return _tar((path, f"{place}/{path.relative_to(directory)}")
                for path in sorted(directory.rglob("*")) if path.is_file())


def _tar(content: Iterable[Tuple[Path, str]]) -> bytes:
    """Return a tar archive of files, given with the names that they have in it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, place in content:
            tar.add(path, place, recursive=False, filter=_as_root)
    return stream.getvalue()


def _as_root(member: tarfile.TarInfo) -> Optional[tarfile.TarInfo]:
    """Make the archived file root's, and its mode what a package would give it."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def unpack(packed: bytes, disk: Path) -> None:
    """Unpack an archive onto a machine's own disk that no machine uses at the moment."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(disk)
