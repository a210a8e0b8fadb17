# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages, made of what the agents declare and of what is written by hand beside this.

A page is a file ``man/NAME.SECTION.in`` in roff. A line of it that is one of these is replaced:

    @PARAMETERS@        every parameter of the agent, or every option of the fence agent
    @ACTIONS@           its actions with their timeouts
    @DESCRIPTION@       the long description that meta-data and shells show, too
    @FILE path@         a file of the source, as an example, word by word
    @SECTION name@      the fragment man/sections/NAME.in
    @ERROR message@     the head of an entry about a message, in the words of the code; a word in
                        capitals stands for what the code puts there

So nothing about a parameter is written twice, and a test finds each message in the code.
"""
