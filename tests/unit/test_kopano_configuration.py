# SPDX-License-Identifier: GPL-2.0-or-later
"""Kopano's configuration files, as each version reads them."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_machine import FakeMachine
from mailha import errors
from mailha.products.kopano import addresses, assignments, configuration
from mailha.products.kopano.configuration import Configuration
from mailha.storage.version import Version
from mailha.system.machine import Machine

DIRECTORY = "/etc/kopano"


def load(service: str, text: str, version: str = "8.7.25", **more: str) -> Configuration:
    """Load a configuration whose file says text; more: other files by name without ".cfg"."""
    machine: Any = FakeMachine()
    for name, content in {service: text, **more}.items():
        machine.files.put(f"{DIRECTORY}/{name}.cfg", content.encode("utf-8", "surrogateescape"))
    return configuration.load(machine, service, DIRECTORY, Version(version))


def refusal(service: str, text: str, version: str = "8.7.25", **more: str) -> str:
    """Return why a configuration is refused, with the remedy; the class is that of code 5."""
    with pytest.raises(errors.NotAllowedHere) as caught:
        load(service, text, version, **more)
    assert caught.value.code == errors.ERR_INSTALLED
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Keys of another version

def test_the_white_papers_server_bind_stops_8_7_and_the_reason_has_the_new_line() -> None:
    assert refusal("server", "# c\nserver_bind = 192.168.122.100\n") == (
        "/etc/kopano/server.cfg line 2: server_bind: unknown to Kopano since 8.7, so "
        "kopano-server 8.7.25 would not start; write 'server_listen = 192.168.122.100:236' "
        "instead")


def test_all_old_keys_are_named_at_once_with_the_administrators_own_port() -> None:
    reason = refusal("server", "server_bind=192.0.2.1\nserver_tcp_port=2360\n"
                               "server_ssl_enabled=yes\n")
    assert "line 1: server_bind, server_tcp_port and server_ssl_enabled:" in reason
    assert "'server_listen = 192.0.2.1:2360' and 'server_listen_tls = 192.0.2.1:237'" in reason


@pytest.mark.parametrize("service, text, lines", [
    ("gateway", "server_bind = 192.0.2.1",
     "'imap_listen = 192.0.2.1:143' and 'pop3_listen = 192.0.2.1:110'"),
    ("gateway", "imaps_enable = yes\nserver_bind = 192.0.2.1\npop3_enable = no",
     "'imaps_listen = 192.0.2.1:993', 'imap_listen = 192.0.2.1:143' and 'pop3_listen ='"),
    ("ical", "ical_port = 8081", "'ical_listen = *:8081'"),
    ("ical", "server_bind = 2001:db8::1", "'ical_listen = [2001:db8::1]:8080'"),
    ("server", "server_tcp_enabled = no", "'server_listen ='"),
    ("server", "server_port = 2360\nserver_tcp_port = 2360", "'server_listen = *:2360'")])
@pytest.mark.parametrize("version", ["8.6.82", "8.7.25", "10.0.7", "11.0.2"])
def test_old_keys_stop_later_versions(service: str, text: str, lines: str, version: str) -> None:
    assert f"write {lines} instead" in refusal(service, text, version)


def test_an_old_key_that_says_nothing_new_has_only_to_go() -> None:
    assert refusal("server", "server_ssl_enabled = no").endswith("; remove it")


@pytest.mark.parametrize("service, text, version, lines", [
    ("server", "server_listen = 192.0.2.1:236 127.0.0.1:236", "8.4.0", "'server_bind = 192.0.2.1'"),
    ("server", "server_listen_tls = *:2370", "8.0.0",
     "'server_ssl_enabled = yes' and 'server_ssl_port = 2370'"),
    ("gateway", "imap_listen = [2001:db8::1]:1143", "8.6.9",
     "'server_bind = 2001:db8::1' and 'imap_port = 1143'"),
    ("gateway", "pop3_listen =", "8.5.0", "'pop3_enable = no'"),
    ("ical", "ical_listen = 192.0.2.1:8080", "8.6.80", "'server_bind = 192.0.2.1'")])
def test_new_keys_stop_earlier_versions(service: str, text: str, version: str, lines: str) -> None:
    reason = refusal(service, text, version)
    assert "unknown to Kopano before 8." in reason and f"write {lines} instead" in reason


def test_dagent_ignores_an_old_key_and_listens_everywhere() -> None:
    """Measured: no error, and *:2003. So the floating address is not where it listens."""
    found = load("dagent", "server_bind = 192.0.2.1\nlmtp_port = 2004\n")
    assert found.endpoints == (("lmtp", "*", 2003),)
    assert len(found.warnings) == 1
    assert "silently ignores" in found.warnings[0]
    assert "'lmtp_listen = 192.0.2.1:2004'" in found.warnings[0]


def test_dagent_ignores_a_new_key_too() -> None:
    found = load("dagent", "lmtp_listen = 192.0.2.1:2004\n", "8.6.9")
    assert found.endpoints == (("lmtp", "*", 2003),)
    assert "'server_bind = 192.0.2.1' and 'lmtp_port = 2004'" in found.warnings[0]


def test_keys_that_nobody_here_knows_are_the_administrators_business() -> None:
    assert load("server", "cache_cell_size = 1G\nnew_in_12 = yes\n").warnings == ()


# Where a service listens

@pytest.mark.parametrize("version", ["8.0.0", "8.4.4", "8.5.0", "8.6.9", "8.7.25", "10.0", "11.0"])
@pytest.mark.parametrize("service, endpoints", [
    ("server", (("http", "*", 236),)), ("dagent", (("lmtp", "*", 2003),)),
    ("gateway", (("imap", "*", 143), ("pop3", "*", 110))), ("ical", (("caldav", "*", 8080),)),
    ("spooler", ()), ("monitor", ()), ("search", ()), ("presence", (("http", "127.0.0.1", 1234),)),
    ("statsd", ())])
def test_built_in_addresses(service: str, endpoints: Any, version: str) -> None:
    assert load(service, "log_level = 5\n", version).endpoints == endpoints


@pytest.mark.parametrize("version", ["8.0.0", "8.4.4", "8.5.0", "8.6.9"])
@pytest.mark.parametrize("service, endpoints", [
    ("server", (("http", "192.0.2.1", 236),)), ("dagent", (("lmtp", "192.0.2.1", 2003),)),
    ("gateway", (("imap", "192.0.2.1", 143), ("pop3", "192.0.2.1", 110))),
    ("ical", (("caldav", "192.0.2.1", 8080),))])
def test_the_old_style(service: str, endpoints: Any, version: str) -> None:
    assert load(service, "server_bind = 192.0.2.1\n", version).endpoints == endpoints


def test_the_old_style_with_ports_and_protocols() -> None:
    found = load("gateway", "server_bind=192.0.2.1\npop3_enable=no\nimaps_enable=yes\n"
                            "imap_port=1143\n", "8.4.0")
    assert found.endpoints == (("imap", "192.0.2.1", 1143), ("imaps", "192.0.2.1", 993))


def test_8_6_reads_both_styles_of_the_server() -> None:
    assert load("server", "server_listen = 192.0.2.1:236", "8.6.9").endpoints == (
        ("http", "192.0.2.1", 236),)
    assert load("server", "server_bind = 192.0.2.1", "8.6.9").endpoints == (
        ("http", "192.0.2.1", 236),)
    both = "server_listen = 127.0.0.1:236\nserver_tcp_enabled = yes\nserver_bind = 192.0.2.1\n"
    assert load("server", both, "8.6.9").endpoints == (
        ("http", "127.0.0.1", 236), ("http", "192.0.2.1", 236))
    off = "server_listen = 127.0.0.1:236\nserver_tcp_enabled = no\nserver_bind = 192.0.2.1\n"
    assert load("server", off, "8.6.9").endpoints == (("http", "127.0.0.1", 236),)


def test_the_new_style_takes_several_addresses_and_every_way_to_write_them() -> None:
    found = load("server", "server_listen = 192.0.2.1:236  [2001:db8::1]:236\t*%lo:1236 "
                           "192.0.2.1:236\nserver_listen_tls = 192.0.2.1\n")
    assert found.endpoints == (
        ("http", "192.0.2.1", 236), ("http", "2001:db8::1", 236), ("http", "*", 1236),
        ("https", "192.0.2.1", 237))


def test_a_protocol_is_switched_off_by_an_empty_key() -> None:
    assert load("gateway", "pop3_listen =\n").endpoints == (("imap", "*", 143),)


def test_lmtp_over_a_unix_socket() -> None:
    found = load("dagent", "lmtp_listen = unix:/run/kopano/lmtp.sock\n")
    assert found.endpoints == () and found.pipes == ("/run/kopano/lmtp.sock",)


@pytest.mark.parametrize("text, part", [
    ("mail.example.com:143", "is no numeric address"),
    ("192.0.2.1", "has no port"), ("192.0.2.1:imap", "has no port"), ("192.0.2.1:0", "has no port"),
    ("192.0.2.1:65536", "has no port"), ("192.0.2.1:", "has no port"),
    ("192.0.2.1:٣", "has no port"), ("::1:143", "without brackets"),
    ("[::1:143", "closing bracket"), ("[::1]143", "has no port"),
    ("*%eth0:143", "on interface eth0 only"),
    ("unix:lmtp.sock", "no absolute path"), ("192.0.2.256:143", "is no numeric address"),
    ("$ADDRESS", "service's environment")])
def test_addresses_that_cannot_be_used(text: str, part: str) -> None:
    reason = refusal("gateway", f"\nimap_listen = 127.0.0.1:143 {text}\n" if text[0] != "$"
                     else f"\nimap_listen = {text}\n")
    assert reason.startswith("/etc/kopano/gateway.cfg line 2: imap_listen: ") and part in reason
    assert "; write " in reason


def test_a_name_is_never_looked_up_but_localhost_is_known() -> None:
    found = load("server", "server_listen = localhost:236\n")
    assert found.endpoints == (("http", "localhost", 236),)
    assert "write 127.0.0.1 instead of localhost" in found.warnings[0]
    assert "is no numeric address" in refusal("ical", "server_bind = mail\n", "8.4.0")
    assert "more than one address" in refusal("ical", "server_bind = 192.0.2.1 ::1\n", "8.4.0")


@given(st.text(), st.integers(0, 70000))
def test_any_text_is_an_address_or_wrong(text: str, usual: int) -> None:
    try:
        found = addresses.parse_list(text, usual)
    except addresses.Wrong as error:
        assert "; " in str(error)
    else:
        assert all(each.path or 0 < each.port for each in found) or usual > 65535


# How a file is read

def test_the_last_assignment_wins_and_blanks_around_it_do_not_count() -> None:
    found = load("spooler", "smtp_server = a\n#smtp_server = b\n\tsmtp_server\t= \t c d \r\n")
    assert found.values["smtp_server"] == "c d"


def test_quotes_are_part_of_a_value() -> None:
    assert load("spooler", 'smtp_server = "a"\n').values["smtp_server"] == '"a"'


def test_a_comment_after_blanks_is_an_unknown_option_to_kopano() -> None:
    """ECConfigImpl.cpp looks for '#' in the first column only."""
    reason = refusal("server", "\n  # server_bind = 192.0.2.1\n")
    assert "server.cfg line 2: " in reason and "'#' in the first column" in reason
    assert load("dagent", "  # x = y\nlog_level = 5\n").warnings[0].startswith(
        "/etc/kopano/dagent.cfg line 1: ")
    assert load("search", "  # x = y\nlog_level = 5\n").warnings == ()


def test_a_line_without_equals_is_skipped_by_kopano_so_it_is_a_warning() -> None:
    found = load("server", "server_listen 192.0.2.1:236\nlog_level = 5\n")
    assert found.endpoints == (("http", "*", 236),)
    assert found.warnings == ("/etc/kopano/server.cfg line 1: there is no '=', so Kopano skips it",)


def test_a_file_without_a_single_assignment_is_garbage() -> None:
    assert "is no configuration file" in refusal("server", "Dear diary,\ntoday I forgot it all.\n")


def test_an_empty_file_means_built_in_values() -> None:
    assert load("server", "").endpoints == (("http", "*", 236),)


def test_comments_may_be_in_any_encoding() -> None:
    assert load("monitor", "# gr\udcfc\udcdfe\nlog_level = 5\n").values == {"log_level": "5"}


@pytest.mark.parametrize("content", ["a = b\nx\0y = 1\n", "a = b\n\x7fELF\x02\n", "a=b\n\x01\n"])
def test_binary_content_is_no_text(content: str) -> None:
    reason = refusal("server", content)
    assert "/etc/kopano/server.cfg line 2: no text (byte 0x" in reason
    assert "restore" in reason


def test_a_file_that_cannot_be_read() -> None:
    machine: Any = FakeMachine()
    machine.files.put("/etc/kopano/gateway.cfg", b"")
    machine.files.failing["/etc/kopano/gateway.cfg"] = errno.EACCES
    with pytest.raises(errors.NotAllowedHere, match="cannot read /etc/kopano/gateway.cfg: Perm"):
        configuration.load(machine, "gateway", DIRECTORY, Version("8.7.25"))


def test_a_directory_in_place_of_a_file() -> None:
    machine: Any = FakeMachine()
    machine.files.make_directory("/etc/kopano/gateway.cfg")
    with pytest.raises(errors.NotAllowedHere, match="Is a directory"):
        configuration.load(machine, "gateway", DIRECTORY, Version("8.7.25"))


def test_a_file_of_absurd_size() -> None:
    assert "larger than" in refusal("gateway", "#" * (assignments.LARGEST + 1))


def test_the_server_needs_its_file_because_without_it_it_makes_another_database() -> None:
    machine: Any = FakeMachine()
    with pytest.raises(errors.NotAllowedHere, match="/etc/kopano/server.cfg does not exist"):
        configuration.load(machine, "server", DIRECTORY, Version("8.7.25"))


def test_other_services_run_without_a_file_since_8_5() -> None:
    machine: Any = FakeMachine()
    found = configuration.load(machine, "gateway", DIRECTORY + "/", Version("8.5.0"))
    assert found.endpoints == (("imap", "*", 143), ("pop3", "*", 110))
    assert found.path == "/etc/kopano/gateway.cfg" and "does not exist" in found.warnings[0]
    with pytest.raises(errors.NotAllowedHere,
                       match="does not start without it"):
        configuration.load(machine, "gateway", DIRECTORY, Version("8.4.4"))


# Included files

def test_an_included_file_counts_where_it_is_included() -> None:
    found = load("server", "log_level = 1\n!include common.cfg\nserver_name = here\n",
                 common="log_level = 2\nserver_name = there\n")
    assert found.values == {"log_level": "2", "server_name": "here"}


def test_the_reason_names_the_included_file() -> None:
    assert refusal("server", "!include /etc/kopano/common.cfg\n",
                   common="#\nserver_bind = 192.0.2.1\n").startswith(
        "/etc/kopano/common.cfg line 2: server_bind")


def test_files_that_include_each_other_are_read_once() -> None:
    found = load("server", "!include common.cfg\nlog_level = 1\n",
                 common="!include server.cfg\nlog_level = 2\n!unknown x\n!include\tserver.cfg\n")
    assert found.values == {"log_level": "1"}


def test_a_missing_included_file_is_named_with_its_place() -> None:
    reason = refusal("server", "\n!include lost.cfg\n")
    assert "cannot read /etc/kopano/lost.cfg, included in /etc/kopano/server.cfg line 2: No such" \
        in reason


def test_an_included_file_on_a_dead_disk_does_not_hang() -> None:
    machine: Any = FakeMachine()
    machine.files.put("/etc/kopano/server.cfg", b"!include /net/dead.cfg\n")
    machine.children.hanging.add("read_included")
    with pytest.raises(errors.NotAllowedHere, match="/net/dead.cfg.*did not end within 5 s"):
        configuration.load(machine, "server", DIRECTORY, Version("8.7.25"))


def test_a_relative_include_is_beside_the_file_that_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "etc/kopano").mkdir(parents=True)
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/server.cfg").write_text("!include common.cfg\n")
    (tmp_path / "srv/common.cfg").write_text("log_level = 6\n")
    (tmp_path / "etc/kopano/server.cfg").symlink_to(tmp_path / "srv/server.cfg")
    found = configuration.load(Machine(str(tmp_path)), "server", DIRECTORY, Version("8.7.25"))
    assert found.values == {"log_level": "6"}


# What else is in it

def test_secrets_are_not_kept() -> None:
    found = load("server", "mysql_password = geheim\nserver_ssl_key_pass = geheim\n"
                           "attachment_s3_secretaccesskey = geheim\nlog_level = 5\n")
    assert found.values == {"log_level": "5"}
    assert "geheim" not in repr(found.database)


def test_a_stray_line_is_not_quoted_since_it_may_hold_a_secret() -> None:
    assert "geheim" not in refusal("server", "mysql password geheim = x\n")
    assert "geheim" not in load("server", "mysql_password geheim\na = b\n").warnings[0]


def test_the_servers_database() -> None:
    found = load("server", "mysql_host = 192.0.2.2\nmysql_port = 3307\nmysql_user = kopano\n"
                           "mysql_database = mail\n").database
    assert found == configuration.Database("192.0.2.2", 3307, "", "kopano", "mail")
    assert load("server", "mysql_port =\nmysql_socket=/run/m.sock").database == \
        configuration.Database("localhost", 3306, "/run/m.sock", "root", "kopano")
    assert load("spooler", "").database is None
    assert "mysql_port: 'x' has no port" in refusal("server", "mysql_port = x")


def test_the_servers_sockets() -> None:
    assert load("server", "").pipes == ("/var/run/kopano/server.sock", "/var/run/kopano/prio.sock")
    assert load("server", "server_pipe_enabled = no\nserver_pipe_priority = /run/p\n").pipes == (
        "/run/p",)
    assert load("server", "server_pipe_name = /run/a /run/b\n").pipes == (
        "/run/a", "/run/b", "/var/run/kopano/prio.sock")
    assert load("search", "").pipes == ("/var/run/kopano/search.sock",)
    assert load("search", "server_bind_name = http://127.0.0.1:237\n").pipes == ()


def test_there_are_no_pid_files_since_10() -> None:
    assert load("gateway", "", "9.0.0").pid_file == "/var/run/kopano/gateway.pid"
    assert load("gateway", "pid_file = /run/g.pid", "8.7.25").pid_file == "/run/g.pid"
    assert load("gateway", "pid_file = /run/g.pid", "10.0.0").pid_file == ""


def test_data_paths() -> None:
    assert load("server", "attachment_path = /srv/a").data_paths == ("/srv/a",)
    assert load("server", "attachment_storage = files_v2").data_paths == (
        "/var/lib/kopano/attachments",)
    assert load("server", "attachment_storage = s3").data_paths == ()
    assert load("server", "", "8.4.0").data_paths == ()
    assert load("search", "index_path = /srv/i").data_paths == ("/srv/i",)
    assert load("gateway", "").data_paths == ()


@pytest.mark.parametrize("text, path", [
    ("log_file = /var/log/kopano/x.log", "/var/log/kopano/x.log"), ("", ""), ("log_file = -", ""),
    ("log_method = syslog\nlog_file = /var/log/x", ""),
    ("log_method = file\nlog_file = /var/log/x", "/var/log/x")])
def test_log_files(text: str, path: str) -> None:
    assert load("monitor", text).log_file == path


def test_whom_it_runs_as() -> None:
    assert (load("ical", "").run_as_user, load("ical", "run_as_group =").run_as_group) == (
        "kopano", "")


# Whatever stands in a file

KEYS = st.sampled_from(["server_listen", "server_bind", "server_tcp_port", "imap_listen",
                        "log_file", "pop3_enable", "lmtp_listen", "mysql_port", "pid_file",
                        "unix_socket", "x"])
LINES = st.one_of(st.text(), st.builds("{} = {}".format, KEYS, st.text()),
                  st.builds("!include {}".format, st.sampled_from(["a.cfg", "/b", "", "../x"])))


@settings(max_examples=60)
@given(st.lists(LINES, max_size=8),
       st.sampled_from(["server", "dagent", "gateway", "ical", "search", "presence", "spooler",
                        "konnect"]),
       st.sampled_from(["8.0.0", "8.5.1", "8.6.9", "8.6.81", "8.7.25", "10.0.1", "11.0.2"]))
def test_every_file_is_understood_or_refused_in_one_line(
        lines: list[str], service: str, version: str) -> None:
    machine: Any = FakeMachine()
    text = "\n".join(lines).encode("utf-8", "replace")
    machine.files.put(f"/etc/kopano/{service}.cfg", text)
    machine.files.put("/etc/kopano/a.cfg", b"log_level = 5\n!include /b\n")
    try:
        found = configuration.load(machine, service, DIRECTORY, Version(version))
    except errors.NotAllowedHere as error:
        assert str(error).startswith("/etc/kopano/") or "cannot read /" in str(error)
    else:
        assert all(0 < port < 65536 and host for _, host, port in found.endpoints)


@given(st.binary())
def test_every_content_is_read_or_refused(content: bytes) -> None:
    machine: Any = FakeMachine()
    machine.files.put("/etc/kopano/gateway.cfg", content)
    try:
        configuration.load(machine, "gateway", DIRECTORY, Version("8.7.25"))
    except errors.NotAllowedHere:
        pass


@settings(max_examples=60)
@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
                       st.text(st.characters(blacklist_categories=("Cc", "Cs"))).map(str.strip),
                       max_size=5))
def test_what_is_written_is_read(values: dict[str, str]) -> None:
    machine: Any = FakeMachine()
    text = "".join(f"{key} = wrong\n{key} = {value}\n" for key, value in values.items())
    machine.files.put("/x.cfg", text.encode())
    assert assignments.read(machine, "/x.cfg").values() == values
