# Tests of agent/network/: the library alone, driven by a small program.

NETWORK_OBJ  := $(call obj,$(call src,agent/network))
NETWORK_ARCH := $(call ar,proto) $(call ar,lib)
NETWORK_PKGS := $(PKGS_AGENT) libuv libprotobuf-c jansson

$(BUILD)/tests/network-driver: $(BUILD)/obj/tests/system/network/driver.o $(NETWORK_OBJ) $(NETWORK_ARCH)
	$(call link,$(NETWORK_PKGS))

NETWORK_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_network*.c))
$(NETWORK_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(NETWORK_OBJ) $(NETWORK_ARCH)
	$(call link,cmocka $(NETWORK_PKGS))
