# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of parameter values: parse, check, explain.

A type turns the text that an administrator wrote into a value, or says in one line what was found
and what is expected. Nothing here looks at the machine: whether a path exists or a user is known is
for those to say who need it.

:mod:`mailha.validation.text` has what nearly every agent declares and is what this package itself
offers; :mod:`mailha.validation.numbers` and :mod:`mailha.validation.network` are loaded by those
who use them.
"""

from __future__ import annotations

from mailha.validation.text import (Boolean, Choice, Invalid, Name, Path, Text, Type, User, Words,
                                    shown)

__all__ = ["Boolean", "Choice", "Invalid", "Name", "Path", "Text", "Type", "User", "Words", "shown"]
