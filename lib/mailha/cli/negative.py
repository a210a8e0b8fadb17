# SPDX-License-Identifier: GPL-2.0-or-later
"""The answer "no" of a subcommand that answers a question, as opposed to no answer at all.

A script that asks whether the storage is fit must not take a file that cannot be read for an
answer. So such a subcommand has a code of its own for all that keeps it from answering: TROUBLE.
"""

from __future__ import annotations

from mailha import errors


class Negative(errors.Failed):
    """What was asked has been found out, and the answer is no."""
