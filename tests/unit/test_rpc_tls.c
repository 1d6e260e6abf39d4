/* Who may talk to whom: every way a certificate can be wrong, and what people are told. */
#include <stdio.h>
#include <sys/socket.h>

#include "tests/unit/rpc_fixture.h"

/* Calls once with that identity and trust; returns how it ended. */
static struct lx_err call_with(struct rig *r, const struct lx_tls_config *tls)
{
	struct lx_channel_options opt = { .tls = tls };
	struct lx_channel *was = r->ch;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };
	struct lx_err err = LX_ERR_INIT;

	if (lx_channel_create(&r->loop, r->target, &opt, &r->ch, &err) < 0)
		fail_msg("%s", err.msg);
	rig_unary(r, &req, NULL, &s);
	rig_until(r, &s.closed);
	lx_channel_close(r->ch);
	r->ch = was;
	return s.err;
}

static struct lx_tls_config good(const struct rig *r)
{
	return (struct lx_tls_config){
		.cert_pem = r->certs->client.cert,
		.key_pem = r->certs->client.key,
		.ca_pem = r->certs->ca.cert,
	};
}

static void assert_refused(struct lx_err err, const char *text)
{
	if (err.code != LX_UNAUTHENTICATED || !strstr(err.msg, text))
		fail_msg("not refused with \"%s\" but %s: %s", text, lx_code_name(err.code), err.msg);
}

static void serve(struct rig *r, const struct rpc_identity *id, bool optional)
{
	struct lx_tls_config tls = {
		.cert_pem = id->cert,
		.key_pem = id->key,
		.ca_pem = r->certs->ca.cert,
		.peer_cert_optional = optional,
	};
	struct lx_err err;

	rig_stop_server(r);
	assert_int_equal(lx_server_create(&r->loop, &r->server, &err), 0);
	assert_int_equal(echo_service_add(r->server, &r->loop, &r->stats, &err), 0);
	assert_int_equal(lx_server_listen_tls(r->server, "127.0.0.1:0", &tls, &err), 0);
	snprintf(r->target, sizeof(r->target), "127.0.0.1:%d", lx_server_port(r->server));
}

static void test_client_certificates(void **state)
{
	struct rig *r = *state;
	struct lx_tls_config tls = good(r);
	struct rpc_identity id;

	assert_int_equal(call_with(r, &tls).code, LX_OK);

	tls.cert_pem = tls.key_pem = NULL;
	assert_refused(call_with(r, &tls), "demands a certificate and none was presented");

	id = rpc_identity_make(&r->certs->other_ca, "client", "admin", -60, 60);
	tls.cert_pem = id.cert;
	tls.key_pem = id.key;
	assert_refused(call_with(r, &tls), "refuses our certificate: it is signed by another CA");
	rpc_identity_free(&id);

	id = rpc_identity_make(&r->certs->ca, "client", "admin", -120, -60);
	tls.cert_pem = id.cert;
	tls.key_pem = id.key;
	assert_refused(call_with(r, &tls), "refuses our certificate: it has expired");
	rpc_identity_free(&id);
}

static void test_server_certificates(void **state)
{
	struct rig *r = *state;
	struct lx_tls_config tls = good(r);
	struct rpc_identity id;

	id = rpc_identity_make(&r->certs->other_ca, "server", "manager", -60, 60);
	serve(r, &id, false);
	assert_refused(call_with(r, &tls), "(\"server\") is signed by another CA");
	rpc_identity_free(&id);

	id = rpc_identity_make(&r->certs->ca, "server", "manager", -120, -60);
	serve(r, &id, false);
	assert_refused(call_with(r, &tls), "expired on");
	rpc_identity_free(&id);

	id = rpc_identity_make(&r->certs->ca, "server", "manager", 3600, 7200);
	serve(r, &id, false);
	assert_refused(call_with(r, &tls), "is not valid before");
	rpc_identity_free(&id);
}

static void test_expected_names(void **state)
{
	struct rig *r = *state;
	struct lx_tls_config tls = good(r);

	tls.expect_org_unit = "manager";
	tls.expect_common_name = "server";
	assert_int_equal(call_with(r, &tls).code, LX_OK);
	tls.expect_org_unit = "agent";
	assert_refused(call_with(r, &tls), "is \"server\" (manager), not \"server\" (agent)");
	tls.expect_org_unit = NULL;
	tls.expect_common_name = "node2";
	assert_refused(call_with(r, &tls), "not \"node2\"");
}

