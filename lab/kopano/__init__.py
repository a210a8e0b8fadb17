# SPDX-License-Identifier: GPL-2.0-or-later
"""A Kopano to run in the lab, which is not Kopano.

Kopano Core is not in Debian, so the lab brings ``standin``: one small program that plays the six
services under their real names. ``provision`` lays it, MariaDB's and Apache's configuration on the
disk of a node and fills the shared disks. Everything else in the lab is the real thing.
"""
