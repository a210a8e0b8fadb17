# SPDX-License-Identifier: GPL-2.0-or-later
"""cyrus.conf: read as Cyrus's master reads it, and what keeps two instances apart."""

from __future__ import annotations

import string
from typing import Dict, List, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.products.cyrus import claims, cyrusconf, imapd, instance, listeners
from mailha.products.cyrus.cyrusconf import Entry
from mailha.products.cyrus.syntax import ConfigurationUnusable

PATH = "/srv/server1/etc/cyrus.conf"
IMAPD = "/srv/server1/etc/imapd.conf"
ADDRESS = "192.0.2.11"
PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "sieve": 4190}

SERVER = f"""\
# one of two
START {{
    recover  cmd="ctl_cyrusdb -C {IMAPD} -r"
}}
SERVICES {{
    imap     cmd="imapd -C {IMAPD} -U 30" listen="{ADDRESS}:imap" prefork=1 maxchild=100
    imaps    cmd="imapd -s -C {IMAPD}" listen="{ADDRESS}:993"
    pop3     cmd="pop3d -C {IMAPD}" listen="{ADDRESS}:pop3"
    lmtp     cmd="lmtpd -C {IMAPD} -a" listen="{ADDRESS}:24"
    sieve    cmd="timsieved -C {IMAPD}" listen="[{ADDRESS}]:4190" proto="tcp4"
    lmtpunix cmd="lmtpd -C {IMAPD}" listen="/srv/server1/data/conf/socket/lmtp"
}}
EVENTS {{
    checkpoint cmd="ctl_cyrusdb -C {IMAPD} -c" period=30
}}
DAEMON {{
    idled cmd="idled -C {IMAPD}"
}}
"""


def parse(text: "str | bytes") -> Tuple[List[Entry], List[str]]:
    """Return the entries and the warnings of a cyrus.conf."""
    return cyrusconf.parse(text if isinstance(text, bytes) else text.encode(), PATH)


def refusal(text: "str | bytes") -> str:
    """Return the one line with which a cyrus.conf is refused."""
    with pytest.raises(ConfigurationUnusable) as caught:
        parse(text)
    assert caught.value.code == 5 and caught.value.remedy
    return str(caught.value)


def findings(text: str, *, address: str = ADDRESS, configuration: str = IMAPD) -> List[str]:
    """Return what would keep an instance with this cyrus.conf from starting."""
    entries, _ = parse(text)
    places = listeners.places(entries, PORTS)
    return [str(each) for each in instance.findings(
        entries, places, path=PATH, configuration=configuration, address=address)]


def line_of(text: str, part: str) -> int:
    """Return the number of the first line that has this part."""
    return next(number for number, line in enumerate(text.split("\n"), 1) if part in line)


def test_an_instance_as_it_should_be_has_no_finding() -> None:
    assert findings(SERVER) == []


def test_entries_are_read_with_section_line_and_arguments() -> None:
    entries, warnings = parse(SERVER)
    assert not warnings
    assert [(each.section, each.name) for each in entries] == [
        ("START", "recover"), ("SERVICES", "imap"), ("SERVICES", "imaps"), ("SERVICES", "pop3"),
        ("SERVICES", "lmtp"), ("SERVICES", "sieve"), ("SERVICES", "lmtpunix"),
        ("EVENTS", "checkpoint"), ("DAEMON", "idled")]
    imap = entries[1]
    assert imap.place == f"{PATH} line 6"
    assert imap.words == ["imapd", "-C", IMAPD, "-U", "30"]
    assert imap.configuration == IMAPD and imap.most_children == 100
    assert entries[2].most_children == -1


def test_each_service_is_known_by_its_program_and_place() -> None:
    found = listeners.places(parse(SERVER)[0], PORTS)
    assert [(each.speaks, each.host, each.port, each.path) for each in found] == [
        ("imap", ADDRESS, 143, ""), ("tls", ADDRESS, 993, ""), ("pop3", ADDRESS, 110, ""),
        ("lmtp", ADDRESS, 24, ""), ("sieve", ADDRESS, 4190, ""),
        ("lmtp", "", 0, "/srv/server1/data/conf/socket/lmtp")]


