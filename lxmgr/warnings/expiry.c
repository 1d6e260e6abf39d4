/* When a certificate ends. */
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <time.h>

#include "lxmgr/warnings/warnings.h"

int64_t lx_certificate_end(const char *pem)
{
	BIO *bio = pem ? BIO_new_mem_buf(pem, -1) : NULL;
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	struct tm tm = { 0 };
	int64_t end = cert && ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1 ? (int64_t)timegm(&tm) : 0;

	X509_free(cert);
	BIO_free(bio);
	return end;
}
