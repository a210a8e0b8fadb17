# SPDX-License-Identifier: GPL-2.0-or-later
"""Switching a node's power and proving it: the one place that knows what off, on and reboot are.

off: ordered in any case, then read as off twice, half a second apart, in one session. A single
reading proves little: controllers answer from a cache, and some nodes switch themselves on again.
The order is repeated while the node stays on. reboot: off as above, then on; the node has been
fenced once it was off, so nothing that goes wrong with on is a failure.

The power is never cycled or reset: between "the controller took it" and "the node is on" nobody can
see whether it was ever off (fence_ipmilan with method=cycle says success when nothing happened).
"""

from __future__ import annotations

from mailha.fencing.failures import (FencingFailed, LoginRefused, OrderRefused, PrivilegeTooLow,
                                     StillOff, StillOn, TimeUp)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from mailha.fencing.controller import Controller
    from mailha.fencing.deadline import Deadline, Phases

SPACING = 0.5
"""Seconds between the two readings that prove off."""

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between two readings of a node that is not yet as it was ordered; doubled each time."""

FIRST_RESEND = 2.0
"""Seconds after which an order is repeated; doubled each time."""

FIRST_RETRY = 0.25
LONGEST_RETRY = 2.0
"""Seconds before a login is tried again; doubled each time."""

ORDER_ON = 8.0
"""Seconds in which a controller must take the order on of a reboot; racadm takes up to five. The
cluster waits meanwhile with what it wants to start elsewhere."""

WATCH_ON = 2.0
"""Seconds for which a node is watched after it was ordered on by a reboot."""

LEAST = 0.5
"""Seconds in which no new login is worth to be begun."""


class Power:
    """The power of a node, through sessions with its controller, one after the other.

    session: the number of the present one; it grows with each login.
    """

    def __init__(self, connect: Callable[[], Controller], deadline: Deadline,
                 phases: Phases) -> None:
        """connect: logs in; raises FencingFailed."""
        self._connect = connect
        self.deadline = deadline
        self._phases = phases
        self._controller: Controller | None = None
        self._order_taken = False
        self.session = 0

    def is_on(self) -> bool:
        """Read the power; log in again as often as it helps and time allows.

        Raises FencingFailed.
        """
        return self._persist(lambda controller: self._read(controller))

    def order(self, on: bool) -> None:
        """Order the power on or off; an order that may have been lost is given again.

        Raises FencingFailed.
        """
        self._persist(lambda controller: self._order(controller, on))

    def close(self) -> None:
        """End the session, if there is one."""
        controller, self._controller = self._controller, None
        if controller is not None:
            with self._phases("close"):
                controller.close()

    def _read(self, controller: Controller) -> bool:
        self._phases.count("reads")
        return controller.is_on()

    def _order(self, controller: Controller, on: bool) -> bool:
        self._phases.count("orders")
        controller.order(on)
        self._order_taken = True
        return on

    def _persist(self, ask: Callable[[Controller], bool]) -> bool:
        """Ask the controller; after a failure that may pass, ask again in a new session."""
        pause = FIRST_RETRY
        failed: FencingFailed | None = None
        while True:
            try:
                self.deadline.left()
                return ask(self._session())
            except TimeUp:
                # A try that was cut short says less than the one before it.
                if failed is not None:
                    raise failed from None
                raise
            except FencingFailed as failure:
                if not self._may_pass(failure):
                    raise
                failed = failure
                self.close()
                self._wait(pause, failure)
                pause = min(pause * 2, LONGEST_RETRY)

    def _session(self) -> Controller:
        """Return the session, a new one if there is none."""
        if self._controller is None:
            with self._phases("login"):
                self._phases.count("logins")
                self._controller = self._connect()
            self.session += 1
        return self._controller

    def _may_pass(self, failure: FencingFailed) -> bool:
        """Tell whether it may help to log in once more.

        Controllers refuse a good user for some seconds while they switch the power (openbmc 1812).
        """
        if isinstance(failure, (LoginRefused, PrivilegeTooLow)):
            return self._order_taken
        return failure.transient

    def _wait(self, pause: float, failure: FencingFailed) -> None:
        """Wait before the next login. Raises the failure if there is no time for one."""
        left = self.deadline.contact() if self.session == 0 \
            else self.deadline.end - self.deadline.clock()
        if left <= pause + LEAST:
            raise failure
        self.deadline.pause(pause)


class Orders:
    """An order that is repeated, at growing intervals, while it has no effect."""

    def __init__(self, power: Power, on: bool) -> None:
        self._power = power
        self._on = on
        self._pause = FIRST_RESEND
        self._due = 0.0
        self.refusal: OrderRefused | None = None

    def give(self) -> None:
        """Give the order now. Raises FencingFailed.

        A refusal that may mean that it is already so is kept in mind, and the power is looked at.
        """
        try:
            self._power.order(self._on)
            self.refusal = None
        except OrderRefused as refusal:
            if not refusal.look:
                raise
            self.refusal = refusal
        self._due = self._power.deadline.clock() + self._pause
        self._pause *= 2

    def give_if_due(self) -> None:
        """Give the order again if the last one has had its time. Raises FencingFailed."""
        if self._power.deadline.clock() >= self._due:
            self.give()

    def refused(self) -> str:
        """Return what the controller said to the last order, as a part of a reason."""
        return f" (the last order was refused: {self.refusal.reason})" if self.refusal else ""


def off(power: Power, phases: Phases, where: str) -> None:
    """Switch the power off, and return when it has been proven off.

    where: the address, for reasons. Raises FencingFailed, StillOn if the last reading said on.
    """
    orders = Orders(power, False)
    with phases("order"):
        orders.give()
    with phases("verify"):
        _prove_off(power, orders, where)


def _prove_off(power: Power, orders: Orders, where: str) -> None:
    deadline = power.deadline
    pause = FIRST_PAUSE
    was_on: bool | None = None
    came_back = False
    first: tuple[int, float] | None = None      # the session and the moment of a reading as off
    try:
        while True:
            was_on = power.is_on()
            now = deadline.clock()
            if was_on:
                if first is not None:
                    came_back, first, pause = True, None, FIRST_PAUSE
                    orders.give()       # it has come back by itself or by somebody's hand
                else:
                    orders.give_if_due()
                deadline.pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            elif first is None or first[0] != power.session:
                first = (power.session, now)
                deadline.pause(SPACING)
            elif now - first[1] >= SPACING:
                return
            else:
                deadline.pause(first[1] + SPACING - now)
    except TimeUp:
        if not (was_on or came_back):
            raise
        how = (f"the node at {where} switches itself on again whenever it is off, for" if came_back
               else f"the node at {where} was ordered off by its controller and is still on after")
        raise StillOn(f"{how} {deadline.seconds:g} s{orders.refused()}",
                      remedy="check the controller, or switch the node off by other means",
                      ) from None


def on(power: Power, phases: Phases, where: str) -> None:
    """Switch the power on, and return when it has been read as on. Raises FencingFailed."""
    orders = Orders(power, True)
    deadline = power.deadline
    pause = FIRST_PAUSE
    was_off = False
    with phases("order"):
        orders.give()
    with phases("verify"):
        try:
            while not power.is_on():
                was_off = True
                orders.give_if_due()
                deadline.pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        except TimeUp:
            if not was_off:
                raise
            raise StillOff(f"the controller at {where} took the order to switch the node on, and "
                           f"it is still off after {deadline.seconds:g} s{orders.refused()}",
                           ) from None


def on_again(power: Power, phases: Phases) -> str:
    """Switch the power on after a reboot's off, and watch for a moment.

    Returns what went wrong, empty if it was seen on. Never fails: the node has been fenced.
    """
    deadline = power.deadline
    pause = FIRST_PAUSE
    deadline.shorten(ORDER_ON)
    with phases("on"):
        try:
            power.order(True)
        except FencingFailed as failure:
            return str(failure)
        deadline.shorten(WATCH_ON)
        try:
            while not power.is_on():
                deadline.pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        except TimeUp:
            return f"it was ordered on and not yet seen on after {WATCH_ON:g} s"
        except FencingFailed as failure:
            return str(failure)
    return ""
