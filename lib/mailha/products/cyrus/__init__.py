# SPDX-License-Identifier: GPL-2.0-or-later
"""Cyrus IMAP: what its configuration says, which paths that names, and who runs it.

Nothing is imported here: the recurring monitor of ocf:mailha:cyrus-storage loads what it needs.
"""
