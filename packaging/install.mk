# make install DESTDIR= PREFIX=/usr/local

BINDIR     := $(PREFIX)/bin
LIBEXECDIR := $(PREFIX)/libexec/lxmgr
MANDIR     := $(PREFIX)/share/man
UNITDIR    ?= $(PREFIX)/lib/systemd/system
SYSUSERS   ?= $(PREFIX)/lib/sysusers.d
BASHCOMP   ?= $(PREFIX)/share/bash-completion/completions

# lxmgr.1 comes from the command line's own table of verbs, lxmgr-config.7 from the table of keys; they are
# kept so that the tree reads well.
MANPAGES := docs/man/lxmgr.1 docs/man/lxmgr-config.7 docs/man/lxmgrd.8 docs/man/lxagentd.8

.PHONY: man
man: $(BUILD)/bin/lxmgr $(BUILD)/bin/lxmgrd
	@$(BUILD)/bin/lxmgr __manpage > $(BUILD)/lxmgr.1
	@cmp -s $(BUILD)/lxmgr.1 docs/man/lxmgr.1 || cp $(BUILD)/lxmgr.1 docs/man/lxmgr.1
	@$(BUILD)/bin/lxmgrd --keys-manual > $(BUILD)/lxmgr-config.7
	@cmp -s $(BUILD)/lxmgr-config.7 docs/man/lxmgr-config.7 || cp $(BUILD)/lxmgr-config.7 docs/man/lxmgr-config.7

.PHONY: install uninstall
install: all man
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBEXECDIR)/criu-tools $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man7 \
	    $(DESTDIR)$(MANDIR)/man8 \
	    $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERS) $(DESTDIR)$(BASHCOMP)
	install -m 0755 $(PROGRAMS) $(DESTDIR)$(BINDIR)
	install -m 0755 $(WORKERS) $(HELPERS) $(DESTDIR)$(LIBEXECDIR)
	install -m 0755 $(CRIU_TOOLS) $(DESTDIR)$(LIBEXECDIR)/criu-tools
	install -m 0644 $(CRIU_PRELOAD) $(DESTDIR)$(LIBEXECDIR)
	install -m 0644 $(filter %.1,$(MANPAGES)) $(DESTDIR)$(MANDIR)/man1
	install -m 0644 $(filter %.7,$(MANPAGES)) $(DESTDIR)$(MANDIR)/man7
	install -m 0644 $(filter %.8,$(MANPAGES)) $(DESTDIR)$(MANDIR)/man8
	for u in lxmgrd lxagentd; do \
	    sed 's|@BINDIR@|$(BINDIR)|' packaging/systemd/$$u.service > $(DESTDIR)$(UNITDIR)/$$u.service; done
	install -m 0644 packaging/sysusers/lxmgr.conf $(DESTDIR)$(SYSUSERS)/lxmgr.conf
	install -m 0644 packaging/completion/lxmgr.bash $(DESTDIR)$(BASHCOMP)/lxmgr

uninstall:
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(notdir $(PROGRAMS)))
	rm -rf $(DESTDIR)$(LIBEXECDIR)
	rm -f $(DESTDIR)$(MANDIR)/man1/lxmgr.1 $(DESTDIR)$(MANDIR)/man7/lxmgr-config.7
	rm -f $(DESTDIR)$(MANDIR)/man8/lxmgrd.8 $(DESTDIR)$(MANDIR)/man8/lxagentd.8
	rm -f $(DESTDIR)$(UNITDIR)/lxmgrd.service $(DESTDIR)$(UNITDIR)/lxagentd.service
	rm -f $(DESTDIR)$(SYSUSERS)/lxmgr.conf $(DESTDIR)$(BASHCOMP)/lxmgr
