/* The text that keeps projects apart on a bridge. The kernel's view: test_attack_projects.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "agent/network/isolation.h"
#include "lib/cleanup.h"

struct site {
	Lxmgr__V1__NetworkSpec__ConfigEntry v4, *config[1];
	Lxmgr__V1__LeaseSpec lease[3], *leases[3];
	Lxmgr__V1__NetworkSpec spec, *networks[1];
	Lxmgr__V1__ApplyNetworksRequest req;
	struct lx_network_config parsed;
};

#define TEXT(s) ((char *)(uintptr_t)(s))

static void lease(Lxmgr__V1__LeaseSpec *l, const char *instance, const char *card, const char *hwaddr,
		  const char *ipv4)
{
	lxmgr__v1__lease_spec__init(l);
	l->instance = TEXT(instance);
	l->card = TEXT(card);
	l->hwaddr = TEXT(hwaddr);
	l->ipv4 = TEXT(ipv4);
}

/* Two of shop, one of the default project. */
static void site_init(struct site *s)
{
	protobuf_c_message_init(&lxmgr__v1__network_spec__config_entry__descriptor, &s->v4);
	s->v4.key = TEXT("ipv4.address");
	s->v4.value = TEXT("10.88.0.1/24");
	s->config[0] = &s->v4;
	lease(&s->lease[0], "shop_web1", "lx11111111n0", "00:16:3e:00:00:01", "10.88.0.11");
	lease(&s->lease[1], "web1", "lx22222222n0", "00:16:3e:00:00:02", "10.88.0.12");
	lease(&s->lease[2], "shop_web2", "lx33333333n0", "00:16:3e:00:00:03", "10.88.0.13");
	for (size_t i = 0; i < 3; i++)
		s->leases[i] = &s->lease[i];
	lxmgr__v1__network_spec__init(&s->spec);
	s->spec.name = TEXT("lxbr0");
	s->spec.vxlan_id = 1024;
	s->spec.n_config = 1;
	s->spec.config = s->config;
	s->spec.n_leases = 3;
	s->spec.leases = s->leases;
	s->networks[0] = &s->spec;
	lxmgr__v1__apply_networks_request__init(&s->req);
	s->req.n_networks = 1;
	s->req.networks = s->networks;
	assert_int_equal(lx_network_config_parse(&s->spec, &s->parsed, NULL), 0);
	assert_true(s->parsed.isolation);
}

static void has(const struct lx_buf *text, const char *rule)
{
	if (!strstr(lx_buf_str((struct lx_buf *)(uintptr_t)text), rule))
		fail_msg("no \"%s\" in:\n%s", rule, lx_buf_str((struct lx_buf *)(uintptr_t)text));
}

static void two_projects(void **state)
{
	lx_autobuf struct lx_buf out = { 0 };
	struct site s;

	site_init(&s);
	assert_int_equal(lx_isolation_table(&out, &s.parsed, &s.req, &s.spec), 0);
	has(&out, "flush table bridge lxproject_lxbr0\n");
	has(&out, "p0 oifname { \"lx11111111n0\", \"lx33333333n0\" } accept\n");
	has(&out, "p0 ether saddr { 00:16:3e:00:00:02 } counter drop\n");
	has(&out, "p1 oifname { \"lx22222222n0\" } accept\n");
	has(&out, "p1 oifname \"lxv1024\" accept\n");
	has(&out, "p1 counter drop\n");
	has(&out, "across iifname vmap { \"lx11111111n0\" : goto p0, \"lx22222222n0\" : goto p1, "
		  "\"lx33333333n0\" : goto p0 }\n");
	has(&out, "across iifname \"lxv1024\" ether saddr vmap { 00:16:3e:00:00:01 : goto p0, ");
	has(&out, "across iifname \"lxv1024\" counter drop\n");
	has(&out, "g0 ip daddr { 10.88.0.12 } counter drop\n");
	has(&out, "g1 ip daddr { 10.88.0.11, 10.88.0.13 } counter drop\n");
}

static void none_needed(void **state)
{
	lx_autobuf struct lx_buf out = { 0 };
	struct site s;

	site_init(&s);
	s.lease[1].instance = TEXT("shop_web3"); /* all of one project */
	assert_int_equal(lx_isolation_table(&out, &s.parsed, &s.req, &s.spec), 0);
	assert_int_equal(out.len, 0);
	site_init(&s);
	s.parsed.isolation = false;
	assert_int_equal(lx_isolation_table(&out, &s.parsed, &s.req, &s.spec), 0);
	assert_int_equal(out.len, 0);
	site_init(&s);
	s.spec.n_leases = 0;
	assert_int_equal(lx_isolation_table(&out, &s.parsed, &s.req, &s.spec), 0);
	assert_int_equal(out.len, 0);
}

/* Nothing from outside gets into the text as it is. */
static void hostile_words(void **state)
{
	static const char *const cards[] = { "",     "lx\" }; flush ruleset; {",
					     "a b",  "lx0123456789abcdef",
					     "../x", "x;y" };

	for (size_t i = 0; i < sizeof(cards) / sizeof(cards[0]); i++) {
		lx_autobuf struct lx_buf out = { 0 };
		struct site s;

		site_init(&s);
		s.lease[2].card = TEXT(cards[i]);
		assert_int_equal(lx_isolation_table(&out, &s.parsed, &s.req, &s.spec), 0);
		has(&out, "p0 oifname { \"lx11111111n0\" } accept\n");
		assert_null(strstr(lx_buf_str(&out), "ruleset"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_projects),
		cmocka_unit_test(none_needed),
		cmocka_unit_test(hostile_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
