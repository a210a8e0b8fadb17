# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent where it lacks open files, memory, room or processes itself.

What it cannot find out it must not make up: "not running" about a group that runs would start a
second one elsewhere.
"""

from __future__ import annotations

from typing import Tuple

import pytest

from agent_node import AGENT, Node

FEW = "server ical"

# How an interpreter ends that cannot even begin, or finds no memory for an exception.
NEVER_BEGAN = (-6, -11, 1, 127)

# Lets no process be made. Root has no RLIMIT_NPROC, so it is the system call that is refused.
FORKLESS = f"""#!/bin/sh
for name in $(env | sed -n 's/=.*//p'); do
    case $name in OCF_*|HA_*|PCMK_*|LC_ALL) set -- "$@" -E "$name" ;; esac
done
action=$1
shift
exec systemd-run --quiet --pipe --wait --collect -p SystemCallErrorNumber=EAGAIN \\
    -p "SystemCallFilter=~clone clone3 fork vfork" "$@" {AGENT} "$action"
"""


@pytest.mark.parametrize("limit, values", [
    ("RLIMIT_NOFILE", (3, 4, 5, 6, 8, 10)),
    ("RLIMIT_AS", (12 << 20, 14 << 20, 16 << 20, 18 << 20)),
    ("RLIMIT_FSIZE", (0, 10)),
])
def test_a_shortage_never_ends_in_a_false_answer(
        node: Node, limit: str, values: Tuple[int, ...]) -> None:
    for value in values:
        answer = node.begin("start", services=FEW, limits={limit: value}, judged=False).answer()
        assert answer.code in (0, *NEVER_BEGAN), str(answer)
        assert answer.code or node.monitor(10, services=FEW).code == 0
        assert "Traceback" not in answer.stderr or "Python runtime" in answer.stderr, str(answer)
        assert "defect of the agent in" not in answer.reason, str(answer)
    node.stopped(services=FEW)
    node.started(services=FEW)
    for value in values:
        for interval, level in ((10, 0), (10, 10), (0, 0)):
            answer = node.begin("monitor", interval=interval, level=level, services=FEW,
                                limits={limit: value}, judged=False).answer()
            assert answer.code in (0, *NEVER_BEGAN), f"{limit} {value}: {answer}"
            assert "Traceback" not in answer.stderr or "Python runtime" in answer.stderr
    for value in values:
        node.started(services=FEW)
        answer = node.begin("stop", services=FEW, limits={limit: value}, timeout=10,
                            judged=False).answer()
        # Success means that nothing lives; but a failure fences the node.
        assert answer.code or node.living() == {}, f"{limit} {value}: {answer}"
        assert not answer.code or node.living(), f"{limit} {value}: {answer}"
    node.stopped(services=FEW)


def test_where_no_process_can_be_made_no_action_needs_one_but_start(node: Node) -> None:
    node.write("/root/forkless", FORKLESS)
    node.sh("chmod 755 /root/forkless")
    answer = node.start(services=FEW, program="/root/forkless")
    assert answer.code == 1 and "Resource temporarily unavailable" in answer.reason, str(answer)
    assert node.living() == {} and node.marks() == ""
    node.started(services=FEW)
    for level in (0, 10):
        answer = node.monitor(level, services=FEW, program="/root/forkless")
        assert answer.code == 0, str(answer)
    assert node.probe(services=FEW, program="/root/forkless").code == 0
    node.stopped(services=FEW, program="/root/forkless")
    assert node.probe(services=FEW, program="/root/forkless").code == 7
