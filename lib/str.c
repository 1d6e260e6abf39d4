/*
 * Comparing, checking and making text. What parses numbers, sizes and durations is in
 * str_parse.c. Nothing here depends on the locale.
 */
#include "lib/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

bool lx_streq(const char *a, const char *b)
{
	if (!a || !b)
		return a == b;
	return strcmp(a, b) == 0;
}

bool lx_starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool lx_ends_with(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool lx_str_empty(const char *s)
{
	return !s || !s[0];
}

char *lx_asprintf(const char *fmt, ...)
{
	char *s;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);

	va_end(ap);
	return n < 0 ? NULL : s;
}

/* ------------------------------------------------------------------ names */

/* What is wrong with a name, or NULL. */
static const char *name_fault(const char *name)
{
	size_t n = strnlen(name, LX_NAME_MAX + 1);
	bool digits_only = true;

	if (n == 0)
		return "it is empty";
	if (n > LX_NAME_MAX)
		return "it is longer than 63 characters";
	for (size_t i = 0; i < n; i++) {
		bool digit = name[i] >= '0' && name[i] <= '9';

		if (!digit)
			digits_only = false;
		if (!digit && !(name[i] >= 'a' && name[i] <= 'z') && name[i] != '-')
			return "only lower-case letters, digits and hyphens may be in it";
	}
	if (name[0] == '-' || name[n - 1] == '-')
		return "it must not start or end with a hyphen";
	if (digits_only)
		return "it must not be all digits";
	return NULL;
}

int lx_name_check(const char *what, const char *name, struct lx_err *err)
{
	const char *fault = name_fault(name ? name : "");

	if (!fault)
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "invalid %s name \"%s\": %s", what, name ? name : "",
			   fault);

	lx_err_hint(err, "A name is 1 to 63 of a-z, 0-9 and \"-\", like web1 or db-test.");
	return r;
}

/* ------------------------------------------------------------------ did you mean */

#define NEAREST_WORD_MAX 64

/*
 * How many letters to add, drop, change or swap with their neighbour to get from a to b,
 * both at most NEAREST_WORD_MAX long.
 */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m)
{
	uint8_t d[NEAREST_WORD_MAX + 1][NEAREST_WORD_MAX + 1];

	for (size_t i = 0; i <= n; i++)
		d[i][0] = (uint8_t)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (uint8_t)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = (uint8_t)best;
		}
	}
	return d[n][m];
}

const char *lx_nearest(const char *word, const char *const *candidates, size_t n)
{
	size_t len = strnlen(word, NEAREST_WORD_MAX + 1);
	const char *found = NULL;
	size_t best = 3; /* with more than two edits it is another word */

	if (len > NEAREST_WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t clen = strnlen(candidates[i], NEAREST_WORD_MAX + 1);

		if (clen > NEAREST_WORD_MAX)
			continue;
		size_t d = edit_distance(word, len, candidates[i], clen);

		if (d < best && 2 * d < len) {
			best = d;
			found = candidates[i];
		}
	}
	return found;
}

/* ------------------------------------------------------------------ identifiers */

void lx_hex(const void *data, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 0xf];
	}
	out[2 * n] = '\0';
}

int lx_uuid(char out[LX_UUID_TEXT])
{
	uint8_t u[16];
	ssize_t n;

	/* So few bytes come whole or not at all; only the wait for entropy at boot is interruptible. */
	do {
		n = getrandom(u, sizeof(u), 0);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(u))
		return n < 0 ? -errno : -EIO;

	u[6] = (uint8_t)((u[6] & 0x0f) | 0x40); /* version 4: random */
	u[8] = (uint8_t)((u[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
	for (size_t i = 0, at = 0; i < sizeof(u); i++, at += 2) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		lx_hex(&u[i], 1, out + at);
	}
	return 0;
}

const char *lx_address_part(const char *cidr, char *buf, size_t n)
{
	snprintf(buf, n, "%s", cidr);
	buf[strcspn(buf, "/")] = '\0';
	return buf;
}
