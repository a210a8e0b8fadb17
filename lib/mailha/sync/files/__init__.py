# SPDX-License-Identifier: GPL-2.0-or-later
"""What is replicated, and what is known of each path: read and compared, without a peer."""
