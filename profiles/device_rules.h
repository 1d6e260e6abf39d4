/*
 * Which device nodes a guest may open, whatever is in its /dev: those without a machine behind
 * them, and those its configuration passes to it. Pure.
 */
#ifndef LX_PROFILES_DEVICE_RULES_H
#define LX_PROFILES_DEVICE_RULES_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lx_device_rule {
	bool block; /* else a character device */
	uint32_t major;
	uint32_t minor; /* LX_DEVICE_ANY: all of that major */
};

#define LX_DEVICE_ANY       UINT32_MAX
#define LX_DEVICE_RULES_MAX 96

/*
 * Null, zero, full, random, urandom, tty, ptmx, the pseudo-terminals, and, but for the privileged,
 * console. Returns how many.
 */
size_t lx_device_rules_default(bool privileged, struct lx_device_rule rules[LX_DEVICE_RULES_MAX]);

/* Instructions of the program below: four a rule and two around, at most. */
#define LX_DEVICE_PROGRAM_MAX (6 * LX_DEVICE_RULES_MAX + 8)

/*
 * A program of type BPF_PROG_TYPE_CGROUP_DEVICE that lets reading, writing and making these
 * through and refuses all else. Returns the number of instructions.
 */
size_t lx_device_program(const struct lx_device_rule *rules, size_t n,
			 struct bpf_insn out[LX_DEVICE_PROGRAM_MAX]);

#endif
