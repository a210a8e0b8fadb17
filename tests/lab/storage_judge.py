# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking the suite on another machine what a path stands on, in one interpreter for many paths."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Protocol, Sequence, Tuple, Union

import calling

TOUCHED_NOTHING = 0.050
"""Seconds for a verdict. It takes a tenth of that; who touches a dead server waits for minutes."""

# What is measured is the verdict, as the monitor gets it: five times, because somebody else may
# have had the processor, and what waits for a server waits each time.
_ASK = r"""
import json, sys, time
sys.path.insert(0, "/usr/lib/ocf/lib")
from mailha import errors
from mailha.storage import rules, verdict
from mailha.system.machine import Machine

def ask(path, rule, device):
    seconds = []
    for _ in range(5):
        begin = time.monotonic()
        try:
            said = verdict.examine(Machine(), path, rule=getattr(rules, rule), device=device)
        except errors.MailhaError as error:
            return {"path": path, "error": error.reason}
        seconds.append(time.monotonic() - begin)
    return {"path": path, "fit": said.fit, "mount_point": said.mount_point, "type": said.type,
            "source": said.source, "chain": said.chain, "reason": said.reason,
            "remedy": said.remedy, "warnings": said.warnings, "seconds": min(seconds)}

json.dump([ask(*question) for question in json.load(sys.stdin)], sys.stdout)
"""


class Machine(Protocol):
    """A sandbox, or a guest."""

    def run(self, argv: Sequence[str], *, timeout: float, input: Union[bytes, str, None] = None,
            check: bool = False, environment: Mapping[str, str] = {}) -> Any:
        """Run a command to its end."""


class Judged(NamedTuple):
    """A verdict, and how long it took at best."""

    path: str
    fit: bool
    mount_point: str
    type: str
    source: str
    chain: List[str]
    reason: str
    remedy: str
    warnings: List[str]
    seconds: float

    def refused(self, *parts: str) -> None:
        """Assert that it is unfit, at once, and that the reason has these parts."""
        assert not self.fit, self
        assert self.reason and self.remedy, self
        for part in (self.path, *parts):
            assert part in self.reason, f"{part!r} is not in: {self.reason}"
        assert self.seconds < TOUCHED_NOTHING, self

    def accepted(self, *chain: str) -> None:
        """Assert that it is fit, and that these words are in the chain of its devices."""
        assert self.fit and not self.reason, self
        for part in chain:
            assert any(part in name for name in self.chain), f"{part!r} is not in {self.chain}"


def judge_all(machine: Machine, questions: Sequence[Tuple[str, str, str]]) -> Dict[str, Judged]:
    """Return the verdict on each (path, rule, device), by path; rule: a name in storage.rules."""
    said = machine.run(["/usr/bin/python3", "-I", "-c", _ASK], timeout=60,
                       input=json.dumps(list(questions)), check=True).stdout
    found = {}
    for answer in json.loads(said):
        assert "error" not in answer, answer
        found[answer["path"]] = Judged(**answer)
    return found


def judge(machine: Machine, path: str, rule: str = "BLOCK", device: str = "") -> Judged:
    """Return the verdict on one path."""
    return judge_all(machine, [(path, rule, device)])[path]


AGENT = "/usr/lib/ocf/resource.d/mailha/cyrus-storage"

_TRY = r"""
import json, sys
sys.path.insert(0, "/usr/lib/ocf/lib")
from mailha.storage import probe_file
from mailha.system.machine import Machine

outcome = probe_file.try_out(Machine(), sys.argv[1], timeout=30)
json.dump([outcome.fault, outcome.warning], sys.stdout)
"""


class Answer(NamedTuple):
    """What came of a call of the agent. seconds: as measured on the machine itself."""

    code: int
    reason: str
    said: str
    seconds: float

    def is_code(self, code: int, *parts: str) -> None:
        """Assert that it ended so, and that it said these words, in the reason if there is one."""
        assert self.code == code, self
        for part in parts:
            assert part in (self.reason or self.said), f"{part!r} is not in: {self}"


def call(machine: Machine, action: str, *, level: int = 0, interval: float = 0,
         timeout: float = 30, **parameters: str) -> Answer:
    """Call ocf:mailha:cyrus-storage and return its answer, which must come within the timeout.

    interval: seconds, 0 for a probe. timeout: of the operation, as Pacemaker would have it.
    """
    environment = {**calling.environment(
        "storage", action, timeout=timeout, interval=interval, level=level, node="alice",
        parameters=parameters), "OCF_RESOURCE_TYPE": "cyrus-storage"}
    # Measured where it runs: the way to a guest and back takes its time, too.
    script = 'read up _ </proc/uptime; "$@"; code=$?; read now _ </proc/uptime; ' \
             'echo "$up $now"; exit $code'
    done = machine.run(["/bin/sh", "-c", script, "sh", AGENT, action], timeout=timeout,
                       environment=environment)
    begin, end = map(float, done.stdout.splitlines()[-1].split())
    reasons = [line[len(calling.MARK):] for line in done.stderr.splitlines()
               if line.startswith(calling.MARK)]
    assert len(reasons) == (done.returncode not in (0, 7)), done
    return Answer(done.returncode, reasons[0] if reasons else "", done.stderr, end - begin)


def try_out(machine: Machine, directory: str) -> Tuple[str, str]:
    """Return what the probe file finds: (fault, warning)."""
    fault, warning = json.loads(machine.run(
        ["/usr/bin/python3", "-I", "-c", _TRY, directory], timeout=60, check=True).stdout)
    return fault, warning
