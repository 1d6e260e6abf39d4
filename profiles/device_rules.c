/*
 * The program in words (linux/bpf.h, struct bpf_cgroup_dev_ctx): r2 is the kind of device, the low
 * half of the first word; r3 its major, r4 its minor number. Rule after rule they are compared; the
 * first that fits ends it with 1, the end of the list with 0.
 */
#include "profiles/device_rules.h"

#include <stddef.h>

#include "lib/cleanup.h"

size_t lx_device_rules_default(bool privileged, struct lx_device_rule rules[LX_DEVICE_RULES_MAX])
{
	/* Numbers of Documentation/admin-guide/devices.txt of the kernel. */
	static const struct lx_device_rule always[] = {
		{ false, 1, 3 }, { false, 1, 5 }, { false, 1, 7 }, { false, 1, 8 },
		{ false, 1, 9 }, { false, 5, 0 }, { false, 5, 2 }, { false, 136, LX_DEVICE_ANY },
	};
	size_t n = LX_ARRAY_SIZE(always);

	for (size_t i = 0; i < n; i++)
		rules[i] = always[i];
	/* The machine's console; a node for it only the privileged could make. */
	if (!privileged)
		rules[n++] = (struct lx_device_rule){ false, 5, 1 };
	return n;
}

static struct bpf_insn load(uint8_t to, int16_t offset)
{
	return (struct bpf_insn){
		.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = to, .src_reg = BPF_REG_1, .off = offset
	};
}

static struct bpf_insn unless(uint8_t reg, uint32_t is, int16_t skip)
{
	return (struct bpf_insn){
		.code = BPF_JMP32 | BPF_JNE | BPF_K, .dst_reg = reg, .off = skip, .imm = (int32_t)is
	};
}

static struct bpf_insn answer(int32_t value)
{
	return (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = value };
}

static const struct bpf_insn end = { .code = BPF_JMP | BPF_EXIT };

size_t lx_device_program(const struct lx_device_rule *rules, size_t n,
			 struct bpf_insn out[LX_DEVICE_PROGRAM_MAX])
{
	size_t k = 0;

	out[k++] = load(BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type));
	out[k++] =
		(struct bpf_insn){ .code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = BPF_REG_2, .imm = 0xffff };
	out[k++] = load(BPF_REG_3, offsetof(struct bpf_cgroup_dev_ctx, major));
	out[k++] = load(BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, minor));
	for (size_t i = 0; i < n && i < LX_DEVICE_RULES_MAX; i++) {
		bool any = rules[i].minor == LX_DEVICE_ANY;
		int16_t rest = any ? 2 : 3; /* instructions of this rule behind the next one */

		out[k++] = unless(BPF_REG_2, rules[i].block ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR,
				  (int16_t)(rest + 1));
		out[k++] = unless(BPF_REG_3, rules[i].major, rest);
		if (!any)
			out[k++] = unless(BPF_REG_4, rules[i].minor, 2);
		out[k++] = answer(1);
		out[k++] = end;
	}
	out[k++] = answer(0);
	out[k++] = end;
	return k;
}
