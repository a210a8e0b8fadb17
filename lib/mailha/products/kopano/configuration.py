# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Kopano service will do with its configuration file: where it listens, what it writes.

Raised is only what would keep the service from starting, make it serve nobody, or make it serve
from other data than the administrator meant. All else that is strange becomes a warning.
"""

from __future__ import annotations

from typing import NamedTuple

from mailha import errors
from mailha.products.kopano import addresses, assignments, keys
from mailha.products.kopano.assignments import Settings
from mailha.storage.version import Version
from mailha.system.machine import Machine

Endpoint = tuple[str, str, int]
"""Protocol, host ("*", a numeric address without brackets, or "localhost"), port."""

_SECRETS = ("password", "secret", "_pass", "accesskey", "bindpw", "_passwd")
_SOCKETS = {"statsd": ("statsd_listen", f"unix:{keys.RUN}/statsd.sock")}
_INDEX = "/var/lib/kopano/search/"
_ATTACHMENTS = "/var/lib/kopano/attachments"


class Database(NamedTuple):
    """Where the server finds its database; the password stays in the file."""

    host: str
    port: int
    socket: str
    user: str
    name: str


class Configuration:
    """One service as its configuration file makes it.

    service, path, version: which one, from which file, as which version reads it. values: all that
    the file says except secrets; a key that is not in it has Kopano's built-in value. endpoints:
    the TCP addresses on which it will listen. pipes: the same for unix sockets. pid_file: "" where
    this version writes none. run_as_user, run_as_group: "" for root. log_file: "" if it does not
    log to a file of its own. data_paths: where it keeps mail and what it derives from it. database:
    of the server; else None. warnings: sentences for the log.
    """

    def __init__(self, service: str, path: str, settings: Settings, version: Version) -> None:
        self.service = service
        self.path = path
        self.version = version
        self._settings = settings
        self._said = settings.values()
        self.values = {key: value for key, value in self._said.items()
                       if not any(part in key for part in _SECRETS)}
        self.warnings: tuple[str, ...] = ()
        listeners = self._listeners()
        self.endpoints: tuple[Endpoint, ...] = tuple(dict.fromkeys(
            (protocol, each.host, each.port) for protocol, each in listeners if not each.path))
        self.pipes: tuple[str, ...] = tuple(dict.fromkeys(
            [each.path for _, each in listeners if each.path] + self._pipes()))
        self.pid_file = self.value("pid_file", f"{keys.RUN}/{service}.pid") \
            if keys.has_pid_files(version) else ""
        self.run_as_user = self.value("run_as_user", "kopano")
        self.run_as_group = self.value("run_as_group", "kopano")
        self.log_file = self._log_file()
        self.data_paths = self._data_paths()
        self.database = self._database() if service == "server" else None

    def value(self, key: str, built_in: str) -> str:
        """Return the value of a key that decides something here.

        Raises errors.NotAllowedHere if it comes from the environment of the service.
        """
        value = self._said.get(key, built_in)
        if value.startswith("$"):
            raise self.wrong(key, f"'{value}' is taken from the service's environment, which "
                             "nothing else can know", "write the value itself")
        return value

    def wrong(self, key: str, what: str, remedy: str) -> errors.NotAllowedHere:
        """Return the error for a key of this file."""
        assignment = self._settings.assigned.get(key)
        where = f"{assignment.path} line {assignment.line}" if assignment else self.path
        return errors.NotAllowedHere(f"{where}: {key}: {what}", remedy=remedy)

    def _listeners(self) -> list[tuple[str, addresses.Listener]]:
        found: list[tuple[str, addresses.Listener]] = []
        for protocol in keys.PROTOCOLS.get(self.service, ()):
            for each in self._listeners_of(protocol):
                found.append((protocol.name, each))
        if self.service in _SOCKETS:
            key, built_in = _SOCKETS[self.service]
            found += [("stats", each) for each in self._parsed(key, built_in, 0)]
        if self.service == "presence":
            found.append(("http", addresses.Listener(
                self._old_address("127.0.0.1"), self._old_port("server_port", "1234"), "")))
        return found

    def _listeners_of(self, protocol: keys.Protocol) -> list[addresses.Listener]:
        """Return where one protocol is spoken, by the keys that this version reads."""
        reads_new = keys.has_listen(self.service, self.version)
        reads_old = keys.has_bind(self.version)
        told_new = protocol.listen in self._said
        told_old = any(key in self._said
                       for key in ("server_bind", protocol.port, protocol.enable))
        found = []
        if reads_new and (told_new or not (reads_old and told_old)):
            built_in = f"*:{protocol.usual}" if protocol.on else ""
            # The server alone knows which port is meant where none is given.
            usual = protocol.usual if self.service == "server" else 0
            found += self._parsed(protocol.listen, built_in, usual)
        # 8.5 and 8.6 obey both styles together where the old one is switched on (ECServer.cpp).
        old_counts = told_old and (not told_new or protocol.enable in self._said)
        if reads_old and (old_counts or not reads_new) and keys.enabled(protocol, self._said):
            found.append(addresses.Listener(
                self._old_address(""), self._old_port(protocol.port, str(protocol.usual)), ""))
        return found

    def _parsed(self, key: str, built_in: str, usual_port: int) -> list[addresses.Listener]:
        try:
            found = addresses.parse_list(self.value(key, built_in), usual_port)
        except addresses.Wrong as error:
            raise self._unusable(key, error) from None
        self._warn_of_names(key, found)
        return found

    def _old_address(self, built_in: str) -> str:
        try:
            host = addresses.address(self.value("server_bind", built_in))
        except addresses.Wrong as error:
            raise self._unusable("server_bind", error) from None
        self._warn_of_names("server_bind", [addresses.Listener(host, 0, "")])
        return host

    def _old_port(self, key: str, built_in: str) -> int:
        try:
            return addresses.port(self.value(key, built_in))
        except addresses.Wrong as error:
            raise self._unusable(key, error) from None

    def _unusable(self, key: str, error: addresses.Wrong) -> errors.NotAllowedHere:
        what, _, remedy = str(error).partition("; ")
        return self.wrong(key, what, remedy)

    def _warn_of_names(self, key: str, found: list[addresses.Listener]) -> None:
        if any(each.host == "localhost" for each in found):
            self.warn(f"{self.path}: {key}: most versions of Kopano take addresses only; write "
                      "127.0.0.1 instead of localhost")

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        if text not in self.warnings:
            self.warnings += (text,)

    def _pipes(self) -> list[str]:
        if self.service == "server":
            # Kopano makes the one for priority clients whatever server_pipe_enabled says.
            text = self.value("server_pipe_priority", f"{keys.RUN}/prio.sock")
            if self.value("server_pipe_enabled", "yes").lower() in ("yes", "true", "1"):
                name = "unix_socket" if "unix_socket" in self._said else "server_pipe_name"
                text = f"{self.value(name, keys.RUN + '/server.sock')} {text}"
            return text.split()
        if self.service == "search":
            name = self.value("server_bind_name", f"file://{keys.RUN}/search.sock")
            return [name[len("file://"):]] if name.startswith("file://") else []
        return []

    def _log_file(self) -> str:
        method = self.value("log_method", "auto")
        path = self.value("log_file", "")
        return path if method in ("auto", "file") and path.startswith("/") else ""

    def _data_paths(self) -> tuple[str, ...]:
        if self.service == "server":
            built_in = "files" if keys.runs_without_file(self.version) else "database"
            if self.value("attachment_storage", built_in).startswith("files"):
                return (self.value("attachment_path", _ATTACHMENTS),)
        if self.service == "search":
            return (self.value("index_path", _INDEX),)
        return ()

    def _database(self) -> Database:
        # 0 and nothing mean the usual port to MySQL's client library.
        port = self._old_port("mysql_port", "3306") \
            if self.value("mysql_port", "").strip("0") else 3306
        return Database(self.value("mysql_host", "localhost") or "localhost", port,
                        self.value("mysql_socket", ""), self.value("mysql_user", "root"),
                        self.value("mysql_database", "kopano"))


def load(machine: Machine, service: str, config_dir: str, version: Version) -> Configuration:
    """Read the configuration file of a service as the installed version reads it.

    service: without "kopano-". config_dir: where SERVICE.cfg is. Raises errors.NotAllowedHere,
    naming file, line and key, for what would keep the service from starting or from serving.
    """
    path = f"{config_dir.rstrip('/')}/{service}.cfg"
    try:
        settings = assignments.read(machine, path,
                                    indented_comments=service in keys.PYTHON)
    except FileNotFoundError:
        return _without_file(service, path, version)
    warnings = [f"{file} line {number}: there is no '=', so Kopano skips it"
                for file, number in settings.skipped]
    if settings.skipped and not settings.assigned:
        raise errors.NotAllowedHere(
            f"{path} is no configuration file: nothing in it is 'key = value'",
            remedy="restore it from a backup or from the other node")
    for file, number in settings.unnamed:
        what = f"{file} line {number}: what stands before '=' can be no option of Kopano"
        if service not in keys.FORGIVING:
            raise errors.NotAllowedHere(
                f"{what}, and kopano-{service} does not start over one that it does not know",
                remedy="correct the line; a comment must begin with '#' in the first column")
        warnings.append(what)
    warnings += _keys_of_other_versions(service, settings, version)
    configuration = Configuration(service, path, settings, version)
    for text in warnings:
        configuration.warn(text)
    return configuration


def _without_file(service: str, path: str, version: Version) -> Configuration:
    """Return the built-in configuration of a service that has no file, where that can be meant."""
    if service == "server":
        raise errors.NotAllowedHere(
            f"{path} does not exist: kopano-server would take root's database on this node, "
            "and create it if there is none", remedy="copy it from the node where Kopano ran")
    if not keys.runs_without_file(version) and service not in keys.FORGIVING:
        raise errors.NotAllowedHere(f"{path} does not exist, and kopano-{service} {version} does "
                                    "not start without it",
                                    remedy="copy it from the node where Kopano ran")
    configuration = Configuration(service, path, Settings(), version)
    configuration.warn(f"{path} does not exist: kopano-{service} runs with its built-in settings")
    return configuration


def _keys_of_other_versions(service: str, settings: Settings, version: Version) -> list[str]:
    """Return warnings for keys that this version does not have; raise if they stop the service.

    All of them are named at once: correcting one to be stopped by the next would be tedious.
    """
    strangers = {key: keys.of_other_version(service, key, version) for key in settings.assigned}
    strangers = {key: reason for key, reason in strangers.items() if reason}
    if not strangers:
        return []
    first = settings.assigned[next(iter(strangers))]
    values = settings.values()
    lines = dict.fromkeys(line for key in strangers
                          for line in keys.instead(service, key, values, version))
    remedy = f"write {_enumerated([repr(line) for line in lines])} instead" if lines \
        else "remove it" if len(strangers) == 1 else "remove them"
    where = f"{first.path} line {first.line}: {_enumerated(list(strangers))}"
    reason = next(iter(strangers.values()))
    name = f"kopano-{service} {version}"
    if service in keys.FORGIVING:
        return [f"{where}: {reason}, so {name} silently ignores that and listens on every address; "
                f"{remedy}"]
    raise errors.NotAllowedHere(f"{where}: {reason}, so {name} would not start", remedy=remedy)


def _enumerated(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
