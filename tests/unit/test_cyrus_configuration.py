# SPDX-License-Identifier: GPL-2.0-or-later
"""imapd.conf: read as Cyrus reads it, and every path of it found."""

from __future__ import annotations

import time
from typing import Dict, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.products.cyrus import imapd, paths, syntax
from mailha.products.cyrus.imapd import Imapd
from mailha.products.cyrus.syntax import ConfigurationUnusable
from mailha.profiles.cyrus import PROFILES
from mailha.storage.rules import SPLIT

LEAST = "configdirectory: /var/lib/cyrus\n"


def read(text: "str | bytes" = LEAST, more: Dict[str, str] = {}, partitions: str = "") -> Imapd:
    """Return the configuration of these files."""
    def load(path: str) -> bytes:
        content = {"/etc/imapd.conf": text, **more}.get(path)
        if content is None:
            raise ConfigurationUnusable(f"there is no {path}")
        return content if isinstance(content, bytes) else content.encode()

    return imapd.read(load, "/etc/imapd.conf", partitions)


def uses(text: str, more: Dict[str, str] = {}, partitions: str = "") -> Dict[str, Tuple[str, str]]:
    """Return purpose and path of each option, without what is left out."""
    given_keys = {option.key for content in [text, *more.values()]
                  for option in syntax.parse(content.encode(), "x")}
    return {use.key: (use.purpose, use.path) for use in read(text, more, partitions).uses
            if use.key in given_keys}


def refusal(text: "str | bytes", more: Dict[str, str] = {}) -> str:
    """Return the one line with which a configuration is refused."""
    with pytest.raises(ConfigurationUnusable) as caught:
        read(text, more)
    assert caught.value.code == 5 and caught.value.remedy
    return str(caught.value)


def test_every_option_that_names_a_path_is_found_with_its_purpose() -> None:
    text = LEAST + """\
partition-default: /var/spool/cyrus/mail
PARTITION-News:   /var/spool/cyrus/news
metapartition-default: /var/spool/cyrus/meta
archivepartition-default: /srv/archive
backuppartition-b: /srv/backup
t1searchpartition-default: /srv/search
mboxlist_db_path: /srv/mailboxes.db
statuscache_db_path: /run/cyrus/statuscache.db
duplicate_db_path: /run/cyrus/deliver.db
tls_sessions_db_path: /run/cyrus/tls.db
caldav_alarm_db_path: /srv/alarm.db
mboxname_lockpath: /run/cyrus/lock
proc_path: /run/cyrus/proc
temp_path: /run/cyrus/tmp
prometheus_stats_dir: /run/cyrus/stats
backup_staging_path: /run/cyrus/staging
sievedir: /var/spool/sieve
# partition-old: /old
servername: mail.example.org
tls_client_ca_dir: /etc/ssl/certs
lmtpsocket: /run/cyrus/socket/lmtp
"""
    assert uses(text) == {
        "configdirectory": ("state", "/var/lib/cyrus"),
        "partition-default": ("data", "/var/spool/cyrus/mail"),
        "partition-news": ("data", "/var/spool/cyrus/news"),
        "metapartition-default": ("metadata", "/var/spool/cyrus/meta"),
        "archivepartition-default": ("archive", "/srv/archive"),
        "backuppartition-b": ("backup", "/srv/backup"),
        "t1searchpartition-default": ("rebuildable", "/srv/search"),
        "mboxlist_db_path": ("state", "/srv/mailboxes.db"),
        "statuscache_db_path": ("rebuildable", "/run/cyrus/statuscache.db"),
        "duplicate_db_path": ("rebuildable", "/run/cyrus/deliver.db"),
        "tls_sessions_db_path": ("rebuildable", "/run/cyrus/tls.db"),
        "caldav_alarm_db_path": ("state", "/srv/alarm.db"),
        "mboxname_lockpath": ("transient", "/run/cyrus/lock"),
        "proc_path": ("transient", "/run/cyrus/proc"),
        "temp_path": ("transient", "/run/cyrus/tmp"),
        "prometheus_stats_dir": ("transient", "/run/cyrus/stats"),
        "backup_staging_path": ("transient", "/run/cyrus/staging"),
        "sievedir": ("scripts", "/var/spool/sieve")}


def test_an_option_for_one_service_counts_as_well() -> None:
    found = uses(LEAST + "imap_proc_path: /a\nlmtp_statuscache_db_path: /b\n"
                 "ch1_sync_cache_db_path: /c\nproxy_configdirectory: /d\n")
    assert found["imap_proc_path"] == ("transient", "/a")
    assert found["lmtp_statuscache_db_path"] == ("rebuildable", "/b")
    assert found["ch1_sync_cache_db_path"] == ("rebuildable", "/c")
    assert found["proxy_configdirectory"] == ("state", "/d")


