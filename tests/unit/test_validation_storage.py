# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of paths and of devices, as an administrator writes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.validation import Invalid
from mailha.validation.storage import Devices, Paths


@pytest.mark.parametrize("text, value", [
    ("/a", ("/a",)), ("/a /b,/c", ("/a", "/b", "/c")), (" /a/ , /a//./ ", ("/a",)),
    ("/var/spool/bm-elasticsearch", ("/var/spool/bm-elasticsearch",))])
def test_paths(text: str, value: Any) -> None:
    assert Paths().parse(text) == value


@pytest.mark.parametrize("text", ["a", "/a b", "/a /b/../c", "/a\n/b", "/a\t/b", "'/a'", ",", "-x",
                                  "/\udcff", "/" + "x" * 256])
def test_what_is_no_list_of_paths_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        Paths().parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text, value", [
    ("/dev/sdb", (("", "/dev/sdb"),)), ("UUID=1-2", (("", "UUID=1-2"),)),
    ("/var/lib=/dev/mapper/a", (("/var/lib", "/dev/mapper/a"),)),
    ("/var/lib/=UUID=1,/dev/sdb", (("/var/lib", "UUID=1"), ("", "/dev/sdb"))),
    ("/data=nas:/mail/a /meta=LABEL=meta", (("/data", "nas:/mail/a"), ("/meta", "LABEL=meta"))),
    ("[2001:db8::1]:/x", (("", "[2001:db8::1]:/x"),))])
def test_devices(text: str, value: Any) -> None:
    assert Devices().parse(text) == value


@pytest.mark.parametrize("text", ["sdb", "/var/lib", "UUID=", "LABEL=", "/var=sdb", "/var=",
                                  "ID=1", "/dev/sda /dev/sdb", "/a=/dev/b /a=/dev/c",
                                  "/a/../b=/dev/c", "/dev/../etc", ",", "x=:/"])
def test_what_is_no_list_of_devices_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Devices().parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    for kind in (Paths(), Devices()):
        try:
            assert kind.parse(text)
        except Invalid as error:
            assert str(error).isprintable()


def test_a_slash_at_the_end_of_a_device_means_nothing() -> None:
    assert Devices().parse("/dev/sdb1/ /srv/=/dev//sdc") == (
        ("", "/dev/sdb1"), ("/srv", "/dev/sdc"))