@pytest.mark.parametrize("listen, words", [
    ("imap", "every address"), ("*:143", "every address"), ("0.0.0.0:143", "every address"),
    ("[::]:143", "every address"), ("localhost:143", "in common"), ("127.0.0.1:143", "in common"),
    ("[::1]:143", "in common"), ("127.0.0.2:143", "in common"),
    ("192.0.2.12:143", "not on the address"), ("server1.example.org:143", "names a host")])
def test_two_instances_cannot_both_listen_elsewhere_than_on_their_own_address(
        listen: str, words: str) -> None:
    text = SERVER.replace(f"{ADDRESS}:imap", listen)
    found, = findings(text)
    assert words in found and f"{PATH} line 6: imap:" in found
    assert f'write listen="{ADDRESS}:143"' in found


def test_an_ipv6_address_is_the_same_in_any_spelling() -> None:
    text = SERVER.replace(ADDRESS, "[2001:db8:0::11]").replace("[[", "[").replace("]]", "]")
    text = text.replace('proto="tcp4"', "")
    assert findings(text, address="2001:db8::11") == []
    found = findings(text, address="2001:db8::12")
    assert 'write listen="[2001:db8::12]:143"' in found[0]


@pytest.mark.parametrize("part, section", [
    ("imapd -C {} -U 30", "imap"), ("ctl_cyrusdb -C {} -c", "checkpoint"),
    ("idled -C {}", "idled")])
def test_a_command_without_its_configuration_would_work_on_the_data_of_another_cyrus(
        part: str, section: str) -> None:
    text = SERVER.replace(part.format(IMAPD), part.replace(" -C {}", ""))
    found, = findings(text)
    assert f"line {line_of(SERVER, part.format(IMAPD))}: {section}:" in found
    assert f"has no '-C {IMAPD}'" in found and "/etc/imapd.conf" in found


def test_a_command_with_the_configuration_of_the_buddy_is_refused() -> None:
    found, = findings(SERVER.replace(f"pop3d -C {IMAPD}", "pop3d -C /srv/server2/etc/imapd.conf"))
    assert "line 8: pop3: it reads /srv/server2/etc/imapd.conf" in found


def test_the_usual_imapd_conf_need_not_be_named() -> None:
    text = SERVER.replace(f" -C {IMAPD}", "")
    assert findings(text, configuration="/etc/imapd.conf") == []


def test_debians_wrapper_is_seen_through() -> None:
    text = SERVER.replace("ctl_cyrusdb -C", "/usr/sbin/cyrus ctl_cyrusdb -C")
    assert findings(text) == []
    found = findings(SERVER.replace(f"ctl_cyrusdb -C {IMAPD} -r", "/usr/sbin/cyrus ctl_cyrusdb -r"))
    assert len(found) == 1 and "'/usr/sbin/cyrus' has no '-C" in found[0]


def test_a_program_that_is_not_of_cyrus_needs_no_configuration() -> None:
    text = SERVER.replace("EVENTS {", 'EVENTS {\n  hello cmd="/usr/bin/logger hello" period=5')
    assert findings(text) == []


@pytest.mark.parametrize("change", ["-C /srv/server1/etc/imapd.conf -r", "remove"])
def test_databases_must_be_recovered_and_the_line_to_add_is_told(change: str) -> None:
    recover = f'recover  cmd="ctl_cyrusdb -C {IMAPD} -r"'
    text = SERVER.replace(recover, "" if change == "remove" else
                          f'checkpoint cmd="ctl_cyrusdb -C {IMAPD} -c"')
    found, = findings(text)
    assert f'recover cmd="ctl_cyrusdb -C {IMAPD} -r"' in found and "START" in found


def test_a_recovery_in_another_section_is_none() -> None:
    moved = SERVER.replace("START {", "EVENTS {", 1).replace("EVENTS {\n    checkpoint",
                                                             "START {\n    checkpoint")
    assert any("ctl_cyrusdb -r" in each for each in findings(moved))


def test_a_file_without_services_is_refused() -> None:
    found, = findings(f'START {{\n a cmd="ctl_cyrusdb -C {IMAPD} -r"\n}}\n')
    assert "no service" in found


