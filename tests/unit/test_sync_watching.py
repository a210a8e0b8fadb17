# SPDX-License-Identifier: GPL-2.0-or-later
"""Watching for changes, with the kernel's real inotify on a directory of its own.

An event is in the queue when the system call that made it returns, so nothing here has to wait.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from mailha import errors
from mailha.sync.active import watching
from mailha.sync.active.watching import Watching


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A small machine in a directory, and what is told of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        self.barred: set[str] = set()
        self.watching: Watching | None = None

    def path(self, path: str) -> Path:
        return Path(f"{self.root}{path}")

    def write(self, path: str, text: str = "x") -> None:
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)

    def watch(self, *roots: str) -> Watching:
        self.watching = Watching(roots, lambda path: path not in self.barred,
                                 prefix=str(self.root), monotonic=self.clock)
        self.watching.watch()
        return self.watching

    def told(self) -> set[str]:
        """Return the paths that have changed since the last time."""
        assert self.watching is not None
        changes = self.watching.read()
        assert not changes.everything
        return changes.paths


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Return a machine with /etc, in which there are two files and a directory."""
    made = Scene(tmp_path)
    made.write("/etc/aliases")
    made.write("/etc/postfix/main.cf")
    yield made
    if made.watching is not None:
        made.watching.close()


def test_a_written_file_is_told_when_it_is_closed(scene: Scene) -> None:
    scene.watch("/etc")
    with open(scene.path("/etc/postfix/main.cf"), "w") as file:
        file.write("half a ")
        file.flush()
        assert scene.told() == set()
        file.write("line")
    assert scene.told() == {"/etc/postfix/main.cf"}
    assert scene.told() == set()


def test_a_new_file_is_not_told_at_its_creation(scene: Scene) -> None:
    # lsyncd with delay 0 showed unfinished lines on the other node for this.
    scene.watch("/etc")
    with open(scene.path("/etc/new"), "w") as file:
        assert scene.told() == set()
        file.write("whole")
    assert scene.told() == {"/etc/new"}


def test_a_file_that_is_open_while_another_one_changes_waits(scene: Scene) -> None:
    # incron with rsync of the whole tree exposed ten states of an unfinished file.
    scene.watch("/etc")
    with open(scene.path("/etc/list"), "w") as file:
        for line in range(3):
            file.write(f"{line}\n")
            file.flush()
            scene.write("/etc/aliases", str(line))
            assert scene.told() == {"/etc/aliases"}
    assert scene.told() == {"/etc/list"}


@pytest.mark.parametrize("change, told", [
    (lambda at: os.rename(at("/etc/aliases"), at("/etc/postfix/aliases")),
     {"/etc/aliases", "/etc/postfix/aliases"}),
    (lambda at: os.unlink(at("/etc/aliases")), {"/etc/aliases"}),
    (lambda at: os.chmod(at("/etc/aliases"), 0o600), {"/etc/aliases"}),
    (lambda at: os.chmod(at("/etc/postfix"), 0o700), {"/etc/postfix"}),
    (lambda at: os.chmod(at("/etc"), 0o700), {"/etc"}),
    (lambda at: os.setxattr(at("/etc/aliases"), "user.note", b"1"), {"/etc/aliases"}),
    (lambda at: os.symlink("aliases", at("/etc/link")), {"/etc/link"}),
    (lambda at: os.link(at("/etc/aliases"), at("/etc/other")), {"/etc/other", "/etc/aliases"}),
    (lambda at: os.mkdir(at("/etc/empty")), {"/etc/empty"}),
    (lambda at: os.mkfifo(at("/etc/fifo")), {"/etc/fifo"}),
], ids=["rename", "unlink", "chmod", "chmod-directory", "chmod-root", "xattr", "symlink", "link",
        "mkdir", "fifo"])
def test_every_kind_of_change_is_told(scene: Scene, change: Callable[[Callable[[str], Path]], None],
                                      told: set[str]) -> None:
    scene.watch("/etc")
    change(scene.path)
    found = scene.told()
    assert found <= told and sorted(told)[-1] in found


