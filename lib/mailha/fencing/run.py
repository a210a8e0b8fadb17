# SPDX-License-Identifier: GPL-2.0-or-later
"""From the command line to the exit code: the only place that ends the process.

Exit codes as Pacemaker reads them: 0 done, for status also "the power is on"; 2 status: the power
is off; 1 for everything else. A monitor of a node that is off is no failure of the device, so it is
0 too.
"""

from __future__ import annotations

import os
import sys
import time

from mailha import whole
from mailha.fencing import deadline as times
from mailha.fencing import reading, standard
from mailha.fencing.deadline import Deadline, Phases
from mailha.fencing.failures import (FencingFailed, Interrupted, LoginRefused, Silent, TimeUp,
                                     Unreachable, WrongInput)
from mailha.fencing.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Callable, Mapping, NoReturn, Sequence

    from mailha.fencing.declaration import FenceAgent
    from mailha.fencing.reading import Given
    from mailha.fencing.settings import Settings
    from mailha.fencing.transition import Power
    from mailha.fencing.watchdog import Watchdog

DONE = 0
FAILED = 1
IS_OFF = 2

_INPUT = 25.0
"""Seconds for whoever calls to say what it wants, unless it is a person at a terminal."""

_ANSWERS = {"off": "Success: Powered OFF", "on": "Success: Powered ON",
            "reboot": "Success: Rebooted"}
"""On stdout, word by word as fence agents say it."""

_LEAST = (b"the agent failed, and then failed to say why; most likely this machine has no memory "
          b"left, or too many files are open\n")


def main(agent: FenceAgent, argv: Sequence[str] | None = None) -> NoReturn:
    """Do what the command line or stdin asks for, and end the process.

    argv: the program and its arguments; without any, stdin is read.
    """
    stdout, stderr = _shield()
    call = Call(agent, sys.argv[1:] if argv is None else argv[1:], os.environ,
                Log(agent.name, stdout=stdout, stderr=stderr), begun=whole.begun())
    # Nothing is to be saved by taking the interpreter apart; a library's thread could hang in it.
    os._exit(call.perform())


def _shield() -> tuple[int, int]:
    """Return descriptors of our own for stdout and stderr, and let 1 and 2 lead to nothing.

    pyghmi prints to stdout when its thread fails, and an unexpected word on stderr may change what
    Pacemaker takes the failure for. What is closed leads to nothing too.
    """
    import fcntl
    nothing = os.open(os.devnull, os.O_RDWR)
    found = []
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(nothing, number)
        if number:
            found.append(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3))
            os.dup2(nothing, number)
    if nothing > 2:
        os.close(nothing)
    return found[0], found[1]


