# SPDX-License-Identifier: GPL-2.0-or-later
"""The BlueMind of the laboratory: its units, its packages, and what its stand-in says."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path
from typing import Callable, List

import pytest

from bluemind import layout, packages, units
from bluemind.releases import RELEASES, TARGET, Release, Service
from bluemind.standin import installed, settings, talks, ysnp
from mailha.profiles import bluemind as profile


def service(release: Release, name: str) -> Service:
    """Return a service of a release."""
    return next(each for each in release.services if each.name == name)


def said(talk: talks.Talk, *questions: bytes) -> List[bytes]:
    """Return what a talk answers to each question, on a connection of its own."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    thread = threading.Thread(target=talk, args=(theirs,), daemon=True)
    thread.start()
    answers = []
    with ours, theirs:
        for question in questions:
            ours.sendall(question)
            answers.append(ours.recv(4096))
    return answers


@pytest.mark.parametrize("version", sorted(RELEASES))
def test_the_agent_knows_every_service_by_the_class_that_runs_it(version: str) -> None:
    """Both were written from BlueMind's own list; neither from the other."""
    release = RELEASES[version]
    known = {each.unit.partition(".")[0]: each for each in profile.of_release(
        (int(version[0]), int(version[2]))).services.values()}
    for each in release.services:
        if each.oneshot:
            continue
        assert each.name in known, each.name
        if known[each.name].main:
            assert each.main == known[each.name].main
    assert profile.of_release((int(version[0]), int(version[2]))).target is (
        release.manner == TARGET)


def test_core_has_ninety_seconds_to_start_and_three_hundred_since_4_8() -> None:
    for version, seconds in (("4.1.6", 90), ("4.9.2", 300), ("5.1.0", 300)):
        release = RELEASES[version]
        assert f"TimeoutStartSec={seconds}s" in units.unit(release, service(release, "bm-core"))


def test_only_units_of_4_2_and_later_are_part_of_the_target() -> None:
    for version, expected in (("4.1.6", False), ("4.9.2", True), ("5.1.0", True)):
        release = RELEASES[version]
        for each in release.services:
            text = units.unit(release, each)
            assert ("PartOf=bluemind.target" in text) is expected
            assert f"WantedBy={'bluemind' if expected else 'multi-user'}.target" in text
        assert "PartOf" not in units.nginx(release)


def test_only_5_restarts_what_crashes_and_gives_it_up_after_two_crashes() -> None:
    for version, release in RELEASES.items():
        if version.startswith("3."):
            continue
        text = units.unit(release, service(release, "bm-tika"))
        assert ("Restart=on-failure" in text) is version.startswith("5.")
        assert ("StartLimitBurst=2" in text) is version.startswith("5.")
    assert "StartLimitBurst=3" in units.unit(RELEASES["5.1.0"],
                                             service(RELEASES["5.1.0"], "bm-ysnp"))


def test_an_update_starts_the_target_from_the_trigger_and_each_service_by_itself(
        tmp_path: Path) -> None:
    release = RELEASES["4.9.2"]
    packages.write_trees(tmp_path, release, "4.9.3", packages.names(release), "15")
    conf, node = tmp_path / "bm-conf/DEBIAN", tmp_path / "bm-node/DEBIAN"
    assert (conf / "triggers").read_text() == "interest bluemindtarget\n"
    assert (node / "triggers").read_text() == "activate bluemindtarget\n"
    assert "systemctl start bluemind.target || true" in (conf / "postinst").read_text()
    assert "systemctl start bm-node\n" in (node / "postinst").read_text()
    assert "Version: 4.9.3-1\n" in (tmp_path / "bm-core/DEBIAN/control").read_text()
    for unit in release.own_units:
        assert unit in packages.scriptlets(release)


def test_a_release_without_a_target_has_no_trigger(tmp_path: Path) -> None:
    release = RELEASES["4.1.6"]
    packages.write_trees(tmp_path, release, "4.1.6", packages.names(release), "15")
    assert not list(tmp_path.glob("*/DEBIAN/triggers"))
    assert not list(tmp_path.rglob("bluemind.target"))


def test_the_next_release_after_4_9_is_4_10() -> None:
    assert RELEASES["4.9.2"].successors() == ["4.9.3", "4.10.0"]


def test_the_files_that_identify_an_installation_are_there() -> None:
    for version, release in RELEASES.items():
        found = layout.files(release, "198.51.100.100")
        assert not found["etc/bm/mcast.id"].text.endswith("\n")
        assert "host = 198.51.100.100\n" in found["etc/bm/bm.ini"].text
        assert ("etc/bm/server.uid" in found) is not version.startswith("3.")
        assert ("etc/imapd.conf" in found) is not version.startswith("5.")


def test_a_milter_lets_everything_pass_and_wants_to_see_nothing() -> None:
    offer = struct.pack("!IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)
    negotiated, answer = said(talks.milter, offer, struct.pack("!Ic", 1, b"E"))
    assert negotiated[4:5] == b"O" and len(negotiated) == 17
    assert answer == struct.pack("!Ic", 1, b"c")


@pytest.mark.parametrize("password, answer", [("secret", b"OK"), ("token", b"NO"), ("", b"NO")])
def test_passwords_are_checked_in_saslauthd_s_words(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, answer: bytes) -> None:
    (tmp_path / "users").write_text("anna@example.com secret\n")
    (tmp_path / "token").write_text("token")
    monkeypatch.setattr(ysnp, "USERS", str(tmp_path / "users"))
    monkeypatch.setattr(installed, "TOKEN", str(tmp_path / "token"))
    question = b"".join(struct.pack("!H", len(word)) + word for word in (
        b"anna", password.encode(), b"imap", b"example.com"))
    assert said(ysnp.check, question) == [struct.pack("!H", 2) + answer]


def test_http_waits_for_the_whole_body() -> None:
    answer: Callable[[str, str, bytes], "tuple[int, str]"] = (
        lambda method, path, body: (200, f"{method} {path} {len(body)}"))
    [found] = said(talks.http(answer), b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    assert found.endswith(b"\r\n\r\nPOST /x 3")


def test_settings_are_lines_and_their_absence_is_none(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DIRECTORY", str(tmp_path))
    assert settings.read("bm-core") == {}
    (tmp_path / "bm-core").write_text("# no setting = 1\nstate = CORE_STATE_UPGRADE\nmute=1\n")
    assert settings.read("bm-core") == {"state": "CORE_STATE_UPGRADE", "mute": "1"}
    assert settings.number({"stop_seconds": "2.5"}, "stop_seconds") == 2.5
