# SPDX-License-Identifier: GPL-2.0-or-later
"""Kopano: its configuration files, its deep check, its database and what it leaves behind.

Rules that are marked "measured" were seen on Kopano 8.7.25 with MariaDB 10.5; where a source file
is named instead, it is one of kopano-core.
"""
