# Tests of images/: they need nothing that stands on it.

IMAGES_ARCH := $(call ar,images) $(call ar,proto) $(call ar,lib)

IMAGES_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_images*.c))
$(IMAGES_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(IMAGES_ARCH)
	$(call link,cmocka $(PKGS_IMAGES) libprotobuf-c)

FUZZ_ARCH_fuzz_image_metadata := $(IMAGES_ARCH)
FUZZ_ARCH_fuzz_image_unpack   := $(IMAGES_ARCH)
