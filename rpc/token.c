/* Tokens as text. Whatever is wrong with one, the message does not repeat the secret. */
#include "rpc/token.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define TOKEN_VERSION 1

static const struct {
	const char *what, *make, *use;
} kinds[] = {
	[LX_TOKEN_NODE] = { "join token", "lxmgr node token", "lxagentd --join TOKEN" },
	[LX_TOKEN_IDENTITY] = { "enrolment token", "lxmgr identity token NAME",
				"lxmgr remote add NAME TOKEN" },
};

static int bad_token(enum lx_token_kind kind, const char *what, struct lx_err *err)
{
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "the %s is not one: %s", kinds[kind].what, what);

	lx_err_hint(err, "Copy it whole, or make a new one with: %s", kinds[kind].make);
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

/* Base64url (RFC 4648, 5) without padding. */
static char *encode(const char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = strlen(text);
	char *out = malloc((n + 2) / 3 * 4 + 1), *p = out;

	for (size_t i = 0; out && i < n; i += 3) {
		size_t have = n - i < 3 ? n - i : 3;
		unsigned bits = 0;

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (k < have ? (unsigned char)text[i + k] : 0);
		for (size_t k = 0; k <= have; k++)
			*p++ = digits[bits >> (18 - 6 * k) & 63];
	}
	if (p)
		*p = '\0';
	return out;
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

static int check_kind(const json_t *json, enum lx_token_kind kind, struct lx_err *err)
{
	bool identity = lx_streq(json_string_value(json_object_get(json, "t")), "identity");
	enum lx_token_kind is = identity ? LX_TOKEN_IDENTITY : LX_TOKEN_NODE;

	if (is == kind)
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "this is a %s, not a %s", kinds[is].what,
			   kinds[kind].what);
	lx_err_hint(err, "It is used with: %s", kinds[is].use);
	return r;
}

static int take_fields(const json_t *json, enum lx_token_kind kind, struct lx_token *t, struct lx_err *err)
{
	const json_t *addresses = json_object_get(json, "a");
	int r;

	if (json_integer_value(json_object_get(json, "v")) != TOKEN_VERSION)
		return bad_token(kind, "it is of a version this program does not know", err);
	if ((r = check_kind(json, kind, err)) < 0)
		return r;
	if (!take_string(json, "f", &t->fingerprint) || !take_string(json, "s", &t->secret) ||
	    !take_string(json, "n", &t->name) || !is_fingerprint(t->fingerprint) || !*t->secret)
		return bad_token(kind, "a part is missing", err);
	for (size_t i = 0; i < json_array_size(addresses) && i < LX_TOKEN_MAX_ADDRESSES; i++) {
		const char *address = json_string_value(json_array_get(addresses, i));

		if (address && !(t->addresses[t->n_addresses] = strdup(address)))
			return lx_err_oom(err);
		t->n_addresses += address != NULL;
	}
	return t->n_addresses > 0 ? 0 : bad_token(kind, "it names no manager", err);
}

int lx_token_parse(const char *text, enum lx_token_kind kind, struct lx_token *ret, struct lx_err *err)
{
	char plain[LX_TOKEN_MAX];

	*ret = (struct lx_token){ 0 };
	if (strlen(text) > LX_TOKEN_MAX)
		return bad_token(kind, "it is too long", err);
	int n = decode(text, plain);
	json_t *json = n > 0 ? json_loadb(plain, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	int r = json ? take_fields(json, kind, ret, err) : bad_token(kind, "it cannot be decoded", err);

	json_decref(json);
	if (r < 0)
		lx_token_release(ret);
	return r;
}

char *lx_token_format(enum lx_token_kind kind, const char *addresses, const char *ca_fingerprint,
		      const char *secret, const char *name)
{
	/* None of them needs escaping: addresses, hex digits and names. */
	lx_autofree char *json = lx_asprintf("{\"v\":1,\"a\":%s,\"f\":\"%s\",\"s\":\"%s\",\"n\":\"%s\"%s}",
					     addresses, ca_fingerprint, secret, name,
					     kind == LX_TOKEN_IDENTITY ? ",\"t\":\"identity\"" : "");

	return json ? encode(json) : NULL;
}

void lx_token_release(struct lx_token *t)
{
	for (size_t i = 0; i < t->n_addresses; i++)
		free(t->addresses[i]);
	if (t->secret)
		explicit_bzero(t->secret, strlen(t->secret));
	free(t->fingerprint);
	free(t->secret);
	free(t->name);
	*t = (struct lx_token){ 0 };
}
