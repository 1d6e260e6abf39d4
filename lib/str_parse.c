/*
 * Numbers as people type them. All of these take the whole string or refuse it: no
 * leading blanks, no signs where none belong, no rest. The result is only written on
 * success.
 */
#include "lib/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"

/* Reads digits at *s and moves it behind them. 0, -EINVAL (no digit) or -ERANGE. */
static int digits(const char **s, uint64_t *ret)
{
	const char *p = *s;
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	*s = p;
	*ret = v;
	return 0;
}

int lx_parse_u64(const char *s, uint64_t *ret)
{
	uint64_t v;

	if (!s)
		return -EINVAL;
	int r = digits(&s, &v);

	if (r < 0)
		return r;
	if (*s)
		return -EINVAL;
	*ret = v;
	return 0;
}

int lx_parse_i64(const char *s, int64_t *ret)
{
	uint64_t v;

	if (!s)
		return -EINVAL;
	bool negative = *s == '-';
	int r = lx_parse_u64(s + negative, &v);

	if (r < 0)
		return r;
	if (v > (uint64_t)INT64_MAX + negative)
		return -ERANGE;
	/* Negated as unsigned, so that INT64_MIN needs no case of its own. */
	*ret = (int64_t)(negative ? 0 - v : v);
	return 0;
}

int lx_parse_bool(const char *s, bool *ret)
{
	static const char *const words[][2] = {
		{ "false", "true" },
		{ "no", "yes" },
		{ "off", "on" },
		{ "0", "1" },
	};

	for (size_t i = 0; s && i < LX_ARRAY_SIZE(words); i++) {
		for (int v = 0; v < 2; v++) {
			if (strcmp(s, words[i][v]) == 0) {
				*ret = v;
				return 0;
			}
		}
	}
	return -EINVAL;
}

/* ------------------------------------------------------------------ sizes */

static const struct {
	const char *suffix;
	uint64_t bytes;
} units[] = {
	{ "", 1 },
	{ "B", 1 },
	{ "kB", UINT64_C(1000) },
	{ "MB", UINT64_C(1000000) },
	{ "GB", UINT64_C(1000000000) },
	{ "TB", UINT64_C(1000000000000) },
	{ "KiB", UINT64_C(1) << 10 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "TiB", UINT64_C(1) << 40 },
};

#define SIZE_DECIMALS_MAX 6 /* "1.5GiB" is fine, a dozen digits is a mistake */

int lx_parse_size(const char *s, uint64_t *ret)
{
	uint64_t whole, fraction = 0, scale = 1;

	if (!s)
		return -EINVAL;
	int r = digits(&s, &whole);

	if (r < 0)
		return r;
	if (*s == '.') {
		const char *start = ++s;

		if (digits(&s, &fraction) < 0 || s - start > SIZE_DECIMALS_MAX)
			return -EINVAL;
		for (; start < s; start++)
			scale *= 10;
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(units); i++) {
		if (strcmp(s, units[i].suffix) != 0)
			continue;
		uint64_t v;

		if (scale > 1 && units[i].bytes == 1)
			return -EINVAL; /* no half bytes */
		if (__builtin_mul_overflow(whole, units[i].bytes, &v) ||
		    __builtin_add_overflow(v, units[i].bytes * fraction / scale, &v))
			return -ERANGE;
		*ret = v;
		return 0;
	}
	return -EINVAL;
}

char *lx_format_size(uint64_t bytes, char *buf, size_t n)
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned __int128 scaled = (unsigned __int128)bytes * 10;
	unsigned __int128 tenths = scaled;
	size_t unit = 0;

	/* The rounded number decides, so that 1023.96KiB becomes 1MiB and never 1024KiB. */
	while (tenths >= 10240 && unit + 1 < LX_ARRAY_SIZE(names)) {
		uint64_t size = UINT64_C(1) << (10 * ++unit);

		tenths = (scaled + size / 2) / size;
	}
	uint64_t whole = (uint64_t)(tenths / 10);
	unsigned tenth = (unsigned)(tenths % 10);

	if (tenth)
		snprintf(buf, n, "%llu.%u%s", (unsigned long long)whole, tenth, names[unit]);
	else
		snprintf(buf, n, "%llu%s", (unsigned long long)whole, names[unit]);
	return buf;
}

/* ------------------------------------------------------------------ durations */

int lx_parse_duration(const char *s, uint64_t *ret_seconds)
{
	static const struct {
		char letter;
		uint64_t seconds;
	} parts[] = { { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };
	uint64_t total = 0, v;

	if (lx_parse_u64(s, &v) == 0) {
		*ret_seconds = v;
		return 0;
	}
	if (lx_str_empty(s))
		return -EINVAL;
	/* Each part at most once and in falling order, so "5s1h" is refused as the typo it is. */
	for (size_t i = 0; *s; i++) {
		if (digits(&s, &v) < 0)
			return -EINVAL;
		while (i < LX_ARRAY_SIZE(parts) && parts[i].letter != *s)
			i++;
		if (i == LX_ARRAY_SIZE(parts) || __builtin_mul_overflow(v, parts[i].seconds, &v) ||
		    __builtin_add_overflow(total, v, &total))
			return -EINVAL;
		s++;
	}
	*ret_seconds = total;
	return 0;
}

char *lx_format_duration(uint64_t ns, char *buf, size_t n)
{
	/* The rounded number decides, so that 999.96 ms becomes 1.00 s and never 1000.0 ms. */
	uint64_t tenths = ns / 100000 + (ns % 100000 >= 50000);
	uint64_t hundredths = ns / 10000000 + (ns % 10000000 >= 5000000);
	uint64_t s = ns / 1000000000 + (ns % 1000000000 >= 500000000);

	if (tenths < 10000)
		snprintf(buf, n, "%llu.%llu ms", (unsigned long long)(tenths / 10),
			 (unsigned long long)(tenths % 10));
	else if (hundredths < 6000)
		snprintf(buf, n, "%llu.%02llu s", (unsigned long long)(hundredths / 100),
			 (unsigned long long)(hundredths % 100));
	else if (s < 3600)
		snprintf(buf, n, "%llum %llus", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
	else
		snprintf(buf, n, "%lluh %llum %llus", (unsigned long long)(s / 3600),
			 (unsigned long long)(s / 60 % 60), (unsigned long long)(s % 60));
	return buf;
}
