# SPDX-License-Identifier: GPL-2.0-or-later
"""The answer of an action that did not succeed: the one reason, and the exit code.

Loaded when there is one.
"""

from __future__ import annotations

from mailha import errors
from mailha.ocf import defect
from mailha.ocf.declaration import VALIDATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.ocf.output import Output


def give(failure: BaseException, action: str, output: Output, *, probe: bool) -> int:
    """Say why the action failed and return the exit code.

    failure: a finding, or whatever else went through the agent, which is a defect of it.
    """
    if not isinstance(failure, errors.MailhaError):
        defect.trace(failure, output)
        failure = defect.describe(failure, action)
    code = permitted(failure.code, action, probe=probe)
    if code == errors.NOT_RUNNING and probe:
        # Every node where the resource does not run says so; with a reason, crm_mon would show it
        # as if it were a fault.
        output.debug(str(failure))
    else:
        output.reason(str(failure))
    return code


def permitted(code: int, action: str, *, probe: bool) -> int:
    """Return the code that an action may answer with in place of the one of its failure.

    A code that the action must not have was raised in code that serves several actions, and means
    "this failed". A stop is never "not installed": the service may run all the same. Only a monitor
    finds something "not running". And nothing but a start or validate-all may say "wrong
    configuration", at which Pacemaker stops the resource on every node.
    """
    if code == errors.NOT_RUNNING and action != "monitor":
        return errors.ERR_GENERIC
    if code == errors.ERR_CONFIGURED and action not in ("start", VALIDATE):
        return errors.ERR_GENERIC
    if code in (errors.ERR_INSTALLED, errors.ERR_ARGS) and not probe \
            and action not in ("start", VALIDATE):
        return errors.ERR_GENERIC
    return code
