/* What is pure in migration/tree*: the map of paths, and which paths there may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/tree.h"
#include "migration/tree_entry.h"
#include "migration/tree_map.h"

static void map_finds_and_forgets(void **state)
{
	struct lx_tree_map m;
	uint8_t before[LX_TREE_DIGEST_LEN], after[LX_TREE_DIGEST_LEN];
	char name[32], path[LX_TREE_PATH_MAX];
	uint32_t dir, id;

	assert_int_equal(lx_tree_map_init(&m, NULL), 0);
	lx_tree_map_digest(&m, before);
	assert_int_equal(lx_tree_map_add(&m, LX_TREE_ROOT, "dir", 3, &dir, NULL), 0);
	for (unsigned i = 0; i < 20000; i++) {
		int n = snprintf(name, sizeof(name), "n%u", i);

		assert_int_equal(lx_tree_map_add(&m, dir, name, (size_t)n, &id, NULL), 0);
		lx_tree_map_set_hash(&m, id, (struct lx_tree_hash){ i, ~(uint64_t)i });
	}
	assert_int_equal(lx_tree_map_lookup(&m, "dir/n19999"), id);
	assert_int_equal(lx_tree_map_path(&m, id, path), 10);
	assert_string_equal(path, "dir/n19999");
	assert_int_equal(lx_tree_map_lookup(&m, "n1"), LX_TREE_NONE);
	assert_int_equal(lx_tree_map_lookup(&m, "dir/n20000"), LX_TREE_NONE);
	assert_int_equal(lx_tree_map_lookup(&m, ""), LX_TREE_ROOT);
	lx_tree_map_forget(&m, id);
	assert_int_equal(lx_tree_map_lookup(&m, "dir/n19999"), LX_TREE_NONE);
	lx_tree_map_forget(&m, dir);
	assert_int_equal(lx_tree_map_lookup(&m, "dir/n7"), LX_TREE_NONE);
	lx_tree_map_digest(&m, after);
	assert_memory_equal(before, after, sizeof(before));
	assert_int_equal(m.live, 1);
	lx_tree_map_release(&m);
}

static void paths_are_judged(void **state)
{
	static const char *const good[] = { "", "a", "a/b", "...", ".a", "..a", "a/...", "a\nb" };
	static const char *const bad[] = {
		"/", "/a", "a/", "a//b", ".", "..", "a/.", "a/..", "../a", "a/./b"
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++)
		assert_true(lx_tree_path_ok(good[i]));
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		assert_false(lx_tree_path_ok(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(map_finds_and_forgets),
		cmocka_unit_test(paths_are_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
