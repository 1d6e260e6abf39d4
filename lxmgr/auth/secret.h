/* Secrets of tokens. Only their hash is kept, in memory and in the store. */
#ifndef LX_LXMGR_AUTH_SECRET_H
#define LX_LXMGR_AUTH_SECRET_H

#include "lib/err.h"

#define LX_SECRET_TEXT 49 /* hex of 24 random bytes, and the NUL */
#define LX_HASH_TEXT   65 /* hex SHA-256, and the NUL */

#define LX_TOKEN_TTL_DEFAULT 3600u
#define LX_TOKEN_TTL_MAX     (30u * 86400u)

/* A new one, and its hash. */
int lx_secret_make(char secret[LX_SECRET_TEXT], char hash[LX_HASH_TEXT], struct lx_err *err);
void lx_secret_hash(const char *secret, char hash[LX_HASH_TEXT]);
/* When a token made now with that ttl expires; 0 is the default. Nanoseconds since the epoch. */
int lx_token_expiry(unsigned ttl_seconds, long long *ret_ns, struct lx_err *err);

#endif
