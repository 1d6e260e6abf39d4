/* Id ranges, MAC and IP addresses: unique, fixed ones honoured, given back, never beyond the pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lxmgr/cluster/networks.h"
#include "lxmgr/leases.h"
#include "proto/pb.h"

static void free_message(void *msg)
{
	lx_pb_free(msg);
}

static struct lx_manager *manager_new(uint32_t idmap_count)
{
	struct lx_manager *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->opt.idmap_base = 1000000000u;
	m->opt.idmap_count = idmap_count;
	lx_map_init(&m->networks, free_message);
	assert_int_equal(lx_leases_init(m, NULL), 0);
	return m;
}

static void manager_free(struct lx_manager *m)
{
	lx_leases_free(m->leases);
	lx_map_release(&m->networks);
	lx_map_release(&m->hwaddrs);
	free(m);
}

static int add_network(struct lx_manager *m, const char *name, const char *v4, const char *v6,
		       struct lx_err *err)
{
	Lxmgr__V1__Network *n = malloc(sizeof(*n));
	assert_non_null(n);
	lxmgr__v1__network__init(n);
	lx_pb_set(&n->name, name);
	lx_pb_set(&n->bridge, name);
	lx_pb_map_set(&lxmgr__v1__network__config_entry__descriptor, &n->n_config, &n->config, "ipv4.address",
		      v4);
	lx_pb_map_set(&lxmgr__v1__network__config_entry__descriptor, &n->n_config, &n->config, "ipv6.address",
		      v6);
	assert_int_equal(lx_map_set(&m->networks, name, n), 0);
	return lx_leases_network(m, name, err);
}

/* An instance with one nic device. */
static Lxmgr__V1__Instance *instance(const char *name, const char *uuid, const char *network,
				     const char *ipv4, const char *hwaddr)
{
	Lxmgr__V1__Instance *pb = malloc(sizeof(*pb));
	struct lx_map devices, *nic = calloc(1, sizeof(*nic));

	assert_non_null(pb);
	assert_non_null(nic);
	lxmgr__v1__instance__init(pb);
	lx_pb_set(&pb->name, name);
	lx_pb_set(&pb->uuid, uuid);
	lx_map_init(nic, free);
	lx_map_set(nic, "type", strdup("nic"));
	lx_map_set(nic, "network", strdup(network));
	if (ipv4)
		lx_map_set(nic, "ipv4.address", strdup(ipv4));
	if (hwaddr)
		lx_map_set(nic, "hwaddr", strdup(hwaddr));
	lx_map_init(&devices, lx_pb_options_free);
	lx_map_set(&devices, "eth0", nic);
	assert_int_equal(lx_pb_devices_from(&lxmgr__v1__instance__expanded_devices_entry__descriptor,
					    &pb->n_expanded_devices, &pb->expanded_devices, &devices),
			 0);
	lx_map_release(&devices);
	return pb;
}

static void test_unique(void **state)
{
	struct lx_manager *m = manager_new(300);
	struct lx_map seen = { 0 };
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(add_network(m, "lxbr0", "10.9.0.1/24", "fd00:1::1/64", &err), 0);
	Lxmgr__V1__Instance *all[253];
	for (int i = 0; i < 253; i++) {
		char name[16], base[32];
		snprintf(name, sizeof(name), "i%d", i);
		all[i] = instance(name, "0a1b2c3d-0000-4000-8000-000000000000", "lxbr0", NULL, NULL);
		assert_int_equal(lx_leases_take(m, all[i], &err), 0);
		snprintf(base, sizeof(base), "%u", all[i]->idmap_base);
		const Lxmgr__V1__Nic *nic = all[i]->nics[0];
		const char *keys[] = { base, nic->hwaddr, nic->ipv4_address, nic->ipv6_address };
		for (size_t k = 0; k < 4; k++) {
			assert_false(lx_map_has(&seen, keys[k]));
			lx_map_set(&seen, keys[k], (void *)1);
		}
		assert_string_not_equal(nic->ipv4_address, "10.9.0.0/24");
		assert_string_not_equal(nic->ipv4_address, "10.9.0.1/24");
		assert_string_not_equal(nic->ipv4_address, "10.9.0.255/24");
		assert_string_equal(nic->ipv4_gateway, "10.9.0.1");
		assert_string_equal(nic->host_name, "lx0a1b2c3dn0");
		assert_int_equal(all[i]->idmap_size, 65536);
	}
	/* The pool is empty now, and the one who came too late leaves no id range behind. */
	Lxmgr__V1__Instance *late = instance("late", "0", "lxbr0", NULL, NULL);
	assert_true(lx_leases_take(m, late, &err) < 0);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	/* What is given back can be had again. */
	char *freed = strdup(all[7]->nics[0]->ipv4_address);
	lx_leases_give_back(m, all[7]);
	Lxmgr__V1__Instance *next = instance("next", "0", "lxbr0", NULL, NULL);
	assert_int_equal(lx_leases_take(m, next, &err), 0);
	assert_string_equal(next->nics[0]->ipv4_address, freed);
	free(freed);
	lx_pb_free(next);
	lx_pb_free(late);
	for (int i = 0; i < 253; i++)
		lx_pb_free(all[i]);
	lx_map_release(&seen);
	manager_free(m);
}

