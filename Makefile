# coroner. `make` builds, `make test` tests, `make demo` shows it. docs/ and README.md say the rest.
#
# Each room has a module.mk of its own that says how it is built: c_src (inside the node), src (the
# Erlang application), daemon (outside), test.

.DEFAULT_GOAL := all
SHELL := /bin/bash
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wcast-qual -Wvla -Wundef
CFLAGS ?= -O2 -g
# What every C file is built with, whatever CFLAGS the user gives.
BASE_CFLAGS := -std=c11 -D_GNU_SOURCE $(WARN) -Icommon -fno-strict-aliasing -fstack-protector-strong

B := _build
OBJ := $(B)/obj
APP := $(B)/default/lib/coroner

.PHONY: all deps clean
all:

deps:
	@scripts/deps.sh build

include c_src/module.mk
include src/module.mk
include daemon/module.mk
include packaging/module.mk
include test/module.mk

clean:
	rm -rf $(B) priv/*.so priv/coronerd priv/coronerctl
