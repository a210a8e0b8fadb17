# SPDX-License-Identifier: GPL-2.0-or-later
"""A tree of XML elements, as little as metadata need.

xml.etree costs more than the whole rest of the action: 8 ms, half of what an empty program does.
"""

from __future__ import annotations


class Element:
    """An element: attributes, and either text or other elements."""

    def __init__(self, tag: str, attributes: dict[str, str] | None = None, text: str = "") -> None:
        self._tag = tag
        self._attributes = attributes or {}
        self._text = text
        self._children: list[Element] = []

    def add(self, tag: str, attributes: dict[str, str] | None = None, text: str = "") -> Element:
        """Append an element and return it."""
        child = Element(tag, attributes, text)
        self._children.append(child)
        return child

    def lines(self, indent: str = "") -> list[str]:
        """Return the lines of the document, in ASCII."""
        start = indent + "<" + self._tag + "".join(
            f' {name}="{_escaped(value)}"' for name, value in self._attributes.items())
        if self._children:
            inner = [line for child in self._children for line in child.lines(indent + "  ")]
            return [start + ">", *inner, f"{indent}</{self._tag}>"]
        if self._text:
            return [f"{start}>{_escaped(self._text)}</{self._tag}>"]
        return [start + "/>"]


def document(root: Element) -> str:
    """Return the whole document, in ASCII, so that it is right in every encoding."""
    return "\n".join(['<?xml version="1.0"?>', *root.lines(), ""])


def _escaped(text: str) -> str:
    """Return a text as it stands in an attribute or between tags."""
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(letter, entity)
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")
