/*
 * Reading the values that are more than a number. See value.h for the forms.
 */
#include "profiles/value.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/str.h"

#define IFNAME_MAX 15 /* IFNAMSIZ - 1 */

/* Copies [s, s + n) as text; false when it does not fit. */
static bool copy(char *dst, size_t size, const char *s, size_t n)
{
	if (n >= size)
		return false;
	memcpy(dst, s, n);
	dst[n] = '\0';
	return true;
}

/* "50%" */
static int percentage(const char *s, unsigned *ret)
{
	char number[24];
	uint64_t v;
	size_t n = strlen(s);

	if (n < 2 || s[n - 1] != '%' || !copy(number, sizeof(number), s, n - 1))
		return -EINVAL;
	int r = lx_parse_u64(number, &v);

	if (r < 0)
		return r;
	if (v < 1 || v > 100)
		return -ERANGE;
	*ret = (unsigned)v;
	return 0;
}

int lx_value_amount(const char *s, struct lx_amount *ret)
{
	struct lx_amount a = { 0 };
	int r = lx_ends_with(s, "%") ? percentage(s, &a.percent) : lx_parse_size(s, &a.bytes);

	if (r == 0)
		*ret = a;
	return r;
}

int lx_value_rate(const char *s, uint64_t *ret)
{
	static const struct {
		const char *unit;
		uint64_t bits;
	} units[] = {
		{ "kbit", 1000 },     { "Mbit", 1000000 },  { "Gbit", 1000000000 }, { "Kibit", 1 << 10 },
		{ "Mibit", 1 << 20 }, { "Gibit", 1 << 30 }, { "bit", 1 },
	};
	char number[24];
	uint64_t v;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t n = strlen(s), u = strlen(units[i].unit);

		if (n <= u || strcmp(s + n - u, units[i].unit) != 0)
			continue;
		if (!copy(number, sizeof(number), s, n - u))
			return -EINVAL;
		int r = lx_parse_u64(number, &v);

		if (r < 0)
			return r;
		if (__builtin_mul_overflow(v, units[i].bits, &v))
			return -ERANGE;
		*ret = v / 8;
		return 0;
	}
	return -EINVAL;
}

int lx_value_disk_rate(const char *s, bool *iops, uint64_t *ret)
{
	char number[24];
	uint64_t v;
	bool operations = lx_ends_with(s, "iops");

	if (operations && !copy(number, sizeof(number), s, strlen(s) - strlen("iops")))
		return -EINVAL;
	int r = operations ? lx_parse_u64(number, &v) : lx_parse_size(s, &v);

	if (r < 0)
		return r;
	/* v1 keeps operations in 32 bits. */
	if (v == 0 || (operations && v >= UINT32_MAX))
		return -ERANGE;
	*iops = operations;
	*ret = v;
	return 0;
}

/* ------------------------------------------------------------------ CPUs */

