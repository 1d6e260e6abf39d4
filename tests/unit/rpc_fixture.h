/*
 * A server with the echo service and a channel to it on one loop: over a unix socket, over
 * TLS, or over a unix socket with a proxy between. A test that holds for one holds for all.
 */
#ifndef LX_TESTS_RPC_FIXTURE_H
#define LX_TESTS_RPC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/rpc.h"
#include "tests/echo.pb-c.h"
#include "tests/system/rpc/echo_service.h"
#include "tests/unit/rpc_certs.h"

typedef Lxmgr__Test__V1__EchoRequest EchoRequest;
typedef Lxmgr__Test__V1__EchoReply EchoReply;
#define ECHO_REQUEST ((EchoRequest)LXMGR__TEST__V1__ECHO_REQUEST__INIT)
#define ECHO_SERVICE (&lxmgr__test__v1__echo__descriptor)

enum rig_kind { RIG_UNIX, RIG_TLS, RIG_PROXY };

struct rig {
	enum rig_kind kind;
	uv_loop_t loop;
	char dir[64], path[96], target[160];
	struct lx_server *server, *proxy;
	struct lx_channel *ch, *inner; /* inner: from the proxy to the server */
	struct rpc_certs *certs;       /* RIG_TLS */
	struct echo_stats stats;
	unsigned proxied; /* calls the proxy has done with */
	bool closed;
	/* The channel's states so far, "CR" for connecting, ready; F failed. */
	char states[32];
	struct lx_err state_err;
};

/* What a call told its user. */
struct seen {
	struct lx_call *call;
	unsigned messages;
	uint64_t bytes;
	unsigned last_index;
	char text[64];
	bool pause_each; /* pause after every message */
	bool writable;
	unsigned closed; /* times; 1 in the end */
	struct lx_err err;
};

/* cmocka setup and teardown; the initial state is the rig_kind. */
int rig_setup(void **state);
int rig_teardown(void **state);
#define RIG_TEST(f, kind)                                                                                    \
	{                                                                                                    \
#f " (" #kind ")", f, rig_setup, rig_teardown, (void *)(uintptr_t)(kind)                     \
	}
#define RIG_TESTS(f) RIG_TEST(f, RIG_UNIX), RIG_TEST(f, RIG_TLS), RIG_TEST(f, RIG_PROXY)

void rig_start_server(struct rig *r);
void rig_stop_server(struct rig *r);
/* A further channel. */
struct lx_channel *rig_channel(struct rig *r);
/* Runs the loop until *flag is not 0; fails the test after some seconds. */
void rig_until(struct rig *r, const unsigned *flag);
void rig_until_gone(struct rig *r);
/* Runs the loop for so long. */
void rig_run_ms(struct rig *r, unsigned ms);

extern const struct lx_call_events seen_events;
void rig_stream(struct rig *r, const char *method, const struct lx_call_options *opt, struct seen *seen);
void rig_unary(struct rig *r, const EchoRequest *req, const struct lx_call_options *opt, struct seen *seen);
void rig_send(struct seen *seen, const EchoRequest *req);

#endif
