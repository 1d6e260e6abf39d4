/*
 * Asking for a certificate. The key is made here and never leaves the machine; what leaves is a
 * request to certify it, signed with it.
 */
#include "rpc/csr.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static int openssl_failed(const char *what, struct lx_err *err)
{
	char text[160] = "no reason given";
	unsigned long e = ERR_get_error();

	if (e)
		ERR_error_string_n(e, text, sizeof(text));
	ERR_clear_error();
	return lx_err_set(err, LX_INTERNAL, "cannot make %s: %s", what, text);
}

static char *bio_text(BIO *bio)
{
	char *data;
	long n = BIO_get_mem_data(bio, &data);

	return n > 0 ? strndup(data, (size_t)n) : NULL;
}

static char *key_pem(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 ? bio_text(bio)
											      : NULL;

	BIO_free(bio);
	return pem;
}

static char *csr_pem(EVP_PKEY *key, const char *common_name)
{
	X509_REQ *req = X509_REQ_new();
	X509_NAME *name = req ? X509_REQ_get_subject_name(req) : NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem = NULL;

	if (bio && name &&
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1,
				       0) == 1 &&
	    X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, EVP_sha256()) > 0 &&
	    PEM_write_bio_X509_REQ(bio, req) == 1)
		pem = bio_text(bio);
	BIO_free(bio);
	X509_REQ_free(req);
	return pem;
}

int lx_csr_make(const char *common_name, char **ret_key_pem, char **ret_csr_pem, struct lx_err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	if (!key)
		return openssl_failed("a key", err);
	*ret_key_pem = key_pem(key);
	*ret_csr_pem = csr_pem(key, common_name);
	EVP_PKEY_free(key);
	if (*ret_key_pem && *ret_csr_pem)
		return 0;
	free(*ret_key_pem);
	free(*ret_csr_pem);
	*ret_key_pem = *ret_csr_pem = NULL;
	return openssl_failed("a certificate request", err);
}
