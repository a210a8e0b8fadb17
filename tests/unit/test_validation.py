# SPDX-License-Identifier: GPL-2.0-or-later
"""Every type of parameter values: what it takes, what it refuses, and how it says so."""

from __future__ import annotations

import ipaddress
import os
from typing import Any, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailha.validation.network import Address, Host
from mailha.validation.numbers import Integer, Port, Seconds
from mailha.validation.text import (LONGEST, Boolean, Choice, Invalid, Name, Path, Text, Type, User,
                                    Words, shown)

TYPES: List[Type] = [Text(), Text(blanks=True), Choice("systemd", "direct"), Boolean(),
                     Words(("server", "dagent")), Words(), Path(), Name(), User(), Integer(),
                     Integer(3, 5), Port(), Seconds(), Seconds(1, 60), Address(), Host()]

ANYTHING = st.text() | st.binary().map(os.fsdecode) | st.text("-./ ,:'\"\n\t\0ab1s\udcff\u2028")

every_type = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: type(kind).__name__)


def refusal(kind: Type, text: str) -> str:
    """Return what the type says against the text."""
    with pytest.raises(Invalid) as caught:
        kind.parse(text)
    return str(caught.value)


@given(kind=st.sampled_from(TYPES), text=ANYTHING)
@settings(max_examples=200)
def test_any_text_is_refused_in_one_line_or_taken_without_anything_dangerous_in_it(
        kind: Type, text: str) -> None:
    try:
        value = kind.parse(text)
    except Invalid as error:
        said = str(error)
        assert said and said.isprintable() and len(said) < 1000
        assert f"where {kind.expected} is expected" in said
        return
    for word in value if isinstance(value, tuple) else [value]:
        written = str(word)
        assert written and written.isprintable() and not set("'\"`") & set(written)
        assert not written.startswith("-")


@every_type
@pytest.mark.parametrize("text, complaint", [
    ("-x", "begins with a dash"), ("  --help", "begins with a dash"),
    ("a\nb", "has a line break in it"), ("a\n", "has a line break in it"),
    ("a\rb", "has a line break in it"), ("a\u2028b", "has a line break in it"),
    ("a\tb", "has a character in it that cannot be printed (U+0009)"),
    ("a\0b", "has a character in it that cannot be printed (U+0000)"),
    ("a\x1b[31mb", "has a character in it that cannot be printed (U+001B)"),
    ("a\u202eb", "has a character in it that cannot be printed (U+202E)"),
    ("a\u00a0b", "has a character in it that cannot be printed (U+00A0)"),
    (os.fsdecode(b"caf\xe9"), "is not UTF-8"), ("a\ud800", "is not UTF-8"),
    ("it's", "has a quote in it"), ('"server"', "has a quote in it"), ("`id`", "has a quote in it"),
    ("   ", "nothing but blanks"), ("x" * (LONGEST + 1), f"has more than {LONGEST} characters"),
])
def test_what_nobody_means_is_refused_by_every_type(
        kind: Type, text: str, complaint: str) -> None:
    assert complaint in refusal(kind, text)


@pytest.mark.parametrize("kind", [Text(), Choice("a"), Boolean(), Path(), Name(), User(), Integer(),
                                  Port(), Address(), Host()],
                         ids=lambda kind: type(kind).__name__)
def test_a_blank_inside_is_refused_by_every_type_but_a_list(kind: Type) -> None:
    assert "has a blank in it" in refusal(kind, "/var/lib/my mail")


@every_type
def test_every_type_says_what_it_expects_and_what_it_is_to_ocf(kind: Type) -> None:
    assert kind.content_type in ("string", "integer", "boolean", "select")
    assert (kind.content_type == "select") == bool(kind.options)
    assert kind.expected and kind.expected.isprintable()


