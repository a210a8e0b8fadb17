# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that name places where data are kept."""

from __future__ import annotations

from mailha.validation.text import Invalid, Path, Type, shown

_PATH = Path()

_TAGS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=")


class Paths(Type):
    """A list of absolute paths, separated by blanks or commas.

    slash: whether one at the end of a path says something, and stays: "this is a directory".
    """

    expected = "a list of absolute paths with blanks or commas between them"
    absent: tuple[str, ...] = ()

    def __init__(self, *, slash: bool = False) -> None:
        self._slash = slash

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the paths in their order, each once. Raises Invalid, which names the path."""
        words = self.plain(text, blanks=True).replace(",", " ").split()
        if not words:
            raise self.refusal(text, "names nothing")
        return tuple(dict.fromkeys(
            _PATH.parse(word) + ("/" if self._slash and word.endswith("/") else "")
            for word in words))


class Devices(Type):
    """What must be mounted where: DEVICE for all, PATH=DEVICE for what lies at or below a path.

    DEVICE is a path in /dev, UUID=... or LABEL=... of a file system (or PARTUUID=, PARTLABEL= of a
    partition), or SERVER:/EXPORT.
    """

    expected = ("a list of DEVICE or PATH=DEVICE, where DEVICE is /dev/..., UUID=..., LABEL=... or "
                "SERVER:/...")
    absent: tuple[tuple[str, str], ...] = ()

    def parse(self, text: str) -> tuple[tuple[str, str], ...]:
        """Return pairs of path and device, the path being "" for all. Raises Invalid."""
        pairs: dict[str, str] = {}
        for word in self.plain(text, blanks=True).replace(",", " ").split():
            path, equals, device = word.partition("=")
            if not equals or not path.startswith("/"):
                path, device = "", word
            if not _is_device(device):
                raise self.refusal(text, f"has {shown(device)} in it, which is none")
            if device.startswith("/"):
                device = _PATH.parse(device)
            path = _PATH.parse(path) if path else ""
            if path in pairs:
                raise self.refusal(text, f"has two devices for {path or 'all paths'}")
            pairs[path] = device
        if not pairs:
            raise self.refusal(text, "names nothing")
        return tuple(pairs.items())


def _is_device(text: str) -> bool:
    """Tell whether a text can be the name of what is mounted."""
    if text.startswith(_TAGS):
        return not text.endswith("=")
    if text.startswith("/dev/"):
        return ".." not in text.split("/")
    server, separator, _ = text.partition(":/")
    return bool(server and separator) and "=" not in text and "/" not in server


__all__ = ["Devices", "Invalid", "Paths"]