/* A CPU's number at *s; moves behind it. */
static int cpu_number(const char **s, unsigned *ret)
{
	unsigned v = 0;

	if (**s < '0' || **s > '9')
		return -EINVAL;
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		v = v * 10 + (unsigned)(**s - '0');
		if (v >= LX_CPUS_MAX)
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

/* "0,2-3" */
static int cpu_set(const char *s, struct lx_cpus *ret)
{
	struct lx_cpus set = { 0 };

	if (strlen(s) > LX_CPU_SET_TEXT_MAX)
		return -ERANGE;
	for (;;) {
		unsigned first, last;
		int r = cpu_number(&s, &first);

		if (r < 0)
			return r;
		last = first;
		if (*s == '-') {
			s++;
			r = cpu_number(&s, &last);
			if (r < 0)
				return r;
			if (last < first)
				return -EINVAL;
		}
		if (last > set.highest)
			set.highest = last;
		if (*s == '\0')
			break;
		if (*s++ != ',')
			return -EINVAL;
	}
	*ret = set;
	return 0;
}

int lx_value_cpus(const char *s, struct lx_cpus *ret)
{
	uint64_t count;

	if (strpbrk(s, ",-"))
		return cpu_set(s, ret);
	int r = lx_parse_u64(s, &count);

	if (r < 0)
		return r;
	if (count < 1 || count > LX_CPUS_MAX)
		return -ERANGE;
	*ret = (struct lx_cpus){ .count = (unsigned)count };
	return 0;
}

/* "25ms" or "2500us", in microseconds. */
static int microseconds(const char *s, size_t n, uint64_t *ret)
{
	char number[24];
	uint64_t v, unit;

	if (n < 3 || s[n - 1] != 's' || !copy(number, sizeof(number), s, n - 2))
		return -EINVAL;
	if (s[n - 2] == 'm')
		unit = 1000;
	else if (s[n - 2] == 'u')
		unit = 1;
	else
		return -EINVAL;
	int r = lx_parse_u64(number, &v);

	if (r < 0)
		return r;
	return __builtin_mul_overflow(v, unit, ret) ? -ERANGE : 0;
}

int lx_value_allowance(const char *s, struct lx_allowance *ret)
{
	struct lx_allowance a = { 0 };
	const char *slash = strchr(s, '/');
	int r;

	if (!slash) {
		r = percentage(s, &a.percent);
	} else {
		r = microseconds(s, (size_t)(slash - s), &a.quota_us);
		if (r == 0)
			r = microseconds(slash + 1, strlen(slash + 1), &a.period_us);
		if (r == 0 &&
		    (a.quota_us < LX_CPU_QUOTA_MIN_US || a.period_us < LX_CPU_PERIOD_MIN_US ||
		     a.period_us > LX_CPU_PERIOD_MAX_US || a.quota_us > a.period_us * (uint64_t)LX_CPUS_MAX))
			r = -ERANGE;
	}
	if (r == 0)
		*ret = a;
	return r;
}

/* ------------------------------------------------------------------ rlimits */

static int rlimit_number(const char *s, uint64_t *ret)
{
	if (strcmp(s, "unlimited") == 0) {
		*ret = LX_RLIMIT_UNLIMITED;
		return 0;
	}
	uint64_t v;
	int r = lx_parse_u64(s, &v);

	if (r < 0)
		return r;
	if (v == LX_RLIMIT_UNLIMITED)
		return -EINVAL; /* by its name, please */
	*ret = v;
	return 0;
}

int lx_value_rlimit(const char *s, struct lx_rlimit *ret)
{
	const char *colon = strchr(s, ':');
	char soft[24];
	struct lx_rlimit v = { 0 };
	int r;

	if (!colon) {
		r = rlimit_number(s, &v.soft);
		v.hard = v.soft;
	} else {
		if (!copy(soft, sizeof(soft), s, (size_t)(colon - s)))
			return -EINVAL;
		r = rlimit_number(soft, &v.soft);
		if (r == 0)
			r = rlimit_number(colon + 1, &v.hard);
		if (r == 0 && v.soft > v.hard)
			r = -ERANGE;
	}
	if (r == 0)
		*ret = v;
	return r;
}

/* ------------------------------------------------------------------ text */

bool lx_value_ifname(const char *s)
{
	/* lo is every guest's own; the other three have a meaning in /proc/sys/net or a path. */
	static const char *const taken[] = { "lo", "all", "default", ".", ".." };
	size_t n = s ? strnlen(s, IFNAME_MAX + 1) : 0;

	if (n == 0 || n > IFNAME_MAX)
		return false;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (strcmp(s, taken[i]) == 0)
			return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

bool lx_value_one_line(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

const char *lx_value_show(struct lx_shown *s, const char *value)
{
	size_t n = strnlen(value, LX_SHOWN_MAX + 1);
	bool whole = n <= LX_SHOWN_MAX;

	if (!lx_value_utf8(value))
		return "(not UTF-8 text)";
	if (!whole)
		for (n = LX_SHOWN_MAX; n > 0 && ((unsigned char)value[n] & 0xc0) == 0x80; n--)
			;
	snprintf(s->text, sizeof(s->text), "\"%.*s%s\"", (int)n, value, whole ? "" : "...");
	for (char *p = s->text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return s->text;
}

bool lx_value_utf8(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	while (*p) {
		/* Bytes that follow, and the least code point that needs so many. */
		unsigned more, least, c;

		if (*p < 0x80) {
			p++;
			continue;
		}
		if ((*p & 0xe0) == 0xc0) {
			more = 1, least = 0x80, c = *p & 0x1f;
		} else if ((*p & 0xf0) == 0xe0) {
			more = 2, least = 0x800, c = *p & 0x0f;
		} else if ((*p & 0xf8) == 0xf0) {
			more = 3, least = 0x10000, c = *p & 0x07;
		} else {
			return false;
		}
		for (p++; more; more--, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*p & 0x3f);
		}
		if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return false;
	}
	return true;
}
