# SPDX-License-Identifier: GPL-2.0-or-later
"""Which paths Cyrus uses, by its configuration, and what it keeps in each.

The options are those of imapd.conf(5) from 2.4 to 3.10. What is left out there lies in
`configdirectory`, except for a few directories that many put elsewhere by a mount or a link: those
are named here as well. An option may have the name of a service before it ("imap_proc_path") and
then holds for that service.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.products.cyrus import syntax
from mailha.products.cyrus.syntax import ConfigurationUnusable
from mailha.storage.rules import DATA, METADATA, REBUILDABLE, STATE, TRANSIENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.products.cyrus.syntax import Option

SCRIPTS = "scripts"
"""What the users' Sieve scripts are: small files that are read as a whole."""

ARCHIVE = "archive"
"""Old messages. BlueMind allows them anywhere; Cyrus keeps a cache of its own beside them."""

BACKUP = "backup"
"""Copies of what is elsewhere, made by Cyrus's own backup."""

ARCHIVE_CACHE = "archivecache"
"""The one of `metapartition_files` that would stay in an archive partition."""

_DIRECTORY = "configdirectory"
_PREFIX = "{configdirectory}"

_PARTITIONS = {"partition": DATA, "metapartition": METADATA, "archivepartition": ARCHIVE,
               "backuppartition": BACKUP}

_OPTIONS = {_DIRECTORY: STATE, "sievedir": SCRIPTS, "mboxname_lockpath": TRANSIENT,
            "proc_path": TRANSIENT, "temp_path": TRANSIENT, "prometheus_stats_dir": TRANSIENT,
            "backup_staging_path": TRANSIENT}

# Databases that Cyrus makes anew when they are gone; its documents put them into memory.
_CACHES = ("duplicate_db_path", "jmap_emailsearch_db_path", "ptscache_db_path",
           "statuscache_db_path", "sync_cache_db_path", "tls_sessions_db_path", "tlscache_db_path")

_DEFAULTS = {"mboxname_lockpath": _PREFIX + "/lock", "proc_path": _PREFIX + "/proc",
             "temp_path": "/tmp"}
SIEVE_DEFAULT = "/usr/sieve"
"""Where Cyrus keeps Sieve scripts if nobody says anything (lib/imapoptions)."""

_STATISTICS = ("prometheus_enabled", "prometheus_stats_dir", _PREFIX + "/stats")


class Use:
    """One thing that Cyrus keeps somewhere.

    purpose: METADATA, DATA, STATE, REBUILDABLE or TRANSIENT of mailha.storage.rules, or SCRIPTS,
    ARCHIVE or BACKUP. key: the option. path: absolute, without "..". partition: its name, for the
    partitions of mail, else "". left_out: whether nobody has said that it should be there.
    """

    __slots__ = ("purpose", "key", "path", "partition", "left_out")

    def __init__(self, purpose: str, key: str, path: str, partition: str = "", *,
                 left_out: bool = False) -> None:
        self.purpose = purpose
        self.key = key
        self.path = path
        self.partition = partition
        self.left_out = left_out

    def __repr__(self) -> str:
        return f"<Use {self.key} {self.path}>"


