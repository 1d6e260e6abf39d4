# Tests of migration/tar/, which is a program of its own; one of them runs it.

TAR_ARCH := $(call ar,tar) $(BUILD)/obj/migration/hidden_runs.o $(call ar,images) $(call ar,lib)
TAR_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_migration_tar*.c))
TAR_FIXTURE := $(BUILD)/obj/tests/unit/tar_fixture.o $(BUILD)/obj/tests/unit/tar_tree.o

$(TAR_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(TAR_FIXTURE) $(TAR_ARCH) | $(CRIU_TOOLS)
	$(call link,cmocka zlib)

FUZZ_ARCH_fuzz_tar_extract := $(TAR_ARCH)
