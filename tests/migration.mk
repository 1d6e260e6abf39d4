# Tests of migration/: drivers for what has no program of its own.

MIGRATION_ARCH := $(call ar,migration) $(call ar,profiles) $(call ar,proto) $(call ar,lib)

$(BUILD)/tests/preflight-driver: $(BUILD)/obj/tests/system/migration/preflight_driver.o $(MIGRATION_ARCH)
	$(call link,$(PKGS_MOVE))

FUZZ_ARCH_fuzz_preflight := $(MIGRATION_ARCH)
FUZZ_ARCH_fuzz_file_image := $(MIGRATION_ARCH)
$(BUILD)/tests/preflight-culprit: $(BUILD)/obj/tests/system/migration/culprit.o
	$(call link,)

# Goes into guests, whatever their libc.
$(BUILD)/tests/passenger: LDFLAGS := -static -no-pie
$(BUILD)/tests/passenger: $(BUILD)/obj/tests/system/migration/passenger.o
	$(call link,)

$(BUILD)/tests/teller: LDFLAGS := -static -no-pie
$(BUILD)/tests/teller: $(BUILD)/obj/tests/system/migration/teller.o
	$(call link,)

# Exports what CRIU does.
$(BUILD)/tests/memfd-restore: LDFLAGS += -rdynamic
$(BUILD)/tests/memfd-restore: $(BUILD)/obj/tests/system/migration/memfd_restore.o
	$(call link,)

# These go into guests as well.
$(BUILD)/tests/sharer $(BUILD)/tests/hoarder $(BUILD)/tests/flooder $(BUILD)/tests/watched: LDFLAGS := -static -no-pie
$(BUILD)/tests/sharer: $(BUILD)/obj/tests/system/migration/sharer.o
	$(call link,)
$(BUILD)/tests/flooder: $(BUILD)/obj/tests/system/migration/flooder.o
	$(call link,)
$(BUILD)/tests/hoarder: $(BUILD)/obj/tests/system/migration/hoarder.o
	$(call link,)
$(BUILD)/tests/watched: $(BUILD)/obj/tests/system/migration/watched.o
	$(call link,)
