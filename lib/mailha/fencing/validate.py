# SPDX-License-Identifier: GPL-2.0-or-later
"""validate-all: whether a definition can work, without asking the network for anything but a name.

Errors are for what makes every action fail: wrong values, files that are not there, libraries that
are not installed. Warnings are for what may be meant so, or may pass.
"""

from __future__ import annotations

from mailha.fencing import packages, secrets, values
from mailha.fencing.failures import FencingFailed, WrongInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Union

    from mailha.fencing.declaration import FenceAgent
    from mailha.fencing.log import Log
    from mailha.fencing.settings import Settings

    Finding = Union[str, FencingFailed]

PATIENCE = 3.0
"""Seconds for the resolution of the controller's name."""


def validate_all(agent: FenceAgent, settings: Settings, log: Log) -> list[str]:
    """Say all that is wrong on stderr; return the errors among it."""
    errors: list[str] = []
    for finding in _findings(agent, settings):
        if isinstance(finding, str):
            log.complain("WARNING", finding)
        else:
            errors.append(str(finding))
            log.complain("ERROR", str(finding))
    return errors


def _findings(agent: FenceAgent, settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong: a text for a warning, a failure for an error."""
    if settings.problems:
        for problem in settings.problems:
            yield WrongInput(problem)
        return
    yield from settings.idle()
    yield from _secret_findings(settings)
    for name in agent.libraries:
        if not packages.is_installed(name):
            yield packages.missing(name)
    if agent.check is not None:
        yield from agent.check(settings)
    if not settings["node"] and not settings["port_as_ip"]:
        yield ("option node is not set: nothing keeps the agent from acting on another node than "
               "the one that is meant; set it, and pcmk_host_list")
    if not values.is_numeric(settings["ip"]):
        yield from _name_findings(settings["ip"])


def _secret_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with the ways to the password; the program is not run."""
    script, path = settings["password_script"], settings["password_file"]
    if script and path:
        yield WrongInput("options password_script and password_file: only one of them can have the "
                         "password")
    if script:
        program = secrets.words(script)[0]
        if not secrets.find(program):
            yield WrongInput(f"option password_script: {program} is no program that can be "
                             "executed here")
        else:
            try:
                secrets.require_unchanged(secrets.find(program))
            except FencingFailed as failure:
                yield failure
    if path:
        try:
            settings.secret("password")
        except FencingFailed as failure:
            yield failure


def _name_findings(name: str) -> Iterator[Finding]:
    """Yield a warning if a name cannot be resolved; it may be resolved on another node."""
    import _thread
    import _socket
    done = _thread.allocate_lock()
    done.acquire()
    wrong: list[str] = []

    def resolve() -> None:
        try:
            _socket.getaddrinfo(name, None)
        except OSError as error:
            wrong.append(str(error.strerror or error))
        finally:
            done.release()

    # In a thread: a name service that does not answer takes half a minute, and cannot be told to
    # hurry. The process ends without waiting for it.
    _thread.start_new_thread(resolve, ())
    if not done.acquire(True, PATIENCE):
        yield f"option ip: the name {name} was not resolved within {PATIENCE:g} s on this node"
    elif wrong:
        yield f"option ip: the name {name} cannot be resolved on this node: {wrong[0]}"
