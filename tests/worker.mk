# Tests of agent/worker/: its pure parts need nothing of liblxc.

IWORKER_ARCH := $(call ar,iworker) $(call ar,worker) $(call ar,profiles) $(call ar,proto) $(call ar,lib)

IWORKER_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_worker*.c))
$(IWORKER_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(IWORKER_ARCH)
	$(call link,cmocka libprotobuf-c)

$(BUILD)/tests/test_intercept: $(BUILD)/obj/tests/unit/test_intercept.o $(call ar,intercept) $(IWORKER_ARCH)
	$(call link,cmocka libprotobuf-c)

# Of agent/worker/snapshot/, and of what carries snapshots in moves.
$(BUILD)/tests/test_snapshot: $(BUILD)/obj/tests/unit/test_snapshot.o $(BUILD)/obj/tests/unit/tree_fixture.o \
			      $(call ar,moveworker) $(IWORKER_ARCH) $(call ar,migration)
	$(call link,cmocka $(PKGS_MOVE) $(PKGS_LXC))

$(BUILD)/tests/test_move_pack: $(BUILD)/obj/tests/unit/test_move_pack.o $(call ar,moveworker) $(IWORKER_ARCH)
	$(call link,cmocka $(PKGS_MOVE))

# Makes calls that stop.
$(BUILD)/tests/caller: LDFLAGS := -static -no-pie -pthread
$(BUILD)/tests/caller: $(BUILD)/obj/tests/system/intercept/caller.o
	$(call link,)

# Put into guests to try what they may.
$(BUILD)/tests/confined: LDFLAGS := -static -no-pie
$(BUILD)/tests/confined: $(BUILD)/obj/tests/system/instance/confined.o
	$(call link,)

FUZZ_ARCH_fuzz_worker := $(IWORKER_ARCH)
