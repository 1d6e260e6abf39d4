/*
 * The cluster's certificate authority: one EC P-256 key in the manager's state directory.
 * It signs the manager's own certificate (OU "manager"), one for each agent that joins (CN node
 * name, OU "agent") and one for each client that enrols (CN its identity, OU "client"). What a
 * program of the cluster is follows from the OU, what a client may from its identity
 * (auth/gate.c and the agents' own check), so nothing but what was asked for here ever gets one.
 *
 * Files, mode 0600, written atomically: pki/ca.key, pki/ca.crt, pki/manager.key,
 * pki/manager.crt below the state directory. The CA's files are made together; when only
 * one of the pair is there the manager refuses to start rather than make a new CA that no
 * agent trusts.
 */
#include "lxmgr/manager.h"

#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define CA_DAYS (20 * 365)
#define PEM_MAX 65536u

static int crypto_error(struct lx_err *err, const char *what)
{
	char text[160];
	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	return lx_err_set(err, LX_INTERNAL, "%s: %s", what, text);
}

static char *bio_text(BIO *bio)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	return len > 0 ? strndup(data, (size_t)len) : NULL;
}

static char *key_pem(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *out = NULL;
	if (bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
		out = bio_text(bio);
	BIO_free(bio);
	return out;
}

static char *cert_pem(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *out = NULL;
	if (bio && PEM_write_bio_X509(bio, cert))
		out = bio_text(bio);
	BIO_free(bio);
	return out;
}

static EVP_PKEY *read_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	return key;
}

static X509 *read_cert(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	return cert;
}

static void fingerprint(X509 *cert, char out[65])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	X509_digest(cert, EVP_sha256(), md, &len);
	lx_hex(md, 32, out);
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

