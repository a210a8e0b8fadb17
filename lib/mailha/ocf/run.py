# SPDX-License-Identifier: GPL-2.0-or-later
"""From the command line to the exit code: the only place that ends the process.

A recurring monitor loads this module.
"""

from __future__ import annotations

import os
import sys
import time

from mailha import errors, snapshot
from mailha.ocf.budget import Watchdog
from mailha.ocf.call import Call
from mailha.ocf.declaration import METADATA, VALIDATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping, NoReturn, Sequence

    from mailha.ocf.declaration import Agent

_LEAST = (b"ocf-exit-reason:the agent failed, and then failed to say why; most likely this machine "
          b"has no memory left, or too many files are open\n")


def main(agent: Agent, argv: Sequence[str] | None = None,
         environment: Mapping[str, str] | None = None) -> NoReturn:
    """Do what the command line asks for, and end the process with the exit code of the OCF API.

    argv: the program and its arguments, of which the first is the action and the others are
    ignored. environment: with OCF_RESKEY_*; by default that of the process.
    """
    begun = time.monotonic()
    _open_standard_files()
    told = _environment() if environment is None else environment
    code = perform(agent, sys.argv if argv is None else argv, told,
                   lambda failure: _begin_again(failure, told, begun))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass        # closed, or nobody reads it: the answer is in the exit code
    # Taking the interpreter apart would cost 2 ms in every monitor, and has nothing to save.
    os._exit(code)


def perform(agent: Agent, argv: Sequence[str], environment: Mapping[str, str],
            begin_again: Callable[[BaseException], None] = lambda failure: None) -> int:
    """Do what the command line asks for, print the reason if it failed, return the exit code.

    begin_again: is told of a failure first; where the library was being replaced it does not
    return.
    """
    action = argv[1] if len(argv) > 1 else ""
    call: Call | None = None
    try:
        if action == METADATA:
            _write_metadata(agent)
            return errors.SUCCESS
        if action != VALIDATE and agent.action(action) is None:
            from mailha.ocf import refusal
            raise refusal.unknown_action(agent, action)
        call = Call(agent, action, environment, time.monotonic)
        watchdog = Watchdog(action, call.timeout)
        try:
            _dispatch(call)
        finally:
            watchdog.disarm()
            if watchdog.fired:
                # Whatever came out after all: what was cut short in between may have been the very
                # look that the answer rests on.
                raise watchdog.verdict()
        if action == "monitor" and not call.is_probe and call.check_level == 0:
            snapshot.keep(agent.name)
        return errors.SUCCESS
    # The one place that catches everything: an exception that went on from here would end in a
    # traceback and, at a stop, in a fenced node about which nobody knows why.
    except BaseException as error:
        begin_again(error)
        return _fail(error, agent, action, environment, call)


def _begin_again(failure: BaseException, environment: Mapping[str, str], begun: float) -> None:
    """Make the same call once more if this one failed because the package was being replaced."""
    try:
        from mailha import replaced
        if replaced.BEGUN not in environment and replaced.by_an_upgrade(failure):
            replaced.wait_until_whole()
            replaced.begin_again(environment, begun, "-IS")
    except Exception:
        return      # then it is the first failure that is to be told


def _dispatch(call: Call) -> None:
    """Call the handler of the action, if the call is in order."""
    if call.action == VALIDATE:
        from mailha.ocf import validate
        validate.validate_all(call)
        return
    if os.geteuid() != 0:
        from mailha.ocf import refusal
        raise refusal.not_root(call.action)
    resource = call.resource
    # Files are named after it, and nothing else tells two resources apart.
    if not resource or resource[0] in ".-" or "/" in resource or not resource.isprintable():
        from mailha.ocf import refusal
        raise refusal.no_resource(resource)
    if call.action == "start":
        from mailha.ocf import validate
        validate.require_parameters(call)
    if call.has_parameters:
        # Read now, so that what is wrong with them is said whether or not the action looks at it.
        call.parameters
    action = call.agent.action(call.action, call.check_level)
    assert action is not None
    action.handler(call)


def _write_metadata(agent: Agent) -> None:
    """Write the meta-data to stdout."""
    from mailha.ocf import metadata, output
    output.publish(metadata.document(agent))


def _fail(failure: BaseException, agent: Agent, action: str, environment: Mapping[str, str],
          call: Call | None) -> int:
    """Say why the action failed, and return the exit code. Never raises."""
    try:
        # Even these may fail: without memory, or where no file can be opened any more.
        from mailha.ocf import answer
        from mailha.ocf.output import Output
        return answer.give(failure, action, call.log if call else Output(agent.name, environment),
                           probe=call is not None and call.is_probe)
    except BaseException:
        return _give_least(failure)


def _give_least(failure: BaseException) -> int:
    """Say the least that can be said, where the reason itself cannot be put into words."""
    try:
        os.write(2, ascii(failure).encode()[:1000] + b"\n")
    except BaseException:
        pass        # what comes now needs nothing
    try:
        os.write(2, _LEAST)
    except OSError:
        pass
    return errors.ERR_GENERIC


def _environment() -> Mapping[str, str]:
    """Return the environment, decoded as UTF-8 whatever the locale of an administrator's shell."""
    if sys.getfilesystemencoding() == "utf-8":
        return os.environ
    return {name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
            for name, value in os.environb.items()}


def _open_standard_files() -> None:
    """Make sure that 0, 1 and 2 are open.

    Where one is not, the next file or socket to be opened would get its number, and what is meant
    for stderr would go there.
    """
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        while True:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor > 2:
                os.close(descriptor)
                return
