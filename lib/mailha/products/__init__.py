# SPDX-License-Identifier: GPL-2.0-or-later
"""What is peculiar to one mail product and needs code; what needs none is a profile.

No recurring monitor at depth 0 loads anything from here.
"""
