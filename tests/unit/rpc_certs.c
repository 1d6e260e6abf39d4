#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "lib/str.h"
#include "tests/unit/rpc_certs.h"

static void must(int ok)
{
	if (ok)
		return;
	ERR_print_errors_fp(stderr);
	abort();
}

static char *take_text(BIO *bio)
{
	char *data;
	long n = BIO_get_mem_data(bio, &data);
	char *copy = strndup(data, (size_t)n);

	must(copy != NULL);
	BIO_free(bio);
	return copy;
}

static void add_name(X509 *cert, const char *cn, const char *ou)
{
	X509_NAME *name = X509_get_subject_name(cert);

	must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0));
	if (ou)
		must(X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_UTF8, (const unsigned char *)ou, -1, -1,
						0));
}

static void add_ext(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(ext && X509_add_ext(cert, ext, -1));
	X509_EXTENSION_free(ext);
}

static X509 *parse_cert(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	must(cert != NULL);
	return cert;
}

static EVP_PKEY *parse_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	must(key != NULL);
	return key;
}

struct rpc_identity rpc_identity_make(const struct rpc_identity *ca, const char *cn, const char *ou,
				      long from, long to)
{
	struct rpc_identity id = { 0 };
	EVP_PKEY *key = EVP_EC_gen("P-256"), *signer = ca ? parse_key(ca->key) : key;
	X509 *cert = X509_new(), *issuer = ca ? parse_cert(ca->cert) : cert;
	BIO *cert_pem = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_mem());
	uint64_t serial;

	must(RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), from);
	X509_gmtime_adj(X509_getm_notAfter(cert), to);
	must(X509_set_pubkey(cert, key));
	add_name(cert, cn, ou);
	must(X509_set_issuer_name(cert, X509_get_subject_name(issuer)));
	if (!ca) {
		add_ext(cert, NID_basic_constraints, "critical,CA:TRUE");
		add_ext(cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	} else {
		add_ext(cert, NID_ext_key_usage, "serverAuth,clientAuth");
	}
	must(X509_sign(cert, signer, EVP_sha256()) > 0);
	must(PEM_write_bio_X509(cert_pem, cert));
	if (ca)
		must(PEM_write_bio_X509(cert_pem, issuer));
	must(PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL));
	id.cert = take_text(cert_pem);
	id.key = take_text(key_pem);
	if (ca) {
		EVP_PKEY_free(signer);
		X509_free(issuer);
	}
	EVP_PKEY_free(key);
	X509_free(cert);
	return id;
}

void rpc_identity_free(struct rpc_identity *id)
{
	free(id->cert);
	free(id->key);
	*id = (struct rpc_identity){ 0 };
}

struct rpc_certs *rpc_certs_make(void)
{
	struct rpc_certs *c = calloc(1, sizeof(*c));
	unsigned char hash[32];
	X509 *ca;

	must(c != NULL);
	c->ca = rpc_identity_make(NULL, "test CA", NULL, -60, 3600);
	c->other_ca = rpc_identity_make(NULL, "other CA", NULL, -60, 3600);
	c->server = rpc_identity_make(&c->ca, "server", "manager", -60, 3600);
	c->client = rpc_identity_make(&c->ca, "client", "admin", -60, 3600);
	ca = parse_cert(c->ca.cert);
	must(X509_digest(ca, EVP_sha256(), hash, NULL));
	X509_free(ca);
	c->ca_fingerprint = malloc(65);
	must(c->ca_fingerprint != NULL);
	lx_hex(hash, sizeof(hash), c->ca_fingerprint);
	return c;
}

void rpc_certs_free(struct rpc_certs *c)
{
	if (!c)
		return;
	rpc_identity_free(&c->ca);
	rpc_identity_free(&c->other_ca);
	rpc_identity_free(&c->server);
	rpc_identity_free(&c->client);
	free(c->ca_fingerprint);
	free(c);
}
