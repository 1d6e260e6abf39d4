/*
 * A store from before there were projects: written with the schema's first steps, opened with all of
 * them. All that is in it is the default project's, under the names it had.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

#define OLD_STEPS 2
#define TEXT(s)   ((char *)(uintptr_t)(s))

struct stored {
	bool done;
	struct lx_err err;
};

static void on_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct stored *s = arg;

	s->done = true;
	s->err = *err;
}

static void row(struct lx_txn *txn, const char *sql, const char *name, const ProtobufCMessage *msg)
{
	size_t len;
	lx_autofree uint8_t *bytes = lx_pb_pack(msg, &len);

	assert_non_null(bytes);
	lx_txn_exec(txn, sql);
	lx_txn_text(txn, name);
	lx_txn_blob(txn, bytes, len);
}

static void write_old(uv_loop_t *loop, const char *path)
{
	const struct lx_schema old = { lx_manager_schema.steps, OLD_STEPS };
	Lxmgr__V1__Network net = LXMGR__V1__NETWORK__INIT;
	Lxmgr__V1__Profile profile = LXMGR__V1__PROFILE__INIT;
	Lxmgr__V1__Image image = LXMGR__V1__IMAGE__INIT;
	Lxmgr__V1__Instance inst = LXMGR__V1__INSTANCE__INIT;
	Lxmgr__V1__Operation op = LXMGR__V1__OPERATION__INIT;
	Lxmgr__V1__Nic nic = LXMGR__V1__NIC__INIT, *nics[] = { &nic };
	struct lx_store *store;
	struct lx_err err = LX_ERR_INIT;
	struct stored s = { 0 };
	struct lx_txn *txn = lx_txn_new(NULL);

	assert_int_equal(lx_store_open(loop, path, &old, &store, &err), 0);
	lx_txn_exec(txn, "INSERT INTO meta (key, value) VALUES ('cluster_id', 'old')");
	net.name = TEXT("lxbr0");
	row(txn, "INSERT INTO networks (name, spec) VALUES (?1, ?2)", "lxbr0", &net.base);
	profile.name = TEXT("default");
	row(txn, "INSERT INTO profiles (name, spec) VALUES (?1, ?2)", "default", &profile.base);
	image.fingerprint = TEXT("0123456789abcdef");
	row(txn, "INSERT INTO images (fingerprint, spec) VALUES (?1, ?2)", image.fingerprint, &image.base);
	lx_txn_exec(txn,
		    "INSERT INTO image_aliases (alias, fingerprint) VALUES ('deb_12', '0123456789abcdef')");
	inst.name = TEXT("web1");
	inst.uuid = TEXT("u-1");
	inst.node = TEXT("node1");
	inst.image_fingerprint = image.fingerprint;
	inst.idmap_base = 1000000000;
	inst.idmap_size = 65536;
	nic.name = TEXT("eth0");
	nic.network = nic.bridge = TEXT("lxbr0");
	nic.hwaddr = TEXT("00:16:3e:00:00:01");
	inst.n_nics = 1;
	inst.nics = nics;
	row(txn,
	    "INSERT INTO instances (uuid, name, node, generation, idmap_base, image, spec)"
	    " VALUES ('u-1', ?1, 'node1', 1, 1000000000, '0123456789abcdef', ?2)",
	    "web1", &inst.base);
	op.id = TEXT("o-1");
	op.kind = TEXT("instance.start");
	op.subject = TEXT("web1");
	op.status = LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_SUCCESS;
	row(txn,
	    "INSERT INTO operations (id, ended, updated_at, request_id, kind, args, spec)"
	    " VALUES (?1, 1, 1, NULL, 'instance.start', x'', ?2)",
	    "o-1", &op.base);
	assert_int_equal(lx_store_submit(store, txn, on_stored, &s, &err), 0);
	while (!s.done)
		uv_run(loop, UV_RUN_ONCE);
	if (s.err.code != LX_OK)
		fail_msg("%s", s.err.msg);
	lx_store_close(store);
	uv_run(loop, UV_RUN_DEFAULT);
}

static void free_message(void *msg)
{
	lx_pb_free(msg);
}

static bool any(const struct lx_op *op, void *arg)
{
	return true;
}

static void survives(void **state)
{
	char dir[] = "/tmp/lxmgr-test-upgrade-XXXXXX", path[64];
	struct lx_identities ids = { 0 };
	struct lx_manager m = { .opt = { .idmap_base = 1000000000, .idmap_count = 16 } };
	struct lx_err err = LX_ERR_INIT;
	uv_loop_t loop;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/store.db", dir);
	assert_int_equal(uv_loop_init(&loop), 0);
	write_old(&loop, path);

	m.loop = &loop;
	m.identities = &ids;
	lx_identities_init(&ids);
	lx_map_init(&m.projects, lx_project_free);
	lx_map_init(&m.instances, lx_inst_free);
	lx_map_init(&m.images, free_message);
	lx_map_init(&m.profiles, free_message);
	lx_map_init(&m.networks, free_message);
	lx_map_init(&m.ops, lx_op_free);
	TAILQ_INIT(&m.subscribers);
	assert_int_equal(lx_store_open(&loop, path, &lx_manager_schema, &m.store, &err), 0);
	assert_int_equal(lx_leases_init(&m, &err), 0);
	if (lx_manager_load(&m, &err) < 0)
		fail_msg("%s", err.msg);

	assert_non_null(lx_project_find(&m, "default", NULL));
	const struct lx_inst *inst = lx_inst_find(&m, "default", "web1", NULL);
	assert_non_null(inst);
	assert_string_equal(inst->key, "web1");
	assert_string_equal(inst->pb->project, "default");
	assert_true(lx_map_has(&m.hwaddrs, "00:16:3e:00:00:01"));
	/* Its agent is told what it knows: nothing of this shows there. */
	Lxmgr__V1__InstanceSpec *spec = lx_inst_spec(inst, false);
	assert_string_equal(spec->name, "web1");
	lx_pb_free(spec);
	assert_string_equal(lx_profile_find(&m, "default", "default", NULL)->project, "default");
	assert_null(lx_profile_find(&m, "shop", "default", NULL));
	const Lxmgr__V1__Network *net = lx_network_find(&m, "shop", "lxbr0", NULL);
	assert_non_null(net);
	assert_string_equal(net->bridge, "lxbr0");
	assert_null(lx_network_find_own(&m, "shop", "lxbr0", NULL));
	const Lxmgr__V1__Image *image = lx_image_find(&m, "shop", "deb_12", &err);
	assert_non_null(image);
	assert_string_equal(image->project, "default");
	assert_ptr_equal(lx_image_find(&m, "shop", "01234567", &err), image);
	assert_null(lx_image_find_own(&m, "shop", "deb_12", &err));
	assert_string_equal(lx_op_find(&m, "o-1", any, NULL, NULL)->pb->project, "default");

	m.stopping = true;
	lx_store_close(m.store);
	struct lx_map *maps[] = { &m.ops_by_request, &m.ops,     &m.instances_by_uuid, &m.instances,
				  &m.aliases,        &m.images,  &m.profiles,          &m.networks,
				  &m.hwaddrs,        &m.projects };
	for (size_t i = 0; i < LX_ARRAY_SIZE(maps); i++)
		lx_map_release(maps[i]);
	lx_identities_release(&ids);
	lx_leases_free(m.leases);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	lx_rm_rf(dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(survives) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