class Call:
    """One call of an agent.

    agent: its declaration. arguments: of the command line, none to read stdin. log: where its words
    go. clock, sleep: a test has its own. guard: whether this process is ended at the deadline; a
    test's is not. begun: when the time of the action began, by that clock; without it, now.
    """

    def __init__(self, agent: FenceAgent, arguments: Sequence[str],
                 environment: Mapping[str, str], log: Log, *,
                 clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep, guard: bool = True,
                 begun: float | None = None) -> None:
        self._agent = agent
        self._arguments = arguments
        self._environment = environment
        self._log = log
        self._clock = clock
        self._sleep = sleep
        self._guard = guard
        self._watchdog: Watchdog | None = None
        self._begun = clock() if begun is None else begun
        self._phases = Phases(clock)
        self._settings: Settings | None = None
        self._action = ""
        self._code: int | None = None
        self._failure: BaseException | None = None
        self._debug_file = ""
        self._deadline: Deadline | None = None

    def perform(self) -> int:
        """Do it all and return the exit code. Never raises."""
        try:
            code = self._perform()
            failure: BaseException | None = None
        # The one place that catches everything: whatever went on from here would be a traceback
        # in the log of Pacemaker, and nobody would know why a node was not fenced.
        except BaseException as error:
            code, failure = FAILED, error
        try:
            # What is certain stays so, whatever went wrong when it was over.
            if self._code is not None:
                code, failure = self._code, None
            self._hear_no_signals()
            self._answer(code, failure)
        except BaseException:
            _give_least(self._log)
        return code

    def _perform(self) -> int:
        """Do it all and return the exit code. Raises whatever there is."""
        by_a_person = not self._arguments and os.isatty(0)
        if by_a_person:
            self._log.complain("INFO", "reading lines of name=value from the terminal, up to "
                               "Ctrl-D; --help shows the options of the command line")
        else:
            self._end_in(_INPUT)
        given = self._read()
        if by_a_person:
            self._begun = self._clock()     # who may take his time to type
            self._end_in(_INPUT)
        texts = given.texts
        for name, show in (("help", self._show_help), ("version", self._show_version)):
            if texts.get(name, "0").lower() in ("1", "yes", "on", "true"):
                return show()
        action = texts.get("action", "reboot").strip().lower()
        if action in ("metadata", "meta-data", "manpage"):
            return self._show_metadata()
        if action not in standard.ACTIONS:
            from mailha.validation.text import shown
            raise WrongInput(f"unrecognised action {shown(action)}",
                             remedy=f"give one of {', '.join(standard.ACTIONS)}")
        self._action = action
        settings = self._understand(given)
        if action == "validate-all":
            from mailha.fencing import validate
            return FAILED if validate.validate_all(self._agent, settings, self._log) else DONE
        settings.require()
        self._require_sense(settings)
        return self._act(settings)

    def _read(self) -> Given:
        """Return what was given, from wherever it comes. Raises WrongInput."""
        if self._arguments:
            return reading.from_arguments(self._arguments, self._agent.options)
        return reading.from_lines(reading.read_all(0), self._agent.options)

    def _show_metadata(self) -> int:
        from mailha.fencing import metadata
        return self._show(metadata.text(self._agent))

    def _show_help(self) -> int:
        from mailha.fencing import usage
        return self._show(usage.text(self._agent))

    def _show_version(self) -> int:
        from mailha.fencing import usage
        return self._show(usage.version(self._agent))

    def _show(self, text: str) -> int:
        """Write a document to stdout. Raises FencingFailed if nobody can read it."""
        if not self._log.answer(text.rstrip("\n")):
            raise FencingFailed("cannot write to stdout")
        return DONE

    def _understand(self, given: Given) -> Settings:
        """Return the settings, and set up the log as they want it."""
        from mailha.fencing.settings import Settings
        for option in self._agent.options:
            if option.secret:
                self._log.hide(given.texts.get(option.name, ""))
        settings = Settings(self._agent, given.texts, nodename=given.nodename)
        settings.on_secret = self._log.hide
        self._settings = settings
        level = settings["verbose_level"]
        self._log.verbose = bool(level if settings.is_set("verbose_level") else settings["verbose"])
        self._log.quiet = bool(settings["quiet"])
        self._debug_file = settings["debug_file"] or ""
        if self._debug_file and not self._debug_file.startswith("/"):
            # fence_ipmilan writes it into whatever directory Pacemaker runs it in.
            given.notes.append("option debug_file is no absolute path, so that nothing is written "
                               "to it")
            self._debug_file = ""
        for note in given.notes:
            if self._action == "validate-all":
                self._log.complain("WARNING", note)
            elif self._action == "monitor":
                self._log.debug(note)       # every minute is too often
            else:
                self._log.warning(note)
        if self._action in ("on", "off", "reboot"):
            for remark in settings.idle():
                self._log.info(remark)
        else:
            for remark in settings.idle():
                self._log.debug(remark)
        return settings

    def _require_sense(self, settings: Settings) -> None:
        """Raise what is wrong with the settings together, or with the node."""
        from mailha.fencing import identity
        identity.require(settings, self._action,
                         by_fencer=identity.called_by_fencer(self._environment))
        if settings["password_script"] and settings["password_file"]:
            raise WrongInput("options password_script and password_file: only one of them can have "
                             "the password")
        if self._agent.check is not None:
            for finding in self._agent.check(settings):
                if isinstance(finding, BaseException):
                    raise finding
                self._log.debug(finding)

    def _act(self, settings: Settings) -> int:
        """Do what needs the controller, and return the exit code. Raises FencingFailed."""
        from mailha.fencing.transition import Power
        delay = settings["delay"] if self._action in ("off", "reboot") else 0.0
        seconds = times.seconds(self._action, settings["power_timeout"])
        self._end_in(delay + seconds)
        self._hear_signals()
        if delay:
            with self._phases("delay"):
                self._sleep(max(0.0, delay - (self._clock() - self._begun)))
        deadline = Deadline(seconds - times.RESERVE, self._clock, self._sleep)
        deadline.what = f"{self._action} at {settings.address()}"
        self._deadline = deadline
        settings.deadline = deadline
        power = Power(lambda: self._agent.connect(settings, deadline, self._phases), deadline,
                      self._phases)
        try:
            return self._transition(power, settings)
        except BaseException as failure:
            self._failure = failure     # for the watchdog, if the session cannot even be ended
            raise
        finally:
            power.close()

    def _transition(self, power: Power, settings: Settings) -> int:
        from mailha.fencing import transition
        where = settings.address()
        if self._action == "off":
            transition.off(power, self._phases, where)
        elif self._action == "on":
            transition.on(power, self._phases, where)
        elif self._action == "reboot":
            transition.off(power, self._phases, where)
            self._settle(DONE)
            if self._watchdog is not None:
                self._watchdog.end_sooner(transition.ORDER_ON + transition.WATCH_ON
                                          + 2 * times.RESERVE)
            warning = transition.on_again(power, self._phases)
            if warning:
                self._log.warning(f"the node at {where} was switched off, and so fenced; on again: "
                                  f"{warning}")
        else:
            with self._phases("read"):
                is_on = power.is_on()
            return self._settle(DONE if is_on or self._action == "monitor" else IS_OFF)
        return self._settle(DONE)

    def _settle(self, code: int) -> int:
        """Make it certain how the process ends; return the code."""
        self._code = code
        if self._watchdog is not None:
            self._watchdog.settle(code)
        return code

    def _answer(self, code: int, failure: BaseException | None) -> None:
        """Say what came out of it."""
        if self._watchdog is not None and not self._watchdog.may_answer():
            time.sleep(60)      # the watchdog is ending the process
        self._say(code, failure)
        if self._debug_file:
            try:
                self._log.append_to(self._debug_file)
            except OSError as error:
                self._log.warning(f"cannot write to {self._debug_file}: {error.strerror}")

    def _say(self, code: int, failure: BaseException | None) -> None:
        """Write the log's one line, and the answer or the reason."""
        if failure is not None:
            reason = self._reason(failure)
            self._record("failed", f'reason="{reason}"')
            self._log.reason(reason)
        elif self._settings is not None and self._action != "validate-all":
            if self._action == "status":
                self._log.answer("Status: OFF" if code == IS_OFF else "Status: ON")
            elif self._action in _ANSWERS:
                self._log.answer(_ANSWERS[self._action])
            self._record("off" if code == IS_OFF else "ok")

    def _record(self, result: str, *more: str) -> None:
        """Log what was done, for which node, how it ended, and where the time went."""
        fields = [f"action={self._action or '-'}"]
        if self._settings is not None:
            node = self._settings.nodename or self._settings["node"]
            fields += [f"node={node or '-'}", f"ip={self._settings['ip'] or '-'}"]
        fields += [f"result={result}", *self._phases.fields(), *more]
        say = self._log.error if result == "failed" else \
            self._log.trace if self._action == "monitor" else self._log.info
        say(" ".join(fields))

    def _reason(self, failure: BaseException) -> str:
        """Return the reason in words that Pacemaker does not misunderstand."""
        if not isinstance(failure, FencingFailed):
            from mailha.fencing import defect
            defect.trace(failure, self._log)
            return in_other_words(defect.describe(failure))
        if isinstance(failure, (TimeUp, Silent, Unreachable)):
            return str(failure)
        if isinstance(failure, LoginRefused) and self._settings is not None:
            # fence_ipmilan loses them, so that they may stand in a definition that works with it.
            password = self._settings.known("password")
            if password != password.strip():
                return in_other_words(f"{failure} (blanks at the ends of the given password are "
                                      "part of it)")
        return in_other_words(str(failure))

    def _end_in(self, seconds: float) -> None:
        """Let the process end so many seconds after it began, whatever hangs."""
        if not self._guard:
            return
        left = self._begun + seconds - self._clock()
        if self._watchdog is None:
            from mailha.fencing.watchdog import Watchdog
            self._watchdog = Watchdog(left, self._give_up)
        else:
            self._watchdog.end_in(left)

    def _give_up(self) -> None:
        """Say, in the watchdog's thread, that the time is over."""
        if self._failure is not None:
            self._say(FAILED, self._failure)
            return
        spent = self._clock() - self._begun
        if self._settings is None:
            what = "reading what is to be done timed out: stdin was not closed"
        else:
            what = f"{self._action} at {self._settings.address()} timed out: something hangs"
        self._say(FAILED, TimeUp(f"{what} after {spent:.1f} s"))

    def _hear_no_signals(self) -> None:
        """Let nobody interrupt the answer; the watchdog ends it if it hangs."""
        if self._guard:
            import _signal  # type: ignore[import]  # typeshed lacks it; `signal` costs 5 ms
            for number in _ending_signals():
                _signal.signal(number, _signal.SIG_IGN)

    def _hear_signals(self) -> None:
        """Let the signals by which we are told to end do so by way of the session's end."""
        if not self._guard:
            return
        import _signal

        def interrupt(number: int, frame: FrameType | None) -> None:
            _signal.signal(number, _signal.SIG_IGN)
            if self._watchdog is not None:
                self._watchdog.end_sooner(2 * times.RESERVE)
            told = Interrupted(f"{self._action} was told to end by signal {number} and is not done")
            if self._failure is None:
                self._failure = told
            if self._deadline is not None:
                self._deadline.stop(told)
            raise told

        for number in _ending_signals():
            _signal.signal(number, interrupt)
        # Whoever has it ignored bequeaths that, and then no child's exit status can be had.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)


def _ending_signals() -> tuple[int, ...]:
    """Return the signals by which an agent is told to end."""
    import _signal
    return _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP


def in_other_words(reason: str) -> str:
    """Return a reason without the words by which Pacemaker knows a timeout.

    They stand in names of options, and in what libraries say.
    """
    for word, other in (("timeout", "time-out"), ("timed out", "ran out of time")):
        while word in reason.lower():
            start = reason.lower().index(word)
            reason = reason[:start] + other + reason[start + len(word):]
    return reason


def _give_least(log: Log) -> None:
    """Say the least that can be said, where the reason itself cannot be put into words."""
    try:
        os.write(log.stderr, _LEAST)
    except BaseException:
        pass        # the answer is in the exit code
