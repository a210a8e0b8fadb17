# SPDX-License-Identifier: GPL-2.0-or-later
"""The administrator's tool, ``mailha``: one module for each subcommand.

A subcommand is the module of its name, with three names in it: declare(parser), which gives the
parser its arguments; needs_root(options), whether only root may do that; and
run(machine, terminal, options), which does it, returns if it succeeded and raises one of
mailha.errors if not. One that answers a question has a fourth, TROUBLE: its exit code for all that
keeps it from an answer, so that 1 is the answer "no" (:mod:`mailha.cli.negative`).
:mod:`mailha.cli.main` knows which there are and turns what they raise into one line and an exit
code.
"""
