# SPDX-License-Identifier: GPL-2.0-or-later
"""A BlueMind to run in the lab: PostgreSQL, Cyrus, Postfix and nginx are real, its Java is not.

BlueMind's packages are not in Debian. What Debian has of what BlueMind consists of runs under
BlueMind's unit names and on its paths; its Java services are ``standin``, which says that it is
one.

=========  =======================================================================================
releases   which services a release has, and what their units say
units      the texts of units and init scripts
layout     the texts of configuration files
packages   packages that do on an update what BlueMind's do: they start it, wherever they are
provision  all of it on a node's disk, and the first data on the shared one
standin    the stand-in for the Java services
=========  =======================================================================================
"""
