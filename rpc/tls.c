/*
 * Identity and trust: PEM texts into an SSL_CTX, and the decision about a peer's chain.
 *
 * Happy path: TLS 1.3 with ALPN "h2"; the peer's chain leads to our CA; its certificate has
 * the common name and the unit that are expected, if any are.
 * A client that has only a fingerprint (it is about to join) looks for the certificate
 * with that fingerprint in the chain it is shown and verifies the chain against this one alone.
 * Ways to fail: PEM that is none, a key that does not fit, and for each reason to refuse a
 * peer a message of its own, kept with the session (tls_error.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "rpc/tls.h"
#include "rpc/tls_session.h"

/* Bytes of certificates a peer may show, and how many may stand between it and the CA. */
#define MAX_CHAIN_BYTES 32768
#define MAX_CHAIN_DEPTH 4

static const unsigned char alpn[] = { 2, 'h', '2' };

/* ------------------------------------------------------------------ reading PEM */

static int refuse_pem(struct lx_err *err, const char *what)
{
	char detail[160];
	unsigned long e = ERR_peek_last_error();

	if (!e) {
		lx_err_set(err, LX_INVALID_ARGUMENT, "the TLS %s is not valid", what);
	} else {
		ERR_error_string_n(e, detail, sizeof(detail));
		lx_err_set(err, LX_INVALID_ARGUMENT, "the TLS %s is not valid: %s", what, detail);
	}
	ERR_clear_error();
	return -EINVAL;
}

/* A protected key is an error, never a question on the terminal. */
static int no_password(char *buf, int size, int writing, void *arg)
{
	return -1;
}

static X509 *next_cert(BIO *bio)
{
	return PEM_read_bio_X509(bio, NULL, no_password, NULL);
}

static int load_chain(SSL_CTX *ctx, BIO *bio, struct lx_err *err)
{
	X509 *cert = next_cert(bio);
	int ok;

	if (!cert)
		return refuse_pem(err, "certificate");
	ok = SSL_CTX_use_certificate(ctx, cert);
	X509_free(cert);
	while (ok && (cert = next_cert(bio))) {
		ok = SSL_CTX_add1_chain_cert(ctx, cert);
		X509_free(cert);
	}
	if (!ok)
		return refuse_pem(err, "certificate");
	ERR_clear_error(); /* "no more certificates" */
	return 0;
}

static int load_key(SSL_CTX *ctx, BIO *bio, struct lx_err *err)
{
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	int ok;

	if (!key)
		return refuse_pem(err, "private key");
	ok = SSL_CTX_use_PrivateKey(ctx, key) && SSL_CTX_check_private_key(ctx);
	EVP_PKEY_free(key);
	return ok ? 0 : refuse_pem(err, "private key");
}

static int load_ca(SSL_CTX *ctx, BIO *bio, struct lx_err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509 *cert;
	int n = 0, ok = 1;

	while (ok && (cert = next_cert(bio))) {
		ok = X509_STORE_add_cert(store, cert);
		X509_free(cert);
		n++;
	}
	if (!ok || !n)
		return refuse_pem(err, "CA certificate");
	ERR_clear_error();
	return 0;
}

static int load(SSL_CTX *ctx, const char *pem, int (*loader)(SSL_CTX *, BIO *, struct lx_err *),
		struct lx_err *err)
{
	BIO *bio;
	int r;

	if (!pem)
		return 0;
	ERR_clear_error();
	bio = BIO_new_mem_buf(pem, -1);
	if (!bio)
		return lx_err_oom(err);
	r = loader(ctx, bio, err);
	BIO_free(bio);
	return r;
}

/* ------------------------------------------------------------------ the peer's chain */

int lx_cert_fingerprint(X509 *cert, char out[LX_FINGERPRINT_TEXT])
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	if (!X509_digest(cert, EVP_sha256(), hash, &len) || len != 32)
		return -EIO;
	lx_hex(hash, len, out);
	return 0;
}

/* The certificate the peer showed that has the fingerprint, or NULL. Borrowed. */
static X509 *find_pinned(X509_STORE_CTX *ctx, const char *fingerprint)
{
	STACK_OF(X509) *shown = X509_STORE_CTX_get0_untrusted(ctx);
	char text[LX_FINGERPRINT_TEXT];
	int i;

	for (i = 0; i < sk_X509_num(shown); i++) {
		X509 *cert = sk_X509_value(shown, i);

		if (lx_cert_fingerprint(cert, text) == 0 && strcmp(text, fingerprint) == 0)
			return cert;
	}
	return NULL;
}

static int verify_pinned(X509_STORE_CTX *ctx, const struct lx_tls_session *s)
{
	X509 *ca = find_pinned(ctx, s->tls->expect_fingerprint);
	STACK_OF(X509) * trusted;
	int ok;

	if (!ca) {
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_UNTRUSTED);
		return 0;
	}
	trusted = sk_X509_new_null();
	if (!trusted || !sk_X509_push(trusted, ca)) {
		sk_X509_free(trusted);
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_OUT_OF_MEM);
		return 0;
	}
	X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
	ok = X509_verify_cert(ctx);
	sk_X509_free(trusted);
	return ok;
}

static bool expected(const char *expect, const char *have)
{
	return !expect || lx_streq(expect, have);
}

