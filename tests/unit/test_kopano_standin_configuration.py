# SPDX-License-Identifier: GPL-2.0-or-later
"""The Kopano stand-in reads configuration, release and vices as documented."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import List

import pytest

from kopano import layout
from kopano.standin import database, lifecycle, listening, options, schema, server, vices
from kopano.standin.attachments import Attachments
from kopano.standin.configuration import Settings
from kopano.standin.release import Release

RELEASES = ["8.0.0", "8.3.0", "8.4.9", "8.5.0", "8.6.9", "8.6.81", "8.7.0", "8.7.25", "9.1.0",
            "10.0.6", "11.0.2"]


def read(tmp_path: Path, text: str, service: str = "server", release: str = "8.7.25") -> Settings:
    path = tmp_path / f"{service}.cfg"
    path.write_text(text)
    settings = Settings(options.defaults(service, Release(release)))
    settings.read(path, must_exist=True)
    return settings


def test_the_last_assignment_wins_and_comments_leave_the_default(tmp_path: Path) -> None:
    settings = read(tmp_path, "mysql_host = one\n# mysql_user = nobody\n  mysql_host=two words \n")
    assert settings["mysql_host"] == "two words"
    assert settings["mysql_user"] == "root"
    assert settings.errors == []


def test_a_value_may_contain_an_equals_sign_and_a_hash(tmp_path: Path) -> None:
    assert read(tmp_path, "mysql_password = a=b#c\n")["mysql_password"] == "a=b#c"


def test_an_unknown_key_is_an_error_and_a_line_without_equals_sign_none(tmp_path: Path) -> None:
    settings = read(tmp_path, "server_bind = x\nnonsense\n")
    assert settings.errors == ['Unknown option "server_bind" found!']


def test_a_comment_after_blanks_is_an_unknown_key(tmp_path: Path) -> None:
    settings = read(tmp_path, "  # mysql_host = other\n")
    assert settings.errors == ['Unknown option "# mysql_host" found!']


def test_an_include_is_read_in_place_and_an_endless_one_ends(tmp_path: Path) -> None:
    (tmp_path / "other.cfg").write_text("mysql_host = other\n")
    settings = read(tmp_path, "mysql_host = first\n!include other.cfg\n")
    assert settings["mysql_host"] == "other"
    assert "Too many nested includes" in read(tmp_path, "!include server.cfg\n").errors[0]


def test_a_missing_default_file_means_built_in_values_and_a_named_one_is_an_error(
        tmp_path: Path) -> None:
    settings = Settings({"a": "b"})
    settings.read(tmp_path / "none", must_exist=False)
    assert settings.errors == [] and settings["a"] == "b"
    settings.read(tmp_path / "none", must_exist=True)
    assert "Unable to open" in settings.errors[0]


@pytest.mark.parametrize("release, server_keys, gateway_keys", [
    ("8.3.0", {"server_bind"}, {"imap_port"}),
    ("8.6.9", {"server_bind", "server_listen"}, {"imap_port"}),
    ("8.6.81", {"server_bind", "server_listen"}, {"imap_port", "imap_listen"}),
    ("8.7.25", {"server_listen"}, {"imap_listen"}),
])
def test_keys_belong_to_releases(release: str, server_keys: set[str],
                                 gateway_keys: set[str]) -> None:
    known = set(options.defaults("server", Release(release)))
    assert known & {"server_bind", "server_listen"} == server_keys
    known = set(options.defaults("gateway", Release(release)))
    assert known & {"imap_port", "imap_listen"} == gateway_keys


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("service", options.SERVICES)
def test_what_the_lab_writes_is_valid_in_every_release(
        tmp_path: Path, service: str, release: str) -> None:
    addresses = layout.Addresses("198.51.100.100", "198.51.100.101", "secret")
    texts = layout.configuration(
        addresses, listen_keys=Release(release).has_listen_key("dagent"))
    assert read(tmp_path, texts[service], service, release).errors == []


@pytest.mark.parametrize("text", ["", "8.x", "8.7.25-1", "1.2.3.4.5", "-8"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not one to four numbers"):
        Release(text)


def test_releases_compare_as_numbers() -> None:
    assert Release("8.10").numbers > Release("8.9.30").numbers
    assert Release("8.7.25").on_the_wire == "0,8,7,25"
    revisions = [Release(release).database_revision for release in RELEASES]
    assert revisions == sorted(revisions)
    assert Release("8.7.25").database_revision == 118


def test_only_eight_daemonises_and_kills_its_group_and_ten_writes_no_pid_file() -> None:
    assert Release("8.7.25").daemonises and Release("8.7.25").kills_its_group
    assert not Release("9.0.0").daemonises and not Release("9.0.0").kills_its_group
    assert Release("9.0.0").writes_pid_files and not Release("10.0.0").writes_pid_files


def test_vices_are_read_for_one_service_or_for_all() -> None:
    text = "# none\nserver: slow_upgrade=2.5\n*: mute\nical: ignore_term  # here\n"
    assert vices.parse(text, "server") == {"slow_upgrade": 2.5, "mute": 0.0}
    assert vices.parse(text, "ical") == {"mute": 0.0, "ignore_term": 0.0}


@pytest.mark.parametrize("line", [
    "server: nonsense", "server", "server: slow_upgrade", "server: slow_upgrade=soon",
    "server: mute=3", "server: slow_stop=-1"])
def test_a_line_that_is_no_vice_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="there is"):
        vices.parse(line, "server")


@pytest.mark.parametrize("text, found", [
    ("198.51.100.100:236", ("198.51.100.100", 236)), ("*:143", ("", 143)), ("*", ("", 25)),
    ("[::1]:237", ("::1", 237)), ("[::1]", ("::1", 25))])
def test_an_address_to_listen_on_is_split(text: str, found: tuple[str, int]) -> None:
    assert listening.parse(text, 25) == found


@pytest.mark.parametrize("text", ["host:port", "*:70000"])
def test_an_address_that_is_none_cannot_be_bound(text: str) -> None:
    with pytest.raises(listening.BindFailed, match="not a valid address"):
        listening.parse(text, 25)


def test_old_keys_make_the_same_list_of_addresses(tmp_path: Path) -> None:
    def wanted(text: str, release: str) -> List[str]:
        settings = read(tmp_path, text, "gateway", release)
        return listening.wanted(settings, "imap_listen", "imap_port", "imap_enable")

    assert wanted("server_bind = 192.0.2.1\n", "8.3.0") == ["192.0.2.1:143"]
    assert wanted("imap_port = 1143\n", "8.3.0") == ["*:1143"]
    assert wanted("imap_enable = no\n", "8.3.0") == []
    assert wanted("imap_listen = *:1 *:2\n", "8.7.25") == ["*:1", "*:2"]
    assert wanted("imap_listen =\n", "8.7.25") == []


@pytest.mark.parametrize("command, taken", [
    (b"", True),                                                    # kernel thread or zombie
    (b"/usr/bin/python3\0/usr/sbin/kopano-spooler\0-F\0", True),
    (b"vi\0/etc/kopano/kopano-spooler.txt\0", True),
    (b"spooler\0", True),                                           # contained in the name
    (b"/usr/sbin/sshd\0-D\0", False)])
def test_a_predecessor_is_known_by_its_command_line_only(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: bytes, taken: bool) -> None:
    monkeypatch.setattr(lifecycle, "PROC", str(tmp_path))
    (tmp_path / "77").mkdir()
    (tmp_path / "77/cmdline").write_bytes(command)
    pid_file = tmp_path / "spooler.pid"
    pid_file.write_text("77\n")
    found = lifecycle.predecessor(str(pid_file), "kopano-spooler")
    assert found == (77 if taken else 0)
    if taken:
        with pytest.raises(lifecycle.AlreadyRunning, match="remove pidfile"):
            lifecycle.write_pid_file(str(pid_file), "kopano-spooler", 0o600, refuse=True)
        assert pid_file.read_text() == "77\n"
    lifecycle.write_pid_file(str(pid_file), "kopano-spooler", 0o600, refuse=False)
    assert int(pid_file.read_text()) == os.getpid()


@pytest.mark.parametrize("content", ["", "x", "99999999"])
def test_an_empty_or_stale_pid_file_stops_nobody(tmp_path: Path, content: str) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text(content)
    assert lifecycle.predecessor(str(pid_file), "kopano-spooler") == 0


def test_attachments_lie_where_kopano_puts_them_and_replace_a_forgotten_file(
        tmp_path: Path) -> None:
    attachments = Attachments(tmp_path)
    attachments.prepare()
    assert len([path for path in tmp_path.glob("**/*") if path.is_dir()]) == 210
    assert attachments.path(1) == tmp_path / "1/0/1.gz"
    assert attachments.path(215) == tmp_path / "5/1/215.gz"
    attachments.store(1, b"forgotten")
    attachments.store(1, b"kept")
    assert attachments.fetch(1) == b"kept"
    assert [path.name for path in (tmp_path / "1/0").iterdir()] == ["1.gz"]


def test_the_server_tries_ten_times_ten_seconds_apart_for_mariadb(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: List[float] = []

    def refuse(settings: Settings) -> None:
        raise database.DatabaseDown("nobody there")

    class FakeContext:
        settings = read(tmp_path, "")

        def log(self, level: int, text: str) -> None:
            pass

    monkeypatch.setattr(database, "Connection", refuse)
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(server.StartFailed, match="nobody there"):
        server._connect(FakeContext())  # type: ignore[arg-type]
    assert slept == [10.0] * 9


def test_sql_for_a_fresh_database_is_one_statement_a_line_and_quotes_names() -> None:
    users = [schema.User("o'neil", "o@example.com", "p\\w")]
    statements = schema.statements(Release("8.7.25"), users)
    assert all("\n" not in statement for statement in statements)
    assert "'o''neil'" in statements[-1] and "'p\\\\w'" in statements[-1]
    assert schema.statements(Release("8.7.25"))[4] != statements[4]     # a new server GUID
