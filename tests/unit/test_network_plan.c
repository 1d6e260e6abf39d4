/* Which instance is at which machine: what the manager says, what was seen, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "agent/network/plan.h"
#include "agent/network/tunnel.h"
#include "lib/str.h"

/* Messages hold what they could change. */
#define TEXT(s) ((char *)(uintptr_t)(s))

#define CARD "02:00:00:00:00:05"

/* A network of two other machines and one lease, at `node`. */
struct request {
	Lxmgr__V1__ApplyNetworksRequest req;
	Lxmgr__V1__NetworkPeer peers[2], *peer_list[2];
	Lxmgr__V1__NetworkPeerHost host, *host_list[1];
	Lxmgr__V1__NetworkSpec spec;
	Lxmgr__V1__LeaseSpec lease, *lease_list[1];
	struct lx_network_config config;
};

static void make(struct request *r, const char *node)
{
	static const char *const names[] = { "node2", "node3" };
	static const char *const addresses[] = { "192.0.2.2", "192.0.2.3" };

	memset(r, 0, sizeof(*r));
	lxmgr__v1__apply_networks_request__init(&r->req);
	lxmgr__v1__network_spec__init(&r->spec);
	lxmgr__v1__lease_spec__init(&r->lease);
	lxmgr__v1__network_peer_host__init(&r->host);
	r->req.self_address = TEXT("192.0.2.1");
	r->req.peers = r->peer_list;
	r->req.n_peers = 2;
	for (int i = 0; i < 2; i++) {
		lxmgr__v1__network_peer__init(&r->peers[i]);
		r->peers[i].node = TEXT(names[i]);
		r->peers[i].address = TEXT(addresses[i]);
		r->peer_list[i] = &r->peers[i];
	}
	r->host_list[0] = &r->host;
	r->host.network = TEXT("lxbr0");
	r->host.ipv4 = TEXT("10.88.0.200");
	r->peers[0].n_hosts = 1;
	r->peers[0].hosts = r->host_list;
	r->lease_list[0] = &r->lease;
	r->lease.instance = TEXT("web1");
	r->lease.hwaddr = TEXT(CARD);
	r->lease.ipv4 = TEXT("10.88.0.5");
	r->lease.node = TEXT(node);
	r->spec.name = TEXT("lxbr0");
	r->spec.n_leases = 1;
	r->spec.leases = r->lease_list;
	snprintf(r->config.name, sizeof(r->config.name), "lxbr0");
	assert_int_equal(lx_subnet_parse("x", AF_INET, "10.88.0.1/16", &r->config.v4, NULL), 0);
}

static struct lx_plan plan_of(struct request *r, struct lx_moves *moves, struct lx_err *bad)
{
	struct lx_plan plan;

	assert_int_equal(lx_plan_make(&plan, &r->config, &r->req, &r->spec, moves, bad, NULL), 0);
	return plan;
}

/* The last byte of the address of the machine where the plan says that the card is; 0: here. */
static int where(struct request *r, struct lx_moves *moves)
{
	struct lx_err bad = LX_ERR_INIT;
	struct lx_plan plan = plan_of(r, moves, &bad);
	int at = plan.n_remotes ? plan.remotes[0].at->addr.addr[3] : 0;

	assert_int_equal(bad.code, LX_OK);
	lx_plan_release(&plan);
	return at;
}

static void leases_say_where(void **state)
{
	struct lx_moves moves = { 0 };
	struct request r;

	make(&r, "node1"); /* no peer: this one */
	assert_int_equal(where(&r, &moves), 0);
	make(&r, "");
	assert_int_equal(where(&r, &moves), 0);
	make(&r, "node2");
	assert_int_equal(where(&r, &moves), 2);
	make(&r, "node3");
	assert_int_equal(where(&r, &moves), 3);
}

static void peers_have_their_hosts(void **state)
{
	struct lx_moves moves = { 0 };
	struct lx_err bad = LX_ERR_INIT;
	struct request r;

	make(&r, "node2");
	struct lx_plan plan = plan_of(&r, &moves, &bad);

	assert_int_equal(plan.n_peers, 2);
	assert_int_equal(plan.peers[0].host4.addr[3], 200);
	assert_int_equal(plan.peers[1].host4.family, 0);
	assert_memory_not_equal(plan.peers[0].hwaddr, plan.peers[1].hwaddr, LX_HWADDR_BYTES);
	assert_memory_not_equal(plan.peers[0].hwaddr, plan.self_hwaddr, LX_HWADDR_BYTES);
	lx_plan_release(&plan);
	r.host.ipv4 = TEXT("10.99.0.1"); /* not of this network */
	plan = plan_of(&r, &moves, &bad);
	assert_int_equal(plan.peers[0].host4.family, 0);
	lx_plan_release(&plan);
}

