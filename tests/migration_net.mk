# Tests of migration/net*: the library alone, driven by a small program.

MOVE_NET_ARCH := $(call ar,migration) $(call ar,proto) $(call ar,lib)

$(BUILD)/tests/move-net-driver: $(BUILD)/obj/tests/system/migration/net_driver.o $(MOVE_NET_ARCH)
	$(call link,$(PKGS_MOVE))

MOVE_NET_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_migration_net*.c))
$(MOVE_NET_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(MOVE_NET_ARCH)
	$(call link,cmocka $(PKGS_MOVE))
