# SPDX-License-Identifier: GPL-2.0-or-later
"""What a service is, and what a group of services is.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.system.addresses import ANYWHERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Sequence

    from mailha.system.processes import Process

SYSTEMD = "systemd"
DIRECT = "direct"

# Asked for these, a program answers and ends, whatever else it was told.
_QUESTIONS = ("-V", "--version", "--help")


class Listening:
    """An address that a service listens on.

    protocol: what it speaks there ("lmtp", "imap", "http"...). host: a numeric address,
    "localhost", "*" for every address, or ANYWHERE for some address. port: a TCP port.
    """

    __slots__ = ("protocol", "host", "port")

    def __init__(self, protocol: str, host: str, port: int) -> None:
        self.protocol = protocol
        self.host = host
        self.port = port

    def __str__(self) -> str:
        if self.host == ANYWHERE:
            return f"port {self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Searched:
    """A program that is looked for where a service may run outside of its unit.

    path: the program. option: the one that tells whose data it works on, "" if all are the
    service's. usual: what holds where it is not given. below: how its value begins.
    """

    __slots__ = ("path", "option", "usual", "below")

    def __init__(self, path: str, option: str = "", usual: str = "", below: str = "") -> None:
        self.path = path
        self.option = option
        self.usual = usual
        self.below = below

    def fits(self, process: Process) -> bool:
        """Tell whether a process that runs the program works on the service's data."""
        return not self.option or configuration_of(
            process.arguments, self.usual, self.option).startswith(self.below)


class Service:
    """One service of a group.

    name: as the administrator calls it ("gateway"). unit: its systemd unit. program: the path that
    its processes run; "" where that is not known, then the unit alone tells which are its own.
    main: a word of its Java virtual machine's command line that no other has; "" where it has none.
    arguments: with what the program is started without systemd. configuration: the file that it
    reads, default_configuration: the one that it reads when none is named to it. listens, pipes:
    TCP addresses and paths of unix sockets on which it must listen. asked: TCP addresses on which
    it listens as long as it serves there, and is asked for its greeting. pid_file: the one that it
    leaves behind; "" for none. needs: names of services that must serve before it is started.
    touches_data: whether it works on the data itself, so that two of it would damage them.
    settle: for a service that listens nowhere, the seconds that it must have lived to be believed.
    option: the one that names the configuration to its programs. helpers: paths of programs that
    its program starts and that go on without it; then the one process that runs the program leads,
    and speaks for all. tools: paths of programs that work on the data for a while, started by it or
    by hand. Helpers and tools are its own where they were given its configuration. search: programs
    by which it is found outside of its unit, where no program is known that its unit has to run.
    leader: file name of the program without which the others of the unit serve nobody; "" for none.
    """

    __slots__ = ("name", "unit", "program", "main", "arguments", "configuration",
                 "default_configuration", "listens", "pipes", "pid_file", "needs", "touches_data",
                 "settle", "option", "helpers", "tools", "asked", "search", "leader")

    def __init__(self, name: str, *, unit: str, program: str = "", arguments: Sequence[str] = (),
                 configuration: str = "", default_configuration: str = "",
                 listens: Sequence[Listening] = (), pipes: Sequence[str] = (), pid_file: str = "",
                 needs: Sequence[str] = (), touches_data: bool = False,
                 settle: float = 1.0, main: str = "", option: str = "-c",
                 helpers: Sequence[str] = (), tools: Sequence[str] = (),
                 asked: Sequence[Listening] = (), search: Sequence[Searched] = (),
                 leader: str = "") -> None:
        self.name = name
        self.main = main
        self.unit = unit
        self.program = program
        self.arguments = tuple(arguments)
        self.configuration = configuration
        self.default_configuration = default_configuration
        self.listens = tuple(listens)
        self.asked = tuple(asked)
        self.search = tuple(search)
        self.leader = leader
        self.pipes = tuple(pipes)
        self.pid_file = pid_file
        self.needs = tuple(needs)
        self.touches_data = touches_data
        self.settle = settle
        self.option = option
        self.helpers = tuple(helpers)
        self.tools = tuple(tools)

    def programs(self, *, tools: bool = False) -> set[str]:
        """Return the programs whose processes may be its own. tools: those included."""
        return {path for path in (self.program, *self.helpers, *(self.tools if tools else ()))
                if path}

    def claims(self, process: Process) -> bool:
        """Tell whether a process that runs the program does it with this service's configuration.

        Two instances may share a program and differ in the file that they were given (-c FILE).
        A program that is asked for its version is no service: this agent asks kopano-server itself,
        and a stop at that moment killed it, while a probe saw a server run outside of its unit.
        """
        if any(argument in _QUESTIONS for argument in process.arguments):
            return False
        if not self.configuration:
            return True
        named = configuration_of(process.arguments, self.default_configuration, self.option)
        if self.helpers and not named.startswith("/"):
            # Several instances have an etc/imapd.conf, and none may lose a process to another.
            return self._means(process, named)
        return is_same_file(named, self.configuration)

    def _means(self, process: Process, named: str) -> bool:
        """Tell whether a relative name is certain to mean this service's configuration.

        A script that enters the tree of its instance and calls bin/master names its files so. It
        is certain where the process stands, as long as it has not become a daemon, which stands in
        "/"; and of a program that lies in the tree of the configuration ("etc" beside "bin").
        """
        directory = process.directory()
        if directory.strip("/") and is_same_file(f"{directory}/{named}", self.configuration):
            return True
        tree, _, ending = self.configuration.rpartition("/etc/")
        return bool(tree) and process.executable.rpartition("/")[0] == f"{tree}/bin" \
            and f"/etc/{ending}".endswith("/" + named.lstrip("./"))

    def __repr__(self) -> str:
        return f"<service {self.name}>"