/* What was seen here counts until the manager says something new. */
static void moves_outlast_old_leases(void **state)
{
	struct lx_moves moves = { 0 };
	struct request r;

	make(&r, "node2");
	assert_int_equal(lx_moves_note(&moves, CARD, "", "node2", NULL), 0);
	assert_int_equal(where(&r, &moves), 0);
	assert_int_equal(where(&r, &moves), 0);
	r.lease.node = TEXT("node1"); /* caught up */
	assert_int_equal(where(&r, &moves), 0);
	assert_int_equal(lx_map_count(&moves.by_hwaddr), 0);
	r.lease.node = TEXT("node2"); /* and it went back later */
	assert_int_equal(where(&r, &moves), 2);
	assert_int_equal(lx_moves_note(&moves, CARD, "", "node2", NULL), 0);
	r.lease.node = TEXT("node3"); /* news, though not what was seen */
	assert_int_equal(where(&r, &moves), 3);
	assert_int_equal(lx_moves_note(&moves, CARD, "node2", "node3", NULL), 0);
	assert_int_equal(where(&r, &moves), 2);
	r.spec.n_leases = 0; /* deleted */
	assert_int_equal(where(&r, &moves), 0);
	assert_int_equal(lx_map_count(&moves.by_hwaddr), 0);
	lx_moves_release(&moves);
}

static void bad_peers_are_named(void **state)
{
	static const char *const addresses[] = { "node3.example.org", "", "2001:db8::3", "127.0.0.1",
						 "192.0.2.1" };
	struct lx_moves moves = { 0 };
	struct request r;

	for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
		struct lx_err bad = LX_ERR_INIT;

		make(&r, "node2");
		r.peers[1].address = TEXT(addresses[i]);
		struct lx_plan plan = plan_of(&r, &moves, &bad);

		assert_int_not_equal(bad.code, LX_OK);
		assert_non_null(strstr(bad.msg, "node3"));
		assert_int_equal(plan.n_peers, 1);
		assert_int_equal(plan.n_remotes, 1);
		lx_plan_release(&plan);
	}
}

static void alone_needs_no_address(void **state)
{
	struct lx_moves moves = { 0 };
	struct lx_err bad = LX_ERR_INIT;
	struct request r;

	make(&r, "node1");
	r.req.self_address = TEXT("localhost");
	struct lx_plan plan = plan_of(&r, &moves, &bad);

	assert_int_equal(plan.n_peers, 0);
	assert_int_not_equal(bad.code, LX_OK);
	lx_plan_release(&plan);
	bad = LX_ERR_INIT;
	r.req.n_peers = 0;
	plan = plan_of(&r, &moves, &bad);
	assert_int_equal(bad.code, LX_OK);
	lx_plan_release(&plan);
}

static void names(void **state)
{
	char text[IFNAMSIZ];

	assert_string_equal(lx_tunnel_guests_name(LX_VXLAN_ID_MAX, text), "lxv8388607");
	assert_string_equal(lx_tunnel_hosts_name(1024, text), "lxh1024");
	assert_int_equal(lx_tunnel_id("lxh1024"), 1024);
	assert_int_equal(lx_tunnel_id("lxv7"), 7);
	assert_int_equal(lx_tunnel_id("lxv8388608"), 0);
	assert_int_equal(lx_tunnel_id("lxv"), 0);
	assert_int_equal(lx_tunnel_id("lxbr0"), 0);
	assert_int_equal(lx_tunnel_id("lxv10x"), 0);
	assert_true(lx_tunnel_is_hosts_name("lxh1024"));
	assert_false(lx_tunnel_is_hosts_name("lxv1024"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leases_say_where),         cmocka_unit_test(peers_have_their_hosts),
		cmocka_unit_test(moves_outlast_old_leases), cmocka_unit_test(bad_peers_are_named),
		cmocka_unit_test(alone_needs_no_address),   cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("network_plan", tests, NULL, NULL);
}
