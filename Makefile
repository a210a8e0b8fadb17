# SPDX-License-Identifier: GPL-2.0-or-later
# Lays the suite where Pacemaker and people look for it; the packages of debian/ and rpm/ call this.
#
#     sudo make install                 onto this machine
#     make install DESTDIR=/tmp/root    into a directory, for a package
#     sudo make uninstall               takes away what "install" has laid
#     make check                        types, style and unit tests
#     make metadata                     records the public names anew, for review
#
# Nothing is enabled, started or stopped by any of them.

DESTDIR =
PREFIX = /usr
# Pacemaker looks for agents in /usr/lib/ocf and /usr/sbin alone: another PREFIX is for trials.
OCF = $(PREFIX)/lib/ocf
AGENTDIR = $(OCF)/resource.d/mailha
LIBDIR = $(OCF)/lib/mailha
SBINDIR = $(PREFIX)/sbin
UNITDIR = $(PREFIX)/lib/systemd/system
DOCDIR = $(PREFIX)/share/doc/mailha
MANDIR = $(PREFIX)/share/man
PYTHON = /usr/bin/python3
# A monitor without compiled modules takes twice the time; Debian's packages compile on the node. The
# modules carry the path at which they will lie (-d), which tracebacks show and debuggers look for.
COMPILE = yes

INSTALL = install
agents := $(notdir $(wildcard agents/*))
programs := $(wildcard fence/* bin/*)
units := $(wildcard units/*.service)
modules := $(shell cd lib && find mailha -name '*.py' | sort)
examples := $(shell find examples -type f | sort)
pages := $(patsubst man/%.in,%,$(wildcard man/*.[78].in))

.PHONY: all install uninstall check metadata

all:
	@echo "There is nothing to build: sudo make install"

install:
	$(INSTALL) -d $(DESTDIR)$(AGENTDIR) $(DESTDIR)$(SBINDIR) $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 0755 $(addprefix agents/,$(agents)) $(DESTDIR)$(AGENTDIR)
	$(INSTALL) -m 0755 $(programs) $(DESTDIR)$(SBINDIR)
	for unit in $(units); do $(INSTALL) -m 0644 $$unit $(DESTDIR)$(UNITDIR) || exit 1; done
	for module in $(modules); do \
	    $(INSTALL) -D -m 0644 lib/$$module $(DESTDIR)$(OCF)/lib/$$module || exit 1; done
	for example in $(examples); do \
	    mode=0644; if [ -x $$example ]; then mode=0755; fi; \
	    $(INSTALL) -D -m $$mode $$example $(DESTDIR)$(DOCDIR)/$$example || exit 1; done
	$(INSTALL) -m 0644 README.md CHANGELOG.md CONTRIBUTING.md $(DESTDIR)$(DOCDIR)
	$(INSTALL) -D -m 0644 bench/README.md $(DESTDIR)$(DOCDIR)/bench/README.md
	$(INSTALL) -d $(DESTDIR)$(MANDIR)/man7 $(DESTDIR)$(MANDIR)/man8
	$(PYTHON) -I man/generate $(DESTDIR)$(MANDIR)/.pages
	cd $(DESTDIR)$(MANDIR)/.pages && chmod 0644 * && mv *.7 ../man7 && mv *.8 ../man8
	rmdir $(DESTDIR)$(MANDIR)/.pages
	if [ "$(COMPILE)" = yes ]; then \
	    $(PYTHON) -m compileall -q -f -d $(LIBDIR) $(DESTDIR)$(LIBDIR); fi

# As a package does: refused while a resource runs here, and takes the guards off.
uninstall:
	if [ -z "$(DESTDIR)" ] && [ -x $(SBINDIR)/mailha ]; then $(SBINDIR)/mailha removal; fi
	if [ -z "$(DESTDIR)" ]; then rm -rf /run/mailha; fi
	rm -rf $(DESTDIR)$(AGENTDIR) $(DESTDIR)$(LIBDIR) $(DESTDIR)$(DOCDIR)
	rm -f $(addprefix $(DESTDIR)$(SBINDIR)/,$(notdir $(programs)))
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,$(notdir $(units)))
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/man7/,$(filter %.7,$(pages)))
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/man8/,$(filter %.8,$(pages)))

check:
	tests/run lint unit

metadata:
	for agent in $(agents); do \
	    agents/$$agent meta-data > tests/unit/data/metadata/$$agent.xml || exit 1; done
	for agent in $(notdir $(wildcard fence/*)); do \
	    fence/$$agent -o metadata > tests/unit/data/metadata/$$agent.xml || exit 1; done
