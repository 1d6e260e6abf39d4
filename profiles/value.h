/*
 * Values that say more than a number: what limits.memory, limits.cpu,
 * limits.cpu.allowance and limits.kernel.* may hold. The check of a key and the plan
 * made from it read them through the same functions, so they cannot disagree.
 *
 * All take the whole text or refuse it: 0, -EINVAL (not of this form) or -ERANGE (of
 * this form, but out of bounds). The result is written on success only.
 */
#ifndef LX_PROFILES_VALUE_H
#define LX_PROFILES_VALUE_H

#include <stdbool.h>
#include <stdint.h>

/* "512MiB", or "50%" of what the machine has. */
struct lx_amount {
	uint64_t bytes;   /* 0 when it is a percentage */
	unsigned percent; /* 1 to 100, or 0 */
};

int lx_value_amount(const char *s, struct lx_amount *ret);

/* "2": that many; "0,2-3": those. */
struct lx_cpus {
	unsigned count;   /* 0 when it is a set */
	unsigned highest; /* of a set */
};

#define LX_CPUS_MAX         8192 /* the kernel's own bound on x86-64 */
#define LX_CPU_SET_TEXT_MAX 127  /* fits a knob */

int lx_value_cpus(const char *s, struct lx_cpus *ret);

/* "50%": a weight; "25ms/100ms": a hard bound. */
struct lx_allowance {
	unsigned percent;             /* 1 to 100, or 0 */
	uint64_t quota_us, period_us; /* 0 when it is a percentage */
};

/* The kernel's bounds (CONFIG_CFS_BANDWIDTH). */
#define LX_CPU_QUOTA_MIN_US  1000
#define LX_CPU_PERIOD_MIN_US 1000
#define LX_CPU_PERIOD_MAX_US 1000000

int lx_value_allowance(const char *s, struct lx_allowance *ret);

/* "100Mbit", "1Gbit": bits a second, by 1000 or (Kibit, Mibit, Gibit) by 1024; in bytes a second. */
int lx_value_rate(const char *s, uint64_t *ret);

/* "20MB", bytes a second, or "500iops": operations a second. Neither may be 0. */
int lx_value_disk_rate(const char *s, bool *iops, uint64_t *ret);

/* "1024", "1024:4096", "unlimited". */
struct lx_rlimit {
	uint64_t soft, hard; /* LX_RLIMIT_UNLIMITED: none */
};

#define LX_RLIMIT_UNLIMITED UINT64_MAX

/* -ERANGE: soft above hard. */
int lx_value_rlimit(const char *s, struct lx_rlimit *ret);

/* "enp3s0": what may be a network interface's name; NULL may not. */
bool lx_value_ifname(const char *s);

/* No control characters: safe as one line of a configuration file. */
bool lx_value_one_line(const char *s);

/* A piece of foreign text for a message: in quotes, one line, cut at a character. Returns its text. */
#define LX_SHOWN_MAX 60

struct lx_shown {
	char text[LX_SHOWN_MAX + 8];
};

const char *lx_value_show(struct lx_shown *s, const char *value);

/* Well-formed UTF-8. */
bool lx_value_utf8(const char *s);

#endif
