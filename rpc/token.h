/*
 * A token with which a machine joins or a client enrols: base64url (without padding) of
 *
 *   {"v":1, "a":["host:port", ...], "f":"<hex SHA-256 of the CA's certificate>",
 *    "s":"<secret>", "n":"<name, or empty>", "t":"identity"}
 *
 * It says where the managers are, how to know them, and what lets us in once. Without "t" it
 * is a machine's.
 */
#ifndef LX_RPC_TOKEN_H
#define LX_RPC_TOKEN_H

#include <stddef.h>

#include "lib/err.h"

/* Bytes of a token, and addresses in it. */
#define LX_TOKEN_MAX           4096
#define LX_TOKEN_MAX_ADDRESSES 16

/* Who it is for. */
enum lx_token_kind { LX_TOKEN_NODE, LX_TOKEN_IDENTITY };

struct lx_token {
	char *addresses[LX_TOKEN_MAX_ADDRESSES];
	size_t n_addresses;
	char *fingerprint;
	char *secret;
	char *name; /* of the node or identity */
};

/* Fails when it is for the other kind. */
int lx_token_parse(const char *text, enum lx_token_kind kind, struct lx_token *ret, struct lx_err *err);
/* malloc'ed text, NULL when out of memory. `addresses` is a JSON array of "host:port". `name` may be empty,
 * never NULL. */
char *lx_token_format(enum lx_token_kind kind, const char *addresses, const char *ca_fingerprint,
		      const char *secret, const char *name);
void lx_token_release(struct lx_token *t);

#endif
