/* Strings: comparing, checking, parsing what people type. */
#ifndef LX_LIB_STR_H
#define LX_LIB_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* NULL equals only NULL. */
bool lx_streq(const char *a, const char *b);
bool lx_starts_with(const char *s, const char *prefix);
bool lx_ends_with(const char *s, const char *suffix);
/* NULL and "" are empty. */
bool lx_str_empty(const char *s);

/* malloc'ed text, NULL when out of memory. */
char *lx_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Instance, profile, network and node names: an RFC 1123 label, 1 to 63 of
 * [a-z0-9-], no hyphen at either end, not digits only. `what` names the kind of
 * thing in the message ("instance", "profile" ...). 0 or -EINVAL.
 */
#define LX_NAME_MAX 63
int lx_name_check(const char *what, const char *name, struct lx_err *err);

/* Whole-string decimal numbers with range check. 0 or -EINVAL / -ERANGE. */
int lx_parse_u64(const char *s, uint64_t *ret);
int lx_parse_i64(const char *s, int64_t *ret);

/* "true", "yes", "on", "1" and their opposites. 0 or -EINVAL. */
int lx_parse_bool(const char *s, bool *ret);

/*
 * Sizes in bytes: a number with B, kB, MB, GB, TB (1000) or KiB, MiB, GiB, TiB
 * (1024); no unit means bytes. 0, -EINVAL or -ERANGE.
 */
int lx_parse_size(const char *s, uint64_t *ret);

/* "12.5MiB" in IEC units, at most `n` bytes with the NUL. Returns buf. */
char *lx_format_size(uint64_t bytes, char *buf, size_t n);
#define LX_SIZE_TEXT_MAX 24

/* Seconds from "30", "30s", "5m", "1h30m". 0 or -EINVAL. */
int lx_parse_duration(const char *s, uint64_t *ret_seconds);

/*
 * "182.4 ms" below a second, "2.31 s" below a minute, else "3m 5s" or "1h 2m 3s"; at most `n`
 * bytes with the NUL. Returns buf.
 */
char *lx_format_duration(uint64_t ns, char *buf, size_t n);
#define LX_DURATION_TEXT_MAX 32

/*
 * Looks for the candidate nearest to `word` (edit distance at most 2 and below
 * half its length), for "did you mean" hints. Borrowed, or NULL.
 */
const char *lx_nearest(const char *word, const char *const *candidates, size_t n);

/* Lower-case hex of n bytes; out has 2n+1 bytes. */
void lx_hex(const void *data, size_t n, char *out);

/* A random (version 4) UUID as text; out has LX_UUID_TEXT bytes. 0 or negative errno. */
#define LX_UUID_TEXT 37
int lx_uuid(char out[LX_UUID_TEXT]);

/* "10.88.0.7/16" -> "10.88.0.7", into `buf`; what does not fit is cut. Returns buf. */
const char *lx_address_part(const char *cidr, char *buf, size_t n);

#endif