static void test_fingerprint(void **state)
{
	struct rig *r = *state;
	struct lx_tls_config tls = { .expect_fingerprint = r->certs->ca_fingerprint };
	struct rpc_identity fake;
	char upper[65], wrong[65];
	size_t i;

	/* A client that joins: no certificate, no CA yet. */
	serve(r, &r->certs->server, true);
	assert_int_equal(call_with(r, &tls).code, LX_OK);
	for (i = 0; i < sizeof(upper); i++)
		upper[i] = r->certs->ca_fingerprint[i] >= 'a' ? r->certs->ca_fingerprint[i] - 32
							      : r->certs->ca_fingerprint[i];
	tls.expect_fingerprint = upper;
	assert_int_equal(call_with(r, &tls).code, LX_OK);

	memset(wrong, 'a', 64);
	wrong[64] = '\0';
	tls.expect_fingerprint = wrong;
	assert_refused(call_with(r, &tls), "is not signed by the CA with fingerprint aaaa");

	/* Showing the right CA beside a certificate that it did not sign is not enough. */
	tls.expect_fingerprint = r->certs->ca_fingerprint;
	fake = rpc_identity_make(&r->certs->other_ca, "server", "manager", -60, 60);
	{
		struct rpc_identity liar = { .key = strdup(fake.key) };
		size_t n = strlen(fake.cert) + strlen(r->certs->ca.cert) + 1;

		liar.cert = malloc(n);
		snprintf(liar.cert, n, "%s%s", fake.cert, r->certs->ca.cert);
		serve(r, &liar, true);
		rpc_identity_free(&liar);
	}
	rpc_identity_free(&fake);
	assert_refused(call_with(r, &tls), "is not signed by the CA with fingerprint");
}

static struct lx_peer seen_peer;
static char seen_names[160];

static int look_at_peer(struct lx_call *call, void *arg, struct lx_err *err)
{
	const struct lx_peer *p = lx_call_peer(call);

	seen_peer = *p;
	snprintf(seen_names, sizeof(seen_names), "%s/%s/%zu", p->common_name ? p->common_name : "-",
		 p->org_unit ? p->org_unit : "-", p->fingerprint ? strlen(p->fingerprint) : 0);
	return 0;
}

static void test_peer(void **state)
{
	struct rig *r = *state;
	struct lx_tls_config tls = good(r);

	serve(r, &r->certs->server, true);
	lx_server_set_gate(r->server, look_at_peer, NULL);
	assert_int_equal(call_with(r, &tls).code, LX_OK);
	assert_string_equal(seen_names, "client/admin/64");
	assert_int_equal(seen_peer.kind, LX_PEER_TLS);
	tls.cert_pem = tls.key_pem = NULL;
	assert_int_equal(call_with(r, &tls).code, LX_OK);
	assert_string_equal(seen_names, "-/-/0");
}

static void drop_caller(struct lx_call *call, void *arg)
{
	struct rig *r = arg;

	lx_server_drop_peer(r->server, lx_call_peer(call)->fingerprint);
}

static int drop_gate(struct lx_call *call, void *arg, struct lx_err *err)
{
	drop_caller(call, arg);
	return 0;
}

static void test_drop_peer(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };

	lx_server_set_gate(r->server, drop_gate, r);
	req.delay_ms = 5000;
	rig_unary(r, &req, NULL, &s);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_UNAUTHENTICATED);
	assert_non_null(strstr(s.err.msg, "revoked"));
	rig_until_gone(r);
}

static void test_plain_text(void **state)
{
	struct rig *r = *state;
	struct sockaddr_in addr;
	char answer[64];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	uv_ip4_addr("127.0.0.1", lx_server_port(r->server), &addr);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_true(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0) == 18);
	rig_run_ms(r, 50);
	/* An alert at most, then the end. */
	while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), 0);
	close(fd);
}

static void test_bad_config(void **state)
{
	struct rig *r = *state;
	struct lx_tls_config tls = good(r);
	struct lx_channel_options opt = { .tls = &tls };
	struct lx_channel *ch;
	struct lx_err err;

	tls.key_pem = r->certs->server.key;
	assert_true(lx_channel_create(&r->loop, r->target, &opt, &ch, &err) < 0);
	assert_non_null(strstr(err.msg, "private key"));
	tls = good(r);
	tls.cert_pem = "nonsense";
	assert_true(lx_channel_create(&r->loop, r->target, &opt, &ch, &err) < 0);
	tls = good(r);
	tls.ca_pem = NULL;
	assert_true(lx_channel_create(&r->loop, r->target, &opt, &ch, &err) < 0);
	tls.expect_fingerprint = "12:34";
	assert_true(lx_channel_create(&r->loop, r->target, &opt, &ch, &err) < 0);
	opt.tls = NULL;
	assert_true(lx_channel_create(&r->loop, r->target, &opt, &ch, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_client_certificates, RIG_TLS),
		RIG_TEST(test_server_certificates, RIG_TLS),
		RIG_TEST(test_expected_names, RIG_TLS),
		RIG_TEST(test_fingerprint, RIG_TLS),
		RIG_TEST(test_peer, RIG_TLS),
		RIG_TEST(test_drop_peer, RIG_TLS),
		RIG_TEST(test_plain_text, RIG_TLS),
		RIG_TEST(test_bad_config, RIG_TLS),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