def test_two_services_in_one_place_are_refused_with_both_lines() -> None:
    found, = findings(SERVER.replace(f"{ADDRESS}:993", f"{ADDRESS}:143"))
    assert "line 7: imaps:" in found and "imap in line 6" in found


def test_a_port_that_nobody_knows_is_refused_because_cyrus_only_logs_it() -> None:
    with pytest.raises(ConfigurationUnusable) as caught:
        findings(SERVER.replace(f"{ADDRESS}:24", f"{ADDRESS}:lmtp"))
    assert "line 9: lmtp:" in str(caught.value) and "LMTP's is 24" in str(caught.value)


@pytest.mark.parametrize("listen", ["192.0.2.11:0", "192.0.2.11:65536", "192.0.2.11:99999999",
                                    "192.0.2.11:", "[192.0.2.11]"])
def test_no_port_is_refused(listen: str) -> None:
    with pytest.raises(ConfigurationUnusable):
        findings(SERVER.replace(f"{ADDRESS}:imap", listen))


def test_the_second_section_of_a_name_is_not_read_by_cyrus_and_that_is_told() -> None:
    entries, warnings = parse(SERVER + 'SERVICES {\n  more cmd="imapd" listen="*:1143"\n}\n')
    assert len(entries) == 9
    assert "second section SERVICES" in warnings[0] and "line 5" in warnings[0]


def test_an_unknown_section_is_told() -> None:
    _, warnings = parse(SERVER + "SERVICE {\n  nonsense\n}\n")
    assert "no section SERVICE" in warnings[0]


def test_sections_may_be_written_in_small_letters_and_without_a_blank() -> None:
    assert len(parse(SERVER.replace("START {", "start{"))[0]) == 9


def test_a_comment_begins_anywhere_even_between_quotes() -> None:
    assert parse('START {\n  a cmd="x" # a="b"\n}\n')[0][0].arguments == {"cmd": "x"}
    assert "no second quote" in refusal('START {\n  a cmd="x #1"\n}\n')


@pytest.mark.parametrize("text, words", [
    ("START {\n  a_b cmd=\"x\"\n}\n", "no name of letters and digits"),
    ("START {\n  a cmd=\n}\n", "has no cmd"), ("START {\n  a\n}\n", "has no cmd"),
    ("SERVICES {\n  a cmd=\"x\"\n}\n", "has no listen"),
    ("SERVICES {\n  a cmd=\"x\" listen=\"1\" proto=\"sctp\"\n}\n", "proto=sctp is unknown"),
    ("START {\n  a cmd=\"x\" max-child=3\n}\n", "KEY=VALUE"),
    ("START {\n  a cmd = \"x\"\n}\n", "KEY=VALUE"),
    ("START {\n  a cmd=\"x\"\n", "has no end"), ("START\n{\n}\n", "opens no section"),
    ("}\n", "opens no section"), ("START { a cmd=\"x\" }\n", "opens no section"),
    ("START {\n" + "a" * 5000 + "\n}\n", "4094 characters"), (b"START {\n\0\n}\n", "NUL byte")])
def test_what_cyrus_would_end_at_or_misread_is_refused_in_one_line(
        text: "str | bytes", words: str) -> None:
    said = refusal(text)
    assert words in said and PATH in said and "\n" not in said


_NAME = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
_VALUE = st.text(st.characters(blacklist_characters='"#\n\0', blacklist_categories=["Cs"]),
                 max_size=20)


@given(st.dictionaries(_NAME, _VALUE, max_size=4), _NAME, st.sampled_from(["", " ", "\t  "]))
def test_whatever_stands_between_quotes_comes_back(arguments: Dict[str, str], name: str,
                                                   blank: str) -> None:
    arguments = {"cmd": "x", **arguments}
    if not arguments["cmd"].split():
        arguments["cmd"] = "x"
    line = blank + name + " " + " ".join(f'{key}="{value}"' for key, value in arguments.items())
    entry, = parse(f"EVENTS {{\n{line}\n}}\n")[0]
    assert (entry.name, entry.arguments) == (name, arguments)


