# SPDX-License-Identifier: GPL-2.0-or-later
"""What a mail server's resource does, whichever product it is.

The rooms above know units, disks and the cluster; this one joins them into start, stop and monitor
as every mail agent wants them. What is a product's own comes from its agent: as a class derived
from one in here where there is much of it, as a function where there is little.
"""
