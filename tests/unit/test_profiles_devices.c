/* The device filter as a program, run here by an interpreter of the few instructions it uses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "profiles/device_rules.h"

static int run(const struct bpf_insn *p, size_t n, uint32_t access, uint32_t major, uint32_t minor)
{
	const struct bpf_cgroup_dev_ctx ctx = { access, major, minor };
	uint64_t reg[5] = { 0 };

	for (size_t i = 0; i < n; i++) {
		switch (p[i].code) {
		case BPF_LDX | BPF_MEM | BPF_W: {
			uint32_t v;

			assert_int_equal(p[i].src_reg, 1);
			memcpy(&v, (const char *)&ctx + p[i].off, sizeof(v));
			reg[p[i].dst_reg] = v;
			break;
		}
		case BPF_ALU64 | BPF_AND | BPF_K:
			reg[p[i].dst_reg] &= (uint64_t)p[i].imm;
			break;
		case BPF_ALU64 | BPF_MOV | BPF_K:
			reg[p[i].dst_reg] = (uint64_t)p[i].imm;
			break;
		case BPF_JMP32 | BPF_JNE | BPF_K:
			if ((uint32_t)reg[p[i].dst_reg] != (uint32_t)p[i].imm)
				i += (size_t)p[i].off;
			break;
		case BPF_JMP | BPF_EXIT:
			return (int)reg[0];
		default:
			fail_msg("instruction %zu has code %#x", i, p[i].code);
		}
	}
	fail_msg("it runs off its end");
	return -1;
}

#define CHARACTER(how) ((uint32_t)(how) << 16 | BPF_DEVCG_DEV_CHAR)
#define BLOCK(how)     ((uint32_t)(how) << 16 | BPF_DEVCG_DEV_BLOCK)

static void default_rules(void **state)
{
	struct lx_device_rule rules[LX_DEVICE_RULES_MAX];
	struct bpf_insn program[LX_DEVICE_PROGRAM_MAX];
	size_t n = lx_device_program(rules, lx_device_rules_default(false, rules), program);

	for (uint32_t how = 1; how < 8; how++) {
		assert_int_equal(run(program, n, CHARACTER(how), 1, 3), 1);
		assert_int_equal(run(program, n, CHARACTER(how), 1, 9), 1);
		assert_int_equal(run(program, n, CHARACTER(how), 136, 77), 1);
		assert_int_equal(run(program, n, CHARACTER(how), 1, 1), 0);
		assert_int_equal(run(program, n, CHARACTER(how), 1, 11), 0);
		assert_int_equal(run(program, n, CHARACTER(how), 137, 3), 0);
		assert_int_equal(run(program, n, BLOCK(how), 1, 3), 0);
		assert_int_equal(run(program, n, BLOCK(how), 253, 0), 0);
		assert_int_equal(run(program, n, BLOCK(how), 136, 0), 0);
	}
}

static void as_many_as_there_can_be(void **state)
{
	struct lx_device_rule rules[LX_DEVICE_RULES_MAX];
	struct bpf_insn program[LX_DEVICE_PROGRAM_MAX];

	for (uint32_t i = 0; i < LX_DEVICE_RULES_MAX; i++)
		rules[i] = (struct lx_device_rule){ true, 8, i };
	size_t n = lx_device_program(rules, LX_DEVICE_RULES_MAX, program);

	assert_true(n <= LX_DEVICE_PROGRAM_MAX);
	assert_int_equal(run(program, n, BLOCK(2), 8, LX_DEVICE_RULES_MAX - 1), 1);
	assert_int_equal(run(program, n, BLOCK(2), 8, LX_DEVICE_RULES_MAX), 0);
	n = lx_device_program(rules, 0, program);
	assert_int_equal(run(program, n, CHARACTER(2), 1, 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(default_rules),
		cmocka_unit_test(as_many_as_there_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
