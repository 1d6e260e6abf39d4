/* Placement: which node is taken, and what is said of the others (lxmgr/scheduler/). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lxmgr/scheduler/score.h"
#include "profiles/labels.h"

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

static struct lx_candidate node(const char *name)
{
	return (struct lx_candidate){ .name = name,
				      .online = true,
				      .architecture = "x86_64",
				      .cpus = 4,
				      .memory = 8 * GIB,
				      .disk = 100 * GIB,
				      .disk_free = 80 * GIB,
				      .has_image = true,
				      .can_get_image = true };
}

static const struct lx_wanted anything = { .needs_image = true, .architecture = "x86_64" };

/* The reason why the only node does not fit; NULL: it does. */
static const char *refused(const struct lx_wanted *want, struct lx_candidate c)
{
	static struct lx_ranked r;

	lx_score(want, &c, 1, &r);
	return r.fits ? NULL : r.reason;
}

static void load(struct lx_candidate *c, unsigned n, uint64_t cpu, uint64_t memory)
{
	const struct lx_demand d = { .cpu = cpu, .memory = memory };

	while (n-- > 0)
		lx_load_add(&c->load, &d, c->memory);
}

/* ------------------------------------------------------------------ what rules out */

static void test_what_rules_a_node_out(void **state)
{
	struct lx_candidate c = node("a");

	assert_null(refused(&anything, c));
	c.online = false;
	c.away_reason = "gone silent";
	assert_string_equal(refused(&anything, c), "offline: gone silent");
	c = node("a");
	c.cordoned = true;
	assert_string_equal(refused(&anything, c), "cordoned");
	c = node("a");
	c.architecture = "aarch64";
	assert_string_equal(refused(&anything, c), "is aarch64, the image is for x86_64");
	c = node("a");
	c.has_image = c.can_get_image = false;
	assert_non_null(strstr(refused(&anything, c), "no node that has it is online"));
	c.can_get_image = true;
	assert_null(refused(&anything, c));
	c.disk_free = 300 * MIB;
	assert_null(refused(&anything, c));
	struct lx_wanted large = anything;
	large.image_bytes = GIB;
	assert_non_null(strstr(refused(&large, c), "of disk free"));
	c.has_image = true;
	assert_null(refused(&large, c));
}

/* A size that nothing holds to is refused by name too; sizes add up to the disk, by name to more. */
static void test_size_of_the_root_disk(void **state)
{
	struct lx_candidate c = node("a");
	struct lx_wanted want = anything;
	const struct lx_demand taken = { .disk = 60 * GIB };

	want.demand.disk = 50 * GIB;
	assert_string_equal(refused(&want, c), "cannot bound the size of a root disk, lxmgr node show a says "
					       "why (disk-quota)");
	want.target = "a";
	assert_non_null(refused(&want, c));
	c.bounds_disk = true;
	assert_null(refused(&want, c));
	lx_load_add(&c.load, &taken, c.memory);
	assert_null(refused(&want, c));
	want.target = NULL;
	assert_string_equal(refused(&want, c),
			    "has 40GiB of disk not promised to others, 50GiB is asked for");
	want.demand.disk = 40 * GIB;
	assert_null(refused(&want, c));
	assert_null(refused(&anything, c));
}

/* Not even by name: it would be refused there. */
static void test_demanded_security_module(void **state)
{
	struct lx_wanted want = anything;
	struct lx_candidate c = node("a");

	want.lsm = "apparmor";
	want.target = "a";
	assert_string_equal(refused(&want, c), "has no AppArmor, which security.apparmor demands");
	c.lsm = "none";
	assert_non_null(refused(&want, c));
	c.lsm = "apparmor";
	assert_null(refused(&want, c));
	want.needs_compiler = true;
	assert_string_equal(refused(&want, c), "has no apparmor_parser, which security.apparmor demands");
	c.compiles_policy = true;
	assert_null(refused(&want, c));
	want.lsm = "selinux";
	assert_string_equal(refused(&want, c), "has no SELinux, which security.selinux.context demands");
}

static void test_system_calls_are_made_where_they_can(void **state)
{
	struct lx_candidate c = node("a");
	struct lx_wanted want = anything;

	want.needs_intercepts = true;
	want.target = "a";
	assert_string_equal(refused(&want, c),
			    "hands out no system calls, which security.syscalls.intercept.* demand");
	c.intercepts = true;
	assert_null(refused(&want, c));
}

