# Tests of rpc/: a service of their own, so that they need nothing above rpc/.

ECHO_GEN := $(BUILD)/gen/tests/echo.pb-c
ECHO_OBJ := $(BUILD)/obj/gen/tests/echo.pb-c.o $(BUILD)/obj/tests/system/rpc/echo_service.o
RPC_ARCH := $(call ar,rpc) $(call ar,proto) $(call ar,lib)
RPC_KIT  := $(BUILD)/obj/tests/unit/rpc_fixture.o $(BUILD)/obj/tests/unit/rpc_certs.o $(ECHO_OBJ)

$(BUILD)/gen/tests/%.pb-c.c $(BUILD)/gen/tests/%.pb-c.h: tests/proto/%.proto
	@mkdir -p $(@D)
	@echo "  PROTO $<"
	@protoc-c --proto_path=tests/proto --c_out=$(@D) $<

RPC_TEST_SRC := $(wildcard tests/unit/test_rpc*.c tests/unit/rpc_*.c tests/system/rpc/*.c tests/bench/rpc_*.c \
                tests/fuzz/fuzz_rpc*.c)
$(call obj,$(RPC_TEST_SRC)): | $(ECHO_GEN).h

RPC_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_rpc*.c))
$(RPC_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(RPC_KIT) $(RPC_ARCH)
	$(call link,cmocka $(PKGS_RPC))

# Programs for the tests with grpcio, and the descriptors they reflect.
RPC_PROGRAMS := $(BUILD)/tests/rpc_echo_server $(BUILD)/tests/rpc_echo_client
ECHO_DESC    := $(BUILD)/gen/tests/echo.desc

$(BUILD)/tests/rpc_%: $(BUILD)/obj/tests/system/rpc/%.o $(ECHO_OBJ) $(RPC_ARCH)
	$(call link,$(PKGS_RPC))

$(ECHO_DESC): tests/proto/echo.proto proto/grpc/reflection/v1alpha/reflection.proto
	@mkdir -p $(@D)
	@protoc --proto_path=tests/proto --proto_path=proto --include_imports --descriptor_set_out=$@ $^

.PHONY: check-rpc
check-rpc: $(RPC_PROGRAMS) $(ECHO_DESC)
	@LX_BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/system/rpc

$(BUILD)/tests/rpc_bench: $(BUILD)/obj/tests/bench/rpc_bench.o $(BUILD)/obj/tests/unit/rpc_certs.o $(ECHO_OBJ) $(RPC_ARCH)
	$(call link,$(PKGS_RPC))

# Fuzzing needs no more than the tests.
FUZZ_ARCH_fuzz_rpc_framing  := $(RPC_ARCH)
FUZZ_ARCH_fuzz_rpc_metadata := $(RPC_ARCH)
FUZZ_ARCH_fuzz_rpc_conn     := $(RPC_ARCH)
FUZZ_ARCH_fuzz_rpc_client   := $(RPC_ARCH)
FUZZ_OBJ_fuzz_rpc_framing   := $(BUILD)/obj/gen/tests/echo.pb-c.o
FUZZ_OBJ_fuzz_rpc_conn      := $(ECHO_OBJ)
FUZZ_OBJ_fuzz_rpc_client    := $(ECHO_OBJ)

$(BUILD)/tests/test_rpc_oom: LDFLAGS += $(foreach f,malloc calloc realloc strdup strndup,-Wl,--wrap=$(f))
