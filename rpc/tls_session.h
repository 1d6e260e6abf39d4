/* One TLS connection; shared by transport_tls.c, tls.c (verification) and tls_error.c. */
#ifndef LX_RPC_TLS_SESSION_H
#define LX_RPC_TLS_SESSION_H

#include <openssl/ssl.h>

#include "rpc/conn.h"
#include "rpc/tls.h"

struct lx_tls_session {
	SSL *ssl;
	const struct lx_tls *tls;
	struct lx_conn *conn;
	const uint8_t *in; /* what the socket brought and OpenSSL has not taken yet */
	size_t in_len;
	struct lx_err *why; /* why we refuse the peer, or NULL */
};

/* The one value of a name component, malloc'ed; NULL when there is none. Fails on two, or on one
 * that is not plain text: nobody shall be taken for somebody else. */
int lx_cert_name(X509 *cert, int nid, char **ret, struct lx_err *err);

/* Keeps the reason for refusing the peer. The first one stays. */
void lx_tls_keep_reason(struct lx_tls_session *s, const struct lx_err *err);
/* The same from what OpenSSL found wrong with the chain. */
void lx_tls_explain_chain(struct lx_tls_session *s, X509_STORE_CTX *ctx);
/* Fills err with why TLS failed and returns a negative errno. `what`: what we were doing. */
int lx_tls_explain(struct lx_tls_session *s, const char *what, struct lx_err *err);

#endif
