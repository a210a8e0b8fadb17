# SPDX-License-Identifier: GPL-2.0-or-later
"""Applying a batch of changes, so that a kill or a power cut at any moment loses nothing.

In this order: everything is judged; the manifest notes what is coming; directories are made; new
files are written beside the old ones; all of them survive a power cut; what goes is kept and
removed; new files get their names, after the old ones were kept; the directories survive a power
cut; the manifest notes what is done. A change that cannot be made is a problem of its own and
holds up no other.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import Callable, Iterable, Iterator

from mailha import errors
from mailha.sync.files.beneath import Beneath, NoParent, NotADirectory
from mailha.sync.files.entry import DIRECTORY, FILE, SYMLINK, Entry
from mailha.sync.files.mounts import MOUNTED, MountsBelow
from mailha.sync.files.owners import Owners, OwnerUnknown
from mailha.sync.files.scanning import Gone, LeftOut, Scanner
from mailha.sync.files.selection import NOT_SELECTED, Selection
from mailha.sync.manifest import Manifest
from mailha.sync.passive import judging, kept, placing
from mailha.sync.passive.changes import Change, Result
from mailha.sync.passive.crossing import SentHere
from mailha.sync.passive.durable import Syncer
from mailha.sync.passive.judging import Problem
from mailha.sync.passive.kept import Kept
from mailha.sync.passive.placing import Prepared
from mailha.sync.passive.spool import Content
from mailha.sync.state import State
from mailha.system.files import failure
from mailha.system.machine import Machine

MOST_OPEN = 256
"""Files that are open at a time; a process may have 1024."""
MOST_PLACED = 20000
"""Files that are remembered as put in place by this session."""


class Applier:
    """Applies batches of one session. The lock has to be held whenever a method is called."""

    def __init__(self, machine: Machine, selection: Selection, state: State, manifest: Manifest,
                 copies: Kept, sent_here: SentHere) -> None:
        self.machine = machine
        self.selection = selection
        self.state = state
        self.manifest = manifest
        self.copies = copies
        self.sent_here = sent_here
        self.owners = Owners(machine)
        self.scanner = Scanner(machine, selection)
        self.mounts = MountsBelow(machine, selection)
        self.syncer = Syncer()
        # What this session has put in place, so that it need not be read again.
        self.placed: dict[str, tuple[tuple[int, ...], str]] = {}

    def close(self) -> None:
        """Let go of what is open."""
        self.syncer.close()
        self.mounts.close()

    def apply(self, changes: Iterable[Change], *, force: bool = False,
              hooks: Callable[[Iterable[str]], Iterable[str]] = lambda paths: ()) -> Result:
        """Apply changes; what the result does not call a problem is durable.

        force: delete as much as is asked for. hooks: which commands are due after paths. Raises
        errors.Failed if nothing at all can be done.
        """
        self.owners.refresh()
        self.sent_here.refresh()
        self.mounts.refresh()
        with Beneath(self.machine.root) as beneath:
            return _Batch(self, beneath).run(list(changes), force, hooks)


class _Batch:
    """One batch on its way."""

    def __init__(self, applier: Applier, beneath: Beneath) -> None:
        self._its = applier
        self._beneath = beneath
        self._result = Result()
        self._failed: set[str] = set()
        self._touched: set[str] = set()
        # The fingerprint of what a put will replace, and how what goes stood to what was agreed
        # on before this batch.
        self._present: dict[str, str | None] = {}
        self._standing: dict[str, str] = {}

    def run(self, changes: list[Change], force: bool,
            hooks: Callable[[Iterable[str]], Iterable[str]]) -> Result:
        """Apply the changes."""
        last = {change.path: change for change in changes}      # the last word on a path counts
        allowed = [change for change in last.values() if self._allowed(change)]
        deletions = self._deletions(
            [change.path for change in allowed if change.entry is None],
            [change.path for change in allowed if change.entry is not None], force)
        puts = [(change.entry, change.content) for change in allowed
                if change.entry is not None and self._needed(change.entry)]
        coming: dict[str, str | None] = dict.fromkeys(deletions, None)
        coming.update({entry.path: entry.fingerprint for entry, _ in puts})
        if coming:
            foreign = {path: fingerprint for path, fingerprint in self._present.items()
                       if fingerprint and self._standing[path] == judging.FOREIGN}
            self._its.manifest.pending(coming, hooks(coming), foreign)
            self._change(deletions, puts)
        self._its.manifest.agree(self._result.applied, counted=not force)
        return self._result

    def _change(self, deletions: list[str], puts: list[tuple[Entry, Content | None]]) -> None:
        self._directories([entry for entry, _ in puts if entry.kind == DIRECTORY])
        prepared: list[Prepared] = []
        try:
            self._prepare([put for put in puts if put[0].kind != DIRECTORY], prepared)
            self._delete(deletions)
            self._name(prepared)
        finally:
            for one in prepared:
                self._drop(one)
        self._sync_directories(bool(prepared))

    # Judging.

    def _allowed(self, change: Change) -> bool:
        """Tell whether a path may be touched at all."""
        link = change.entry is not None and change.entry.kind == SYMLINK
        reason = self._its.selection.why_not(change.path, link=link)
        if not reason:
            reason = MOUNTED if self._its.mounts.hold(change.path) \
                else self._its.sent_here.why_not(change.path)
        if reason:
            self._problem(change.path, "not-selected" if reason == NOT_SELECTED else "never",
                          reason)
        return not reason

    def _deletions(self, paths: list[str], put: list[str], force: bool) -> list[str]:
        """Return what is to be deleted of the paths, the deepest first; put: what comes."""
        manifest, found = self._its.manifest, []
        for path in sorted(paths, key=lambda path: (-path.count("/"), path)):
            current = self._current(path)
            if current is None:
                if path not in self._failed:
                    self._result.applied[path] = None       # agreed on without a deed
            elif self._stands(path, current) == judging.FOREIGN:
                self._problem(path, judging.FOREIGN, "it was never replicated, so it stays")
            else:
                found.append(path)
        if force:
            return found
        known = [path for path in found if path in manifest]
        reason = judging.too_many(manifest, known)
        if reason:
            for path in found:
                self._problem(path, "too-many-deletions", reason)
            return []
        for root, reason in judging.emptied(manifest, self._its.selection, known,
                                            put).items():
            for path in found:
                if path == root or path.startswith(root + "/"):
                    self._problem(path, judging.EMPTIED, reason)
        return [path for path in found if path not in self._failed]

    def _needed(self, entry: Entry) -> bool:
        """Tell whether a put has anything to do; note what is there."""
        current = self._current(entry.path)
        if entry.path in self._failed:
            return False
        if current == entry.fingerprint:
            self._result.applied[entry.path] = entry.fingerprint
            return False
        self._present[entry.path] = current
        if current is not None:
            self._stands(entry.path, current)
        else:
            self._standing[entry.path] = judging.standing_of_nothing(
                self._its.manifest, self._its.state, entry.path)
        return True

    def _stands(self, path: str, fingerprint: str) -> str:
        """Return how what is at a path stands to what was agreed on, and remember it."""
        found = judging.standing(self._its.manifest, self._its.state, path, fingerprint)
        self._standing[path] = found
        return found

    def _current(self, path: str) -> str | None:
        """Return the fingerprint of what is at a path, None if nothing is.

        What is there and cannot be replaced is a problem.
        """
        placed = self._its.placed.get(path)
        if placed is not None:
            try:
                if placing.signature(*self._beneath.parent(path)) == placed[0]:
                    return placed[1]
            except (OSError, errors.Failed):
                pass
        found = self._its.scanner.look_beneath(self._beneath, path)
        if isinstance(found, Entry):
            return found.fingerprint
        if not isinstance(found, Gone):
            self._problem(path, "never" if isinstance(found, LeftOut) else "failed",
                          f"what is there stays: {found.reason}")
        return None

    # Changing.

    def _directories(self, entries: list[Entry]) -> None:
        """Make directories what they should be, those above first."""
        for entry in sorted(entries, key=lambda entry: entry.path.count("/")):
            with self._trouble(entry.path):
                parent, name = self._beneath.parent(entry.path)
                there = self._present[entry.path]
                if there is not None and not placing.is_directory(parent, name):
                    with self._kept(parent, name, entry.path, kept.REPLACED):
                        os.unlink(name, dir_fd=parent)
                with self._kept(parent, name, entry.path, ""):
                    os.close(placing.make_directory(parent, name, entry, self._its.owners))
                self._touched.add(entry.path)
                self._done(entry.path, entry.fingerprint)

    def _prepare(self, puts: list[tuple[Entry, Content | None]], prepared: list[Prepared]
                 ) -> None:
        """Write new files and links under temporary names, so that they survive a power cut."""
        waiting: list[Prepared] = []
        for entry, content in puts:
            with self._trouble(entry.path):
                parent, _ = self._beneath.parent(entry.path)
                name = placing.temporary_name()
                if entry.kind == FILE:
                    one = Prepared(entry, name, placing.make_file(
                        parent, name, entry, content or Content([]), self._its.owners))
                    waiting.append(one)
                else:
                    placing.make_link(parent, name, entry, self._its.owners)
                    one = Prepared(entry, name, -1)
                prepared.append(one)
            if len(waiting) >= MOST_OPEN:
                self._make_durable(waiting, [])
        if prepared:
            # What is coming has to be known before it comes, or it would look like a change that
            # somebody made here.
            self._make_durable(waiting, self._its.manifest.descriptors())

    def _make_durable(self, waiting: list[Prepared], more: list[int]) -> None:
        """Let new files survive a power cut, and close them; more: descriptors that stay open."""
        try:
            self._its.syncer.sync([one.descriptor for one in waiting] + more)
        except OSError as error:
            # Which of them is on the disk and which is not is unknown: none gets its name.
            raise failure("write", "what was received", error) from None
        for one in waiting:
            os.close(one.descriptor)
            one.descriptor = -1
        waiting.clear()

    def _delete(self, paths: list[str]) -> None:
        """Keep and remove, the deepest first."""
        for path in paths:
            with self._trouble(path):
                current = self._current(path)
                if current is not None:
                    parent, name = self._beneath.parent(path)
                    if placing.is_directory(parent, name):
                        self._remove_directory(parent, name)
                    else:
                        with self._kept(parent, name, path, kept.DELETED):
                            os.unlink(name, dir_fd=parent)
                if path not in self._failed:
                    self._its.placed.pop(path, None)
                    self._done(path, None)

    def _name(self, prepared: list[Prepared]) -> None:
        """Give new files their names, after the old ones were kept."""
        for one in prepared:
            path = one.entry.path
            with self._trouble(path):
                parent, name = self._beneath.parent(path)
                there = self._present[path]
                if there is not None and placing.is_directory(parent, name):
                    self._remove_directory(parent, name)
                    parent, name = self._beneath.parent(path)
                    there = None
                with self._kept(parent, name, path, kept.REPLACED if there is not None else ""):
                    os.rename(one.name, name, src_dir_fd=parent, dst_dir_fd=parent)
                one.name = ""
                self._done(path, one.entry.fingerprint)
                if len(self._its.placed) > MOST_PLACED:
                    self._its.placed.clear()
                self._its.placed[path] = (placing.signature(parent, name), one.entry.fingerprint)

    def _remove_directory(self, parent: int, name: str) -> None:
        """Remove an empty directory. Raises OSError."""
        os.rmdir(name, dir_fd=parent)
        self._beneath.forget()          # it may be among those that are open

    def _sync_directories(self, prepared: bool) -> None:
        """Let names survive a power cut, and what the manifest says if nothing was prepared."""
        paths = sorted(self._touched)
        more = [] if prepared else self._its.manifest.descriptors()
        for start in range(0, len(paths), MOST_OPEN):
            descriptors: list[int] = []
            try:
                for path in paths[start:start + MOST_OPEN]:
                    try:
                        descriptors.append(os.dup(self._beneath.directory(path)))
                    except errors.Failed:
                        pass            # removed by this batch itself
                self._its.syncer.sync(descriptors + more)
                more = []
            except OSError as error:
                raise failure("write", "the directories of what was received", error) from None
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    @contextmanager
    def _kept(self, parent: int, name: str, path: str, why: str) -> Iterator[None]:
        """Keep a copy of what is there, unless what is done to it fails.

        why: "" for nothing, unless there ought to be something that this node had deleted.
        """
        noted = why or self._standing[path] == judging.UNDELETED
        place = self._keep(parent, name, path, why) if noted else ""
        try:
            yield
        except OSError:
            if place:
                # It is tried again every few seconds: an immutable file must not push out the
                # copies of what it had been before.
                self._its.copies.take_back(place)
                self._result.unsent.pop(path, None)
                self._result.conflicts.pop(path, None)
            raise

    def _keep(self, parent: int, name: str, path: str, why: str) -> str:
        """Keep a copy of what is there; as something special if nobody has agreed on it.

        Returns its place.
        """
        standing = self._standing[path]
        why = {judging.UNSENT: kept.UNSENT, judging.CHANGED: kept.CONFLICT,
               judging.UNDELETED: kept.UNDELETED}.get(standing, why)
        place = self._its.copies.keep(parent, name, path, why)
        if why in (kept.UNSENT, kept.UNDELETED):
            self._result.unsent[path] = place
        elif why == kept.CONFLICT:
            self._result.conflicts[path] = place
        return place

    def _done(self, path: str, fingerprint: str | None) -> None:
        self._result.applied[path] = fingerprint
        self._touched.add(os.path.dirname(path))

    def _drop(self, one: Prepared) -> None:
        """Close a new file, and remove it if it never got its name."""
        if one.descriptor >= 0:
            os.close(one.descriptor)
            one.descriptor = -1
        if one.name:
            try:
                os.unlink(one.name, dir_fd=self._beneath.parent(one.entry.path)[0])
            except (OSError, errors.Failed):
                pass        # the next look at everything removes it

    def _problem(self, path: str, code: str, reason: str) -> None:
        self._failed.add(path)
        self._result.problems.append(Problem(path, code, reason))

    @contextmanager
    def _trouble(self, path: str) -> Iterator[None]:
        """Make whatever goes wrong with one path a problem of this path alone."""
        try:
            yield
        except NoParent as error:
            self._problem(path, "no-parent", f"{error.reason}; install the same packages on both "
                                             "nodes")
        except OwnerUnknown as error:
            self._problem(path, "owner", str(error))
        except NotADirectory as error:
            self._problem(path, "failed", str(error))
        except errors.Failed as error:
            self._problem(path, "attributes", str(error))
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                self._problem(path, "not-empty", placing.what_is_in(self._beneath, path))
            else:
                self._problem(path, "failed", str(failure("write", path, error)))
