# SPDX-License-Identifier: GPL-2.0-or-later
"""What a path really stands on, without ever touching it; and what last ran on this data.

Nothing is imported here: a recurring monitor loads at most :mod:`mailha.storage.mountinfo`.
"""
