# SPDX-License-Identifier: GPL-2.0-or-later
"""Why fencing failed, as classes: each is one reason that an administrator can tell from the rest.

Pacemaker knows one exit code for all of them, 1. It reads the reason too: a text with "timed out"
or "timeout" counts as a timeout (services of Pacemaker, st_actions.c), so that only TimeUp has such
words. Every other class is asked not to, and run.py sees to it.
"""

from __future__ import annotations

from mailha import errors


class FencingFailed(errors.MailhaError):
    """An action of a fence agent did not succeed.

    reason: what was found and where, with the address in it. remedy: what the administrator can do.
    transient: whether to try again may help while there is time.
    """

    transient = False

    def __init__(self, reason: str, *, remedy: str = "", transient: bool | None = None) -> None:
        super().__init__(reason, remedy=remedy)
        if transient is not None:
            self.transient = transient


class WrongInput(FencingFailed):
    """An option or the action cannot be what the administrator meant."""


class WrongNode(FencingFailed):
    """The action is for another node than the one whose controller this is."""


class NameUnknown(FencingFailed):
    """The name of the controller cannot be resolved."""

    transient = True


class Unreachable(FencingFailed):
    """The controller has never answered."""

    transient = True


class Silent(FencingFailed):
    """The controller has answered and answers no more."""

    transient = True


class SessionsExhausted(FencingFailed):
    """The controller has no session left for one more user."""

    transient = True


class SessionLost(FencingFailed):
    """The controller has ended or forgotten the session."""

    transient = True


class NotUnderstood(FencingFailed):
    """The controller answers something that makes no sense."""

    transient = True


class LoginRefused(FencingFailed):
    """The controller does not know the user or the password."""


class PrivilegeTooLow(FencingFailed):
    """The user may not do this."""


class NoCommonCipher(FencingFailed):
    """The controller offers no way of encryption that is acceptable."""


class WrongKey(FencingFailed):
    """The controller has another key (the kg of IPMI, the host key of SSH)."""


class OrderRefused(FencingFailed):
    """The controller has refused to switch the power.

    look: whether it may have refused because the power already is as it was told to be. That is a
    reason to read it, and never a success (Dell answers 0xd5 to "off" when the node is off).
    """

    def __init__(self, reason: str, *, remedy: str = "", look: bool = False) -> None:
        super().__init__(reason, remedy=remedy)
        self.look = look


class StillOn(FencingFailed):
    """The controller took the order, and the power stayed on or came back."""


class StillOff(FencingFailed):
    """The controller took the order, and the power stayed off."""


class TimeUp(FencingFailed):
    """The time of the whole action is over."""


class MissingLibrary(FencingFailed):
    """A Python library that the agent needs is not installed on this node."""


class Interrupted(FencingFailed):
    """Somebody has told the agent to end."""