def test_a_file_renamed_into_place_is_told(scene: Scene) -> None:
    scene.watch("/etc")
    scene.write("/etc/aliases.new")
    scene.told()
    os.rename(scene.path("/etc/aliases.new"), scene.path("/etc/aliases"))
    assert scene.told() == {"/etc/aliases.new", "/etc/aliases"}


class Writer:
    """Does something while the watcher waits for what follows. waited: for how long each time."""

    def __init__(self, deed: Callable[[], object]) -> None:
        self.waited: List[float] = []
        self._deed = deed

    def select(self, readers: List[int], _: object, __: object, seconds: float) -> object:
        """As select.select()."""
        self.waited.append(seconds)
        if len(self.waited) > 1:
            return [], [], []
        self._deed()
        return readers, [], []


def test_a_new_name_that_is_renamed_at_once_is_one_change(
        scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = scene.watch("/etc")
    scene.write("/etc/aliases.new")
    writer = Writer(lambda: scene.path("/etc/aliases.new").rename(scene.path("/etc/aliases")))
    monkeypatch.setattr("select.select", writer.select)
    changes = watched.read(follows=0.001)
    assert changes.paths == {"/etc/aliases.new", "/etc/aliases"}
    # Nothing of it is new any more, so nothing more is waited for.
    assert writer.waited == [0.001] and not changes.fresh


def test_a_new_directory_is_told_with_its_first_file(
        scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = scene.watch("/etc")
    scene.path("/etc/new").mkdir()
    writer = Writer(lambda: scene.write("/etc/new/file"))
    monkeypatch.setattr("select.select", writer.select)
    assert watched.read(follows=0.001).paths == {"/etc/new", "/etc/new/file"}
    assert writer.waited == [0.001, 0.001]


def test_nothing_is_waited_for_when_a_known_file_changes(
        scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = scene.watch("/etc")
    writer = Writer(lambda: None)
    monkeypatch.setattr("select.select", writer.select)
    scene.write("/etc/aliases", "changed")
    scene.path("/etc/postfix/main.cf").chmod(0o600)
    assert watched.read(follows=0.001).paths == {"/etc/aliases", "/etc/postfix/main.cf"}
    assert writer.waited == []


def test_a_link_that_is_pointed_elsewhere_is_told(scene: Scene) -> None:
    # csync2 never sends it.
    os.symlink("aliases", scene.path("/etc/link"))
    scene.watch("/etc")
    os.symlink("postfix", scene.path("/etc/link.new"))
    os.rename(scene.path("/etc/link.new"), scene.path("/etc/link"))
    assert "/etc/link" in scene.told()


def test_a_file_made_at_once_in_a_new_directory_is_told(scene: Scene) -> None:
    # pyinotify misses it for ever.
    scene.watch("/etc")
    for number in range(20):
        scene.write(f"/etc/new{number}/b/c/file")
        assert f"/etc/new{number}/b/c/file" in scene.told()
    scene.write("/etc/new3/b/c/file", "again")
    scene.write("/etc/new3/b/c/more")
    assert scene.told() == {"/etc/new3/b/c/file", "/etc/new3/b/c/more"}


def test_a_file_still_written_in_a_new_directory_waits_for_its_end(scene: Scene) -> None:
    scene.watch("/etc")
    scene.path("/etc/new").mkdir()
    with open(scene.path("/etc/new/file"), "w") as file:
        file.write("half")
        file.flush()
        assert scene.told() == {"/etc/new"}
        file.write(" and half")
    assert scene.told() == {"/etc/new/file"}


def test_a_directory_that_is_moved_in_is_told_whole(scene: Scene) -> None:
    scene.write("/elsewhere/a/b")
    scene.watch("/etc")
    os.rename(scene.path("/elsewhere"), scene.path("/etc/here"))
    assert scene.told() == {"/etc/here", "/etc/here/a", "/etc/here/a/b"}
    scene.write("/etc/here/a/b", "changed")
    assert scene.told() == {"/etc/here/a/b"}


def test_a_directory_that_is_moved_out_is_watched_no_longer(scene: Scene) -> None:
    scene.write("/etc/postfix/maps/virtual")
    scene.watch("/etc")
    os.rename(scene.path("/etc/postfix"), scene.path("/away"))
    assert scene.told() == {"/etc/postfix"}
    scene.write("/away/main.cf", "changed")
    scene.write("/away/maps/virtual", "changed")
    assert scene.told() == set()


def test_a_directory_that_is_renamed_has_its_new_name(scene: Scene) -> None:
    scene.write("/etc/postfix/maps/virtual")
    scene.watch("/etc")
    os.rename(scene.path("/etc/postfix"), scene.path("/etc/postfix.old"))
    assert {"/etc/postfix", "/etc/postfix.old/maps/virtual"} <= scene.told()
    scene.write("/etc/postfix.old/maps/virtual", "changed")
    assert scene.told() == {"/etc/postfix.old/maps/virtual"}


def test_a_directory_replaced_by_a_link_is_told_and_not_followed(scene: Scene) -> None:
    # lsyncd then deletes the real files on the other node.
    scene.write("/elsewhere/main.cf")
    scene.watch("/etc")
    os.unlink(scene.path("/etc/postfix/main.cf"))
    os.rmdir(scene.path("/etc/postfix"))
    os.symlink("../elsewhere", scene.path("/etc/postfix"))
    assert "/etc/postfix" in scene.told()
    scene.write("/elsewhere/main.cf", "changed")
    assert scene.told() == set()


def test_a_single_file_is_watched_without_its_neighbours(scene: Scene) -> None:
    scene.write("/usr/share/search/config/search.yml")
    scene.watch("/usr/share/search/config/search.yml")
    scene.write("/usr/share/search/config/other.yml")
    assert scene.told() == set()
    scene.write("/usr/share/search/config/search.yml", "changed")
    os.chmod(scene.path("/usr/share/search/config/search.yml"), 0o600)
    assert scene.told() == {"/usr/share/search/config/search.yml"}


def test_what_does_not_exist_yet_is_found_when_it_does(scene: Scene) -> None:
    scene.watch("/var/lib/ca", "/etc/later.cf")
    scene.write("/var/lib/other/file")
    assert scene.told() == {"/var/lib/ca"}
    scene.write("/var/lib/ca/deep/cacert.pem")
    assert "/var/lib/ca/deep/cacert.pem" in scene.told()
    scene.write("/etc/later.cf")
    assert scene.told() == {"/etc/later.cf"}


def test_what_lies_above_may_be_replaced(scene: Scene) -> None:
    scene.write("/var/lib/ca/cacert.pem")
    scene.watch("/var/lib/ca")
    os.rename(scene.path("/var/lib"), scene.path("/var/lib.old"))
    assert scene.told() == {"/var/lib/ca"}
    scene.write("/var/lib.old/ca/cacert.pem", "nobody looks here")
    assert scene.told() == set()
    scene.write("/var/lib/ca/cacert.pem", "new")
    assert "/var/lib/ca/cacert.pem" in scene.told()


def test_what_is_not_to_be_entered_is_not_watched(scene: Scene) -> None:
    scene.barred = {"/etc/secret"}
    scene.write("/etc/secret/key")
    watched = scene.watch("/etc")
    before = watched.directories
    scene.write("/etc/secret/key", "changed")
    scene.write("/etc/secret/more/deep")
    assert scene.told() == set()
    assert watched.directories == before


def test_an_overflow_is_told_and_nothing_is_missed_after_it(
        scene: Scene) -> None:
    watched = scene.watch("/etc")
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [scene.path(f"/etc/postfix/{number}") for number in range(2)]
    for number in range(limit + 10):
        # Two names in turn, since equal events behind each other are one.
        os.close(os.open(names[number % 2], os.O_WRONLY | os.O_CREAT))
    scene.write("/etc/unseen/file")
    assert "overflowed" in watched.read().everything
    watched.watch()
    scene.write("/etc/unseen/file", "changed")
    assert "/etc/unseen/file" in scene.told()


def test_an_unmounted_directory_is_told(scene: Scene) -> None:
    watched = scene.watch("/etc")
    number = next(each for each, path in watched._watches.items() if path == "/etc/postfix")
    changes = watching.Changes()
    watched._event(changes, number, watching.IN_UNMOUNT, "")
    assert changes.everything == "/etc/postfix was unmounted"


def test_what_was_moved_away_unseen_is_forgotten_by_the_next_watch(scene: Scene) -> None:
    watched = scene.watch("/etc")
    os.rename(scene.path("/etc/postfix"), scene.path("/away"))
    while watched.read():
        pass
    scene.path("/etc/postfix").mkdir()
    watched.watch()
    scene.told()
    scene.write("/away/main.cf", "changed")
    assert scene.told() == set()


def test_a_file_that_is_held_open_is_told_when_it_has_been_quiet(scene: Scene) -> None:
    watched = scene.watch("/etc")
    with open(scene.path("/etc/base"), "w") as file:
        file.write("kept open by a daemon")
        file.flush()
        assert scene.told() == set()
        assert watched.due() == watching.QUIET
        scene.clock.now += watching.QUIET + 0.1
        assert scene.told() == set()
        scene.clock.now += watching.QUIET_BUT_OPEN
        assert scene.told() == {"/etc/base"}
        assert watched.due() is None
        file.write("and more")
        file.flush()
        changes = watched.read()
        watched.take_all(changes)
        assert changes.paths == {"/etc/base"}


def test_a_file_that_gets_its_name_when_it_is_whole_is_told(scene: Scene) -> None:
    scene.watch("/etc")
    descriptor = os.open(scene.path("/etc"), os.O_TMPFILE | os.O_WRONLY)
    os.write(descriptor, b"whole")
    os.link(f"/proc/self/fd/{descriptor}", "named", dst_dir_fd=os.open(
        scene.path("/etc"), os.O_RDONLY), follow_symlinks=True)
    first = scene.told()
    os.close(descriptor)
    scene.clock.now += watching.QUIET + 0.1
    assert "/etc/named" in first | scene.told()


def test_a_truncated_file_is_told(scene: Scene) -> None:
    # truncate(2) opens nothing, so nothing is closed.
    scene.watch("/etc")
    os.truncate(scene.path("/etc/aliases"), 0)
    first = scene.told()
    scene.clock.now += watching.QUIET + 0.1
    assert first | scene.told() == {"/etc/aliases"}


def test_a_name_that_is_no_text_is_told_as_it_is(scene: Scene) -> None:
    scene.watch("/etc")
    Path(os.fsdecode(os.fsencode(scene.path("/etc")) + b"/caf\xe9")).write_text("x")
    assert os.fsencode(next(iter(scene.told()))) == b"/etc/caf\xe9"


def test_whether_a_file_is_being_written(scene: Scene) -> None:
    path = str(scene.path("/etc/aliases"))
    assert not watching.is_written(path)
    with open(path):
        assert not watching.is_written(path)
    with open(path, "a"):
        assert watching.is_written(path)
    assert not watching.is_written(path)
    assert not watching.is_written(str(scene.path("/etc/none")))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(scene.path("/etc/socket")))
        assert not watching.is_written(str(scene.path("/etc/socket")))


class _Library:
    """libc with a kernel that refuses."""

    def __init__(self, name: str, number: int) -> None:
        self._real = ctypes.CDLL(None, use_errno=True)
        self._name, self._number = name, number

    def __getattr__(self, name: str) -> object:
        if name != self._name:
            return getattr(self._real, name)

        def refuse(*_: object) -> int:
            ctypes.set_errno(self._number)
            return -1
        return refuse


def test_too_many_watches_are_reported_with_the_remedy(
        scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    # lsyncd dies of it, or leaves directories unwatched without a word.
    library = _Library("inotify_add_watch", errno.ENOSPC)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    watched = scene.watch("/etc")
    assert "fs.inotify.max_user_watches" in watched.trouble
    library._name = ""
    watched.watch()
    assert watched.trouble == ""


def test_too_many_watchers_are_an_error_with_the_remedy(
        scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    library = _Library("inotify_init1", errno.EMFILE)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    with pytest.raises(errors.Failed, match="fs.inotify.max_user_instances"):
        scene.watch("/etc")