/* A name may have been given again since: this one, and no other that bears it. */
static int check_peer(X509_STORE_CTX *ctx, struct lx_tls_session *s)
{
	struct lx_err err = LX_ERR_INIT;
	char have[LX_FINGERPRINT_TEXT] = "";

	if (!s->tls->expect_peer)
		return 1;
	if (lx_cert_fingerprint(X509_STORE_CTX_get0_cert(ctx), have) == 0 &&
	    strcmp(have, s->tls->expect_peer) == 0)
		return 1;
	lx_err_set(&err, LX_UNAUTHENTICATED,
		   "%s shows another certificate (%.12s) than the one expected (%.12s)", s->conn->name, have,
		   s->tls->expect_peer);
	lx_err_hint(&err, "It was taken out of the cluster, or another machine has its address now.");
	lx_tls_keep_reason(s, &err);
	X509_STORE_CTX_set_error(ctx, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

/* Names beyond doubt, and the right ones. */
static int check_names(X509_STORE_CTX *ctx, struct lx_tls_session *s)
{
	lx_autofree char *cn = NULL, *ou = NULL;
	struct lx_err err = LX_ERR_INIT;

	if (lx_cert_name(X509_STORE_CTX_get0_cert(ctx), NID_commonName, &cn, &err) == 0 &&
	    lx_cert_name(X509_STORE_CTX_get0_cert(ctx), NID_organizationalUnitName, &ou, &err) == 0) {
		if (expected(s->tls->expect_common_name, cn) && expected(s->tls->expect_org_unit, ou))
			return check_peer(ctx, s);
		lx_err_set(&err, LX_UNAUTHENTICATED, "%s is \"%s\" (%s), not \"%s\" (%s)", s->conn->name,
			   cn ? cn : "", ou ? ou : "no unit",
			   s->tls->expect_common_name ? s->tls->expect_common_name : "anybody",
			   s->tls->expect_org_unit ? s->tls->expect_org_unit : "any unit");
		lx_err_hint(&err,
			    "Another program of the cluster answers at that address. Check the address.");
	}
	lx_tls_keep_reason(s, &err);
	X509_STORE_CTX_set_error(ctx, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

static int verify_chain(X509_STORE_CTX *ctx, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct lx_tls_session *s = SSL_get_app_data(ssl);
	int ok = s->tls->expect_fingerprint ? verify_pinned(ctx, s) : X509_verify_cert(ctx);

	if (ok <= 0) {
		lx_tls_explain_chain(s, ctx);
		return 0;
	}
	return check_names(ctx, s);
}

/* ------------------------------------------------------------------ the context */

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
		       unsigned int in_len, void *arg)
{
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, out_len, alpn, sizeof(alpn), in, in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int set_up(struct lx_tls *tls, const struct lx_tls_config *config, struct lx_err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(tls->server ? TLS_server_method() : TLS_client_method());
	int mode = SSL_VERIFY_PEER, r;

	if (!ctx)
		return lx_err_oom(err);
	tls->ctx = ctx;
	if (!tls->peer_cert_optional)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_verify(ctx, mode, NULL);
	SSL_CTX_set_verify_depth(ctx, MAX_CHAIN_DEPTH);
	SSL_CTX_set_max_cert_list(ctx, MAX_CHAIN_BYTES);
	SSL_CTX_set_cert_verify_callback(ctx, verify_chain, NULL);
	/* Connections are long-lived and each is to show its certificate: nothing is resumed. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, 0);
	/* An idle connection keeps no record buffers. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (tls->server)
		SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
	else if (SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn)) != 0)
		return lx_err_oom(err);

	r = load(ctx, config->cert_pem, load_chain, err);
	if (r == 0)
		r = load(ctx, config->key_pem, load_key, err);
	if (r == 0)
		r = load(ctx, config->ca_pem, load_ca, err);
	return r;
}

static int check_config(const struct lx_tls_config *config, bool server, struct lx_err *err)
{
	const char *f = config->expect_fingerprint;

	if (!config->cert_pem != !config->key_pem)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a TLS certificate and its key go together");
	if (server && !config->cert_pem)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a TLS server needs a certificate");
	if (!config->ca_pem && (server || !f))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "TLS needs a CA certificate");
	if (f && (strlen(f) != LX_FINGERPRINT_TEXT - 1 || strspn(f, "0123456789abcdefABCDEF") != strlen(f)))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "\"%s\" is not a fingerprint: 64 hex digits are",
				  f);
	return 0;
}

static int copy_text(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

int lx_tls_create(const struct lx_tls_config *config, bool server, struct lx_tls **ret, struct lx_err *err)
{
	struct lx_tls *tls;
	char *p;
	int r;

	r = check_config(config, server, err);
	if (r < 0)
		return r;
	tls = calloc(1, sizeof(*tls));
	if (!tls)
		return lx_err_oom(err);
	tls->server = server;
	tls->peer_cert_optional = config->peer_cert_optional;
	if (copy_text(&tls->expect_fingerprint, config->expect_fingerprint) < 0 ||
	    copy_text(&tls->expect_org_unit, config->expect_org_unit) < 0 ||
	    copy_text(&tls->expect_common_name, config->expect_common_name) < 0 ||
	    copy_text(&tls->expect_peer, config->expect_peer) < 0) {
		lx_tls_free(tls);
		return lx_err_oom(err);
	}
	for (p = tls->expect_fingerprint; p && *p; p++)
		if (*p >= 'A' && *p <= 'F')
			*p += 'a' - 'A';
	for (p = tls->expect_peer; p && *p; p++)
		if (*p >= 'A' && *p <= 'F')
			*p += 'a' - 'A';
	r = set_up(tls, config, err);
	if (r < 0) {
		lx_tls_free(tls);
		return r;
	}
	*ret = tls;
	return 0;
}

void lx_tls_free(struct lx_tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->ctx);
	free(tls->expect_fingerprint);
	free(tls->expect_org_unit);
	free(tls->expect_common_name);
	free(tls->expect_peer);
	free(tls);
}
