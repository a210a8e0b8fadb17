# SPDX-License-Identifier: GPL-2.0-or-later
"""runner: runs the parts of the test suite and adds up what came of every test.

=========  ========================================================================
tally      what came of each test; what counts as passed
reporting  tells the runner about every test, from inside of pytest
jobs       one program of the suite, run and watched: a pytest, mypy, flake8
schedule   which files run in one job, and which one begins first
parts      which jobs a part consists of, and how many of them at a time
=========  ========================================================================
"""