static void test_fixed(void **state)
{
	struct lx_manager *m = manager_new(10);
	struct lx_err err = LX_ERR_INIT;
	const char *mac = "00:16:3e:aa:bb:cc";

	assert_int_equal(add_network(m, "lxbr0", "10.9.0.1/24", "none", &err), 0);
	Lxmgr__V1__Instance *a = instance("a", "1", "lxbr0", "10.9.0.50", mac);
	assert_int_equal(lx_leases_take(m, a, &err), 0);
	assert_string_equal(a->nics[0]->ipv4_address, "10.9.0.50/24");
	assert_string_equal(a->nics[0]->ipv6_address, "");
	assert_string_equal(a->nics[0]->hwaddr, mac);

	static const struct {
		const char *ipv4, *mac, *network;
		enum lx_code code;
	} bad[] = {
		{ "10.9.0.50", NULL, "lxbr0", LX_ALREADY_EXISTS },    /* taken */
		{ "10.9.0.1", NULL, "lxbr0", LX_ALREADY_EXISTS },     /* the bridge */
		{ "10.9.1.50", NULL, "lxbr0", LX_INVALID_ARGUMENT },  /* outside */
		{ "10.9.0.255", NULL, "lxbr0", LX_INVALID_ARGUMENT }, /* broadcast */
		{ NULL, "00:16:3e:aa:bb:cc", "lxbr0", LX_ALREADY_EXISTS },
		{ NULL, NULL, "nosuch", LX_NOT_FOUND },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		Lxmgr__V1__Instance *b = instance("b", "2", bad[i].network, bad[i].ipv4, bad[i].mac);
		err = LX_ERR_INIT;
		assert_true(lx_leases_take(m, b, &err) < 0);
		assert_int_equal(err.code, bad[i].code);
		lx_pb_free(b);
	}
	/* Nine refusals later the tenth range is still to be had: nothing leaked. */
	Lxmgr__V1__Instance *rest[9];
	for (int i = 0; i < 9; i++) {
		rest[i] = instance("c", "3", "lxbr0", NULL, NULL);
		assert_int_equal(lx_leases_take(m, rest[i], &err), 0);
	}
	for (int i = 0; i < 9; i++)
		lx_pb_free(rest[i]);
	lx_pb_free(a);
	manager_free(m);
}

/* `pb` gets the nics of `before`, as a copy of it with changed devices has. */
static Lxmgr__V1__Instance *changed(const Lxmgr__V1__Instance *before, Lxmgr__V1__Instance *pb)
{
	pb->nics = calloc(before->n_nics, sizeof(*pb->nics));
	assert_non_null(pb->nics);
	for (size_t i = 0; i < before->n_nics; i++)
		pb->nics[pb->n_nics++] = LX_PB_DUP(Lxmgr__V1__Nic, before->nics[i]);
	return pb;
}