def configuration_of(arguments: Sequence[str], default: str, option: str = "-c") -> str:
    """Return the file that a command line names with the option or --config, else the default.

    In all of getopt's ways: "-c FILE", "-cFILE", and "-dc FILE" behind options without a value.
    """
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith("--config="):
            return argument[len("--config="):]
        if not argument.startswith("-") or argument.startswith("--"):
            continue
        before, found, named = argument[1:].partition(option[1:])
        if not found or before and not before.isalpha():
            continue
        if named.startswith("/"):
            return named
        if not named and index + 1 < len(arguments):
            return arguments[index + 1]
    return default


def is_same_file(named: str, path: str) -> bool:
    """Tell whether a command line that names a file may mean the one at the path.

    A relative name is taken for it if it ends alike: where the process stood when it was started is
    not known, and a server that is overlooked is worse than one that is doubted.
    """
    import posixpath
    if not named.startswith("/"):
        return posixpath.basename(named) == posixpath.basename(path)
    return posixpath.normpath(named) == posixpath.normpath(path)


class Group:
    """The services of one resource.

    resource: its name in the cluster. manager: SYSTEMD or DIRECT. services: each once, in the order
    in which the administrator named them. optional: names of those whose failure is no reason to
    recover the group. mount_points: where the disks with its data are mounted, as far as that is
    known and matters. left_out: names of optional services that cannot run on this node.
    """

    __slots__ = ("resource", "manager", "services", "optional", "mount_points", "left_out")

    def __init__(self, resource: str, manager: str, services: Iterable[Service],
                 optional: Iterable[str] = (), mount_points: Iterable[str] = (),
                 left_out: Iterable[str] = ()) -> None:
        self.resource = resource
        self.manager = manager
        self.services = tuple(services)
        self.optional = frozenset(optional)
        self.mount_points = tuple(mount_points)
        self.left_out = tuple(left_out)

    def required(self, service: Service) -> bool:
        """Tell whether the group is not whole without the service."""
        return service.name not in self.optional

    def waves(self) -> list[list[Service]]:
        """Return the services in the order of their start; those of one wave are independent.

        A need that is not in the group is somebody else's to fulfil.
        """
        names = {service.name for service in self.services}
        waiting = list(self.services)
        started: set[str] = set()
        result = []
        while waiting:
            ready = [service for service in waiting
                     if all(need in started or need not in names for need in service.needs)]
            if not ready:
                raise ValueError(f"services need each other in a circle: {waiting}")
            result.append(ready)
            started.update(service.name for service in ready)
            waiting = [service for service in waiting if service.name not in started]
        return result
