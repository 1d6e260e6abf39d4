/* Servers and channels at their edges: listening, service tables, the gate, peers that misbehave. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/channel.h"
#include "rpc/server.h"
#include "tests/unit/rpc_fixture.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
#define PREFACE_LEN (sizeof(preface) - 1)

/* ------------------------------------------------------------------ listening */

static void test_listen_unix(void **state)
{
	struct rig *r = *state;
	struct lx_server *s;
	struct lx_err err;
	struct stat st;
	char path[128];
	unsigned gone = 0;
	int fd;

	assert_int_equal(stat(r->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	assert_int_equal(lx_server_create(&r->loop, &s, &err), 0);
	assert_int_equal(lx_server_listen_unix(s, r->path, 0600, (gid_t)-1, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "another process listens there"));

	/* A stale one is replaced, also while it is stale for nobody else. */
	snprintf(path, sizeof(path), "%s/stale", r->dir);
	{
		struct sockaddr_un addr = { .sun_family = AF_UNIX };

		snprintf(addr.sun_path, sizeof(addr.sun_path), "%.100s", path);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		close(fd);
	}
	assert_int_equal(lx_server_listen_unix(s, path, 0640, getgid(), &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);

	/* What is no socket stays. */
	snprintf(path, sizeof(path), "%s/file", r->dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(lx_server_listen_unix(s, path, 0600, (gid_t)-1, &err), -EEXIST);
	assert_int_equal(unlink(path), 0);

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_true(lx_server_listen_unix(s, path, 0600, (gid_t)-1, &err) < 0);
	assert_non_null(strstr(err.msg, "too long"));
	snprintf(path, sizeof(path), "%s/none/s", r->dir);
	assert_true(lx_server_listen_unix(s, path, 0600, (gid_t)-1, &err) < 0);
	lx_server_close(s, (void (*)(void *))NULL, &gone);
	snprintf(path, sizeof(path), "%s/stale", r->dir);
	assert_int_equal(stat(path, &st), -1);
}

static void test_listen_tls_in_use(void **state)
{
	struct rig *r = *state;
	struct lx_tls_config tls = { .cert_pem = r->certs->server.cert,
				     .key_pem = r->certs->server.key,
				     .ca_pem = r->certs->ca.cert };
	struct lx_server *s;
	struct lx_err err;

	assert_int_equal(lx_server_create(&r->loop, &s, &err), 0);
	assert_true(lx_server_listen_tls(s, r->target, &tls, &err) < 0);
	assert_non_null(strstr(err.msg, r->target));
	assert_true(lx_server_listen_tls(s, "nonsense", &tls, &err) < 0);
	assert_int_equal(lx_server_port(s), -ENOENT);
	lx_server_close(s, NULL, NULL);
}

/* ------------------------------------------------------------------ services */

static void no_unary(struct lx_call *call, const ProtobufCMessage *req, void *arg)
{
	lx_call_cancel(call);
}

static void no_open(struct lx_call *call, void *arg)
{
	lx_call_cancel(call);
}

static void test_service_tables(void **state)
{
	struct rig *r = *state;
	struct lx_method m[] = {
		{ .name = "Unary", .unary = no_unary },
		{ .name = "ServerStream", .server_stream = true, .unary = no_unary },
		{ .name = "ClientStream", .client_stream = true, .open = no_open },
		{ .name = "Bidi", .client_stream = true, .server_stream = true, .open = no_open },
	};
	struct lx_service service = { .descriptor = ECHO_SERVICE, .methods = m, .n_methods = 4 };
	struct lx_server *s;
	struct lx_err err;

	assert_int_equal(lx_server_create(&r->loop, &s, &err), 0);
	assert_int_equal(lx_server_add(s, &service, NULL, &err), 0);
	service.n_methods = 3;
	assert_int_equal(lx_server_add(s, &service, NULL, &err), -EINVAL);
	assert_string_equal(err.msg, "lxmgr.test.v1.Echo/Bidi has no handler");
	service.n_methods = 4;
	m[3].name = "Both";
	assert_int_equal(lx_server_add(s, &service, NULL, &err), -EINVAL);
	m[3].name = "Bidi";
	m[3].unary = no_unary;
	assert_int_equal(lx_server_add(s, &service, NULL, &err), -EINVAL);
	m[3].open = NULL;
	assert_int_equal(lx_server_add(s, &service, NULL, &err), -EINVAL);
	lx_server_close(s, NULL, NULL);
}

static int gate(struct lx_call *call, void *arg, struct lx_err *err)
{
	const struct lx_peer *p = lx_call_peer(call);

	assert_int_equal(p->kind, LX_PEER_UNIX);
	assert_int_equal(p->uid, getuid());
	assert_int_equal(p->pid, getpid());
	assert_string_equal(p->address, "unix");
	if (!lx_call_metadata(call, "x-role")) {
		lx_err_set(err, LX_PERMISSION_DENIED, "%s needs a role", lx_call_method(call));
		lx_err_hint(err, "Ask for one.");
		return -EACCES;
	}
	assert_string_equal(lx_call_metadata(call, "x-role"), "admin");
	return 0;
}

static void test_gate(void **state)
{
	static const char *const metadata[][2] = { { "x-role", "admin" } };
	struct lx_call_options opt = { .metadata = metadata, .n_metadata = 1 };
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 }, t = { 0 };

	lx_server_set_gate(r->server, gate, NULL);
	rig_unary(r, &req, NULL, &s);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_PERMISSION_DENIED);
	assert_string_equal(s.err.msg, "/lxmgr.test.v1.Echo/Unary needs a role");
	assert_string_equal(s.err.hint, "Ask for one.");
	rig_unary(r, &req, &opt, &t);
	rig_until(r, &t.closed);
	assert_int_equal(t.err.code, LX_OK);
}

/* ------------------------------------------------------------------ clients that misbehave */

static int dial_raw(struct rig *r)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", r->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Runs the loop until the server has hung up; true when it said GOAWAY with that code. */
static bool hangs_up(struct rig *r, int fd, uint32_t code)
{
	uint8_t said[65536];
	size_t have = 0, at;
	bool found = false;
	int i;

	for (i = 0; i < 300; i++) {
		ssize_t n = recv(fd, said + have, sizeof(said) - have, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		if (n > 0)
			have += (size_t)n;
		rig_run_ms(r, 5);
	}
	assert_true(i < 300);
	for (at = 0; at + 9 <= have;
	     at += 9 + ((size_t)said[at] << 16 | (size_t)said[at + 1] << 8 | said[at + 2]))
		if (said[at + 3] == NGHTTP2_GOAWAY && at + 17 <= have)
			found = said[at + 16] == code;
	close(fd);
	return found;
}

static void send_all(struct rig *r, int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
		rig_run_ms(r, 1);
	}
}

static void test_garbage(void **state)
{
	struct rig *r = *state;
	int fd = dial_raw(r);

	send_all(r, fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
	hangs_up(r, fd, 0);

	/* A frame that is too large for its kind. */
	fd = dial_raw(r);
	send_all(r, fd, preface, PREFACE_LEN);
	send_all(r, fd, "\xff\xff\xff\4\0\0\0\0\0", 9);
	assert_true(hangs_up(r, fd, NGHTTP2_FRAME_SIZE_ERROR));
}

static void test_ping_flood(void **state)
{
	struct rig *r = *state;
	uint8_t pings[17 * 3000] = { 0 };
	int fd = dial_raw(r), i;

	for (i = 0; i < 3000; i++) {
		pings[17 * i + 2] = 8;
		pings[17 * i + 3] = NGHTTP2_PING;
	}
	send_all(r, fd, preface, PREFACE_LEN);
	send_all(r, fd, pings, sizeof(pings));
	assert_true(hangs_up(r, fd, NGHTTP2_ENHANCE_YOUR_CALM));
}

/* Calls begun and reset as fast as can be. */
static void test_reset_flood(void **state)
{
	/* POST, http, a path, nothing else: refused, but it costs work. */
	static const uint8_t headers[] = { 0,    0,   6,  NGHTTP2_HEADERS, 4, 0, 0, 0, 0, 0x83, 0x86, 0x04,
					   0x02, '/', 'a' };
	static const uint8_t reset[] = { 0, 0, 4, NGHTTP2_RST_STREAM, 0, 0, 0, 0, 0, 0, 0, 0, 8 };
	struct rig *r = *state;
	size_t n = 3000, one = sizeof(headers) + sizeof(reset), i;
	uint8_t *all = malloc(n * one);
	int fd = dial_raw(r);

	for (i = 0; i < n; i++) {
		uint8_t *p = all + i * one;
		uint32_t id = (uint32_t)(2 * i + 1);

		memcpy(p, headers, sizeof(headers));
		memcpy(p + sizeof(headers), reset, sizeof(reset));
		p[7] = p[sizeof(headers) + 7] = (uint8_t)(id >> 8);
		p[8] = p[sizeof(headers) + 8] = (uint8_t)id;
	}
	send_all(r, fd, preface, PREFACE_LEN);
	send_all(r, fd, all, n * one);
	hangs_up(r, fd, 0);
	free(all);
}

/* One that connects and then says nothing, or too little. */
static void test_slow_handshake(void **state)
{
	struct rig *r = *state;
	int fd = dial_raw(r);
	struct lx_conn *c;

	send_all(r, fd, preface, 10);
	rig_run_ms(r, 20);
	c = TAILQ_FIRST(&r->server->conns);
	assert_non_null(c);
	assert_int_equal(c->give_up_ms - c->heard_ms <= LX_RPC_HANDSHAKE_MS, 1);
	assert_true(c->give_up_ms > 0);
	/* Not to wait ten seconds here. */
	lx_conn_give_up_in(c, 20);
	hangs_up(r, fd, 0);

	/* Once it has said hello it may be idle for as long as it likes. */
	fd = dial_raw(r);
	send_all(r, fd, preface, PREFACE_LEN);
	rig_run_ms(r, 20);
	c = TAILQ_LAST(&r->server->conns, lx_conn_list);
	assert_int_equal(c->give_up_ms, 0);
	close(fd);
	rig_run_ms(r, 20);
	assert_int_equal(r->server->n_conns, 0);
}

/* ------------------------------------------------------------------ servers that misbehave */

/* A socket a channel can connect to, and what became of its one call. */
struct fake {
	int listener, fd;
	struct lx_channel *ch;
	struct seen seen;
};

static void fake_start(struct rig *r, struct fake *f, bool keepalive)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct lx_channel_options opt = { .keepalive = keepalive };
	struct lx_channel *was = r->ch;
	EchoRequest req = ECHO_REQUEST;
	struct lx_err err;
	char target[160];

	memset(f, 0, sizeof(*f));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.80s/fake", r->dir);
	snprintf(target, sizeof(target), "unix:%s", addr.sun_path);
	f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(f->listener, 1), 0);
	assert_int_equal(lx_channel_create(&r->loop, target, &opt, &f->ch, &err), 0);
	r->ch = f->ch;
	rig_unary(r, &req, NULL, &f->seen);
	r->ch = was;
	rig_run_ms(r, 10);
	f->fd = accept(f->listener, NULL, NULL);
	assert_true(f->fd >= 0);
	unlink(addr.sun_path);
}

static void fake_stop(struct rig *r, struct fake *f)
{
	close(f->fd);
	close(f->listener);
	lx_channel_close(f->ch);
	rig_run_ms(r, 10);
	assert_int_equal(f->seen.closed, 1);
}

static void test_server_hangs_up(void **state)
{
	struct rig *r = *state;
	struct fake f;

	fake_start(r, &f, false);
	send_all(r, f.fd, "\0\0\0\4\0\0\0\0\0", 9);
	shutdown(f.fd, SHUT_RDWR);
	rig_until(r, &f.seen.closed);
	assert_int_equal(f.seen.err.code, LX_UNAVAILABLE);
	assert_non_null(strstr(f.seen.err.msg, "closed the connection"));
	fake_stop(r, &f);
}

static void test_server_is_none(void **state)
{
	struct rig *r = *state;
	struct fake f;

	fake_start(r, &f, false);
	send_all(r, f.fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	rig_until(r, &f.seen.closed);
	assert_int_equal(f.seen.err.code, LX_UNAVAILABLE);
	assert_non_null(strstr(f.seen.err.msg, "does not speak HTTP/2"));
	fake_stop(r, &f);
}

static void test_keepalive(void **state)
{
	struct rig *r = *state;
	uint8_t said[4096];
	struct lx_conn *c;
	struct fake f;
	ssize_t n;

	fake_start(r, &f, true);
	send_all(r, f.fd, "\0\0\0\4\0\0\0\0\0", 9);
	rig_run_ms(r, 20);
	while (recv(f.fd, said, sizeof(said), MSG_DONTWAIT) > 0)
		;
	/* Ten seconds of silence, without waiting for them. */
	c = f.ch->conn;
	c->heard_ms -= LX_RPC_KEEPALIVE_MS;
	lx_conn_rearm(c);
	rig_run_ms(r, 20);
	n = recv(f.fd, said, sizeof(said), MSG_DONTWAIT);
	assert_int_equal(n, 17);
	assert_int_equal(said[3], NGHTTP2_PING);
	/* An answer satisfies it ... */
	said[4] = NGHTTP2_FLAG_ACK;
	send_all(r, f.fd, said, 17);
	rig_run_ms(r, 20);
	c->heard_ms -= LX_RPC_KEEPALIVE_MS;
	lx_conn_rearm(c);
	rig_run_ms(r, 20);
	assert_int_equal(f.seen.closed, 0);
	/* ... silence does not. */
	c->ping_ms -= LX_RPC_KEEPALIVE_MS;
	c->heard_ms -= LX_RPC_KEEPALIVE_MS;
	lx_conn_rearm(c);
	rig_run_ms(r, 20);
	assert_int_equal(f.seen.closed, 0); /* it has one more chance, as the loop may have slept */
	rig_until(r, &f.seen.closed);
	assert_int_equal(f.seen.err.code, LX_UNAVAILABLE);
	assert_non_null(strstr(f.seen.err.msg, "does not answer any more"));
	fake_stop(r, &f);
}

static void test_bad_targets(void **state)
{
	static const char *const bad[] = { "unix:", "localhost:1234", "nonsense" };
	struct rig *r = *state;
	struct lx_channel *ch;
	struct lx_err err;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(lx_channel_create(&r->loop, bad[i], NULL, &ch, &err) < 0);
	lx_channel_close(NULL);
	lx_server_close(NULL, NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_listen_unix, RIG_UNIX),     RIG_TEST(test_listen_tls_in_use, RIG_TLS),
		RIG_TEST(test_service_tables, RIG_UNIX),  RIG_TEST(test_gate, RIG_UNIX),
		RIG_TEST(test_garbage, RIG_UNIX),         RIG_TEST(test_ping_flood, RIG_UNIX),
		RIG_TEST(test_reset_flood, RIG_UNIX),     RIG_TEST(test_slow_handshake, RIG_UNIX),
		RIG_TEST(test_server_hangs_up, RIG_UNIX), RIG_TEST(test_server_is_none, RIG_UNIX),
		RIG_TEST(test_keepalive, RIG_UNIX),       RIG_TEST(test_bad_targets, RIG_UNIX),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