static void test_update_keeps(void **state)
{
	struct lx_manager *m = manager_new(10);
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(add_network(m, "lxbr0", "10.9.0.1/24", "none", &err), 0);
	assert_int_equal(add_network(m, "lxbr1", "10.10.0.1/24", "none", &err), 0);
	Lxmgr__V1__Instance *a = instance("a", "1", "lxbr0", NULL, NULL);
	assert_int_equal(lx_leases_take(m, a, &err), 0);
	const char *mac = a->nics[0]->hwaddr, *ip = a->nics[0]->ipv4_address;

	/* The same devices again: the same lease. */
	Lxmgr__V1__Instance *b = changed(a, instance("a", "1", "lxbr0", NULL, NULL));
	assert_int_equal(lx_leases_update_nics(m, b, &err), 0);
	assert_string_equal(b->nics[0]->hwaddr, mac);
	assert_string_equal(b->nics[0]->ipv4_address, ip);
	lx_leases_drop_nics(m, a, b);
	assert_true(lx_map_has(&m->hwaddrs, mac));
	lx_pb_free(b);

	/* Another network: another lease. Both are taken until it is known which one it is. */
	b = changed(a, instance("a", "1", "lxbr1", NULL, NULL));
	assert_int_equal(lx_leases_update_nics(m, b, &err), 0);
	assert_int_equal(strncmp(b->nics[0]->ipv4_address, "10.10.0.", 8), 0);
	assert_string_not_equal(b->nics[0]->host_name, a->nics[0]->host_name);
	assert_true(lx_map_has(&m->hwaddrs, mac));
	assert_true(lx_map_has(&m->hwaddrs, b->nics[0]->hwaddr));
	lx_leases_drop_nics(m, b, a); /* it stays as it was */
	assert_true(lx_map_has(&m->hwaddrs, mac));
	assert_false(lx_map_has(&m->hwaddrs, b->nics[0]->hwaddr));
	lx_leases_drop_nics(m, a, b); /* it has changed, and may still run with what it had */
	assert_int_equal(b->n_held_nics, 1);
	assert_true(lx_map_has(&m->hwaddrs, mac));
	lx_leases_drop_held(m, b);
	assert_false(lx_map_has(&m->hwaddrs, mac));
	lx_pb_free(b);
	lx_pb_free(a);
	manager_free(m);
}

/* A card that is made anew may have what its predecessor had, and nobody else. */
static void test_update_takes_over(void **state)
{
	struct lx_manager *m = manager_new(10);
	struct lx_err err = LX_ERR_INIT;
	const char *mac = "00:16:3e:aa:bb:cc";

	assert_int_equal(add_network(m, "lxbr0", "10.9.0.1/24", "fd00:1::1/64", &err), 0);
	assert_int_equal(add_network(m, "lxbr1", "10.10.0.1/24", "none", &err), 0);
	Lxmgr__V1__Instance *a = instance("a", "1", "lxbr0", "10.9.0.50", mac);
	assert_int_equal(lx_leases_take(m, a, &err), 0);

	/* To another network with its MAC, in the writing of another tool. */
	Lxmgr__V1__Instance *b = changed(a, instance("a", "1", "lxbr1", NULL, "00:16:3E:AA:BB:CC"));
	assert_int_equal(lx_leases_update_nics(m, b, &err), 0);
	assert_string_equal(b->nics[0]->hwaddr, mac);
	lx_leases_drop_nics(m, a, b);
	lx_leases_drop_held(m, b);
	assert_true(lx_map_has(&m->hwaddrs, mac));

	/* Somebody else may have the address now, but not the MAC; and what is refused leaves no trace. */
	Lxmgr__V1__Instance *c = instance("c", "2", "lxbr0", "10.9.0.50", "00:16:3E:AA:BB:CC");
	assert_true(lx_leases_take(m, c, &err) < 0);
	assert_int_equal(err.code, LX_ALREADY_EXISTS);
	lx_pb_free(c);
	c = instance("c", "2", "lxbr0", "10.9.0.50", NULL);
	assert_int_equal(lx_leases_take(m, c, &err), 0);

	/* Its own address under another MAC. */
	Lxmgr__V1__Instance *d = changed(c, instance("c", "2", "lxbr0", "10.9.0.50", "00:16:3e:00:00:01"));
	assert_int_equal(lx_leases_update_nics(m, d, &err), 0);
	assert_string_equal(d->nics[0]->ipv4_address, "10.9.0.50/24");
	lx_leases_drop_nics(m, c, d);
	Lxmgr__V1__Instance *e = instance("e", "3", "lxbr0", "10.9.0.50", NULL);
	assert_true(lx_leases_take(m, e, &err) < 0);

	Lxmgr__V1__Instance *all[] = { a, b, c, d, e };
	for (size_t i = 0; i < 5; i++)
		lx_pb_free(all[i]);
	manager_free(m);
}

