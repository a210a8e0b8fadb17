# SPDX-License-Identifier: GPL-2.0-or-later
"""cyrus.conf(5) as text: what Cyrus's master runs, in which line of which section.

Read as the master reads it (master/masterconf.c, 2.4 to 3.10; compared with the master of 3.6): a
section is its name and "{" in one line, then one entry a line, to a line that begins with "}"; an
entry is a name of letters and digits, and arguments KEY=VALUE, of which those with blanks stand in
double quotes; "#" begins a comment, also between quotes; of two values of a key, and of two
sections of a name, the first one counts. What makes the master itself end is refused here in one
line that names the file and the line, and so is what it passes over in silence and nobody can have
meant.
"""

from __future__ import annotations

from mailha.products.cyrus.syntax import ConfigurationUnusable, together

START, SERVICES, EVENTS, DAEMON = "START", "SERVICES", "EVENTS", "DAEMON"
SECTIONS = (START, SERVICES, EVENTS, DAEMON)

LARGEST = 1 << 20
"""Bytes of the file; the longest that people have are a few thousand."""

LONGEST_LINE = 4094
"""Characters of a line; the master reads what follows as a line of its own."""

_BLANKS = " \t\n\v\f\r"
_PROTOCOLS = ("tcp", "tcp4", "tcp6", "udp", "udp4", "udp6")


class Entry:
    """One entry.

    section: one of SECTIONS. name: of the entry. arguments: by key. path, line: where it stands.
    """

    __slots__ = ("section", "name", "arguments", "path", "line")

    def __init__(self, section: str, name: str, arguments: dict[str, str], path: str,
                 line: int) -> None:
        self.section = section
        self.name = name
        self.arguments = arguments
        self.path = path
        self.line = line

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"{self.path} line {self.line}"

    @property
    def words(self) -> list[str]:
        """The command, in words as the master splits it; there are no quotes within it."""
        return self.arguments.get("cmd", "").split()

    @property
    def program(self) -> str:
        """The file name of what it runs; of Debian's "/usr/sbin/cyrus COMMAND" the command."""
        words = self.words
        name = words[0].rpartition("/")[2] if words else ""
        return words[1] if name == "cyrus" and len(words) > 1 else name

    @property
    def configuration(self) -> str:
        """The imapd.conf that the command names with -C, "" if it names none."""
        return configuration_of(self.words)

    @property
    def listen(self) -> str:
        """What it listens on, as it stands there; "" outside of SERVICES."""
        return self.arguments.get("listen", "")

    @property
    def protocol(self) -> str:
        """Its transport: tcp, tcp4, tcp6, udp, udp4 or udp6."""
        return self.arguments.get("proto", "tcp")

    @property
    def most_children(self) -> int:
        """How many processes of it there may be at a time, -1 for any number (maxchild)."""
        value = self.arguments.get("maxchild", "-1")
        return int(value) if value.lstrip("-").isdigit() and len(value) < 10 else -1

    def wrong(self, complaint: str, remedy: str) -> ConfigurationUnusable:
        """Return the error for this entry."""
        return ConfigurationUnusable(f"{self.place}: {self.name}: {complaint}", remedy=remedy)

    def __repr__(self) -> str:
        return f"<{self.section} {self.name} line {self.line}>"


def configuration_of(words: list[str]) -> str:
    """Return what "-C FILE", "-CFILE" or "-xC FILE" names in the words of a command, else ""."""
    for word, following in zip(words[1:], [*words[2:], ""]):
        if word == "--":
            break
        if word.startswith("-C") and len(word) > 2:
            return word[2:]
        if word.startswith("-") and not word.startswith("--") and word.endswith("C"):
            return following
    return ""


