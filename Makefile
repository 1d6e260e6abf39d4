# lxmgr: full operating systems in containers, moved between machines while they run.
#
#   make quickstart   install what is missing, build, start a cluster, show the main job
#   make check        install what is missing, build, run every test that can run here
#   make help         the rest
#
# Everything is built out of tree under $(BUILD).

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= gcc
CLANG   ?= clang
PYTHON  ?= /usr/bin/python3
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.SECONDARY:

VERSION := $(shell cat VERSION)

ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

# ---------------------------------------------------------------- flags

PKGS_RPC    := libnghttp2 openssl libuv libprotobuf-c
PKGS_STORE  := sqlite3 libuv
PKGS_IMAGES := libarchive zlib openssl yaml-0.1
PKGS_CLI    := smartcols jansson yaml-0.1
PKGS_AGENT  := libnl-3.0 libnl-route-3.0 libseccomp
PKGS_LXC    := lxc libseccomp libapparmor libprotobuf-c
PKGS_MOVE   := libnl-3.0 libnl-route-3.0 libprotobuf-c libzstd

# A machine that has not run scripts/install-deps yet has none of these: stay quiet, `deps` comes first.
# Other people's headers are theirs to lint: -isystem.
pkgcflags = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(1) 2>/dev/null))
pkglibs   = $(shell pkg-config --libs $(1) 2>/dev/null)

OPT      ?= -O2
WARN     := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wwrite-strings -Wformat=2 -Wundef -Wno-unused-parameter -Wno-format-nonliteral -Wno-format-zero-length
HARDEN   := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
SAN      ?=
CPPFLAGS += -I. -I$(BUILD)/gen -D_GNU_SOURCE -DLX_VERSION='"$(VERSION)"' -DLX_LIBEXECDIR='"$(PREFIX)/libexec/lxmgr"'
CFLAGS   += -std=gnu11 -g $(OPT) $(WARN) $(if $(SAN),,$(HARDEN)) $(SAN) -ffunction-sections -fdata-sections
CFLAGS   += $(call pkgcflags,$(PKGS_RPC) $(PKGS_MOVE) $(PKGS_STORE) $(PKGS_IMAGES) $(PKGS_CLI) $(PKGS_AGENT))
LDFLAGS  += $(SAN) -pie -Wl,-z,relro -Wl,--as-needed -Wl,--gc-sections -pthread

# ---------------------------------------------------------------- what there is

