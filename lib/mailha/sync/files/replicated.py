# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sender's settings stand for: the profile of a product and what the administrator says."""

from __future__ import annotations

from mailha import errors
from mailha.profiles.configuration import PROFILES, ConfigurationProfile
from mailha.sync.files.never import Rule
from mailha.sync.files.selection import Selection, build
from mailha.sync.files.settings import Settings
from mailha.system.machine import Machine


def profile(settings: Settings) -> ConfigurationProfile | None:
    """Return the profile, None if none is named. Raises errors.WrongParameter for an unknown one.
    """
    if not settings.profile:
        return None
    found = PROFILES.get(settings.profile)
    if found is None:
        raise errors.WrongParameter(f"there is no profile '{settings.profile}'",
                                    remedy=f"name one of {', '.join(sorted(PROFILES))}")
    return found


def select(machine: Machine, settings: Settings) -> Selection:
    """Return what is replicated. Raises errors.WrongParameter."""
    found = profile(settings)
    return build(machine, directories=found.directories if found else (),
                 files=found.files if found else (),
                 never=[Rule(*pair) for pair in found.never] if found else (),
                 include=settings.include, exclude=settings.exclude)