/* A certificate for `pub`; issuer NULL means it signs itself (the CA). */
static X509 *make_cert(EVP_PKEY *pub, const char *cn, const char *ou, X509 *issuer, EVP_PKEY *issuer_key,
		       int days)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_NAME_new();
	unsigned char serial[16];
	bool ca = !issuer;

	if (!cert || !name || RAND_bytes(serial, sizeof(serial)) != 1)
		goto fail;
	serial[0] &= 0x7f;
	BIGNUM *bn = BN_bin2bn(serial, sizeof(serial), NULL);
	bool ok =
		bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) && X509_set_version(cert, 2) &&
		X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
		X509_gmtime_adj(X509_getm_notAfter(cert), (long)days * 86400) && X509_set_pubkey(cert, pub) &&
		X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"lxmgr", -1, -1,
					   0) &&
		X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_UTF8, (const unsigned char *)ou, -1, -1, 0) &&
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) &&
		X509_set_subject_name(cert, name) &&
		X509_set_issuer_name(cert, ca ? name : X509_get_subject_name(issuer)) &&
		add_extension(cert, ca ? cert : issuer, NID_basic_constraints,
			      ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
		add_extension(cert, ca ? cert : issuer, NID_key_usage,
			      ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") &&
		(ca || add_extension(cert, issuer, NID_ext_key_usage,
				     lx_streq(ou, "client") ? "clientAuth" : "serverAuth,clientAuth")) &&
		X509_sign(cert, issuer_key, EVP_sha256());
	BN_free(bn);
	if (!ok)
		goto fail;
	X509_NAME_free(name);
	return cert;
fail:
	X509_NAME_free(name);
	X509_free(cert);
	return NULL;
}

/* ------------------------------------------------------------------ files */

static char *pki_path(struct lx_manager *m, const char *name)
{
	return lx_asprintf("%s/pki/%s", m->opt.state_dir, name);
}

/* malloc'ed text, or NULL with 0 when the file does not exist. */
static int load_text(struct lx_manager *m, const char *name, char **ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf buf = { 0 };
	lx_autofree char *path = pki_path(m, name);

	*ret = NULL;
	if (!path)
		return lx_err_oom(err);
	if (!lx_path_exists(path))
		return 0;
	int r = lx_read_file(path, PEM_MAX, &buf, err);
	if (r < 0)
		return r;
	*ret = lx_buf_steal(&buf);
	return *ret ? 0 : lx_err_oom(err);
}

static int save_text(struct lx_manager *m, const char *name, const char *text, struct lx_err *err)
{
	lx_autofree char *path = pki_path(m, name);
	return path ? lx_write_file_atomic(path, text, strlen(text), 0600, err) : lx_err_oom(err);
}

static int make_ca(struct lx_manager *m, struct lx_err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? make_cert(key, "lxmgr cluster CA", "ca", NULL, key, CA_DAYS) : NULL;
	int r = 0;

	if (cert) {
		m->ca_key_pem = key_pem(key);
		m->ca_pem = cert_pem(cert);
	}
	if (!m->ca_pem || !m->ca_key_pem)
		r = crypto_error(err, "cannot make the cluster's CA");
	r = r ? r : save_text(m, "ca.key", m->ca_key_pem, err);
	r = r ? r : save_text(m, "ca.crt", m->ca_pem, err);
	X509_free(cert);
	EVP_PKEY_free(key);
	return r;
}

static int make_own(struct lx_manager *m, X509 *ca, EVP_PKEY *ca_key, struct lx_err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? make_cert(key, "manager", "manager", ca, ca_key, LX_CERT_DAYS) : NULL;
	int r = 0;

	if (cert) {
		free(m->key_pem);
		free(m->cert_pem);
		m->key_pem = key_pem(key);
		m->cert_pem = cert_pem(cert);
	}
	if (!cert || !m->key_pem || !m->cert_pem)
		r = crypto_error(err, "cannot make the manager's certificate");
	r = r ? r : save_text(m, "manager.key", m->key_pem, err);
	r = r ? r : save_text(m, "manager.crt", m->cert_pem, err);
	X509_free(cert);
	EVP_PKEY_free(key);
	return r;
}

int lx_ca_init(struct lx_manager *m, struct lx_err *err)
{
	lx_autofree char *dir = pki_path(m, "");
	X509 *ca = NULL;
	EVP_PKEY *ca_key = NULL;
	char fp[65];
	int r;

	if (!dir)
		return lx_err_oom(err);
	if ((r = lx_mkdir_p(dir, 0700, err)) < 0 || (r = load_text(m, "ca.crt", &m->ca_pem, err)) < 0 ||
	    (r = load_text(m, "ca.key", &m->ca_key_pem, err)) < 0 ||
	    (r = load_text(m, "manager.crt", &m->cert_pem, err)) < 0 ||
	    (r = load_text(m, "manager.key", &m->key_pem, err)) < 0)
		return r;
	if (m->ca_pem && !m->ca_key_pem) {
		r = lx_err_set(err, LX_DATA_LOSS, "the cluster's CA is damaged: %s/pki/ca.key is missing",
			       m->opt.state_dir);
		lx_err_hint(err, "Restore it from a backup: agents trust this CA only.");
		return r;
	}
	/* The key is written first: without a certificate nobody has seen it, so start over. */
	if (!m->ca_pem) {
		free(m->ca_key_pem);
		m->ca_key_pem = NULL;
		if ((r = make_ca(m, err)) < 0)
			return r;
	}
	ca = read_cert(m->ca_pem);
	ca_key = read_key(m->ca_key_pem);
	if (!ca || !ca_key || !X509_check_private_key(ca, ca_key)) {
		r = lx_err_set(err, LX_DATA_LOSS, "the cluster's CA in %s/pki cannot be read",
			       m->opt.state_dir);
		lx_err_hint(err, "Restore pki/ca.key and pki/ca.crt from a backup.");
		goto out;
	}
	if (!m->cert_pem || !m->key_pem)
		r = make_own(m, ca, ca_key, err);
	fingerprint(ca, fp);
	if (r == 0 && !(m->ca_fingerprint = strdup(fp)))
		r = lx_err_oom(err);
out:
	X509_free(ca);
	EVP_PKEY_free(ca_key);
	return r;
}

int lx_ca_sign(struct lx_manager *m, const char *csr_pem, const char *name, const char *org_unit,
	       char **ret_pem, char fp[65], struct lx_err *err)
{
	BIO *bio = BIO_new_mem_buf(csr_pem, -1);
	X509_REQ *req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *pub = req ? X509_REQ_get_pubkey(req) : NULL;
	X509 *ca = read_cert(m->ca_pem), *cert = NULL;
	EVP_PKEY *ca_key = read_key(m->ca_key_pem);
	int r = 0;

	*ret_pem = NULL;
	if (!pub || X509_REQ_verify(req, pub) != 1) {
		ERR_clear_error();
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "the certificate request of %s is not valid", name);
		goto out;
	}
	/* Only the key is taken from the request: the name is ours to give. */
	cert = ca && ca_key ? make_cert(pub, name, org_unit, ca, ca_key, LX_CERT_DAYS) : NULL;
	*ret_pem = cert ? cert_pem(cert) : NULL;
	if (!*ret_pem)
		r = crypto_error(err, "cannot sign a certificate");
	else
		fingerprint(cert, fp);
out:
	BIO_free(bio);
	X509_REQ_free(req);
	EVP_PKEY_free(pub);
	X509_free(ca);
	X509_free(cert);
	EVP_PKEY_free(ca_key);
	return r;
}
