# SPDX-License-Identifier: GPL-2.0-or-later
"""What the laboratory tells a stand-in to do, in /etc/bluemind-standin/UNIT: lines "key = value".

Read at start: start_seconds (until READY=1), serve_after (seconds from READY to serving),
exit_at_start (a code), never_ready, stop_seconds, ignore_term, mute (accept and say nothing).
Read at each question: state (of bm-core), status (of bm-elasticsearch).
"""

from __future__ import annotations

import os

DIRECTORY = "/etc/bluemind-standin"

START_SECONDS = "0.2"


def read(unit: str) -> "dict[str, str]":
    """Return the settings of a unit as they are now; none where there is no file."""
    try:
        with open(os.path.join(DIRECTORY, unit), encoding="utf-8") as lines:
            pairs = [line.partition("=") for line in lines if not line.startswith("#")]
    except FileNotFoundError:
        return {}
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def number(settings: "dict[str, str]", key: str, default: str = "0") -> float:
    """Return a setting as a number."""
    return float(settings.get(key, default))
