/* Key, certificate and CA of this agent, on disk. */
#include "agent/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define PEM_MAX 65536

void lx_identity_release(struct lx_identity *id)
{
	if (id->key_pem)
		OPENSSL_cleanse(id->key_pem, strlen(id->key_pem));
	free(id->key_pem);
	free(id->cert_pem);
	free(id->ca_pem);
	free(id->node);
	*id = (struct lx_identity){ 0 };
}

/* ------------------------------------------------------------------ on disk */

static char *pki_path(const char *state_dir, const char *leaf)
{
	return lx_asprintf("%s/pki/%s", state_dir, leaf);
}

bool lx_identity_exists(const char *state_dir)
{
	static const char *const files[] = { "agent.key", "agent.crt", "ca.crt" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(files); i++) {
		lx_autofree char *path = pki_path(state_dir, files[i]);

		if (!path || !lx_path_exists(path))
			return false;
	}
	return true;
}

static int read_pem(const char *state_dir, const char *leaf, char **ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };
	lx_autofree char *path = pki_path(state_dir, leaf);
	int r = path ? lx_read_file(path, PEM_MAX, &text, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	*ret = lx_buf_steal(&text);
	return *ret ? 0 : lx_err_oom(err);
}

static int common_name(const char *cert_pem, char **ret, struct lx_err *err)
{
	BIO *bio = BIO_new_mem_buf(cert_pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	char name[256];
	int n = cert ? X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name,
						 sizeof(name))
		     : -1;

	X509_free(cert);
	BIO_free(bio);
	if (n <= 0)
		return lx_err_set(err, LX_DATA_LOSS, "the agent's certificate cannot be read");
	*ret = strdup(name);
	return *ret ? 0 : lx_err_oom(err);
}

int lx_identity_load(const char *state_dir, struct lx_identity *ret, struct lx_err *err)
{
	int r;

	*ret = (struct lx_identity){ 0 };
	if ((r = read_pem(state_dir, "agent.key", &ret->key_pem, err)) < 0 ||
	    (r = read_pem(state_dir, "agent.crt", &ret->cert_pem, err)) < 0 ||
	    (r = read_pem(state_dir, "ca.crt", &ret->ca_pem, err)) < 0 ||
	    (r = common_name(ret->cert_pem, &ret->node, err)) < 0)
		lx_identity_release(ret);
	return r;
}

static int write_pem(const char *state_dir, const char *leaf, const char *text, struct lx_err *err)
{
	lx_autofree char *path = pki_path(state_dir, leaf);

	return path ? lx_write_file_atomic(path, text, strlen(text), 0600, err) : lx_err_oom(err);
}

static int write_node(const char *state_dir, const char *node, const char *cluster_id, struct lx_err *err)
{
	json_t *json = json_pack("{s:s, s:s}", "name", node, "cluster", cluster_id);
	lx_autofree char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	lx_autofree char *path = lx_path_join(state_dir, "node.json");

	json_decref(json);
	return text && path ? lx_write_file_atomic(path, text, strlen(text), 0600, err) : lx_err_oom(err);
}

int lx_identity_store(const char *state_dir, const struct lx_identity *id, const char *cluster_id,
		      struct lx_err *err)
{
	lx_autofree char *dir = lx_path_join(state_dir, "pki");
	int r = dir ? lx_mkdir_p(dir, 0700, err) : lx_err_oom(err);

	if (r < 0 || (r = write_node(state_dir, id->node, cluster_id, err)) < 0 ||
	    (r = write_pem(state_dir, "ca.crt", id->ca_pem, err)) < 0 ||
	    (r = write_pem(state_dir, "agent.key", id->key_pem, err)) < 0 ||
	    (r = write_pem(state_dir, "agent.crt", id->cert_pem, err)) < 0)
		lx_err_wrap(err, "cannot store the agent's identity");
	return r;
}