src = $(sort $(wildcard $(addsuffix /*.c,$(1))))
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
nomain = $(filter-out %/main.c,$(1))

PROTOS   := $(sort $(wildcard proto/lxmgr/v1/*.proto proto/grpc/reflection/v1alpha/*.proto))
PROTO_C  := $(patsubst proto/%.proto,$(BUILD)/gen/%.pb-c.c,$(PROTOS))
PROTO_H  := $(PROTO_C:.c=.h)
DESCSET  := $(BUILD)/gen/descriptors.bin

SRC_lib      := $(call src,lib)
SRC_proto    := $(call src,proto)
SRC_rpc      := $(call src,rpc)
SRC_store    := $(call src,store)
SRC_profiles := $(call src,profiles)
SRC_images   := $(call src,images)
SRC_migration := $(call src,migration)
SRC_tar      := $(call src,migration/tar)
SRC_agent    := $(call src,agent agent/instance agent/network agent/storage agent/image agent/move agent/denial)
SRC_manager  := $(call src,lxmgr lxmgr/api lxmgr/operations lxmgr/cluster lxmgr/auth lxmgr/scheduler lxmgr/warnings)
SRC_cli      := $(call src,cli)
# The command line is linked twice (cli/remote.h): each program leaves the other's files out.
ONLY_LXMGR   := cli/remote_exec.c
ONLY_REMOTE  := cli/remote_tls.c cli/remote_enrol.c
# Workers: short-lived helpers of the agent. common/ is shared, each other folder is a program.
SRC_worker   := $(call src,agent/worker)
SRC_iworker  := $(call src,agent/worker/instance)
SRC_mworker  := $(call src,agent/worker/image)
SRC_moveworker := $(call src,agent/worker/move agent/worker/snapshot)
SRC_proxy    := $(call src,agent/worker/proxy)
SRC_intercept := $(call src,agent/worker/intercept)

LIBS := lib proto rpc store profiles images migration worker
ARCH := $(BUILD)/lib/liblx_lib.a $(BUILD)/lib/liblx_proto.a $(BUILD)/lib/liblx_rpc.a $(BUILD)/lib/liblx_store.a \
        $(BUILD)/lib/liblx_profiles.a $(BUILD)/lib/liblx_images.a $(BUILD)/lib/liblx_migration.a
ar = $(BUILD)/lib/liblx_$(1).a

# ---------------------------------------------------------------- targets

PROGRAMS := $(BUILD)/bin/lxmgr $(BUILD)/bin/lxmgrd $(BUILD)/bin/lxagentd
WORKERS  := $(BUILD)/libexec/lx-instance-worker $(BUILD)/libexec/lx-image-worker $(BUILD)/libexec/lx-move-worker \
            $(BUILD)/libexec/lx-criu-hook $(BUILD)/libexec/lx-proxy $(BUILD)/libexec/lx-intercept
# Programs that people do not call, nor agents.
HELPERS  := $(BUILD)/libexec/lxmgr-remote
# Loaded into CRIU.
CRIU_PRELOAD := $(BUILD)/libexec/lx-criu-preload.so
# In a directory of their own, which comes first in CRIU's PATH: they have the names of others.
CRIU_TOOLS := $(BUILD)/libexec/criu-tools/tar

.PHONY: all
all: $(PROGRAMS) $(WORKERS) $(HELPERS) $(CRIU_TOOLS) $(CRIU_PRELOAD)

# It takes nothing of rpc/ that needs OpenSSL; sanitizers keep also what is not taken.
$(BUILD)/bin/lxmgr: $(call obj,$(filter-out $(ONLY_REMOTE),$(SRC_cli))) $(call ar,rpc) $(call ar,proto) $(call ar,lib)
	$(call link,$(PKGS_CLI) $(if $(SAN),$(PKGS_RPC),$(filter-out openssl,$(PKGS_RPC))))

$(BUILD)/libexec/lxmgr-remote: $(call obj,$(filter-out $(ONLY_LXMGR),$(SRC_cli))) $(call ar,rpc) $(call ar,proto) $(call ar,lib)
	$(call link,$(PKGS_CLI) $(PKGS_RPC))

$(BUILD)/bin/lxmgrd: $(call obj,$(SRC_manager)) $(call ar,images) $(call ar,profiles) $(call ar,store) $(call ar,rpc) $(call ar,proto) $(call ar,lib)
	$(call link,$(PKGS_RPC) $(PKGS_STORE) libseccomp jansson)

$(BUILD)/bin/lxagentd: $(call obj,$(SRC_agent)) $(call ar,worker) $(call ar,migration) $(call ar,images) $(call ar,profiles) $(call ar,rpc) $(call ar,proto) $(call ar,lib)
	$(call link,$(PKGS_AGENT) $(PKGS_RPC) jansson)

$(BUILD)/libexec/lx-instance-worker: $(call obj,$(SRC_iworker)) $(call ar,worker) $(call ar,profiles) $(call ar,migration) $(call ar,proto) $(call ar,lib)
	$(call link,$(PKGS_LXC))

$(BUILD)/libexec/lx-image-worker: $(call obj,$(SRC_mworker)) $(call ar,worker) $(call ar,images) $(call ar,proto) $(call ar,lib)
	$(call link,$(PKGS_IMAGES) libprotobuf-c)

# What it shares with the instance worker comes from that one's archive.
$(BUILD)/libexec/lx-move-worker: $(call obj,$(SRC_moveworker)) $(call ar,iworker) $(call ar,worker) $(call ar,migration) $(call ar,profiles) $(call ar,proto) $(call ar,lib)
	$(call link,$(PKGS_MOVE) $(PKGS_LXC))

$(BUILD)/libexec/lx-proxy: $(call obj,$(SRC_proxy)) $(call ar,iworker) $(call ar,worker) $(call ar,profiles) $(call ar,proto) $(call ar,lib)
	$(call link,libuv libprotobuf-c $(if $(SAN),libseccomp))

$(BUILD)/libexec/lx-intercept: $(call obj,$(SRC_intercept)) $(call ar,iworker) $(call ar,worker) $(call ar,profiles) $(call ar,proto) $(call ar,lib)
	$(call link,$(PKGS_LXC))

# Static: they are started a dozen times while a guest stands still. Sanitizers cannot do that.
$(BUILD)/libexec/lx-criu-hook: $(call obj,migration/hook/main.c migration/hook_ask.c)
	$(call link_static,)

# CRIU runs it as the guest's root, who is nobody here.
$(CRIU_TOOLS): $(call obj,migration/tar/main.c migration/hidden_runs.c) $(call ar,tar) $(call ar,images) $(call ar,lib)
	$(call link_static,zlib)
	@chmod 0755 $(@D) $@

# Without sanitizers, whose library that program has not.
$(CRIU_PRELOAD): migration/preload/pages.c migration/preload/code.c migration/preload/sizes.c migration/preload/cgroups.c migration/preload/conntrack.c migration/preload/copies.c migration/preload/watches.c \
		 migration/preload/policy.c migration/preload/scripts.c migration/preload/terminals.c migration/preload/shared.c migration/hidden_runs.c migration/preload/adopt.c migration/hook_ask.c migration/hook_ask.h migration/scan_regions.c migration/scan_regions.h migration/watch_lines.c migration/watch_lines.h \
		 migration/hidden_pages.h migration/hidden_runs.h migration/preload/adopt.h migration/shared_copies.h migration/pagemap_scan.h migration/page_runs.h migration/policy_namespace.h profiles/apparmor_namespace.h
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	@$(CC) $(CPPFLAGS) $(filter-out -fsanitize% -fPIE,$(CFLAGS)) -fPIC -fvisibility=hidden -shared -o $@ $(filter %.c,$^)

define link_static
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	@$(CC) $(if $(SAN),,-static) -o $@ $^ $(if $(SAN),$(LDFLAGS),$(filter-out -pie,$(LDFLAGS))) $(call pkglibs,$(1))
endef

define link
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	@$(CC) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDFLAGS) $(call pkglibs,$(1))
endef

# Archives: one per layer, so that a program can only link the layers below it.
define archive_rule
$(BUILD)/lib/liblx_$(1).a: $$(call obj,$$(call nomain,$$(SRC_$(1)))) $(2)
	@mkdir -p $$(@D)
	@rm -f $$@
	@echo "  AR    $$@"
	@ar rcsD $$@ $$^
endef
$(foreach l,lib rpc store profiles images migration tar worker iworker intercept mworker moveworker agent manager cli,$(eval $(call archive_rule,$(l))))
$(eval $(call archive_rule,proto,$(patsubst $(BUILD)/gen/%.c,$(BUILD)/obj/gen/%.o,$(PROTO_C))))

$(BUILD)/obj/%.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Generated code keeps its own style: no warnings.
$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c | $(PROTO_H)
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) $(CFLAGS) -w -MMD -MP -c -o $@ $<

$(BUILD)/obj/proto/descriptors.o: CPPFLAGS += -DLX_DESCRIPTOR_SET='"$(abspath $(DESCSET))"'
$(BUILD)/obj/proto/descriptors.o: $(DESCSET)
# Embedded with .incbin as well.
$(BUILD)/obj/cli/completion.o: packaging/completion/lxmgr.bash

$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h: proto/%.proto
	@mkdir -p $(BUILD)/gen
	@echo "  PROTO $<"
	@protoc-c --proto_path=proto --c_out=$(BUILD)/gen $<

$(DESCSET): $(PROTOS)
	@mkdir -p $(@D)
	@protoc --proto_path=proto --include_imports --descriptor_set_out=$@ $(PROTOS)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

include tests/tests.mk
include packaging/install.mk

# ---------------------------------------------------------------- people's commands

.PHONY: deps quickstart down clean-state clean help
deps:
	@scripts/install-deps

quickstart: deps
	@$(MAKE) all
	@scripts/quickstart

down:
	@scripts/down

clean-state:
	@scripts/down --clean-state

clean:
	rm -rf $(BUILD) $(BUILD)-asan

help:
	@echo 'make quickstart     install, build, start two nodes, move a running Debian between them'
	@echo 'make check          install, build, run all tests that can run here'
	@echo 'make down           stop what quickstart started, keep its state'
	@echo 'make clean-state    stop it and remove its state'
	@echo 'make all            programs into $(BUILD)/bin (CC=clang, SAN=-fsanitize=address,undefined)'
	@echo 'make check-unit check-system check-fuzz check-lint check-layers check-asan'
	@echo 'make check-vm       virtual machines with Debian'"'"'s kernels: moves, limits, restarts (20 minutes; 77: not here)'
	@echo 'make check-versions clusters of this version and another one (VERSIONS_REVISION=...)'
	@echo 'make bench          measure; prints the table of docs/performance.md'
	@echo 'make fuzz           fuzz for longer (FUZZ_SECONDS=60 each)'
	@echo 'make fmt lint       clang-format in place; clang-tidy'
	@echo 'make compile_commands.json'
	@echo 'make install        DESTDIR= PREFIX=/usr/local'