def test_what_is_left_out_lies_in_the_configdirectory() -> None:
    left_out = {use.key: use.path for use in read(LEAST).uses if use.key != "configdirectory"}
    assert left_out == {"mboxname_lockpath": "/var/lib/cyrus/lock",
                        "proc_path": "/var/lib/cyrus/proc", "temp_path": "/tmp"}
    with_statistics = read(LEAST + "prometheus_enabled: yes\n")
    assert "/var/lib/cyrus/stats" in [use.path for use in with_statistics.uses]


@pytest.mark.parametrize("switch, kept", [("yes", False), ("1", False), ("true", False),
                                          ("on", False), ("no", True), ("off", True)])
def test_scripts_in_the_homes_of_users_are_nobody_s_business_here(switch: str, kept: bool) -> None:
    found = uses(LEAST + f"sievedir: /usr/sieve\nsieveusehomedir: {switch}\n")
    assert ("sievedir" in found) is kept


def test_without_sievedir_the_scripts_stay_on_the_node_and_that_is_said() -> None:
    [warning] = read().warnings
    assert "/etc/imapd.conf has no sievedir" in warning and "/usr/sieve" in warning
    assert "do not move with the mail" in warning
    assert read(LEAST + "sievedir: /var/spool/sieve\n").warnings == []
    assert read(LEAST + "sieveusehomedir: yes\n").warnings == []


@pytest.mark.parametrize("value", ["{configdirectory}/sieve", "{ConfigDirectory}/sieve",
                                   "/var/lib/cyrus//./sieve/", "/var/lib/cyrus/sieve"])
def test_a_path_may_begin_with_the_configdirectory(value: str) -> None:
    assert uses(f"sievedir: {value}\n{LEAST}")["sievedir"][1] == "/var/lib/cyrus/sieve"


def test_a_file_that_is_included_is_part_of_it() -> None:
    found = uses(LEAST + "@include: /etc/imapd-local.conf\n",
                 {"/etc/imapd-local.conf": "partition-a: /a\n@INCLUDE:/etc/deeper\n",
                  "/etc/deeper": "partition-b:/b\n"})
    assert found["partition-a"][1] == "/a" and found["partition-b"][1] == "/b"


def test_the_configdirectory_may_stand_in_a_file_that_is_included() -> None:
    assert read("@include: /etc/x\n", {"/etc/x": LEAST}).directory == "/var/lib/cyrus"


@pytest.mark.parametrize("more", [
    {"/etc/b": "@include: /etc/imapd.conf\n"}, {"/etc/b": "@include: /etc/b\n"},
    {"/etc/b": "@include: /etc/c\n", "/etc/c": "@include: /etc/b\n"}])
def test_files_that_include_each_other_are_refused_at_once(more: Dict[str, str]) -> None:
    begun = time.monotonic()
    said = refusal(LEAST + "@include: /etc/b\n", more)
    assert "is included twice" in said and "line 1" in said
    assert time.monotonic() - begun < 1


def test_endlessly_many_files_are_refused() -> None:
    more = {f"/etc/{number}": f"@include: /etc/{number + 1}\n" for number in range(200)}
    assert "includes more than 64 files" in refusal("@include: /etc/0\n", more)


@pytest.mark.parametrize("text, words", [
    ("", "has no configdirectory"),
    ("configdirectory: /\n", "line 1: configdirectory: it is '/'"),
    ("configdirectory: var/lib/cyrus\n", "line 1: configdirectory: 'var/lib/cyrus' is no absolute"),
    (LEAST + "partition-a: spool/a\n", "line 2: partition-a: 'spool/a' is no absolute path"),
    (LEAST + "partition-a: {configdirectory}/a\n", "is no absolute path"),
    (LEAST + "partition-a: /var/spool/../a\n", "has '..' in it"),
    (LEAST + "proc_path:\n", "line 2: proc_path: it has no value"),
    (LEAST + "proc_path /run\n", "line 2 is not of the form 'name: value'"),
    (LEAST + "<html><body>404</body></html>\n", "line 2 is not of the form 'name: value'"),
    (LEAST + "@import: /etc/x\n", "line 2: @import: there is no such directive"),
    (LEAST + "@include: partitions\n", "line 2: @include: 'partitions' is no absolute path"),
    (LEAST + "@include: /etc/gone\n",
     "there is no /etc/gone, which /etc/imapd.conf line 2 includes"),
])
def test_what_cyrus_itself_would_refuse_is_refused_with_file_and_line(
        text: str, words: str) -> None:
    if "gone" in text:
        with pytest.raises(ConfigurationUnusable, match=words):
            read(text)
    else:
        said = refusal(text)
        assert words in said and "/etc/imapd.conf" in said and "\n" not in said


def test_a_nul_byte_is_refused() -> None:
    assert "NUL byte" in refusal(b"configdirectory: /var/lib\0/cyrus\n")


def test_a_name_that_is_not_utf_8_is_kept_as_the_kernel_has_it() -> None:
    [use] = [use for use in read(LEAST.encode() + b"partition-a: /srv/b\xe4r\n").uses
             if use.key == "partition-a"]
    assert use.path == "/srv/b\udce4r"