static bool is_taken(struct lx_manager *m, uint32_t index)
{
	return lx_bitmap_test(&lx_pool_find(m, "lxbr0")->used, index);
}

/* What it may still run with stays its own: nobody else gets it, and a device that fits gets it back whole.
 */
static void test_held(void **state)
{
	struct lx_manager *m = manager_new(10);
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(add_network(m, "lxbr0", "10.9.0.1/24", "none", &err), 0);
	Lxmgr__V1__Instance *a = instance("a", "1", "lxbr0", "10.9.0.50", NULL);
	assert_int_equal(lx_leases_take(m, a, &err), 0);
	const Lxmgr__V1__Nic *ran = a->nics[0];

	/* Another address, and one more: what it runs with and what it never had are held, in that order. */
	Lxmgr__V1__Instance *b = changed(a, instance("a", "1", "lxbr0", "10.9.0.51", NULL));
	assert_int_equal(lx_leases_update_nics(m, b, &err), 0);
	lx_leases_drop_nics(m, a, b);
	assert_int_equal(b->n_held_nics, 1);
	assert_string_equal(b->held_nics[0]->host_name, ran->host_name);
	Lxmgr__V1__Instance *c = LX_PB_DUP(Lxmgr__V1__Instance, b);
	lx_pb_map_set(&lxmgr__v1__device__options_entry__descriptor,
		      &c->expanded_devices[0]->value->n_options, &c->expanded_devices[0]->value->options,
		      "ipv4.address", "10.9.0.52");
	assert_int_equal(lx_leases_update_nics(m, c, &err), 0);
	lx_leases_drop_nics(m, b, c);
	assert_int_equal(c->n_held_nics, 2);
	assert_string_equal(c->held_nics[0]->host_name, ran->host_name);
	assert_string_equal(c->held_nics[1]->host_name, b->nics[0]->host_name);
	assert_true(lx_nic_is_held(c, ran));
	assert_false(lx_nic_is_held(c, c->nics[0]));
	for (uint32_t i = 50; i < 53; i++)
		assert_true(is_taken(m, i));
	assert_true(lx_map_has(&m->hwaddrs, ran->hwaddr));

	/* After a restart of the manager as well. */
	struct lx_manager *again = manager_new(10);
	assert_int_equal(add_network(again, "lxbr0", "10.9.0.1/24", "none", &err), 0);
	assert_int_equal(lx_leases_mark(again, c, &err), 0);
	for (uint32_t i = 50; i < 53; i++)
		assert_true(is_taken(again, i));
	assert_true(lx_map_has(&again->hwaddrs, ran->hwaddr));
	manager_free(again);

	/* Without a card, then with one that asks for nothing: it is the one it runs with. */
	Lxmgr__V1__Instance *d = LX_PB_DUP(Lxmgr__V1__Instance, c);
	d->n_expanded_devices = 0;
	assert_int_equal(lx_leases_update_nics(m, d, &err), 0);
	d->n_expanded_devices = 1;
	assert_int_equal(d->n_nics, 0);
	assert_int_equal(d->n_held_nics, 3);
	lx_pb_map_del(&d->expanded_devices[0]->value->n_options, &d->expanded_devices[0]->value->options,
		      "ipv4.address");
	assert_int_equal(lx_leases_update_nics(m, d, &err), 0);
	assert_int_equal(d->n_nics, 1);
	assert_string_equal(d->nics[0]->host_name, ran->host_name);
	assert_string_equal(d->nics[0]->hwaddr, ran->hwaddr);
	assert_string_equal(d->nics[0]->ipv4_address, ran->ipv4_address);

	/* None of the others is there: they are anybody's. */
	lx_leases_drop_held(m, d);
	assert_true(is_taken(m, 50));
	assert_false(is_taken(m, 51));
	assert_false(is_taken(m, 52));
	lx_leases_give_back(m, d);
	assert_false(is_taken(m, 50));

	/* There is an end to it. */
	Lxmgr__V1__Instance *e = instance("e", "2", "lxbr0", NULL, NULL);
	int r = lx_leases_take(m, e, &err);
	for (unsigned i = 0; i <= LX_HELD_NICS_MAX && r == 0; i++) {
		char address[32];
		snprintf(address, sizeof(address), "10.9.0.%u", 100 + i);
		lx_pb_map_set(&lxmgr__v1__device__options_entry__descriptor,
			      &e->expanded_devices[0]->value->n_options,
			      &e->expanded_devices[0]->value->options, "ipv4.address", address);
		r = lx_leases_update_nics(m, e, &err);
	}
	assert_true(r < 0);
	assert_int_equal(err.code, LX_FAILED_PRECONDITION);
	assert_int_equal(e->n_held_nics, LX_HELD_NICS_MAX + 1);

	Lxmgr__V1__Instance *all[] = { a, b, c, d, e };
	for (size_t i = 0; i < 5; i++)
		lx_pb_free(all[i]);
	manager_free(m);
}

