/*
 * Joining: make a key, have the manager certify it, keep what comes back.
 *
 * The manager is known by its CA's fingerprint from the token, so nobody in between can
 * answer in its place; we are let in by the secret, which works once. Managers are tried in
 * the token's order while they cannot be reached; a refusal is final.
 *
 * A machine that dies after the manager has said yes and before the identity is stored has
 * used up its token and needs a new one.
 */
#include "agent/join.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/identity.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/v1/node.pb-c.h"
#include "rpc/csr.h"
#include "rpc/token.h"

#define JOIN_TIMEOUT_MS 20000u

struct attempt {
	struct lx_agent *agent;
	char *key_pem, *csr_pem;
	bool done;
	int r;
	struct lx_err *err;
};

/* The options', the token's, or the host's own up to the first dot. */
static char *choose_name(const struct lx_agent *a, const struct lx_token *token)
{
	char host[256] = "";

	if (!lx_str_empty(a->opt.node_name))
		return strdup(a->opt.node_name);
	if (!lx_str_empty(token->name))
		return strdup(token->name);
	(void)gethostname(host, sizeof(host) - 1);
	return strndup(host, strcspn(host, "."));
}

static int check_address(const char *address, struct lx_err *err)
{
	if (!lx_ends_with(address, ":0"))
		return 0;
	lx_err_set(err, LX_INVALID_ARGUMENT, "the manager cannot be told to reach this agent at %s", address);
	lx_err_hint(err, "Name a port with --listen or --advertise.");
	return -EINVAL;
}

static void on_answer(const ProtobufCMessage *msg, const struct lx_err *err, void *arg)
{
	const Lxmgr__V1__JoinResponse *resp = (const void *)msg;
	struct attempt *at = arg;

	at->done = true;
	if (!resp) {
		*at->err = *err;
		at->r = lx_code_errno(err->code);
		return;
	}
	const struct lx_identity id = { .key_pem = at->key_pem,
					.cert_pem = resp->certificate_pem,
					.ca_pem = resp->ca_pem,
					.node = resp->name };

	at->r = lx_identity_store(at->agent->state_dir, &id, resp->cluster_id, at->err);
	if (at->r == 0)
		lx_info("joined", "cluster=%s node=%s", resp->cluster_id, resp->name);
}

static int ask(struct attempt *at, const char *address, const char *fingerprint, Lxmgr__V1__JoinRequest *req)
{
	const struct lx_tls_config tls = { .expect_fingerprint = fingerprint };
	const struct lx_channel_options opt = { .tls = &tls };
	const struct lx_call_options call = { .timeout_ms = JOIN_TIMEOUT_MS };
	struct lx_channel *ch;
	uv_loop_t *loop = at->agent->loop;
	int r = lx_channel_create(loop, address, &opt, &ch, at->err);

	if (r < 0)
		return r;
	at->done = false;
	r = lx_channel_unary(ch, &lxmgr__v1__node_service__descriptor, "Join", &req->base, &call, on_answer,
			     at, NULL, at->err);
	while (r == 0 && !at->done)
		uv_run(loop, UV_RUN_ONCE);
	lx_channel_close(ch);
	return r < 0 ? r : at->r;
}

static int join(struct attempt *at, const struct lx_token *token, const char *name)
{
	struct lx_agent *a = at->agent;
	Lxmgr__V1__JoinRequest req = LXMGR__V1__JOIN_REQUEST__INIT;
	const char *address = lx_str_empty(a->opt.advertise) ? a->opt.listen : a->opt.advertise;
	int r = check_address(address, at->err);

	if (r == 0)
		r = lx_name_check("node", name, at->err);
	if (r == 0)
		r = lx_csr_make(name, &at->key_pem, &at->csr_pem, at->err);
	if (r < 0)
		return r;
	req.secret = token->secret;
	req.name = (char *)(uintptr_t)name;
	req.address = (char *)(uintptr_t)address;
	req.csr_pem = at->csr_pem;
	req.version = (char *)(uintptr_t)LX_VERSION;
	for (size_t i = 0; i < token->n_addresses; i++) {
		*at->err = LX_ERR_INIT;
		r = ask(at, token->addresses[i], token->fingerprint, &req);
		if (r == 0 || (at->err->code != LX_UNAVAILABLE && at->err->code != LX_DEADLINE_EXCEEDED))
			return r;
		lx_warn("cannot reach a manager", "address=%s error=\"%s\"", token->addresses[i],
			at->err->msg);
	}
	return r;
}

int lx_join(struct lx_agent *a, struct lx_err *err)
{
	struct lx_err own = LX_ERR_INIT;
	struct attempt at = { .agent = a, .err = err ? err : &own };
	struct lx_token token;
	int r = lx_token_parse(a->opt.token, LX_TOKEN_NODE, &token, at.err);

	if (r < 0)
		return r;
	lx_autofree char *name = choose_name(a, &token);

	r = name ? join(&at, &token, name) : lx_err_oom(at.err);
	if (r < 0)
		lx_err_wrap(at.err, "cannot join the cluster");
	lx_token_release(&token);
	free(at.csr_pem);
	if (at.key_pem)
		explicit_bzero(at.key_pem, strlen(at.key_pem));
	free(at.key_pem);
	return r;
}
