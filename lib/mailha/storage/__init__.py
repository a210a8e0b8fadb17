# SPDX-License-Identifier: GPL-2.0-or-later
"""What a path really stands on, without ever touching it; and what last ran on this data.

:mod:`mailha.storage.verdict` is the way in for the first question, :mod:`mailha.storage.last_run`
for the second one. Nothing is imported here: a recurring monitor loads what it needs.
"""
