/* Paths of file transfers, and walking down without following links. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/worker/instance/guest_path.h"

static void paths_come_apart(void **state)
{
	static const struct {
		const char *path, *dir, *base;
	} good[] = {
		{ "/", "/", "" },        { "///", "/", "" },       { "/a", "/", "a" },
		{ "/a/b", "/a", "b" },   { "/a/b///", "/a", "b" }, { "/a/../b", "/a/..", "b" },
		{ "/a//b", "/a/", "b" },
	};
	static struct lx_guest_path p;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(lx_guest_path_parse(good[i].path, &p, NULL), 0);
		assert_string_equal(p.dir, good[i].dir);
		assert_string_equal(p.base, good[i].base);
	}
}

static void bad_paths_are_refused(void **state)
{
	static const char *const bad[] = { "", "a", "./a", "/..", "/a/.", "/a/../" };
	static struct lx_guest_path p;
	char *longest = malloc(LX_GUEST_PATH_MAX + 2);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(lx_guest_path_parse(bad[i], &p, NULL) < 0);
	assert_non_null(longest);
	memset(longest, 'a', LX_GUEST_PATH_MAX + 1);
	longest[0] = '/';
	longest[LX_GUEST_PATH_MAX - 1] = '\0';
	assert_int_equal(lx_guest_path_parse(longest, &p, NULL), 0);
	longest[LX_GUEST_PATH_MAX - 1] = 'a';
	longest[LX_GUEST_PATH_MAX] = '\0';
	assert_true(lx_guest_path_parse(longest, &p, NULL) < 0);
	free(longest);
}

static void entries(void **state)
{
	static const char *const good[] = { "a", "a/b", "..a", "a../.b", "...", "a b" };
	static const char *const bad[] = { "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(lx_guest_entry_ok(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(lx_guest_entry_ok(bad[i]));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void links_on_the_way_are_not_followed(void **state)
{
	char dir[] = "/tmp/lx-path-XXXXXX", path[64];
	const char *leaf;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/l", dir);
	assert_int_equal(symlink("a", path), 0);
	int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = lx_guest_open_parent(root, "a/x", &leaf);

	assert_true(fd >= 0);
	assert_string_equal(leaf, "x");
	close(fd);
	fd = lx_guest_open_parent(root, "x", &leaf);
	assert_true(fd >= 0);
	assert_string_equal(leaf, "x");
	close(fd);
	assert_int_equal(lx_guest_open_parent(root, "l/x", &leaf), -ELOOP);
	assert_int_equal(lx_guest_open_parent(root, "none/x", &leaf), -ENOENT);
	close(root);
	assert_int_equal(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_come_apart),
		cmocka_unit_test(bad_paths_are_refused),
		cmocka_unit_test(entries),
		cmocka_unit_test(links_on_the_way_are_not_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
