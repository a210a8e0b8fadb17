# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of a pyghmi whose private parts are not those that ipmi_session is built on."""

from __future__ import annotations


class Unfit(Exception):
    """This pyghmi cannot be driven by ipmi_session; ipmi_command can use it."""
