/* Reading join tokens. Whatever is wrong with one, the message does not repeat the secret. */
#include "agent/token.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define TOKEN_VERSION 1

static int bad_token(const char *what, struct lx_err *err)
{
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "the join token is not one: %s", what);

	lx_err_hint(err, "Copy it whole, or make a new one with: lxmgr node token");
	return r;
}

static int sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* `out` has room for 3/4 of the text. Returns the bytes, or -1. */
static int decode(const char *text, char *out)
{
	unsigned bits = 0, n_bits = 0;
	int n = 0;

	for (; *text && *text != '='; text++) {
		int v = sextet(*text);

		if (v < 0)
			return -1;
		bits = bits << 6 | (unsigned)v;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[n++] = (char)(bits >> n_bits & 0xff);
		}
	}
	return n;
}

static bool take_string(const json_t *json, const char *key, char **ret)
{
	const char *value = json_string_value(json_object_get(json, key));

	*ret = value ? strdup(value) : NULL;
	return *ret != NULL;
}

static bool is_fingerprint(const char *s)
{
	return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static int take_fields(const json_t *json, struct lx_token *t, struct lx_err *err)
{
	const json_t *addresses = json_object_get(json, "a");

	if (json_integer_value(json_object_get(json, "v")) != TOKEN_VERSION)
		return bad_token("it is of a version this agent does not know", err);
	if (!take_string(json, "f", &t->fingerprint) || !take_string(json, "s", &t->secret) ||
	    !take_string(json, "n", &t->node) || !is_fingerprint(t->fingerprint) || !*t->secret)
		return bad_token("a part is missing", err);
	for (size_t i = 0; i < json_array_size(addresses) && i < LX_TOKEN_MAX_ADDRESSES; i++) {
		const char *address = json_string_value(json_array_get(addresses, i));

		if (address && !(t->addresses[t->n_addresses] = strdup(address)))
			return lx_err_oom(err);
		t->n_addresses += address != NULL;
	}
	return t->n_addresses > 0 ? 0 : bad_token("it names no manager", err);
}

int lx_token_parse(const char *text, struct lx_token *ret, struct lx_err *err)
{
	char plain[LX_TOKEN_MAX];

	*ret = (struct lx_token){ 0 };
	if (strlen(text) > LX_TOKEN_MAX)
		return bad_token("it is too long", err);
	int n = decode(text, plain);
	json_t *json = n > 0 ? json_loadb(plain, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	int r = json ? take_fields(json, ret, err) : bad_token("it cannot be decoded", err);

	json_decref(json);
	if (r < 0)
		lx_token_release(ret);
	return r;
}

void lx_token_release(struct lx_token *t)
{
	for (size_t i = 0; i < t->n_addresses; i++)
		free(t->addresses[i]);
	if (t->secret)
		explicit_bzero(t->secret, strlen(t->secret));
	free(t->fingerprint);
	free(t->secret);
	free(t->node);
	*t = (struct lx_token){ 0 };
}
