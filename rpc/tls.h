/*
 * Identity and trust of one side, ready for use: what struct lx_tls_config says, parsed
 * and checked once. Connections make their sessions from it (transport_tls.c).
 */
#ifndef LX_RPC_TLS_H
#define LX_RPC_TLS_H

#include <stdbool.h>

#include <openssl/ssl.h>

#include "rpc/rpc.h"

#define LX_FINGERPRINT_TEXT 65 /* hex SHA-256 and the NUL */

struct lx_tls {
	SSL_CTX *ctx;
	bool server;
	bool peer_cert_optional;
	char *expect_fingerprint; /* lower case */
	char *expect_org_unit;
	char *expect_common_name;
	char *expect_peer; /* lower case */
};

int lx_tls_create(const struct lx_tls_config *config, bool server, struct lx_tls **ret, struct lx_err *err);
void lx_tls_free(struct lx_tls *tls);

/* Hex SHA-256 of a certificate. */
int lx_cert_fingerprint(X509 *cert, char out[LX_FINGERPRINT_TEXT]);

#endif
