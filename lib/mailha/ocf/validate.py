# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the parameters can be right, and whether this node is fit for them.

The OCF specification has validate-all look at the parameters alone at check level 0, and at the
machine from level 10 on. crm and pcs ask without a level, on whatever node the administrator sits:
what they get is an error for what can be right nowhere, and a warning for what this node has
against it, because the resource may be meant for another node.
"""

from __future__ import annotations

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailha.ocf.call import Call

LOCAL = 10
"""The check level from which on the machine counts."""


def parameters(call: Call) -> list[str]:
    """Return what is wrong with the parameters, contradictions between them included.

    Contradictions are looked for among valid values only: a default in place of an invalid value
    would contradict what nobody has written.
    """
    if call.problems or call.agent.check is None:
        return call.problems
    return list(call.agent.check(call.parameters))


def require_parameters(call: Call) -> None:
    """Raise errors.WrongParameter, with all reasons, if something is wrong with the parameters."""
    problems = parameters(call)
    if problems:
        raise errors.WrongParameter("; ".join(problems))


def validate_all(call: Call) -> None:
    """The action validate-all.

    Raises errors.WrongParameter, and from check level 10 on the first finding about this node; all
    of them are logged.
    """
    problems = parameters(call)
    for problem in problems:
        call.log.error(problem)
    if problems:
        raise errors.WrongParameter("; ".join(problems))
    local = call.check_level >= LOCAL
    found = []
    for finding in _findings(call):
        (call.log.error if local else call.log.warning)(str(finding))
        found.append(finding)
    if local and found:
        raise found[0]


def _findings(call: Call) -> Iterator[errors.MailhaError]:
    """Yield what this node has against a start; one that is raised is the last."""
    if call.agent.findings is not None:
        try:
            yield from call.agent.findings(call)
        except errors.MailhaError as error:
            yield error
