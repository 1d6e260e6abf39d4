/* Headers and their codings; see metadata.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/str.h"
#include "rpc/metadata.h"

#define TIMEOUT_DIGITS 8
#define TIMEOUT_MAX    99999999u

void lx_rpc_metadata_release(struct lx_metadata *md)
{
	struct lx_header *h, *next;

	for (h = md->first; h; h = next) {
		next = h->next;
		free(h);
	}
	*md = (struct lx_metadata){ 0 };
}

int lx_rpc_metadata_add(struct lx_metadata *md, const char *name, size_t name_len, const char *value,
			size_t value_len)
{
	struct lx_header *h = malloc(sizeof(*h) + name_len + value_len + 2);
	char *text;

	if (!h)
		return -ENOMEM;
	text = (char *)(h + 1);
	memcpy(text, name, name_len);
	text[name_len] = '\0';
	memcpy(text + name_len + 1, value, value_len);
	text[name_len + 1 + value_len] = '\0';
	*h = (struct lx_header){ .name = text, .value = text + name_len + 1 };
	if (md->last)
		md->last->next = h;
	else
		md->first = h;
	md->last = h;
	md->count++;
	return 0;
}

const char *lx_rpc_metadata_get(const struct lx_metadata *md, const char *name)
{
	const struct lx_header *h;

	for (h = md->first; h; h = h->next)
		if (strcmp(h->name, name) == 0)
			return h->value;
	return NULL;
}

/* Connection-specific headers are errors in HTTP/2 and would cost the whole call. */
static bool is_reserved(const char *name)
{
	static const char *const reserved[] = { "te",        "content-type",     "user-agent",
						"host",      "connection",       "keep-alive",
						"upgrade",   "proxy-connection", "transfer-encoding",
						"lxmgr-hint" };
	size_t i;

	if (lx_starts_with(name, "grpc-"))
		return true;
	for (i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (strcmp(name, reserved[i]) == 0)
			return true;
	return false;
}

int lx_rpc_metadata_check(const char *name, const char *value, struct lx_err *err)
{
	const char *p;
	size_t len;

	if (lx_str_empty(name))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "metadata needs a name");
	for (p = name; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || strchr("-_.", *p)))
			return lx_err_set(err, LX_INVALID_ARGUMENT,
					  "metadata name \"%s\": only a-z, 0-9, '-', '_' and '.' are allowed",
					  name);
	if (is_reserved(name))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "metadata name \"%s\" is reserved", name);
	for (p = value; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return lx_err_set(err, LX_INVALID_ARGUMENT,
					  "metadata \"%s\": the value must be printable ASCII", name);
	len = (size_t)(p - value);
	if (len && (value[0] == ' ' || value[len - 1] == ' '))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "metadata \"%s\": the value begins or ends with a space", name);
	return 0;
}

int lx_percent_encode(const char *text, struct lx_buf *out)
{
	static const char hex[] = "0123456789ABCDEF";
	const unsigned char *p;
	size_t len = strlen(text);
	uint8_t *to;

	if (lx_buf_reserve(out, 3 * len + 1) < 0)
		return -ENOMEM;
	to = out->data + out->len;
	for (p = (const unsigned char *)text; *p; p++) {
		/* A space at either end would be stripped or refused as a header value. */
		bool edge = *p == ' ' && (p == (const unsigned char *)text || !p[1]);

		if (*p >= 0x20 && *p <= 0x7e && *p != '%' && !edge) {
			*to++ = *p;
		} else {
			*to++ = '%';
			*to++ = (uint8_t)hex[*p >> 4];
			*to++ = (uint8_t)hex[*p & 15];
		}
	}
	*to = '\0';
	out->len = (size_t)(to - out->data);
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Cuts an incomplete UTF-8 sequence off the end of len bytes; returns the new length. */
static size_t whole_characters(const char *text, size_t len)
{
	size_t start = len;
	unsigned char lead;
	size_t need;

	while (start > 0 && len - start < 4 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0)
		return len;
	lead = (unsigned char)text[start - 1];
	need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
	return len - (start - 1) < need ? start - 1 : len;
}

void lx_percent_decode(const char *text, size_t len, char *out, size_t n)
{
	size_t i = 0, used = 0;

	while (i < len && used + 1 < n) {
		unsigned char c = (unsigned char)text[i];

		if (c == '%' && i + 2 < len && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
			c = (unsigned char)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
			i += 3;
		} else {
			i++;
		}
		out[used++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
	}
	if (i < len)
		used = whole_characters(out, used);
	out[used] = '\0';
}

static const struct {
	char unit;
	uint64_t ns;
} units[] = {
	{ 'n', 1 },
	{ 'u', 1000 },
	{ 'm', LX_NSEC_PER_MSEC },
	{ 'S', LX_NSEC_PER_SEC },
	{ 'M', 60 * LX_NSEC_PER_SEC },
	{ 'H', 3600 * LX_NSEC_PER_SEC },
};

void lx_timeout_format(uint64_t ns, char out[LX_TIMEOUT_TEXT])
{
	size_t i;
	uint64_t n = 0;

	/* UINT64_MAX ns is some five million hours: the last unit always fits. */
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		n = ns / units[i].ns + (ns % units[i].ns != 0);
		if (n <= TIMEOUT_MAX)
			break;
	}
	snprintf(out, LX_TIMEOUT_TEXT, "%" PRIu64 "%c", n, units[i].unit);
}

int lx_timeout_parse(const char *text, size_t len, uint64_t *ns)
{
	uint64_t n = 0;
	size_t i;

	if (len < 2 || len > TIMEOUT_DIGITS + 1)
		return -EINVAL;
	for (i = 0; i + 1 < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		n = n * 10 + (uint64_t)(text[i] - '0');
	}
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (text[len - 1] != units[i].unit)
			continue;
		*ns = n > UINT64_MAX / units[i].ns ? UINT64_MAX : n * units[i].ns;
		return 0;
	}
	return -EINVAL;
}
