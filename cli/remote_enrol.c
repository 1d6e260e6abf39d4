/*
 * In lxmgr-remote: enrolling with a cluster elsewhere. Makes a key and has the manager certify it
 * in exchange for a token; the key stays here.
 */
#include "cli/remote.h"

#include "cli/connection.h"
#include "lib/buf.h"
#include "proto/pb.h"
#include "rpc/csr.h"

#define ENROL_TIMEOUT_MS 20000u

struct enrolment {
	bool done;
	struct cli_remote *remote;
	Lxmgr__V1__Identity *identity;
	struct lx_err err;
};

static void on_answer(const ProtobufCMessage *msg, const struct lx_err *err, void *arg)
{
	const Lxmgr__V1__EnrolResponse *resp = (const void *)msg;
	struct enrolment *e = arg;

	e->done = true;
	if (!resp) {
		e->err = *err;
		return;
	}
	if (!resp->identity || !(e->identity = LX_PB_DUP(Lxmgr__V1__Identity, resp->identity)) ||
	    lx_buf_puts(&e->remote->cert, resp->certificate_pem) < 0 ||
	    lx_buf_puts(&e->remote->ca, resp->ca_pem) < 0)
		lx_err_oom(&e->err);
}

/* The manager is known by its CA's fingerprint from the token; we by its secret. */
static int ask(struct cli *cli, const struct lx_token *token, const char *address, const char *csr_pem,
	       struct enrolment *e, struct lx_err *err)
{
	const struct lx_tls_config tls = { .expect_fingerprint = token->fingerprint,
					   .expect_org_unit = "manager" };
	const struct lx_channel_options opt = { .tls = &tls };
	const struct lx_call_options call = { .timeout_ms = ENROL_TIMEOUT_MS };
	Lxmgr__V1__EnrolRequest req = LXMGR__V1__ENROL_REQUEST__INIT;
	struct lx_channel *channel = NULL;
	int r = cli_loop_open(cli, err);

	if (r == 0)
		r = lx_channel_create(cli_loop(cli), address, &opt, &channel, err);
	if (r < 0 || !channel)
		return r;
	req.secret = token->secret;
	req.csr_pem = (char *)(uintptr_t)csr_pem;
	e->done = false;
	e->err = LX_ERR_INIT;
	r = lx_channel_unary(channel, CLI_IDENTITIES, "Enrol", &req.base, &call, on_answer, e, NULL, err);
	if (r == 0)
		r = cli_run(cli, &e->done, err);
	lx_channel_close(channel);
	if (r == 0 && e->err.code != LX_OK) {
		*err = e->err;
		r = lx_code_errno(err->code);
	}
	return r;
}

int cli_remote_enrol(struct cli *cli, const struct lx_token *token, struct cli_remote *remote,
		     Lxmgr__V1__Identity **ret, struct lx_err *err)
{
	struct enrolment e = { .remote = remote, .err = LX_ERR_INIT };
	char *key = NULL, *csr = NULL;
	int r = lx_csr_make(token->name, &key, &csr, err);

	for (size_t i = 0; r == 0 && i < token->n_addresses; i++) {
		*err = LX_ERR_INIT;
		r = ask(cli, token, token->addresses[i], csr, &e, err);
		if (r == 0 && (lx_buf_puts(&remote->address, token->addresses[i]) < 0 ||
			       lx_buf_puts(&remote->address, "\n") < 0 || lx_buf_puts(&remote->key, key) < 0))
			r = lx_err_oom(err);
		if (r == 0 || (err->code != LX_UNAVAILABLE && err->code != LX_DEADLINE_EXCEEDED))
			break;
		if (i + 1 < token->n_addresses)
			r = 0;
	}
	if (key)
		explicit_bzero(key, strlen(key));
	free(key);
	free(csr);
	*ret = e.identity;
	return r;
}
