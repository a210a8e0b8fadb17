# SPDX-License-Identifier: GPL-2.0-or-later
"""mailserver: the mail software that Debian packages, as the products under test use it.

=======  ===========================================================================================
recipe   the layer of packages: PostgreSQL, Cyrus IMAP, Postfix and nginx, none of them enabled
=======  ===========================================================================================
"""
