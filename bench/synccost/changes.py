# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to files, as an administrator or a package makes it happen.

Every change has a file of its own, which was there before, so that no change meets another one. A
new content differs in size from the old one: what becomes of one that does not is a loss of its
own, see losses.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Tuple

SUBJECTS = "subjects"
DIRECTORIES, FILES = 20, 50
"""What a burst rewrites: a thousand files, the size of an /etc."""

CONTENT = b"# a line of configuration, as long as they are\n" * 40


@dataclass(frozen=True)
class Change:
    """One kind of change. make(root, number) does it; paths(number) says what it concerns."""

    name: str
    make: Callable[[Path, int], None]
    paths: Callable[[int], List[str]]
    prepare: Callable[[Path, int], None]


def fill(root: Path, rounds: int) -> None:
    """Make the tree, empty until now; rounds: how many numbers each kind of change will have."""
    for directory in range(DIRECTORIES):
        place = root / f"d{directory:02}"
        place.mkdir()
        for file in range(FILES):
            (place / f"f{file:02}").write_bytes(CONTENT)
    (root / SUBJECTS).mkdir()
    for change in ALL:
        for number in range(rounds):
            change.prepare(root, number)


def burst(root: Path, mark: str) -> List[str]:
    """Rewrite the thousand files; returns their paths below root."""
    content = f"# {mark}\n".encode() + CONTENT
    paths = [f"d{directory:02}/f{file:02}" for directory in range(DIRECTORIES)
             for file in range(FILES)]
    base = str(root)
    for path in paths:
        with open(f"{base}/{path}", "wb") as file:
            file.write(content)
    return paths


def identical(one: str, other: str) -> bool:
    """Tell whether two paths hold the same: nothing, or the same kind, mode, owner and content.

    Extended attributes count, the times do not.
    """
    try:
        here = os.lstat(one)
    except FileNotFoundError:
        return not os.path.lexists(other)
    try:
        there = os.lstat(other)
        if (here.st_mode, here.st_uid, here.st_gid) != (there.st_mode, there.st_uid, there.st_gid):
            return False
        if _attributes(one) != _attributes(other):
            return False
        if os.path.islink(one):
            return os.readlink(one) == os.readlink(other)
        if os.path.isdir(one):
            return True
        if here.st_size != there.st_size:
            return False
        with open(one, "rb") as ours, open(other, "rb") as theirs:
            return ours.read() == theirs.read()
    except OSError:
        return False        # it is just being replaced


def differing(one: Path, other: Path) -> List[str]:
    """Return all paths below two roots that are not identical."""
    found = set()
    for root in (one, other):
        for directory, below, names in os.walk(root):
            for name in [*below, *names]:
                found.add(os.path.relpath(os.path.join(directory, name), root))
    return sorted(path for path in found if not identical(f"{one}/{path}", f"{other}/{path}"))


def _attributes(path: str) -> List[Tuple[str, bytes]]:
    return sorted((name, os.getxattr(path, name, follow_symlinks=False))
                  for name in os.listxattr(path, follow_symlinks=False))


def _subject(kind: str) -> Callable[[int], List[str]]:
    return lambda number: [f"{SUBJECTS}/{kind}-{number}"]


def _there(kind: str) -> Callable[[Path, int], None]:
    def prepare(root: Path, number: int) -> None:
        (root / SUBJECTS / f"{kind}-{number}").write_bytes(CONTENT)
    return prepare


def _simple(name: str, kind: str, act: Callable[[str, int], None]) -> Change:
    return Change(name, lambda root, number: act(f"{root}/{SUBJECTS}/{kind}-{number}", number),
                  _subject(kind), _there(kind))


def _write(path: str, number: int) -> None:
    with open(path, "wb") as file:
        file.write(CONTENT + b"# changed\n")


def _rename_over(path: str, number: int) -> None:
    with open(f"{path}.new", "wb") as file:
        file.write(CONTENT + b"# changed\n")
    os.rename(f"{path}.new", path)


def _nest(root: Path, number: int) -> None:
    place = f"{root}/{SUBJECTS}/new-{number}/a/b"
    os.makedirs(place)
    with open(f"{place}/file", "wb") as file:
        file.write(CONTENT)


def _link(root: Path, number: int) -> None:
    path = f"{root}/{SUBJECTS}/link-{number}"
    os.symlink("elsewhere", f"{path}.new")
    os.rename(f"{path}.new", path)


def _nothing(root: Path, number: int) -> None:
    pass


ALL = (
    _simple("write", "write", _write),
    _simple("rename over", "rename", _rename_over),
    Change("mkdir, file in it", _nest, lambda number: [
        f"{SUBJECTS}/new-{number}", f"{SUBJECTS}/new-{number}/a/b/file"], _nothing),
    _simple("delete", "delete", lambda path, number: os.unlink(path)),
    _simple("chmod", "chmod", lambda path, number: os.chmod(path, 0o600)),
    _simple("chown", "chown", lambda path, number: os.chown(path, 33, 33)),
    _simple("xattr", "xattr", lambda path, number: os.setxattr(path, "user.mailha", b"1")),
    Change("symlink", _link, _subject("link"),
           lambda root, number: (root / SUBJECTS / f"link-{number}").symlink_to("somewhere")),
)