static void test_memory_asked_for_must_be_left(void **state)
{
	struct lx_wanted want = anything;
	struct lx_candidate c = node("a");

	want.demand.memory = 9 * GIB;
	assert_string_equal(refused(&want, c), "has 8GiB of memory, 9GiB is asked for");
	want.demand.memory = 4 * GIB;
	load(&c, 1, 0, 4 * GIB);
	assert_null(refused(&want, c));
	load(&c, 1, 0, MIB);
	assert_non_null(strstr(refused(&want, c), "not promised to others"));
	/* Who asks for nothing takes nothing away, and is not refused. */
	c = node("a");
	load(&c, 1000, 0, 0);
	want.demand.memory = 8 * GIB;
	assert_null(refused(&want, c));
	load(&c, 1, 0, 8 * GIB);
	assert_null(refused(&anything, c));
	/* A part of the node's. */
	c = node("a");
	want.demand = (struct lx_demand){ .memory_percent = 60 };
	assert_null(refused(&want, c));
	lx_load_add(&c.load, &want.demand, c.memory);
	assert_non_null(refused(&want, c));
}

static void test_cpus_may_be_promised_several_times(void **state)
{
	struct lx_wanted want = anything;
	struct lx_candidate c = node("a");

	want.demand.cpu = 5000;
	assert_string_equal(refused(&want, c), "has 4 CPUs, 5 are asked for");
	want.demand.cpu = 4000;
	load(&c, LX_SCORE_CPU_OVERCOMMIT - 1, 4000, 0);
	assert_null(refused(&want, c));
	load(&c, 1, 1000, 0);
	assert_string_equal(refused(&want, c),
			    "has promised 13 CPUs, and may promise 16 (4 for each it has)");
	want.demand = (struct lx_demand){ .min_cpus = 5 };
	assert_string_equal(refused(&want, c), "has 4 CPUs, number 4 is asked for");
}

static void test_labels(void **state)
{
	struct lx_pb_entry disk = { .key = (char *)"disk", .value = (char *)"ssd" };
	struct lx_pb_entry gpu = { .key = (char *)"gpu", .value = (char *)"" };
	const struct lx_pb_entry *const labels[] = { &disk, &gpu };
	struct lx_wanted want = anything;
	struct lx_candidate c = node("a");

	c.labels = labels;
	c.n_labels = 2;
	want.labels = "disk=ssd,gpu";
	assert_null(refused(&want, c));
	want.labels = "disk";
	assert_null(refused(&want, c));
	want.labels = "disk=hdd";
	assert_string_equal(refused(&want, c), "has no label disk=hdd");
	want.labels = "gpu,zone";
	assert_string_equal(refused(&want, c), "has no label zone");
	want.labels = "gpu=";
	assert_null(refused(&want, c));
}

static void test_a_target_is_held_against_little(void **state)
{
	struct lx_wanted want = anything;
	struct lx_candidate c = node("a");

	want.target = "a";
	want.labels = "nosuch";
	want.demand.memory = 100 * GIB;
	c.cordoned = true;
	c.disk_free = 0;
	assert_null(refused(&want, c));
	c.architecture = "aarch64";
	assert_non_null(refused(&want, c));
	c = node("a");
	c.online = false;
	assert_non_null(refused(&want, c));
	assert_string_equal(refused(&want, node("b")), "another node was asked for");
	want = anything;
	want.exclude = "a";
	assert_non_null(refused(&want, node("a")));
	assert_null(refused(&want, node("b")));
}

/* ------------------------------------------------------------------ who is the best */

static const char *best(const struct lx_wanted *want, const struct lx_candidate *c, size_t n)
{
	struct lx_ranked r[8];

	lx_score(want, c, n, r);
	return r[0].fits ? c[r[0].candidate].name : NULL;
}

static void test_the_one_with_most_room_is_taken(void **state)
{
	struct lx_candidate c[] = { node("a"), node("b"), node("c") };

	assert_string_equal(best(&anything, c, 3), "a"); /* all alike: by name */
	load(&c[0], 1, 0, 0);
	assert_string_equal(best(&anything, c, 3), "b");
	load(&c[1], 1, 0, 4 * GIB);
	load(&c[2], 1, 2000, 0);
	assert_string_equal(best(&anything, c, 3), "a");
	/* A larger one takes more before it counts as fuller. */
	c[1] = node("b");
	c[1].memory = 64 * GIB;
	c[1].cpus = 32;
	load(&c[1], 4, 0, 0);
	assert_string_equal(best(&anything, c, 3), "b");
}

