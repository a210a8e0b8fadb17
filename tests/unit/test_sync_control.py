# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket of a sender: what the tool and the monitor ask over it, and what they are told."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any, Iterator, Mapping

import pytest

from mailha import errors
from mailha.sync.active import control, status
from mailha.sync.active.control import NoSender, Server, Tell
from mailha.system.machine import Machine
from mailha.system.unixpaths import through_directory

LONG = 60.0


class Scene:
    """A machine with a sender's socket."""

    def __init__(self, root: Path) -> None:
        self.machine = Machine(str(root))
        self.path = f"{root}{control.control_path('sync')}"
        os.makedirs(os.path.dirname(self.path))
        self.short, _ = through_directory(self.path)        # open until the process ends
        self.server = Server(self.path)
        self.server.answer_by({
            "status": lambda request, tell: {"files": 7}, "push": self.push, "fail": self.fail,
            "monitor": lambda request, tell: "190 bob differs in /etc/aliases\n"})
        self.server.start()

    def push(self, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        for number in range(3):
            tell({"peer": "bob", "done": number, "of": request["of"]})
        return {}

    def fail(self, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        raise errors.Failed("bob is away", remedy="wake him")

    def ask(self, **request: Any) -> dict[str, Any]:
        return control.ask(self.machine, "sync", request, LONG)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.server.close()


def test_a_question_is_answered(scene: Scene) -> None:
    assert scene.ask(do="status") == {"files": 7, "done": True}


def test_progress_is_told_before_the_answer(scene: Scene) -> None:
    told: list[Mapping[str, Any]] = []
    control.ask(scene.machine, "sync", {"do": "push", "of": 3}, LONG, told.append)
    assert [each["done"] for each in told] == [0, 1, 2]


def test_a_failure_comes_with_its_remedy(scene: Scene) -> None:
    with pytest.raises(errors.Failed) as caught:
        scene.ask(do="fail")
    assert (caught.value.reason, caught.value.remedy) == ("bob is away", "wake him")


def test_what_is_not_understood_is_no_traceback(scene: Scene) -> None:
    for request in (b"\n", b"{}\n", b"[]\n", b'{"do": "dance"}\n', b'{"do": "push"}\n', b"\xff\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(scene.short)
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(1000), b""))
            assert b'"error"' in answer, request


def test_the_socket_is_for_root_alone(scene: Scene) -> None:
    assert stat.S_IMODE(os.stat(scene.path).st_mode) == 0o600


def test_a_socket_of_a_dead_sender_is_replaced(scene: Scene) -> None:
    scene.server.close()
    server = Server(scene.path)
    server.answer_by({"status": lambda request, tell: {"new": True}})
    server.start()
    assert scene.ask(do="status")["new"]


def test_a_socket_that_has_its_name_listens(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    # Between bind(2) and listen(2) who connects is refused, and a monitor says "gone".
    scene.server.close()
    rename, listening = os.rename, []

    def look(made: str, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            short, directory = through_directory(made)
            listening.append(client.connect_ex(short) == 0)
            os.close(directory)
        rename(made, path)

    monkeypatch.setattr(os, "rename", look)
    Server(scene.path).close()
    assert listening == [True] and os.listdir(os.path.dirname(scene.path)) == ["control"]


def test_who_asks_while_a_sender_begins_anew_waits_for_the_next(scene: Scene) -> None:
    scene.server.answer_by(None)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(scene.ask(do="status")))
    asking.start()
    asking.join(0.01)
    scene.server.answer_by({"status": lambda request, tell: {"new": True}})
    asking.join(LONG)
    assert answers[0]["new"]


def test_where_no_sender_runs_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoSender, match="no sender of sync runs on this node"):
        control.ask(Machine(str(tmp_path)), "sync", {"do": "status"}, LONG)


def test_a_monitor_gets_the_verdict_without_json(scene: Scene) -> None:
    assert status.ask(scene.machine, "sync", LONG) == (190, "bob differs in /etc/aliases")


def test_a_monitor_is_told_apart_who_is_dead_and_who_is_silent(scene: Scene) -> None:
    machine = scene.machine
    scene.server.close()
    os.unlink(scene.path)
    with pytest.raises(status.NotThere):
        status.ask(machine, "sync", LONG)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(scene.short)
        with pytest.raises(status.NotThere):
            status.ask(machine, "sync", LONG)       # bound, and nobody listens
        silent.listen(1)
        with pytest.raises(status.NoAnswer):
            status.ask(machine, "sync", 0.05)


def test_the_name_of_a_resource_may_be_longer_than_the_path_of_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    server = Server(str(deep / "control"))
    server.close()
    assert (deep / "control").is_socket()
