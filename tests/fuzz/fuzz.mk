# Fuzzing with libFuzzer: one program for each tests/fuzz/fuzz_NAME.c, its seeds in
# tests/fuzz/corpus/NAME/. Everything is compiled again for it, below $(BUILD)/fuzz.
#
#   make check-fuzz                     a few seconds each, the same seed every time
#   make fuzz FUZZ_SECONDS=600          longer; new inputs are kept in $(BUILD)/fuzz/found
#   make fuzz FUZZ_TARGETS=fuzz_NAME    only this one
#
# A target links every archive unless FUZZ_ARCH_fuzz_NAME names fewer (that saves compiling);
# FUZZ_OBJ_fuzz_NAME names further objects. Set them in an .mk file included before this one.

FUZZ_TARGETS ?= $(sort $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SECONDS ?= 60
FUZZ_BUILD   := $(BUILD)/fuzz
FUZZ_SAN     := address,undefined

ifdef FUZZING

FUZZ_BIN := $(addprefix $(BUILD)/bin/,$(FUZZ_TARGETS))

.PHONY: fuzz-bins
fuzz-bins: $(FUZZ_BIN)

define fuzz_prerequisites
$(BUILD)/bin/$(1): $(BUILD)/obj/tests/fuzz/$(1).o $(FUZZ_OBJ_$(1)) $(or $(FUZZ_ARCH_$(1)),$(ALL_ARCH))
endef
$(foreach t,$(FUZZ_TARGETS),$(eval $(call fuzz_prerequisites,$(t))))

$(FUZZ_BIN):
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	@$(CC) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
	  -fsanitize=fuzzer,$(FUZZ_SAN) -pthread $(call pkglibs,$(ALL_PKGS))

else

.PHONY: fuzz-bins check-fuzz fuzz
fuzz-bins:
	@$(MAKE) FUZZING=1 BUILD=$(FUZZ_BUILD) CC=$(CLANG) OPT=-O1 \
	  SAN='-fsanitize=fuzzer-no-link,$(FUZZ_SAN) -fno-sanitize-recover=all' fuzz-bins

# New inputs go to a directory of the build, never into the seeds.
fuzz_run = @for t in $(FUZZ_TARGETS); do \
	  echo "  FUZZ  $$t"; \
	  mkdir -p $(FUZZ_BUILD)/found/$$t tests/fuzz/corpus/$${t\#fuzz_}; \
	  $(FUZZ_BUILD)/bin/$$t $(1) -timeout=20 -rss_limit_mb=1024 -artifact_prefix=$(FUZZ_BUILD)/$$t- \
	    $(2) tests/fuzz/corpus/$${t\#fuzz_} >$(FUZZ_BUILD)/$$t.log 2>&1 || { tail -n 60 $(FUZZ_BUILD)/$$t.log; exit 1; }; \
	  grep -h '^Done' $(FUZZ_BUILD)/$$t.log || true; \
	done

check-fuzz: fuzz-bins
	$(call fuzz_run,-max_total_time=5 -seed=1,$$(mktemp -d -p $(FUZZ_BUILD)/found/$$t))

fuzz: fuzz-bins
	$(call fuzz_run,-max_total_time=$(FUZZ_SECONDS) -use_value_profile=1,$(FUZZ_BUILD)/found/$$t)

endif
