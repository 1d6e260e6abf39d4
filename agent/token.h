/*
 * A join token: base64url (without padding) of
 *
 *   {"v":1, "a":["host:port", ...], "f":"<hex SHA-256 of the CA's certificate>",
 *    "s":"<secret>", "n":"<node's name, or empty>"}
 *
 * It says where the managers are, how to know them, and what lets us in once.
 */
#ifndef LX_AGENT_TOKEN_H
#define LX_AGENT_TOKEN_H

#include <stddef.h>

#include "lib/err.h"

/* Bytes of a token, and addresses in it. */
#define LX_TOKEN_MAX           4096
#define LX_TOKEN_MAX_ADDRESSES 16

struct lx_token {
	char *addresses[LX_TOKEN_MAX_ADDRESSES];
	size_t n_addresses;
	char *fingerprint;
	char *secret;
	char *node;
};

int lx_token_parse(const char *text, struct lx_token *ret, struct lx_err *err);
void lx_token_release(struct lx_token *t);

#endif