def test_blanks_in_a_path_and_line_ends_of_windows_change_nothing() -> None:
    found = uses("configdirectory: /var/lib/cyrus\r\n\tpartition-a :x\n".replace(" :", ":")
                 .replace(":x", ":  /srv/my mail \r"))
    assert found["configdirectory"][1] == "/var/lib/cyrus"
    assert found["partition-a"][1] == "/srv/my mail"


def test_a_line_may_go_on_and_a_comment_hides_no_path() -> None:
    found = uses(LEAST + "partition-a: \\\n  /a\n# old: \\\npartition-b: /b\n")
    assert found["partition-a"][1] == "/a" and found["partition-b"][1] == "/b"
    assert uses(LEAST + "partition-a: /a\\")["partition-a"][1] == "/a"
    assert "partition-a" in uses(LEAST + "# two lines \\\n of a comment\npartition-a: /a\n")


def test_an_option_that_stands_twice_is_examined_twice_and_warned_of() -> None:
    found = read(LEAST + "partition-a: /good\npartition-a: /nfs\n")
    assert {"/good", "/nfs"} <= {use.path for use in found.uses}
    [warning, _] = found.warnings
    assert "line 3: partition-a stands in /etc/imapd.conf line 2 too" in warning


def test_the_partitions_of_bluemind_count_whether_they_are_included_or_not() -> None:
    more = {"/etc/cyrus-partitions": "partition-a:/data/a\nmetapartition-a:/meta/a\n\n"}
    for text in (LEAST, LEAST + "@include: /etc/cyrus-partitions\n"):
        found = read(text, more, "/etc/cyrus-partitions")
        assert found.files == ["/etc/imapd.conf", "/etc/cyrus-partitions"]
        assert [use.path for use in found.uses if use.partition == "a"] == ["/data/a", "/meta/a"]
        assert [each for each in found.warnings if "sievedir" not in each] == []


ALL = "header index cache expunge annotations lock dav archivecache"


@pytest.mark.parametrize("files, meta, staying", [
    (ALL, True, []), (f"squat {ALL}", True, []), (ALL, False, ALL.split()),
    ("", True, ALL.split()), ("header cache expunge annotations lock dav archivecache", True,
                              ["index"])])
def test_metadata_stay_in_a_partition_unless_it_is_said_otherwise(
        files: str, meta: bool, staying: "list[str]") -> None:
    text = LEAST + "partition-a: /data/a\narchivepartition-a: /archive/a\n"
    text += f"metapartition_files: {files}\n" if files else ""
    text += "metapartition-a: /meta/a\n" if meta else "metapartition-b: /meta/b\n"
    found = read(text)
    [data] = [use for use in found.uses if use.key == "partition-a"]
    [archive] = [use for use in found.uses if use.key == "archivepartition-a"]
    assert found.staying(data, tuple(ALL.split())) == staying
    assert found.staying(archive, tuple(ALL.split())) == \
        [kind for kind in staying if kind == "archivecache"]


@given(st.binary(max_size=300))
def test_whatever_is_in_the_file_there_is_an_answer(content: bytes) -> None:
    for text in (content, LEAST.encode() + content, content + LEAST.encode()):
        try:
            found = read(text)
        except ConfigurationUnusable as error:
            assert str(error)
        else:
            assert all(use.path.startswith("/") and ".." not in use.path.split("/")
                       for use in found.uses)


KEYS = st.sampled_from(["partition-a", "metapartition-a", "sievedir", "annotation_db_path",
                        "t1searchpartition-a", "proc_path"])
PATHS = st.text(st.characters(blacklist_characters="\n\\", blacklist_categories=("Cc", "Cs", "Z")),
                min_size=1, max_size=30).filter(lambda text: ".." not in text.split("/"))


@given(st.lists(st.tuples(KEYS, PATHS), max_size=8))
def test_every_path_that_is_written_is_found(lines: "list[Tuple[str, str]]") -> None:
    text = LEAST + "".join(f"{key}: /{path}\n" for key, path in lines)
    found = {use.path for use in read(text).uses}
    for _, path in lines:
        assert "/" + "/".join(part for part in path.split("/") if part not in ("", ".")) in found


def test_thousands_of_domains_are_no_work() -> None:
    """BlueMind has two partitions for each, and each monitor looks at all of them."""
    text = LEAST + "metapartition_files: header index cache expunge annotations lock dav\n"
    text += "".join(f"{kind}partition-d{number}: /var/spool/cyrus/{kind}/d{number}\n"
                    for number in range(3000) for kind in ("", "meta", "archive"))
    began = time.process_time()
    found = paths.targets(read(text), policy=SPLIT, profile=PROFILES["bluemind4"])
    assert len(found) > 9000
    # It takes a tenth of one; to compare each partition with all others, nearly a minute.
    assert time.process_time() - began < 10
