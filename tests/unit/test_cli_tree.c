/* Paths that a pull accepts, and settings as people type them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "cli/file.h"
#include "cli/settings.h"
#include "cli/tree.h"
#include "lib/fs.h"

static void paths(void **state)
{
	static const char *const good[] = { "", "a", "a/b", "...", "a/..b", ".hidden", "a/b.", "\xff\n" };
	static const char *const bad[] = { "/",      "/a",   "..", ".",   "a/..", "../a",
					   "a/../b", "a//b", "a/", "./a", "a/." };
	char name[CLI_TREE_MAX_NAME + 2], path[CLI_TREE_MAX_PATH + 2];
	struct lx_err err = LX_ERR_INIT;

	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++)
		assert_int_equal(cli_tree_check_path(good[i], &err), 0);
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		assert_true(cli_tree_check_path(bad[i], &err) < 0);
	memset(name, 'n', sizeof(name));
	name[CLI_TREE_MAX_NAME + 1] = '\0';
	assert_true(cli_tree_check_path(name, &err) < 0);
	name[CLI_TREE_MAX_NAME] = '\0';
	assert_int_equal(cli_tree_check_path(name, &err), 0);
	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 2 ? '/' : 'p';
	path[CLI_TREE_MAX_PATH + 1] = '\0';
	assert_true(cli_tree_check_path(path, &err) < 0);
	path[CLI_TREE_MAX_PATH] = '\0';
	assert_int_equal(cli_tree_check_path(path, &err), 0);
}

/* A link that appears where a directory was is not followed either when modes are set. */
static void swapped_directory(void **state)
{
	char dir[] = "/tmp/lxmgr-test-XXXXXX", path[128];
	Lxmgr__V1__FileEntry e = LXMGR__V1__FILE_ENTRY__INIT;
	struct lx_err err = LX_ERR_INIT;
	struct cli_tree *t = NULL;
	struct stat st;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/outside", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(cli_tree_open(dir, "in", true, false, &t, &err), 0);
	e.type = LXMGR__V1__FILE_TYPE__FILE_TYPE_DIRECTORY;
	e.mode = 0700;
	assert_int_equal(cli_tree_entry(t, &e, &err), 0);
	snprintf(path, sizeof(path), "%s/in", dir);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("outside", path), 0);
	assert_true(cli_tree_finish(t, &err) < 0);
	cli_tree_free(t);
	snprintf(path, sizeof(path), "%s/outside", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(lx_rm_rf(dir, &err), 0);
}

static void local_names(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "/" };
	struct lx_err err = LX_ERR_INIT;
	struct cli_tree *t = NULL;

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		assert_int_equal(cli_tree_open("/tmp", bad[i], false, false, &t, &err), -EINVAL);
	assert_true(cli_tree_open("/nonexistent", "a", false, false, &t, &err) < 0);
	assert_null(t);
}

static void guest_paths(void **state)
{
	struct cli cli = { 0 };
	struct lx_err err = LX_ERR_INIT;
	struct cli_guest_path p = { 0 };

	assert_int_equal(cli_guest_path(&cli, "web1/etc/hosts", &p, &err), 0);
	assert_string_equal(p.instance, "web1");
	assert_string_equal(p.path, "/etc/hosts");
	free(p.instance);
	assert_int_equal(cli_guest_path(&cli, "web1", &p, &err), -EINVAL);
	assert_int_equal(cli_guest_path(&cli, "/etc", &p, &err), -EINVAL);
	assert_true(cli.misused);
}

static void devices(void **state)
{
	cli_automap struct lx_map m;
	struct cli cli = { 0 };
	struct lx_err err = LX_ERR_INIT;

	cli_devices_init(&m);
	assert_int_equal(cli_device(&cli, "root,size=10GiB,x=a=b", &m, &err), 0);
	assert_int_equal(cli_device(&cli, "root,size=20GiB", &m, &err), 0);
	assert_string_equal(lx_map_get(lx_map_get(&m, "root"), "size"), "20GiB");
	assert_string_equal(lx_map_get(lx_map_get(&m, "root"), "x"), "a=b");
	static const char *const bad[] = { "",        "root",       "root,",  "root,size",
					   ",size=1", "size=1,x=2", "root,=1" };
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		assert_int_equal(cli_device(&cli, bad[i], &m, &err), -EINVAL);
}

static void pairs(void **state)
{
	char *operands[] = { (char *)"web1", (char *)"k", (char *)"v=w", NULL };
	struct cli cli = { .args = { .operands = operands, .n_operands = 3 } };
	cli_automap struct lx_map m;
	struct lx_err err = LX_ERR_INIT;

	cli_map_init(&m);
	assert_int_equal(cli_pairs(&cli, 1, &m, &err), 0); /* KEY VALUE */
	assert_string_equal(lx_map_get(&m, "k"), "v=w");
	operands[1] = (char *)"k=1";
	assert_int_equal(cli_pairs(&cli, 1, &m, &err), 0); /* two of KEY=VALUE */
	assert_string_equal(lx_map_get(&m, "k"), "1");
	assert_string_equal(lx_map_get(&m, "v"), "w");
	assert_int_equal(cli_pair(&cli, "=x", &m, &err), -EINVAL);
	assert_int_equal(cli_pair(&cli, "x=", &m, &err), 0);
	assert_string_equal(lx_map_get(&m, "x"), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths),       cmocka_unit_test(swapped_directory),
		cmocka_unit_test(local_names), cmocka_unit_test(guest_paths),
		cmocka_unit_test(devices),     cmocka_unit_test(pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
