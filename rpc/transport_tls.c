/*
 * TLS between the stream and HTTP/2.
 *
 * OpenSSL reads from what the socket just brought and writes into what goes to the socket
 * next, through a BIO of ours: no buffers between, nothing kept on an idle connection.
 *
 * Happy path: handshake, names of the peer into conn->peer, then records in and out.
 * Ways to fail: the handshake, for the reasons of tls_error.c; a record that is not one; the
 * peer's close_notify, which is the orderly end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "rpc/tls_session.h"

#define RECORD_BYTES 16384

/* ------------------------------------------------------------------ the BIO */

static int bio_read(BIO *bio, char *out, int n)
{
	struct lx_tls_session *s = BIO_get_data(bio);
	size_t take = (size_t)n < s->in_len ? (size_t)n : s->in_len;

	BIO_clear_retry_flags(bio);
	if (!take) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(out, s->in, take);
	s->in += take;
	s->in_len -= take;
	return (int)take;
}

static int bio_write(BIO *bio, const char *data, int n)
{
	struct lx_tls_session *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	return lx_buf_append(&s->conn->wire, data, (size_t)n) < 0 ? -1 : n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;
static uv_once_t bio_once = UV_ONCE_INIT;

static void make_bio_method(void)
{
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lxmgr connection");
	if (!bio_method)
		return;
	BIO_meth_set_read(bio_method, bio_read);
	BIO_meth_set_write(bio_method, bio_write);
	BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

static BIO *make_bio(struct lx_tls_session *s)
{
	BIO *bio;

	uv_once(&bio_once, make_bio_method);
	bio = bio_method ? BIO_new(bio_method) : NULL;
	if (!bio)
		return NULL;
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	return bio;
}

/* ------------------------------------------------------------------ handshake */

static int take_identity(struct lx_tls_session *s, struct lx_err *err)
{
	struct lx_peer *peer = &s->conn->peer;
	X509 *cert = SSL_get1_peer_certificate(s->ssl);
	char fingerprint[LX_FINGERPRINT_TEXT], *cn = NULL, *ou = NULL;
	int r;

	if (!cert)
		return 0;
	r = lx_cert_name(cert, NID_commonName, &cn, err);
	if (r == 0)
		r = lx_cert_name(cert, NID_organizationalUnitName, &ou, err);
	peer->common_name = cn;
	peer->org_unit = ou;
	if (r == 0 && lx_cert_fingerprint(cert, fingerprint) == 0)
		peer->fingerprint = strdup(fingerprint);
	X509_free(cert);
	if (r == 0 && !peer->fingerprint)
		r = lx_err_oom(err);
	return r;
}

static int handshake(struct lx_tls_session *s, struct lx_err *err)
{
	const unsigned char *proto;
	unsigned int len;
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(s->ssl);
	if (r <= 0)
		return SSL_get_error(s->ssl, r) == SSL_ERROR_WANT_READ ? 0
								       : lx_tls_explain(s, "handshake", err);
	SSL_get0_alpn_selected(s->ssl, &proto, &len);
	if (len != 2 || memcmp(proto, "h2", 2) != 0)
		return lx_err_set(err, LX_UNAVAILABLE, "%s does not offer HTTP/2", s->conn->name);
	r = take_identity(s, err);
	if (r == 0)
		s->conn->secured = true;
	return r;
}

static int tls_start(struct lx_conn *c, struct lx_err *err)
{
	struct lx_tls_session *s = calloc(1, sizeof(*s));
	BIO *bio;

	if (!s)
		return lx_err_oom(err);
	c->tls = s;
	s->conn = c;
	s->tls = c->tls_context;
	s->ssl = SSL_new(s->tls->ctx);
	bio = s->ssl ? make_bio(s) : NULL;
	if (!bio)
		return lx_err_oom(err);
	SSL_set_bio(s->ssl, bio, bio);
	SSL_set_app_data(s->ssl, s);
	if (c->server) {
		SSL_set_accept_state(s->ssl);
		return 0;
	}
	SSL_set_connect_state(s->ssl);
	return handshake(s, err);
}

/* ------------------------------------------------------------------ records */

static int tls_receive(struct lx_conn *c, const uint8_t *data, size_t len, struct lx_err *err)
{
	static _Thread_local uint8_t plain[RECORD_BYTES];
	struct lx_tls_session *s = c->tls;
	int n, r;

	s->in = data;
	s->in_len = len;
	if (!c->secured) {
		r = handshake(s, err);
		if (r < 0 || !c->secured)
			return r;
	}
	while (!c->failed) {
		ERR_clear_error();
		n = SSL_read(s->ssl, plain, sizeof(plain));
		if (n > 0) {
			r = lx_http2_input(c, plain, (size_t)n, err);
			if (r < 0)
				return r;
			continue;
		}
		switch (SSL_get_error(s->ssl, n)) {
		case SSL_ERROR_WANT_READ:
			return 0;
		case SSL_ERROR_ZERO_RETURN:
			/* The end of the stream follows; what HTTP/2 said before is the reason. */
			return 0;
		default:
			return lx_tls_explain(s, "connection", err);
		}
	}
	return 0;
}

static int tls_wrap(struct lx_conn *c, const uint8_t *data, size_t len, struct lx_err *err)
{
	struct lx_tls_session *s = c->tls;

	ERR_clear_error();
	/* At most LX_CONN_OUT and a frame, well inside an int; our BIO takes everything. */
	if (SSL_write(s->ssl, data, (int)len) > 0)
		return 0;
	return lx_tls_explain(s, "connection", err);
}

static void tls_finish(struct lx_conn *c)
{
	if (!c->secured)
		return;
	ERR_clear_error();
	(void)SSL_shutdown(c->tls->ssl);
	ERR_clear_error();
}

static void tls_release(struct lx_conn *c)
{
	struct lx_tls_session *s = c->tls;

	if (!s)
		return;
	SSL_free(s->ssl);
	lx_err_drop(s->why);
	free(s);
	c->tls = NULL;
}

const struct lx_transport lx_transport_tls = {
	.start = tls_start,
	.receive = tls_receive,
	.wrap = tls_wrap,
	.finish = tls_finish,
	.release = tls_release,
};
