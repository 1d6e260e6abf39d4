# Tests of migration/tree*.c: they need nothing of the rest of migration/ but what it is archived with.

MIGRATION_ARCH := $(call ar,migration) $(call ar,proto) $(call ar,lib)

TREE_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_migration_tree*.c))

$(TREE_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/obj/tests/unit/tree_fixture.o $(MIGRATION_ARCH)
	$(call link,cmocka libprotobuf-c)

FUZZ_ARCH_fuzz_move_tree := $(MIGRATION_ARCH)
