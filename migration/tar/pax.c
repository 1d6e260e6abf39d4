/* Reading and writing pax records. Pure. */
#include "migration/tar/pax.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/str.h"

#define NUMBER_MAX 48

/* ------------------------------------------------------------------ values */

static int take_text(const char *value, size_t len, const char **ret)
{
	if (strlen(value) != len)
		return -EINVAL;
	*ret = len > 0 ? value : NULL;
	return 0;
}

static int take_number(const char *value, size_t len, uint64_t *ret, bool *has)
{
	*has = len > 0;
	return len > 0 ? lx_parse_u64(value, ret) : 0;
}

/* "-1.25" is a quarter before the second -1. Digits beyond nanoseconds are cut. */
static int take_time(const char *value, size_t len, struct timespec *ret, bool *has)
{
	bool negative = value[0] == '-';
	char whole[NUMBER_MAX];
	const char *digits = value + negative;
	size_t n = strcspn(digits, ".");
	uint64_t seconds;
	long ns = 0;

	*has = len > 0;
	if (len == 0)
		return 0;
	if (n >= sizeof(whole))
		return -ERANGE;
	snprintf(whole, sizeof(whole), "%.*s", (int)n, digits);
	if (lx_parse_u64(whole, &seconds) < 0 || seconds > INT64_MAX / 2)
		return -EINVAL;
	digits += n + (digits[n] == '.');
	for (long unit = LX_NSEC_PER_SEC / 10; *digits; digits++, unit /= 10) {
		if (*digits < '0' || *digits > '9')
			return -EINVAL;
		ns += unit * (*digits - '0');
	}
	ret->tv_sec = negative ? -(int64_t)seconds - (ns > 0) : (int64_t)seconds;
	ret->tv_nsec = negative && ns > 0 ? (long)LX_NSEC_PER_SEC - ns : ns;
	return 0;
}

/* ------------------------------------------------------------------ sparse files */

/* Version 0.0: two records for each piece. */
static int take_piece(struct lx_tarball_pax *pax, bool is_length, const char *value,
		      struct lx_tarball_entry *e)
{
	uint64_t number;
	int r = lx_parse_u64(value, &number);

	if (r < 0)
		return r;
	if (is_length != pax->has_piece)
		return -EINVAL;
	pax->has_piece = !is_length;
	if (is_length)
		return lx_tarball_add_piece(e, pax->piece_at, number);
	pax->piece_at = number;
	return 0;
}

/* Version 0.1: "offset,length,offset,length". */
static int take_map(char *value, struct lx_tarball_entry *e)
{
	char *save = NULL;
	int r = 0;

	e->n_pieces = 0;
	for (char *at = strtok_r(value, ",", &save); at && r == 0; at = strtok_r(NULL, ",", &save)) {
		const char *len = strtok_r(NULL, ",", &save);
		uint64_t numbers[2];

		r = len ? lx_parse_u64(at, &numbers[0]) : -EINVAL;
		if (r == 0)
			r = lx_parse_u64(len, &numbers[1]);
		if (r == 0)
			r = lx_tarball_add_piece(e, numbers[0], numbers[1]);
	}
	return r;
}

static int take_sparse(struct lx_tarball_pax *pax, const char *key, char *value, size_t len,
		       struct lx_tarball_entry *e)
{
	bool said;

	if (lx_streq(key, "name"))
		return take_text(value, len, &pax->sparse_name);
	if (lx_streq(key, "major"))
		return take_number(value, len, &pax->sparse_major, &said);
	if (lx_streq(key, "size") || lx_streq(key, "realsize"))
		return take_number(value, len, &pax->real_size, &pax->has_real_size);
	if (lx_streq(key, "offset") || lx_streq(key, "numbytes"))
		return take_piece(pax, key[0] == 'n', value, e);
	return lx_streq(key, "map") ? take_map(value, e) : 0;
}

/* ------------------------------------------------------------------ records */

#define SPARSE "GNU.sparse."

static int take(struct lx_tarball_pax *pax, const char *key, char *value, size_t len,
		struct lx_tarball_entry *e)
{
	if (lx_streq(key, "path"))
		return take_text(value, len, &pax->path);
	if (lx_streq(key, "linkpath"))
		return take_text(value, len, &pax->link);
	if (lx_streq(key, "size"))
		return take_number(value, len, &pax->size, &pax->has_size);
	if (lx_streq(key, "uid"))
		return take_number(value, len, &pax->uid, &pax->has_uid);
	if (lx_streq(key, "gid"))
		return take_number(value, len, &pax->gid, &pax->has_gid);
	if (lx_streq(key, "mtime"))
		return take_time(value, len, &pax->mtime, &pax->has_mtime);
	if (lx_streq(key, "atime"))
		return take_time(value, len, &pax->atime, &pax->has_atime);
	if (lx_starts_with(key, SPARSE))
		return take_sparse(pax, key + strlen(SPARSE), value, len, e);
	return 0;
}

/* The length in front of a record that begins at `text`, or 0. */
static size_t record_length(const char *text, size_t len, size_t *ret_digits)
{
	size_t n = 0, value = 0;

	for (; n < len && text[n] >= '0' && text[n] <= '9' && value <= len; n++)
		value = value * 10 + (size_t)(text[n] - '0');
	*ret_digits = n;
	return n > 0 && n < len && text[n] == ' ' && value <= len && value > n + 2 ? value : 0;
}

int lx_tarball_pax_take(struct lx_tarball_pax *pax, char *text, size_t len, struct lx_tarball_entry *e,
			struct lx_err *err)
{
	while (len > 0) {
		size_t digits, n = record_length(text, len, &digits);
		char *key = text + digits + 1;
		char *equals = n > 0 && text[n - 1] == '\n' ? memchr(key, '=', n - digits - 2) : NULL;

		if (!equals)
			return lx_err_set(err, LX_INVALID_ARGUMENT, "the archive's pax records are broken");
		*equals = '\0';
		text[n - 1] = '\0';
		int r = take(pax, key, equals + 1, (size_t)(text + n - 1 - (equals + 1)), e);

		if (r == -ENOMEM)
			return lx_err_oom(err);
		if (r < 0)
			return lx_err_set(err, LX_INVALID_ARGUMENT,
					  "the archive's pax record \"%.50s\" is refused: \"%.100s\"", key,
					  equals + 1);
		text += n;
		len -= n;
	}
	return 0;
}

/* ------------------------------------------------------------------ writing */

int lx_tarball_pax_put(struct lx_buf *out, const char *key, const char *value)
{
	size_t rest = strlen(key) + strlen(value) + 3, len = rest + 1;

	/* The length counts its own digits. */
	for (size_t ten = 10; len >= ten; ten *= 10)
		len = len + 1;
	return lx_buf_printf(out, "%zu %s=%s\n", len, key, value);
}

int lx_tarball_pax_put_number(struct lx_buf *out, const char *key, uint64_t value)
{
	char text[NUMBER_MAX];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return lx_tarball_pax_put(out, key, text);
}

int lx_tarball_pax_put_time(struct lx_buf *out, const char *key, struct timespec value)
{
	bool negative = value.tv_sec < 0;
	uint64_t seconds = negative ? -(uint64_t)value.tv_sec : (uint64_t)value.tv_sec;
	long ns = value.tv_nsec;
	char text[NUMBER_MAX];

	if (negative && ns > 0) {
		seconds--;
		ns = (long)LX_NSEC_PER_SEC - ns;
	}
	snprintf(text, sizeof(text), "%s%" PRIu64 ".%09ld", negative ? "-" : "", seconds, ns);
	return lx_tarball_pax_put(out, key, text);
}