@given(st.one_of(st.binary(max_size=300), st.text(
    st.sampled_from('START{}SERVICES \n\t#"=acmdlisten:143[]/-C'), max_size=120).map(str.encode)))
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes) -> None:
    try:
        entries, warnings = parse(content)
        places = listeners.places(entries, PORTS)
        found: Sequence[object] = list(instance.findings(
            entries, places, path=PATH, configuration=IMAPD, address=ADDRESS))
    except ConfigurationUnusable as error:
        found = [error]
    else:
        found = [*found, *warnings]
    assert all("\n" not in str(each) for each in found)


@given(st.text(max_size=40))
def test_any_listen_is_split_without_a_loss(listen: str) -> None:
    host, port = listeners.split(listen)
    assert len(host) + len(port) <= len(listen)


@given(st.binary(max_size=200))
def test_any_services_file_is_read(content: bytes) -> None:
    assert all(0 <= port < 100000 for port in listeners.parse_services(content).values())


def test_the_services_file_is_read_with_its_aliases() -> None:
    found = listeners.parse_services(b"imap2\t143/tcp\timap # mail\ndomain 53/udp\n#x 1/tcp\n")
    assert found == {"imap2": 143, "imap": 143}


@pytest.mark.parametrize("words, expected", [
    (["imapd", "-C", "/a"], "/a"), (["imapd", "-C/a"], "/a"), (["imapd", "-sC", "/a"], "/a"),
    (["imapd", "-U", "30"], ""), (["imapd", "-C"], ""), (["imapd", "--", "-C", "/a"], ""),
    (["ctl_cyrusdb", "-c"], ""), ([], "")])
def test_the_configuration_of_a_command_is_found(words: List[str], expected: str) -> None:
    assert cyrusconf.configuration_of(words) == expected


def claimed(number: int, more: str = "", *, unix: str = "") -> List[claims.Claim]:
    """Return what an instance claims."""
    root = f"/srv/server{number}"
    text = (f"configdirectory: {root}/data/conf\npartition-default: {root}/data/partition1\n"
            f"sievedir: {root}/data/sieve\n{more}").encode()
    configuration = imapd.read(lambda path: text, f"{root}/etc/imapd.conf")
    entries, _ = parse(f'SERVICES {{\n l cmd="lmtpd" listen="{unix or root}/lmtp"\n}}\n')
    return claims.of(configuration, listeners.places(entries, PORTS))


def test_two_instances_in_their_own_trees_share_nothing() -> None:
    assert claims.shared(claimed(1), claimed(2), "server2") is None
    assert claims.outside(claimed(1), "/srv/server1") == []


@pytest.mark.parametrize("more, words", [
    ("proc_path: /run/cyrus/proc\n", "proc_path"), ("lmtpsocket: /run/cyrus/lmtp\n", "lmtpsocket"),
    ("partition-x: /srv/mail\n", "partition-x"), ("mboxlist_db_path: /srv/m.db\n", "mboxlist")])
def test_a_path_in_common_is_told_with_both_lines(more: str, words: str) -> None:
    found = claims.shared(claimed(1, more), claimed(2, more), "server2")
    assert found is not None and found.code == 5
    assert f"/srv/server1/etc/imapd.conf line 4: {words}" in str(found)
    assert "'server2' (/srv/server2/etc/imapd.conf line 4" in str(found)


def test_a_path_within_one_of_the_other_is_shared_too() -> None:
    found = claims.shared(claimed(1), claimed(2, "partition-x: /srv/server1/data/conf/x\n"), "b")
    assert found is not None and "/srv/server1/data/conf/x" in str(found)


def test_a_socket_in_common_is_told() -> None:
    found = claims.shared(claimed(1, unix="/run"), claimed(2, unix="/run"), "server2")
    assert found is not None and f"{PATH} line 2: l" in str(found)


def test_temporary_files_may_be_in_one_directory() -> None:
    more = "temp_path: /var/tmp\n"
    assert claims.shared(claimed(1, more), claimed(2, more), "server2") is None


def test_names_that_begin_alike_are_not_shared() -> None:
    mine, its = [claims.Claim("/srv/a", "x")], [claims.Claim("/srv/ab", "y")]
    assert claims.shared(mine, its, "server2") is None


def test_a_path_outside_of_the_tree_is_found() -> None:
    found = claims.outside(claimed(1, "proc_path: /run/server1/proc\n"), "/srv/server1")
    assert [each.path for each in found] == ["/run/server1/proc"]