static void test_they_spread_also_beyond_what_there_is(void **state)
{
	struct lx_candidate c[] = { node("a"), node("b"), node("c") };
	const struct lx_demand nothing = { 0 };

	for (unsigned i = 0; i < 600; i++) {
		const char *name = best(&anything, c, 3);

		assert_non_null(name);
		lx_load_add(&c[name[0] - 'a'].load, &nothing, c[0].memory);
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(c[i].load.instances, 200);
}

static void test_the_image_is_worth_a_little(void **state)
{
	struct lx_candidate c[] = { node("a"), node("b") };

	c[0].has_image = false;
	assert_string_equal(best(&anything, c, 2), "b");
	load(&c[1], 1, 0, 0);
	assert_string_equal(best(&anything, c, 2), "b");
	load(&c[1], 8, 0, 0);
	assert_string_equal(best(&anything, c, 2), "a");
}

static void test_the_order_of_all(void **state)
{
	struct lx_candidate c[] = { node("d"), node("c"), node("b"), node("a") };
	struct lx_ranked r[4];

	c[0].cordoned = true;
	c[1].online = false;
	load(&c[3], 1, 0, 0);
	lx_score(&anything, c, 4, r);
	assert_string_equal(c[r[0].candidate].name, "b");
	assert_string_equal(c[r[1].candidate].name, "a");
	assert_string_equal(c[r[2].candidate].name, "c");
	assert_string_equal(c[r[3].candidate].name, "d");
	assert_true(r[0].fits && r[1].fits && !r[2].fits && !r[3].fits);
	assert_true(r[0].score > r[1].score && r[2].score == 0);
	assert_non_null(strstr(r[0].reason, "has the image"));
	lx_score(&anything, c, 0, r);
	assert_null(best(&anything, c, 2));
}

static void test_a_node_that_says_nothing_of_itself(void **state)
{
	const struct lx_candidate c = { .name = "new", .online = true, .can_get_image = true };

	assert_null(refused(&anything, c));
	struct lx_wanted want = anything;
	want.demand.memory = MIB;
	assert_non_null(refused(&want, c));
}

/* ------------------------------------------------------------------ labels as text */

static void test_lists_of_labels(void **state)
{
	static const char *const bad[] = {
		",",     "a,",  ",a",       "=b",
		"a=b=c", "a b", "-a",       "a-",
		"a=-",   "a=/", "\xc3\xa9", "0123456789012345678901234567890123456789012345678901234567890123"
	};
	const char *list = "disk=ssd,example.org/rack=7,gpu,empty=";
	struct lx_label_wish w;

	assert_int_equal(lx_label_next(&list, &w), 1);
	assert_string_equal(w.key, "disk");
	assert_string_equal(w.value, "ssd");
	assert_false(w.any);
	assert_int_equal(lx_label_next(&list, &w), 1);
	assert_string_equal(w.key, "example.org/rack");
	assert_int_equal(lx_label_next(&list, &w), 1);
	assert_true(w.any);
	assert_int_equal(lx_label_next(&list, &w), 1);
	assert_false(w.any);
	assert_string_equal(w.value, "");
	assert_int_equal(lx_label_next(&list, &w), 0);
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		int r;

		list = bad[i];
		do
			r = lx_label_next(&list, &w);
		while (r > 0);
		assert_true(r < 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_rules_a_node_out),
		cmocka_unit_test(test_size_of_the_root_disk),
		cmocka_unit_test(test_demanded_security_module),
		cmocka_unit_test(test_memory_asked_for_must_be_left),
		cmocka_unit_test(test_cpus_may_be_promised_several_times),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_a_target_is_held_against_little),
		cmocka_unit_test(test_the_one_with_most_room_is_taken),
		cmocka_unit_test(test_they_spread_also_beyond_what_there_is),
		cmocka_unit_test(test_the_image_is_worth_a_little),
		cmocka_unit_test(test_the_order_of_all),
		cmocka_unit_test(test_a_node_that_says_nothing_of_itself),
		cmocka_unit_test(test_lists_of_labels),
		cmocka_unit_test(test_system_calls_are_made_where_they_can),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