/* Every card of an instance has a host end of its own, also beside one that is to go. */
static void test_host_names(void **state)
{
	struct lx_manager *m = manager_new(10);
	struct lx_err err = LX_ERR_INIT;
	struct lx_map devices;

	assert_int_equal(add_network(m, "lxbr0", "10.9.0.1/24", "none", &err), 0);
	Lxmgr__V1__Instance *a = instance("a", "1", "lxbr0", NULL, NULL);
	assert_int_equal(lx_leases_take(m, a, &err), 0);
	lx_map_init(&devices, lx_pb_options_free);
	for (int i = 1; i < 3; i++) { /* in place of eth0 */
		struct lx_map *nic = calloc(1, sizeof(*nic));
		char device[8];
		assert_non_null(nic);
		lx_map_init(nic, free);
		lx_map_set(nic, "type", strdup("nic"));
		lx_map_set(nic, "network", strdup("lxbr0"));
		snprintf(device, sizeof(device), "eth%d", i);
		lx_map_set(&devices, device, nic);
	}
	Lxmgr__V1__Instance *b = LX_PB_DUP(Lxmgr__V1__Instance, a);
	assert_int_equal(lx_pb_devices_from(&lxmgr__v1__instance__expanded_devices_entry__descriptor,
					    &b->n_expanded_devices, &b->expanded_devices, &devices),
			 0);
	assert_int_equal(lx_leases_update_nics(m, b, &err), 0);
	assert_int_equal(b->n_nics, 2);
	assert_string_not_equal(b->nics[0]->host_name, b->nics[1]->host_name);
	for (size_t i = 0; i < 2; i++)
		assert_string_not_equal(b->nics[i]->host_name, a->nics[0]->host_name);
	lx_map_release(&devices);
	lx_pb_free(a);
	lx_pb_free(b);
	manager_free(m);
}

/* Ranges that were handed out under another --idmap-base are not handed out again. */
static void test_moved_idmap_base(void **state)
{
	struct lx_manager *m = manager_new(4);
	Lxmgr__V1__Instance old = LXMGR__V1__INSTANCE__INIT;
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(add_network(m, "lxbr0", "10.9.0.1/24", "none", &err), 0);
	old.idmap_base = m->opt.idmap_base + 65536 + 100;
	old.idmap_size = 65536;
	assert_int_equal(lx_leases_mark(m, &old, &err), 0);
	Lxmgr__V1__Instance *a = instance("a", "1", "lxbr0", NULL, NULL);
	Lxmgr__V1__Instance *b = instance("b", "2", "lxbr0", NULL, NULL);
	Lxmgr__V1__Instance *c = instance("c", "3", "lxbr0", NULL, NULL);
	assert_int_equal(lx_leases_take(m, a, &err), 0);
	assert_int_equal(lx_leases_take(m, b, &err), 0);
	assert_int_equal(a->idmap_base, m->opt.idmap_base);
	assert_int_equal(b->idmap_base, m->opt.idmap_base + 3 * 65536);
	assert_true(lx_leases_take(m, c, &err) < 0);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	lx_pb_free(a);
	lx_pb_free(b);
	lx_pb_free(c);
	manager_free(m);
}

