# Tests. Unit tests need no root; system tests say why when they skip.

ALL_ARCH = $(call ar,worker) $(call ar,manager) $(call ar,agent) $(call ar,cli) $(call ar,migration) $(call ar,images) $(call ar,profiles) \
           $(call ar,store) $(call ar,rpc) $(call ar,proto) $(call ar,lib)
ALL_PKGS = cmocka $(PKGS_RPC) $(PKGS_STORE) $(PKGS_IMAGES) $(PKGS_CLI) $(PKGS_AGENT)

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRC))

$(BUILD)/tests/test_%: $(BUILD)/obj/tests/unit/test_%.o $(ALL_ARCH)
	$(call link,$(ALL_PKGS))

include tests/rpc.mk
include tests/network.mk
include tests/worker.mk
include tests/images.mk
include tests/migration.mk
include tests/migration_tree.mk
include tests/migration_tar.mk
include tests/migration_net.mk

BENCH_BIN := $(patsubst tests/bench/%.c,$(BUILD)/tests/%,$(wildcard tests/bench/*.c))
$(BUILD)/tests/%_bench: $(BUILD)/obj/tests/bench/%_bench.o $(RPC_ARCH)
	$(call link,$(PKGS_RPC))
$(BUILD)/tests/policy_bench: $(BUILD)/obj/tests/bench/policy_bench.o $(call ar,profiles) $(call ar,proto) $(call ar,lib)
	$(call link,libseccomp libprotobuf-c)
# Static: it runs in whatever container it is put into.
$(BUILD)/tests/move_load: $(BUILD)/obj/tests/bench/move_load.o
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	@$(CC) -static -o $@ $^ $(filter-out -pie,$(LDFLAGS))

# Programs that tests/system runs beside those of the product.
CHECK_BIN := $(RPC_PROGRAMS) $(ECHO_DESC) $(BUILD)/tests/network-driver $(BUILD)/tests/preflight-driver $(BUILD)/tests/preflight-culprit $(BUILD)/tests/move-net-driver $(BUILD)/tests/passenger $(BUILD)/tests/teller $(BUILD)/tests/memfd-restore $(BUILD)/tests/sharer $(BUILD)/tests/hoarder $(BUILD)/tests/flooder $(BUILD)/tests/watched \
             $(BUILD)/tests/confined $(BUILD)/tests/frames $(BUILD)/tests/writable $(BUILD)/tests/prowl $(BUILD)/tests/peer $(BUILD)/tests/caller

.PHONY: unit-bins check-bins
unit-bins: $(UNIT_BIN)
check-bins: $(CHECK_BIN)

# Goes into guests with proxies.
$(BUILD)/tests/peer: LDFLAGS := -static -no-pie
$(BUILD)/tests/peer: $(BUILD)/obj/tests/system/proxy/peer.o
	$(call link,)

# Go into guests that attack.
$(BUILD)/tests/frames $(BUILD)/tests/writable $(BUILD)/tests/prowl: LDFLAGS := -static -no-pie
$(BUILD)/tests/%: $(BUILD)/obj/tests/system/attack/%.o
	$(call link,)

include tests/fuzz/fuzz.mk

# ---------------------------------------------------------------- people's commands

.PHONY: check check-unit check-asan check-lint check-layers check-system
CHECK = @BUILD=$(BUILD) MAKE=$(MAKE) $(PYTHON) tests/check.py

# All that can run here, ending in "N passed, N failed, N skipped". check-fuzz: tests/fuzz/fuzz.mk
check: deps
	$(CHECK)

check-unit:
	$(CHECK) unit
check-asan:
	$(CHECK) asan
check-lint:
	@LINT_DEEP=1 BUILD=$(BUILD) MAKE=$(MAKE) $(PYTHON) tests/check.py format tidy
check-layers:
	$(CHECK) layers
check-system:
	$(CHECK) system

# Not part of check: two virtual machines without hardware help, up to 20 minutes.
# 77: it cannot run on this machine. VM_CHECKS="moves debian": only these subjects.
.PHONY: check-vm
check-vm: deps
	@scripts/install-deps vm || { echo "check-vm: cannot run here: no emulator" >&2; exit 77; }
	@$(MAKE) all check-bins $(addprefix $(BUILD)/tests/,test_migration_soft_dirty test_worker_quota)
	@BUILD=$(BUILD) $(PYTHON) tests/vm/check.py $(VM_CHECKS)

# Not part of check: builds another revision and runs clusters of both. VERSIONS_REVISION: which; else the newest
# tag before this commit, or the parent of the last change of proto/.
.PHONY: check-versions
check-versions: all check-bins
	@BUILD=$(BUILD) $(PYTHON) tests/versions.py $(VERSIONS_REVISION)

.PHONY: fmt lint bench compile_commands.json
C_FILES = $(shell find $(wildcard $(LIBS) store agent lxmgr cli migration tests) -name '*.[ch]')
fmt:
	clang-format -i $(C_FILES)

lint: check-lint

bench: all $(BENCH_BIN) $(BUILD)/tests/preflight-driver
	@scripts/install-deps bench
	@set -e; for b in $(sort $(wildcard tests/bench/*.py)); do BUILD=$(BUILD) $(PYTHON) $$b; done

# Generated headers are made as well, so that every file can be parsed.
compile_commands.json: $(PROTO_H) $(ECHO_GEN).h
	@$(MAKE) -nB BUILD=$(BUILD) all unit-bins check-bins $(BENCH_BIN) | $(PYTHON) tests/compile_commands.py > $@