@pytest.mark.parametrize("kind, text, value", [
    (Text(), " mail ", "mail"), (Text(blanks=True), " two words ", "two words"),
    (Text(), "Müller", "Müller"),
    (Choice("systemd", "direct"), "direct", "direct"), (Choice("systemd", "direct"), " direct ",
                                                        "direct"),
    (Words(("a", "b", "c")), "c a", ("c", "a")),
    (Words(("a", "b", "c")), "a, b,c", ("a", "b", "c")),
    (Words(), "one", ("one",)), (Words(unique=False), "a a", ("a", "a")),
    (Path(), "/", "/"), (Path(), "/var//lib/./kopano/", "/var/lib/kopano"),
    (Path(), "/srv/Büro", "/srv/Büro"), (Path(), "/a..b/..c", "/a..b/..c"),
    (Name(), "kopano_server-1.example:0", "kopano_server-1.example:0"),
    (User(), "kopano", "kopano"), (User(), "_apt", "_apt"),
    (Integer(), "0", 0), (Integer(), " 007 ", 7), (Integer(3, 5), "3", 3), (Integer(3, 5), "5", 5),
    (Port(), "236", 236), (Port(), "65535", 65535),
    (Seconds(), "20", 20.0), (Seconds(), "20s", 20.0), (Seconds(), "2min", 120.0),
    (Seconds(), "500ms", 0.5), (Seconds(), "2 m", 120.0), (Seconds(), "1H", 3600.0),
    (Address(), "192.0.2.1", "192.0.2.1"), (Address(), "2001:DB8:0::1", "2001:db8::1"),
    (Host(), "Mail.Example.org.", "mail.example.org"), (Host(), "localhost", "localhost"),
    (Host(), "::1", "::1"), (Host(), "3com.example", "3com.example"),
])
def test_what_is_meant_is_taken(kind: Type, text: str, value: Any) -> None:
    found = kind.parse(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("kind, text, complaint", [
    (Choice("systemd", "direct"), "Direct", "'Direct' is unknown, where one of systemd, direct is"),
    (Boolean(), "maybe", "'maybe' is neither, where true or false is expected"),
    (Words(("server",)), "server ical", "has 'ical' in it, which is unknown"),
    (Words(("server", "ical")), "server ical server", "names 'server' twice"),
    (Words(), "server -f", "has '-f' in it, which begins with a dash"),
    (Words(), ", ,", "names nothing"),
    (Path(), "var/lib", "does not begin with a slash"),
    (Path(), "/var/../etc", "has '..' in it"), (Path(), "/..", "has '..' in it"),
    (Path(), "/" + "x" * 256, "has a name of more than 255 bytes in it"),
    (Path(), "/" + "ü" * 128, "has a name of more than 255 bytes in it"),
    (Name(), "a/b", "has '/' in it"), (Name(), "..", "begins with a dot"),
    (User(), "1st", "does not begin with a letter"), (User(), "root;id", "has ';' in it"),
    (User(), "x" * 33, "has more than 32 characters"),
    (Integer(), "1.5", "is no whole number"), (Integer(), "+5", "is no whole number"),
    (Integer(), "٣", "is no whole number"), (Integer(), "1_000", "is no whole number"),
    (Integer(), "9" * 4000, "is out of range"), (Integer(3, 5), "6", "is out of range"),
    (Port(), "0", "is out of range"), (Port(), "65536", "is out of range"),
    (Seconds(), "20x", "has an unknown unit"), (Seconds(), "s", "is no time"),
    (Seconds(), "1e9", "is no time"), (Seconds(), "inf", "has an unknown unit"),
    (Seconds(), "9" * 400, "is out of range"), (Seconds(1, 60), "999ms", "is out of range"),
    (Address(), "192.0.2.1/24", "is no address"), (Address(), "10.1", "is no address"),
    (Address(), "010.0.0.1", "is no address"), (Address(), "[::1]", "is no address"),
    (Address(), "fe80::1%eth0", "is no address"), (Address(), "localhost", "is no address"),
    (Host(), "192.0.2.300", "is no address and no host name"),
    (Host(), "10.1", "is no address and no host name"), (Host(), "under_score", "is no host name"),
    (Host(), "a..b", "is no host name"), (Host(), "mail-", "is no host name"),
    (Host(), "x" * 64, "is no host name"), (Host(), ".", "is no host name"),
    (Host(), ("a" * 60 + ".") * 5, "is no host name"),
])
def test_a_wrong_value_is_refused_and_named(kind: Type, text: str, complaint: str) -> None:
    assert complaint in refusal(kind, text)


@pytest.mark.parametrize("text", ["true", "on", "yes", "y", "1", "TRUE", "Yes"])
def test_true_is_what_pacemaker_takes_for_true(text: str) -> None:
    assert Boolean().parse(text) is True


@pytest.mark.parametrize("text", ["false", "off", "no", "n", "0", "FALSE", "No"])
def test_false_is_what_pacemaker_takes_for_false(text: str) -> None:
    assert Boolean().parse(text) is False


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=30)
def test_every_number_in_range_is_taken(number: int) -> None:
    assert Integer().parse(str(number)) == number


@given(st.ip_addresses())
@settings(max_examples=50)
def test_every_address_is_taken_in_every_form_by_both_types(address: Any) -> None:
    for text in (str(address), address.exploded, address.exploded.upper()):
        value = Address().parse(text)
        assert ipaddress.ip_address(value) == address
        assert Host().parse(text) == value == Address().parse(value)


@given(st.lists(st.text("abcdefghij.-_é", min_size=1, max_size=9), min_size=1, max_size=6))
@settings(max_examples=50)
def test_a_path_is_taken_once_and_then_stays_as_it_is(parts: List[str]) -> None:
    try:
        value = Path().parse("//" + "/".join(parts) + "/")
    except Invalid:
        assert ".." in parts
        return
    assert Path().parse(value) == value == os.path.normpath(value)


@given(st.lists(st.sampled_from(["server", "dagent", "ical"]), min_size=1, unique=True),
       st.lists(st.sampled_from([" ", ",", ", ", "  ", " , "]), min_size=3, max_size=3))
@settings(max_examples=30)
def test_words_keep_their_order_whatever_separates_them(
        words: List[str], separators: List[str]) -> None:
    text = "".join(word + separator for word, separator in zip(words, separators))
    assert Words(("server", "dagent", "ical")).parse(text) == tuple(words)


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "min", ""]))
@settings(max_examples=30)
def test_a_time_is_its_number_times_its_unit(number: int, unit: str) -> None:
    factor = {"ms": 0.001, "s": 1, "min": 60, "": 1}[unit]
    try:
        assert Seconds().parse(f"{number}{unit}") == number * factor
    except Invalid:
        assert number * factor > 7 * 86400


@given(ANYTHING)
@settings(max_examples=40)
def test_a_text_is_shown_on_one_line_of_bounded_length(text: str) -> None:
    said = shown(text)
    assert said.isprintable() and said.startswith("'") and said.endswith("'") and len(said) < 800


def test_the_byte_that_is_no_utf8_is_shown() -> None:
    assert refusal(Name(), os.fsdecode(b"caf\xe9")).startswith("'caf\\xe9' is not UTF-8, where ")
