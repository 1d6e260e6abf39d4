/* What a project's instances add up to, and what its quotas and restrictions let through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lxmgr/quota.h"
#include "proto/pb.h"

static Lxmgr__V1__Instance *instance(const char *name, const char *memory, const char *cpu,
				     const char *processes)
{
	const ProtobufCMessageDescriptor *entry = &lxmgr__v1__instance__expanded_config_entry__descriptor;
	Lxmgr__V1__Instance *pb = malloc(sizeof(*pb));

	assert_non_null(pb);
	lxmgr__v1__instance__init(pb);
	lx_pb_set(&pb->name, name);
	const char *const keys[][2] = { { "limits.memory", memory },
					{ "limits.cpu", cpu },
					{ "limits.processes", processes } };
	for (size_t i = 0; i < 3; i++)
		if (keys[i][1])
			lx_pb_map_set(entry, &pb->n_expanded_config, &pb->expanded_config, keys[i][0],
				      keys[i][1]);
	return pb;
}

static void add(struct lx_use *use, const char *name, const char *memory, const char *cpu,
		const char *processes)
{
	Lxmgr__V1__Instance *pb = instance(name, memory, cpu, processes);

	lx_use_add(use, pb);
	for (size_t q = 0; q < LX_QUOTA_COUNT; q++)
		if (use->first[q] == pb->name)
			use->first[q] = name;
	lx_pb_free(pb);
}

static Lxmgr__V1__Project *project(const char *key, const char *value)
{
	Lxmgr__V1__Project *pb = malloc(sizeof(*pb));

	assert_non_null(pb);
	lxmgr__v1__project__init(pb);
	lx_pb_set(&pb->name, "shop");
	lx_pb_map_set(&lxmgr__v1__project__config_entry__descriptor, &pb->n_config, &pb->config, key, value);
	return pb;
}

/* The root disk's, and no other's. */
static void sums_of_disks(void **state)
{
	static const char *const options[][2] = { { "path", "/data" }, { "path", "/" } };
	Lxmgr__V1__Instance *pb = instance("a", NULL, NULL, NULL);
	struct lx_use use = { 0 };

	for (size_t i = 0; i < 2; i++) {
		Lxmgr__V1__Device *d = malloc(sizeof(*d));
		Lxmgr__V1__Instance__ExpandedDevicesEntry *e = malloc(sizeof(*e)),
							  **all = realloc(pb->expanded_devices,
									  (i + 1) * sizeof(e));

		assert_true(d && e && all);
		lxmgr__v1__device__init(d);
		lxmgr__v1__instance__expanded_devices_entry__init(e);
		lx_pb_map_set(&lxmgr__v1__device__options_entry__descriptor, &d->n_options, &d->options,
			      "type", "disk");
		lx_pb_map_set(&lxmgr__v1__device__options_entry__descriptor, &d->n_options, &d->options,
			      "path", options[i][1]);
		lx_pb_map_set(&lxmgr__v1__device__options_entry__descriptor, &d->n_options, &d->options,
			      "size", "1GiB");
		lx_pb_set(&e->key, i ? "root" : "data");
		e->value = d;
		all[i] = e;
		pb->expanded_devices = all;
		pb->n_expanded_devices = i + 1;
		lx_use_add(&use, pb);
	}
	assert_int_equal(use.unbounded[LX_QUOTA_DISK], 1);
	assert_int_equal(use.used[LX_QUOTA_DISK], UINT64_C(1) << 30);
	lx_pb_free(pb);
}

static void sums(void **state)
{
	struct lx_use use = { 0 };

	add(&use, "a", "512MiB", "2", "100");
	add(&use, "b", "1GiB", "1", "200");
	assert_int_equal(use.used[LX_QUOTA_INSTANCES], 2);
	assert_int_equal(use.used[LX_QUOTA_MEMORY], (512u << 20) + (1u << 30));
	assert_int_equal(use.used[LX_QUOTA_CPU], 3000);
	assert_int_equal(use.used[LX_QUOTA_PROCESSES], 300);
	/* A part of a machine, certain CPUs, nothing: none of these is a number. */
	add(&use, "c", "50%", "0-3", NULL);
	add(&use, "d", NULL, NULL, "");
	assert_int_equal(use.used[LX_QUOTA_INSTANCES], 4);
	assert_int_equal(use.unbounded[LX_QUOTA_MEMORY], 2);
	assert_int_equal(use.unbounded[LX_QUOTA_CPU], 2);
	assert_int_equal(use.unbounded[LX_QUOTA_PROCESSES], 2);
	assert_string_equal(use.first[LX_QUOTA_MEMORY], "c");
	assert_int_equal(use.used[LX_QUOTA_CPU], 3000);
	assert_int_equal(use.unbounded[LX_QUOTA_DISK], 4);
	/* Sums do not wrap. */
	use.used[LX_QUOTA_MEMORY] = UINT64_MAX - 5;
	add(&use, "e", "1GiB", "1", "1");
	assert_true(use.used[LX_QUOTA_MEMORY] == UINT64_MAX);
}