static void test_bad_network(void **state)
{
	struct lx_manager *m = manager_new(10);
	struct lx_err err = LX_ERR_INIT;
	static const char *const v4[] = { "10.9.0.1",   "10.9.0.1/31", "300.1.1.1/24",
					  "10.9.0.1/x", "/24",         "10.9.0.1/-1" };
	for (size_t i = 0; i < sizeof(v4) / sizeof(*v4); i++) {
		assert_true(add_network(m, "bad", v4[i], "none", &err) < 0);
		assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	}
	assert_true(add_network(m, "bad", "none", "fd00::1/120", &err) < 0);
	manager_free(m);
}

/* Nodes have addresses from the upper end; those that are gone give theirs back; each network its number. */
static void test_hosts(void **state)
{
	struct lx_manager *m = manager_new(4);
	struct lx_err err = LX_ERR_INIT;
	char v4[64], v6[64];

	assert_int_equal(add_network(m, "lxbr0", "10.9.0.1/24", "fd00::1/64", &err), 0);
	assert_int_equal(add_network(m, "small", "10.9.1.1/27", "none", &err), 0);
	lx_map_set(&m->nodes, "node1", (void *)1);
	lx_map_set(&m->nodes, "node2", (void *)1);
	Lxmgr__V1__Network *n = lx_hosts_assign(m, lx_map_get(&m->networks, "lxbr0"));
	assert_non_null(n);
	assert_int_equal(n->vxlan_id, 1024);
	assert_int_equal(n->n_hosts, 2);
	lx_host_addresses(m, n, "node1", v4, v6, sizeof(v4));
	assert_string_equal(v4, "10.9.0.254");
	assert_string_equal(v6, "fd00::fe");
	lx_host_addresses(m, n, "node2", v4, v6, sizeof(v4));
	assert_string_equal(v4, "10.9.0.253");
	lx_host_addresses(m, n, "node3", v4, v6, sizeof(v4));
	assert_string_equal(v4, "");
	assert_int_equal(lx_map_set(&m->networks, "lxbr0", n), 0);
	assert_int_equal(lx_leases_network(m, "lxbr0", &err), 0); /* read again: still taken */
	assert_null(lx_hosts_assign(m, n));
	Lxmgr__V1__Instance *i = instance("a", "1", "lxbr0", "10.9.0.254", NULL);
	assert_true(lx_leases_take(m, i, &err) < 0);
	assert_int_equal(err.code, LX_ALREADY_EXISTS);
	lx_pb_free(i);

	lx_map_del(&m->nodes, "node1");
	Lxmgr__V1__Network *less = lx_hosts_assign(m, n);
	assert_non_null(less);
	assert_int_equal(less->n_hosts, 1);
	assert_string_equal(less->hosts[0]->node, "node2");
	lx_pb_free(less);

	Lxmgr__V1__Network *small = lx_hosts_assign(m, lx_map_get(&m->networks, "small"));
	assert_non_null(small);
	assert_int_equal(small->vxlan_id, 1025);
	assert_int_equal(small->n_hosts, 0);
	assert_int_equal(lx_map_set(&m->networks, "small", small), 0);
	assert_null(lx_hosts_assign(m, small));
	lx_map_release(&m->nodes);
	manager_free(m);
}

static void test_node_host(void **state)
{
	static const char *const cases[][2] = { { "10.0.0.1:8444", "10.0.0.1" },
						{ "[fd00::1]:8444", "fd00::1" },
						{ "node1.example.org:1", "node1.example.org" } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		Lxmgr__V1__Node pb = LXMGR__V1__NODE__INIT;
		struct lx_node n = { .pb = &pb };
		char host[LX_NODE_HOST_TEXT];
		pb.address = (char *)(uintptr_t)cases[i][0];
		lx_node_host(&n, host, sizeof(host));
		assert_string_equal(host, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unique),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_update_keeps),
		cmocka_unit_test(test_update_takes_over),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_host_names),
		cmocka_unit_test(test_moved_idmap_base),
		cmocka_unit_test(test_bad_network),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_node_host),
	};
	return cmocka_run_group_tests_name("manager_leases", tests, NULL, NULL);
}
