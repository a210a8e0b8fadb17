# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fence agent is.

An agent declares its options and how to come to a controller (:class:`declaration.FenceAgent`) and
calls :func:`run.main`. All the rest is done here, as the FenceAgentAPI of the ClusterLabs and
Pacemaker's fencer expect it: stdin and command line, metadata, help, validation, the right node,
the deadline, switching and verifying the power, the log, the one reason of a failure, the exit
code. The language of the controllers is not known here; that is mailha.bmc.
"""