def parse(content: bytes, path: str) -> tuple[list[Entry], list[str]]:
    """Return all entries in their order, and sentences about what the master passes over.

    path: for messages. Raises ConfigurationUnusable, for all lines that are wrong.
    """
    if b"\0" in content:
        raise ConfigurationUnusable(f"{path} has a NUL byte in it, so it is no text",
                                    remedy="restore it from a backup")
    entries: list[Entry] = []
    warnings: list[str] = []
    faults: list[ConfigurationUnusable] = []
    seen: dict[str, int] = {}
    section = ""                    # the one that is open, as it is spelled in SECTIONS
    counts = False                  # whether the master reads this one
    for number, line in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), 1):
        place = f"{path} line {number}"
        if len(line) > LONGEST_LINE:
            raise ConfigurationUnusable(f"{place} has more than {LONGEST_LINE} characters, so "
                                        "Cyrus would read it as two", remedy="shorten it")
        text = line.partition("#")[0].strip(_BLANKS)
        if not text:
            continue
        if not section:
            section = _opened(text, place)
            if section in seen:
                warnings.append(f"{place}: a second section {section}, which Cyrus does not read; "
                                f"the first is in line {seen[section]}")
            counts = section in SECTIONS and section not in seen
            if section not in SECTIONS:
                warnings.append(f"{place}: Cyrus knows no section {section}")
            seen.setdefault(section, number)
        elif text.startswith("}"):
            section = ""
        elif counts:
            try:
                entries.append(_entry(section, text, path, number))
            except ConfigurationUnusable as error:
                faults.append(error)
    if section:
        faults.append(ConfigurationUnusable(f"{path} line {seen[section]}: the section {section} "
                                            "has no end", remedy="close it with a line '}'"))
    if faults:
        raise together(faults)
    return entries, warnings


def _opened(text: str, place: str) -> str:
    """Return the name of the section that a line opens, in upper case."""
    name = text[:_letters(text)]
    if not name or text[len(name):].strip(_BLANKS) != "{":
        raise ConfigurationUnusable(f"{place} opens no section: '{_shown(text)}'",
                                    remedy="write 'SERVICES {' in one line, its entries in the "
                                           "lines behind it")
    return name.upper()


def _entry(section: str, text: str, path: str, number: int) -> Entry:
    """Return what one line of a section says."""
    end = _letters(text)
    entry = Entry(section, text[:end], {}, path, number)
    if not end or text[end:end + 1] not in ("", *_BLANKS):
        raise ConfigurationUnusable(
            f"{entry.place} begins with no name of letters and digits: '{_shown(text)}'",
            remedy="correct it; Cyrus ends when it reads it")
    rest = text[end:].strip(_BLANKS)
    while rest:
        length = _letters(rest)
        if rest[length:length + 1] != "=":
            raise entry.wrong(f"'{_shown(rest)}' is not of the form KEY=VALUE",
                              "correct it; Cyrus ends when it reads it")
        key, rest = rest[:length], rest[length + 1:]
        if rest.startswith('"'):
            value, quote, rest = rest[1:].partition('"')
            if not quote:
                raise entry.wrong(f"the value of {key} has no second quote ('#' begins a comment "
                                  "also between quotes)", "correct it; Cyrus ends when it reads it")
        else:
            value = rest.split(None, 1)[0] if rest[:1] not in ("", *_BLANKS) else ""
            rest = rest[len(value):]
        entry.arguments.setdefault(key, value)
        rest = rest.strip(_BLANKS)
    _require(entry)
    return entry


def _require(entry: Entry) -> None:
    """Raise ConfigurationUnusable for an entry that lacks what its section wants."""
    if not entry.words:
        raise entry.wrong("it has no cmd", "say what it shall run; Cyrus ends when it reads it")
    if entry.section != SERVICES:
        return
    if not entry.listen:
        raise entry.wrong("it has no listen", "say where it shall listen; Cyrus ends when it "
                                              "reads it")
    if entry.protocol not in _PROTOCOLS:
        raise entry.wrong(f"proto={entry.protocol} is unknown, and Cyrus leaves out a service with "
                          "it", f"use one of {', '.join(_PROTOCOLS)}")


def _letters(text: str) -> int:
    """Return how many letters and digits a text begins with."""
    for number, character in enumerate(text):
        if not (character.isascii() and character.isalnum()):
            return number
    return len(text)


def _shown(text: str) -> str:
    """Return the beginning of a text, fit for a message."""
    return "".join(each if each.isprintable() else "?" for each in text[:60])
