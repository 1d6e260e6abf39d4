#include "lxmgr/auth/secret.h"

#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include "lib/clock.h"
#include "lib/str.h"

#define RANDOM_BYTES ((LX_SECRET_TEXT - 1) / 2)

int lx_secret_make(char secret[LX_SECRET_TEXT], char hash[LX_HASH_TEXT], struct lx_err *err)
{
	unsigned char random[RANDOM_BYTES];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return lx_err_set(err, LX_INTERNAL, "no random numbers");
	lx_hex(random, sizeof(random), secret);
	lx_secret_hash(secret, hash);
	return 0;
}

void lx_secret_hash(const char *secret, char hash[LX_HASH_TEXT])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	EVP_Digest(secret, strlen(secret), md, &len, EVP_sha256(), NULL);
	lx_hex(md, 32, hash);
}

int lx_token_expiry(unsigned ttl_seconds, long long *ret_ns, struct lx_err *err)
{
	if (ttl_seconds > LX_TOKEN_TTL_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a token may live at most %u seconds",
				  LX_TOKEN_TTL_MAX);
	*ret_ns = (long long)lx_now_realtime_ns() +
		  (long long)(ttl_seconds ? ttl_seconds : LX_TOKEN_TTL_DEFAULT) * (long long)LX_NSEC_PER_SEC;
	return 0;
}