class Imapd:
    """A configuration of Cyrus.

    path: its first file. files: all of them. options: every line of them. uses: every path, in the
    order of the files, what is left out at the end. metadata_files: what metapartition_files names.
    warnings: sentences for the log.

    Raises ConfigurationUnusable for a configuration without a configdirectory, and for a path that
    nobody can know where it leads.
    """

    def __init__(self, path: str, options: list[Option], files: list[str]) -> None:
        self.path = path
        self.files = files
        self.options = options
        self.uses: list[Use] = []
        # The names of the partitions that have one: BlueMind has thousands of partitions.
        self._with_metadata: set[str] = set()
        self.metadata_files: frozenset[str] = frozenset()
        self.warnings: list[str] = []
        # A service may have a configdirectory of its own, which is no business of the others.
        directory = next((each for each in options if each.key == _DIRECTORY), None)
        if directory is None:
            raise ConfigurationUnusable(f"{path} has no {_DIRECTORY}, without which Cyrus does not "
                                        "start", remedy="see whether it is Cyrus's imapd.conf")
        self.directory = _path(directory, directory.value)
        if self.directory == "/":
            raise directory.wrong("it is '/', at which Cyrus refuses to start",
                                  "name a directory of Cyrus's own")
        by_key: dict[str, Option] = {}
        for option in options:
            first = by_key.setdefault(option.key, option)
            if first is not option:
                self.warnings.append(f"{option.place}: {option.key} stands in {first.place} too, "
                                     "at which Cyrus refuses to start")
            self._add(option)
        left_out = dict(_DEFAULTS)
        switch, key, value = _STATISTICS
        if _is_on(by_key.get(switch)):
            left_out[key] = value
        for key, value in left_out.items():
            if key not in by_key:
                self.uses.append(Use(TRANSIENT, key, value.replace(_PREFIX, self.directory),
                                     left_out=True))
        if _is_on(by_key.get("sieveusehomedir")):
            self.uses = [use for use in self.uses if use.purpose != SCRIPTS]
        elif not any(use.purpose == SCRIPTS for use in self.uses):
            # Not among the paths: who has no Sieve would be refused for a directory without use.
            self.warnings.append(f"{path} has no sievedir: the users' Sieve scripts lie in Cyrus's "
                                 f"own default, {SIEVE_DEFAULT}, and do not move with the mail; "
                                 "name a directory on the mail's disk")

    def has_metapartition(self, use: Use) -> bool:
        """Tell whether a partition has a metapartition of the same name.

        Without one Cyrus keeps all metadata beside the mail, whatever metapartition_files says
        (mboxname_metapath).
        """
        return use.partition in self._with_metadata

    def staying(self, use: Use, kinds: tuple[str, ...]) -> list[str]:
        """Return which metadata stay in a partition of mail or of the archive.

        kinds: the values that metapartition_files has in this Cyrus. "squat", an index for
        searching that can be made again, is no part of them.
        """
        if use.purpose == ARCHIVE:
            kinds = tuple(kind for kind in kinds if kind == ARCHIVE_CACHE)
        elif kinds and not self.has_metapartition(use):
            return list(kinds)
        return [kind for kind in kinds if kind not in self.metadata_files
                or not self.has_metapartition(use)]

    def _add(self, option: Option) -> None:
        """Take up what one option says."""
        key = option.key
        if key == "metapartition_files":
            self.metadata_files |= set(option.value.split())
            return
        kind, dash, partition = key.partition("-")
        if dash and kind in _PARTITIONS:
            # Options that Cyrus has no list of are used as they stand, without the substitution.
            use = Use(_PARTITIONS[kind], key, _path(option, option.value), partition)
            self.uses.append(use)
            if use.purpose == METADATA:
                self._with_metadata.add(partition)
        elif dash and kind.endswith("searchpartition"):
            self.uses.append(Use(REBUILDABLE, key, _path(option, option.value)))
        else:
            purpose = _purpose(key)
            if purpose:
                value = option.value
                if value[:len(_PREFIX)].lower() == _PREFIX:
                    value = self.directory + value[len(_PREFIX):]
                self.uses.append(Use(purpose, key, _path(option, value)))


def read(load: syntax.Load, path: str, partitions: str = "") -> Imapd:
    """Return the configuration in a file.

    load: see mailha.products.cyrus.syntax.read(). partitions: a file with more partitions in the
    same form, which BlueMind writes; read unless it is included, "" for none.

    Raises ConfigurationUnusable.
    """
    options, files = syntax.read(load, path)
    if partitions and partitions not in files:
        more, others = syntax.read(load, partitions)
        options += more
        files += others
    return Imapd(path, options, files)


def _purpose(key: str) -> str:
    """Return what an option's path is for, "" for an option that is none of ours."""
    if key.endswith("_db_path"):
        return REBUILDABLE if _is_one_of(key, _CACHES) else STATE
    found = _OPTIONS.get(key)
    if found is None and "_" in key:
        found = next((purpose for name, purpose in _OPTIONS.items() if key.endswith("_" + name)),
                     None)
    return found or ""


def _is_on(option: Option | None) -> bool:
    """Tell whether a switch is on, in the words that Cyrus takes (config_parse_switch)."""
    return option is not None and option.value.startswith(("1", "y", "t", "on"))


def _is_one_of(key: str, names: tuple[str, ...]) -> bool:
    """Tell whether a key is one of the names, or such a name for one service."""
    return key in names or any(key.endswith("_" + name) for name in names)


def _path(option: Option, value: str) -> str:
    """Return the path that an option names, without empty and "." parts."""
    if not value.startswith("/"):
        raise option.wrong(f"'{value}' is no absolute path, and what it is relative to depends on "
                           "where Cyrus was started", "write it from / on")
    parts = value.split("/")
    if ".." in parts:
        raise option.wrong(f"'{value}' has '..' in it, which leads elsewhere after a symbolic link",
                           "write it without '..'")
    return "/" + "/".join(part for part in parts if part not in ("", "."))
