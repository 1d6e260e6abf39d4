/* Why TLS failed, in words that name the certificate at fault and say what to do. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "lib/cleanup.h"
#include "rpc/tls_session.h"

int lx_cert_name(X509 *cert, int nid, char **ret, struct lx_err *err)
{
	X509_NAME *name = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(name, nid, -1);
	unsigned char *text = NULL;
	int len;

	*ret = NULL;
	if (at < 0)
		return 0;
	if (X509_NAME_get_index_by_NID(name, nid, at) >= 0)
		return lx_err_set(err, LX_UNAUTHENTICATED, "the certificate has more than one %s",
				  OBJ_nid2ln(nid));
	len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	if (len < 0 || strlen((char *)text) != (size_t)len) {
		OPENSSL_free(text);
		return lx_err_set(err, LX_UNAUTHENTICATED, "the %s of the certificate is not text",
				  OBJ_nid2ln(nid));
	}
	*ret = strdup((char *)text);
	OPENSSL_free(text);
	return *ret ? 0 : lx_err_oom(err);
}

void lx_tls_keep_reason(struct lx_tls_session *s, const struct lx_err *err)
{
	if (!s->why)
		s->why = lx_err_keep(err);
}

/* "2026-01-31 12:00:00Z" would need a parser; OpenSSL's own form is readable enough. */
static void time_text(const ASN1_TIME *t, char out[64])
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (bio && ASN1_TIME_print(bio, t))
		n = BIO_read(bio, out, 63);
	out[n > 0 ? n : 0] = '\0';
	BIO_free(bio);
}

void lx_tls_explain_chain(struct lx_tls_session *s, X509_STORE_CTX *ctx)
{
	int reason = X509_STORE_CTX_get_error(ctx);
	/* A date is that of the certificate it stands in, the rest is about the peer's own. */
	bool is_date = reason == X509_V_ERR_CERT_HAS_EXPIRED || reason == X509_V_ERR_CERT_NOT_YET_VALID;
	X509 *cert = is_date ? X509_STORE_CTX_get_current_cert(ctx) : X509_STORE_CTX_get0_cert(ctx);
	const char *who = s->conn->name;
	lx_autofree char *cn = NULL;
	struct lx_err err = LX_ERR_INIT;
	char when[64] = "";

	(void)lx_cert_name(cert, NID_commonName, &cn, NULL);
	switch (reason) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		time_text(X509_get0_notAfter(cert), when);
		lx_err_set(&err, LX_UNAUTHENTICATED, "the certificate of %s (\"%s\") expired on %s", who,
			   cn ? cn : "", when);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		time_text(X509_get0_notBefore(cert), when);
		lx_err_set(&err, LX_UNAUTHENTICATED, "the certificate of %s (\"%s\") is not valid before %s",
			   who, cn ? cn : "", when);
		lx_err_hint(&err, "Compare the clocks of the two machines.");
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_CERT_UNTRUSTED:
		if (s->tls->expect_fingerprint)
			lx_err_set(
				&err, LX_UNAUTHENTICATED,
				"the certificate of %s (\"%s\") is not signed by the CA with fingerprint %s",
				who, cn ? cn : "", s->tls->expect_fingerprint);
		else
			lx_err_set(&err, LX_UNAUTHENTICATED,
				   "the certificate of %s (\"%s\") is signed by another CA", who,
				   cn ? cn : "");
		lx_err_hint(&err,
			    "It belongs to another cluster, or to this one before its CA was replaced.");
		break;
	default:
		lx_err_set(&err, LX_UNAUTHENTICATED, "the certificate of %s (\"%s\") is refused: %s", who,
			   cn ? cn : "", X509_verify_cert_error_string(reason));
		break;
	}
	lx_tls_keep_reason(s, &err);
}

/* What the reasons of OpenSSL that people meet mean here. `%s` is the peer. */
static const struct {
	int reason;
	enum lx_code code;
	const char *text;
	const char *hint;
} reasons[] = {
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, LX_UNAUTHENTICATED, "%s did not present a certificate",
	  "" },
	{ SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, LX_UNAUTHENTICATED,
	  "%s demands a certificate and none was presented", "" },
	{ SSL_R_TLSV1_ALERT_UNKNOWN_CA, LX_UNAUTHENTICATED,
	  "%s refuses our certificate: it is signed by another CA",
	  "It belongs to another cluster, or to this one before its CA was replaced." },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, LX_UNAUTHENTICATED,
	  "%s refuses our certificate: it has expired or is not valid yet",
	  "Compare the clocks of the two machines." },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, LX_UNAUTHENTICATED,
	  "%s refuses our certificate: it was revoked", "" },
	{ SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, LX_UNAUTHENTICATED, "%s refuses our certificate", "" },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, LX_UNAUTHENTICATED, "%s refuses our certificate", "" },
	{ SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, LX_UNAUTHENTICATED,
	  "%s refuses our certificate: it is not made for this use", "" },
	{ SSL_R_TLSV1_ALERT_ACCESS_DENIED, LX_UNAUTHENTICATED, "%s denies access", "" },
	{ SSL_R_NO_APPLICATION_PROTOCOL, LX_UNAVAILABLE, "%s does not offer HTTP/2", "" },
	{ SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, LX_UNAVAILABLE, "%s does not offer HTTP/2", "" },
	{ SSL_R_UNSUPPORTED_PROTOCOL, LX_UNAVAILABLE, "%s does not offer TLS 1.3", "" },
	{ SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, LX_UNAVAILABLE, "%s does not offer TLS 1.3", "" },
	{ SSL_R_WRONG_VERSION_NUMBER, LX_UNAVAILABLE, "%s does not speak TLS",
	  "Check the address and the port." },
	{ SSL_R_HTTP_REQUEST, LX_UNAVAILABLE, "%s does not speak TLS", "" },
};

int lx_tls_explain(struct lx_tls_session *s, const char *what, struct lx_err *err)
{
	const char *who = s->conn->name, *text;
	unsigned long e = ERR_peek_error();
	size_t i;

	ERR_clear_error();
	if (s->why) {
		*err = *s->why;
		return lx_code_errno(err->code);
	}
	for (i = 0; i < LX_ARRAY_SIZE(reasons); i++) {
		if (ERR_GET_LIB(e) != ERR_LIB_SSL || ERR_GET_REASON(e) != reasons[i].reason)
			continue;
		lx_err_set(err, reasons[i].code, reasons[i].text, who);
		if (reasons[i].hint[0])
			lx_err_hint(err, "%s", reasons[i].hint);
		return lx_code_errno(err->code);
	}
	text = e ? ERR_reason_error_string(e) : NULL;
	return lx_err_set(err, LX_UNAVAILABLE, "%s with %s: TLS failed: %s", what, who,
			  text ? text : "unknown reason");
}
