# What is installed, and where; the Debian package is made of the same.

PREFIX ?= /usr/local
DESTDIR ?=
MAN_PAGES := $(patsubst docs/man/%.scd,$(B)/man/%,$(wildcard docs/man/*.scd))

$(B)/man/%: docs/man/%.scd
	@mkdir -p $(@D)
	scdoc <$< >$@

all: $(MAN_PAGES)

.PHONY: install uninstall deb
install: all
	@packaging/install.sh install "$(DESTDIR)" "$(PREFIX)"

uninstall:
	@packaging/install.sh uninstall "$(DESTDIR)" "$(PREFIX)"

deb: all
	@packaging/deb.sh $(B)/deb
