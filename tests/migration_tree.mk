# Tests of migration/tree*.c: they need nothing of the rest of migration/ but what it is archived with.

MIGRATION_ARCH := $(call ar,migration) $(call ar,proto) $(call ar,lib)

$(BUILD)/tests/test_migration_tree: $(BUILD)/obj/tests/unit/test_migration_tree.o $(MIGRATION_ARCH)
	$(call link,cmocka libprotobuf-c)

FUZZ_ARCH_fuzz_move_tree := $(MIGRATION_ARCH)
