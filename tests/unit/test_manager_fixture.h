/*
 * What tests of the manager over a real store share: a manager without sockets on a store in a directory of
 * its own, opened and closed as often as a test wants. Include it once in a test program, after cmocka.
 */
#ifndef LX_TEST_MANAGER_FIXTURE_H
#define LX_TEST_MANAGER_FIXTURE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

struct fixture {
	char dir[64];
	uv_loop_t loop;
	struct lx_manager m;
	bool stored; /* the test's own */
};

static void free_message(void *msg)
{
	lx_pb_free(msg);
}

static void manager_open(struct fixture *f)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_manager *m = &f->m;
	char db[96];

	memset(m, 0, sizeof(*m));
	assert_int_equal(uv_loop_init(&f->loop), 0);
	m->loop = &f->loop;
	m->opt.state_dir = f->dir;
	m->opt.network = "lxbr0";
	m->opt.network_subnet = "10.9.0.0/24";
	m->opt.idmap_base = 1000000000u;
	m->opt.idmap_count = 16;
	m->opt.node_wait_s = 60;
	lx_map_init(&m->nodes, lx_node_free);
	lx_map_init(&m->projects, lx_project_free);
	lx_map_init(&m->instances, lx_inst_free);
	lx_map_init(&m->images, free_message);
	lx_map_init(&m->profiles, free_message);
	lx_map_init(&m->networks, free_message);
	lx_map_init(&m->ops, lx_op_free);
	lx_moves_init(m);
	lx_turn_init(&m->turns);
	TAILQ_INIT(&m->subscribers);
	snprintf(db, sizeof(db), "%s/store.db", f->dir);
	assert_int_equal(lx_store_open(m->loop, db, &lx_manager_schema, &m->store, &err), 0);
	assert_int_equal(lx_leases_init(m, &err), 0);
	if (lx_manager_load(m, &err) < 0)
		fail_msg("%s", err.msg);
}

static void close_any(uv_handle_t *h, void *arg)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void manager_close(struct fixture *f)
{
	struct lx_manager *m = &f->m;

	m->stopping = true;
	lx_store_close(m->store);
	struct lx_map *maps[] = { &m->ops_by_request, &m->ops,     &m->instances_by_uuid, &m->instances,
				  &m->aliases,        &m->images,  &m->profiles,          &m->networks,
				  &m->nodes,          &m->hwaddrs, &m->projects,          &m->forgets };
	for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++)
		lx_map_release(maps[i]);
	lx_leases_free(m->leases);
	free(m->list_cache);
	uv_walk(&f->loop, close_any, NULL);
	while (uv_run(&f->loop, UV_RUN_DEFAULT))
		;
	assert_int_equal(uv_loop_close(&f->loop), 0);
}

#endif
