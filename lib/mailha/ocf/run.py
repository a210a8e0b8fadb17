# SPDX-License-Identifier: GPL-2.0-or-later
"""From the command line to the exit code: the only place that ends the process.

A recurring monitor loads this module.
"""

from __future__ import annotations

import os
import sys
import time

from mailha import errors
from mailha.ocf.budget import Watchdog
from mailha.ocf.call import Call
from mailha.ocf.declaration import METADATA, VALIDATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, NoReturn, Sequence

    from mailha.ocf.declaration import Agent
    from mailha.ocf.output import Output


def main(agent: Agent, argv: Sequence[str] | None = None,
         environment: Mapping[str, str] | None = None) -> NoReturn:
    """Do what the command line asks for, and end the process with the exit code of the OCF API.

    argv: the program and its arguments, of which the first is the action and the others are
    ignored. environment: with OCF_RESKEY_*; by default that of the process.
    """
    _open_standard_files()
    code = perform(agent, sys.argv if argv is None else argv,
                   _environment() if environment is None else environment)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass        # closed, or nobody reads it: the answer is in the exit code
    # Taking the interpreter apart would cost 2 ms in every monitor, and has nothing to save.
    os._exit(code)


def perform(agent: Agent, argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Do what the command line asks for, print the reason if it failed, return the exit code."""
    action = argv[1] if len(argv) > 1 else ""
    call: Call | None = None
    unexpected: BaseException | None = None
    try:
        if action == METADATA:
            _metadata(agent)
            return errors.SUCCESS
        if action != VALIDATE and agent.action(action) is None:
            raise _unknown(agent, action)
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
        return errors.SUCCESS
    except errors.MailhaError as error:
        failure = error
    # The one place that may catch everything: an exception that went on from here would end in a
    # traceback and, at a stop, in a fenced node about which nobody knows why.
    except BaseException as error:
        unexpected = error
    return _fail(agent, action, environment, call, unexpected or failure)


def _dispatch(call: Call) -> None:
    """Call the handler of the action, if the call is in order."""
    if call.action == VALIDATE:
        from mailha.ocf import validate
        validate.validate_all(call)
        return
    if os.geteuid() != 0:
        raise errors.NotRoot(f"{call.action} needs root and was called by the user with id "
                             f"{os.geteuid()}", remedy="call it as root")
    _require_resource(call.resource)
    if call.action == "start":
        from mailha.ocf import validate
        validate.require_parameters(call)
    for problem in call.problems:
        # Not a failure: a monitor or a stop that fails for a word in the configuration would take
        # down a service that serves, or the whole node.
        call.log.warning(f"{problem}; going on as if it were not set")
    action = call.agent.action(call.action, call.check_level)
    assert action is not None
    action.handler(call)


def _require_resource(name: str) -> None:
    """Raise errors.Failed for what cannot be the name of a resource.

    Files are named after it, and its name is the only thing that tells two resources apart.
    """
    if not name or name.startswith((".", "-")) or "/" in name or not name.isprintable():
        from mailha.validation.text import shown
        raise errors.Failed(f"OCF_RESOURCE_INSTANCE is {shown(name)}, which is no name of a "
                            "resource", remedy="set it when you call the agent by hand")


def _unknown(agent: Agent, action: str) -> errors.UnknownAction:
    """Return the error for an action that the agent does not have."""
    names = ", ".join(agent.action_names())
    if not action:
        _tell(f"usage: {agent.name} ACTION, where ACTION is one of {names}\n")
        return errors.UnknownAction("no action is given", remedy=f"give one of {names}")
    from mailha.validation.text import shown
    return errors.UnknownAction(f"there is no action {shown(action)}",
                                remedy=f"give one of {names}")


def _tell(text: str) -> None:
    """Write to stderr as it is."""
    try:
        os.write(2, text.encode())
    except OSError:
        pass


def _metadata(agent: Agent) -> None:
    """Write the meta-data to stdout."""
    from mailha.ocf import metadata, output
    try:
        output.publish(metadata.document(agent))
    except OSError as error:
        raise errors.Failed(f"cannot write the meta-data to stdout: {error.strerror}") from None


def _fail(agent: Agent, action: str, environment: Mapping[str, str], call: Call | None,
          failure: BaseException) -> int:
    """Say why the action failed, and return the exit code. Never raises."""
    try:
        from mailha.ocf.output import Output
        output = call.log if call is not None else Output(agent.name, environment)
        if not isinstance(failure, errors.MailhaError):
            from mailha.ocf import defect
            defect.trace(failure, output)
            failure = defect.describe(failure, action)
        return _answer(action, call, failure, output)
    except BaseException:
        # Nothing can be formatted or loaded any more, most likely for want of memory.
        _tell("ocf-exit-reason:the agent failed and then failed to say why\n")
        return errors.ERR_GENERIC


def _answer(action: str, call: Call | None, failure: errors.MailhaError, output: Output) -> int:
    """Print the reason of a failure and return its exit code."""
    code = failure.code
    if call is not None:
        code = permitted(code, action, probe=call.is_probe)
        if code == errors.NOT_RUNNING and call.is_probe:
            # Every node where the resource does not run says so, and Pacemaker would show it as if
            # it were a fault.
            output.debug(str(failure))
            return code
    output.reason(str(failure))
    return code


def permitted(code: int, action: str, *, probe: bool) -> int:
    """Return the code that an action may answer with in place of the one of its failure.

    What ends up here with a code that its action must not have was raised in code that serves
    several actions, and means "this failed": a stop is never "not installed" (the service may
    run), only a monitor finds something "not running", and nothing but a start or validate-all may
    say "wrong configuration", at which Pacemaker stops the resource on every node.
    """
    if code == errors.NOT_RUNNING and action != "monitor":
        return errors.ERR_GENERIC
    if code == errors.ERR_CONFIGURED and action not in ("start", VALIDATE):
        return errors.ERR_GENERIC
    if code in (errors.ERR_INSTALLED, errors.ERR_ARGS) and not probe \
            and action not in ("start", VALIDATE):
        return errors.ERR_GENERIC
    return code


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