static void expect(const char *key, const char *value, const struct lx_use *use, enum lx_code code,
		   const char *word)
{
	Lxmgr__V1__Project *p = project(key, value);
	struct lx_err err = LX_ERR_INIT;
	int r = lx_use_check(p, use, &err);

	assert_int_equal(err.code, code);
	assert_int_equal(r < 0, code != LX_OK);
	if (word && !strstr(err.msg, word) && !strstr(err.hint, word))
		fail_msg("%s=%s: \"%s\" says nothing of %s", key, value, err.msg, word);
	lx_pb_free(p);
}

static void limits(void **state)
{
	struct lx_use use = { 0 };

	add(&use, "a", "512MiB", "2", "100");
	add(&use, "b", "512MiB", "1", NULL);
	expect("limits.instances", "2", &use, LX_OK, NULL);
	expect("limits.instances", "1", &use, LX_RESOURCE_EXHAUSTED, "is 1, and 2");
	expect("limits.instances", "0", &use, LX_RESOURCE_EXHAUSTED, NULL);
	expect("limits.memory", "1GiB", &use, LX_OK, NULL);
	expect("limits.memory", "1023MiB", &use, LX_RESOURCE_EXHAUSTED, "1GiB");
	expect("limits.cpu", "3", &use, LX_OK, NULL);
	expect("limits.cpu", "2", &use, LX_RESOURCE_EXHAUSTED, "3");
	expect("limits.processes", "1000", &use, LX_FAILED_PRECONDITION, "instance b");
	expect("limits.processes", "1000", &use, LX_FAILED_PRECONDITION, "limits.processes=500");
	/* Unset, and of another kind. */
	expect("limits.processes", "", &use, LX_OK, NULL);
	expect("user.x", "1", &use, LX_OK, NULL);
	use.used[LX_QUOTA_NETWORKS] = 3;
	expect("limits.networks", "2", &use, LX_RESOURCE_EXHAUSTED, "limits.networks");
	expect("limits.networks", "3", &use, LX_OK, NULL);
}

/* Of a quota the one that is being changed takes the place of what it was. */
static void in_memory(void **state)
{
	struct lx_manager m = { 0 };
	struct lx_err err = LX_ERR_INIT;

	lx_map_init(&m.projects, lx_project_free);
	lx_map_init(&m.instances, lx_inst_free);
	assert_int_equal(lx_project_put(&m, project("limits.memory", "1GiB")), 0);
	for (int i = 0; i < 2; i++) {
		Lxmgr__V1__Instance *pb = instance(i ? "b" : "a", "512MiB", NULL, NULL);

		lx_pb_set(&pb->project, "shop");
		lx_pb_set(&pb->uuid, i ? "u-b" : "u-a");
		assert_non_null(lx_inst_add(&m, pb));
	}
	assert_non_null(lx_inst_find(&m, "shop", "a", NULL));
	assert_null(lx_inst_find(&m, "default", "a", NULL));
	assert_null(lx_inst_find(&m, "default", "shop_a", NULL));
	assert_non_null(lx_inst_by_key(&m, "shop_a"));

	Lxmgr__V1__Instance *next = instance("b", "513MiB", NULL, NULL),
			    *third = instance("c", "1MiB", NULL, NULL);
	lx_pb_set(&next->uuid, "u-b");
	lx_pb_set(&third->uuid, "u-c");
	assert_true(lx_project_check(&m, "shop", &next, 1, &err) < 0);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	lx_pb_map_set(&lxmgr__v1__instance__expanded_config_entry__descriptor, &next->n_expanded_config,
		      &next->expanded_config, "limits.memory", "511MiB");
	assert_int_equal(lx_project_check(&m, "shop", &next, 1, &err), 0);
	assert_true(lx_project_check(&m, "shop", &third, 1, &err) < 0);
	Lxmgr__V1__Instance *both[] = { next, third };
	assert_int_equal(lx_project_check(&m, "shop", both, 2, &err), 0);
	/* One that is being deleted takes nothing more in; one that is not there neither. */
	lx_project_find(&m, "shop", NULL)->going = true;
	assert_true(lx_project_check(&m, "shop", both, 2, &err) < 0);
	assert_int_equal(err.code, LX_FAILED_PRECONDITION);
	assert_true(lx_project_check(&m, "bank", both, 2, &err) < 0);
	assert_int_equal(err.code, LX_NOT_FOUND);
	lx_pb_free(next);
	lx_pb_free(third);
	lx_map_release(&m.instances_by_uuid);
	lx_map_release(&m.instances);
	lx_map_release(&m.projects);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums),
		cmocka_unit_test(sums_of_disks),
		cmocka_unit_test(limits),
		cmocka_unit_test(in_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
