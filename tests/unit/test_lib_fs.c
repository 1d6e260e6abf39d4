/* Files and trees: atomic writes, and removal that stays where it was sent. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

/* Each test runs in an empty directory of its own. */
static char dir[64];

static int enter_dir(void **state)
{
	strcpy(dir, "/tmp/lx-test-fs.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	return chdir(dir);
}

static int leave_dir(void **state)
{
	return chdir("/") < 0 || lx_rm_rf(dir, NULL) < 0 ? -1 : 0;
}

static void put(const char *path, const char *text)
{
	assert_int_equal(lx_write_file_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static size_t count_entries(const char *path)
{
	lx_autoclosedir DIR *d = opendir(path);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	return n - 2;
}

static void writes_and_reads_back(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };
	struct lx_err err = LX_ERR_INIT;
	struct stat st;

	umask(0077);
	assert_int_equal(lx_write_file_atomic("a", "one", 3, 0644, &err), 0);
	umask(0022);
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask */
	put("a", "two\n");
	lx_autofree char *abs = lx_path_join(dir, "a");

	put(abs, "three");
	lx_buf_puts(&b, "<");
	assert_int_equal(lx_read_file("a", 5, &b, &err), 0);
	assert_string_equal(lx_buf_str(&b), "<three");
	assert_int_equal(count_entries("."), 1); /* no temporary file stays */
}

static void volatile_write_replaces_the_whole_file(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };
	struct lx_err err = LX_ERR_INIT;
	struct stat st;

	put("a", "something longer");
	assert_int_equal(lx_write_file_volatile("a", "new", 3, 0600, &err), 0);
	assert_int_equal(lx_read_file("a", 16, &b, &err), 0);
	assert_string_equal(lx_buf_str(&b), "new");
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(count_entries("."), 1);
	assert_int_equal(lx_write_file_volatile("missing/x", "new", 3, 0644, &err), -ENOENT);
}

static void failed_write_keeps_the_old_file(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(mkdir("d", 0755), 0);
	put("d/x", "old");
	/* A directory in the place of the target makes the rename fail after the writing. */
	assert_int_equal(lx_write_file_atomic("d", "new", 3, 0644, &err), -EISDIR);
	assert_true(lx_starts_with(err.msg, "cannot write d: "));
	assert_int_equal(count_entries("."), 1);
	assert_int_equal(lx_write_file_atomic("missing/x", "new", 3, 0644, &err), -ENOENT);
	assert_int_equal(err.code, LX_NOT_FOUND);
}

static void replaces_a_link_not_its_target(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };

	put("target", "safe");
	assert_int_equal(symlink("target", "link"), 0);
	put("link", "new");
	assert_int_equal(lx_read_file("target", 100, &b, NULL), 0);
	assert_string_equal(lx_buf_str(&b), "safe");
}

static void read_has_a_limit(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };
	struct lx_err err = LX_ERR_INIT;
	char big[10000];

	memset(big, 'x', sizeof(big));
	assert_int_equal(lx_write_file_atomic("big", big, sizeof(big), 0600, NULL), 0);
	lx_buf_puts(&b, "kept");
	assert_int_equal(lx_read_file("big", sizeof(big) - 1, &b, &err), -EFBIG);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	assert_string_equal(lx_buf_str(&b), "kept");
	assert_int_equal(lx_read_file("big", sizeof(big), &b, NULL), 0);
	assert_int_equal(b.len, 4 + sizeof(big));
	assert_int_equal(lx_read_file("none", 10, &b, &err), -ENOENT);
	assert_string_equal(err.msg, "cannot open none: No such file or directory");
	assert_int_equal(lx_read_file("/proc/self/status", 1 << 20, &b, NULL), 0);
	assert_true(b.len > 4 + sizeof(big));
}

static void reads_first_lines(void **state)
{
	char line[8];

	put("f", "abc\ndef\n");
	assert_int_equal(lx_read_line("f", line, sizeof(line)), 0);
	assert_string_equal(line, "abc");
	put("f", "1234567");
	assert_int_equal(lx_read_line("f", line, sizeof(line)), 0);
	assert_string_equal(line, "1234567");
	put("f", "12345678");
	assert_int_equal(lx_read_line("f", line, sizeof(line)), -EFBIG);
	put("f", "");
	assert_int_equal(lx_read_line("f", line, sizeof(line)), 0);
	assert_string_equal(line, "");
	assert_int_equal(lx_read_line("none", line, sizeof(line)), -ENOENT);
}

static void knobs_must_exist(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };

	assert_int_equal(lx_write_knob("knob", "1"), -ENOENT);
	assert_false(lx_path_exists("knob"));
	put("knob", "");
	assert_int_equal(lx_write_knob("knob", "42"), 0);
	assert_int_equal(lx_read_file("knob", 10, &b, NULL), 0);
	assert_string_equal(lx_buf_str(&b), "42");
}

static void makes_directories(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_mkdir_p("a/b//c/", 0755, &err), 0);
	assert_true(lx_is_dir("a/b/c"));
	assert_int_equal(lx_mkdir_p("a/b/c", 0700, &err), 0);
	assert_int_equal(lx_mkdir_p("/", 0700, &err), 0);
	put("file", "");
	assert_int_equal(lx_mkdir_p("file/x", 0755, &err), -ENOTDIR);
	assert_string_equal(err.msg, "cannot create directory file: Not a directory");
	assert_int_equal(symlink("a", "link"), 0);
	assert_int_equal(lx_mkdir_p("link/d", 0755, &err), 0);
	assert_true(lx_is_dir("a/d"));
}

static void knows_an_empty_directory(void **state)
{
	assert_int_equal(lx_mkdir_p("a/b", 0755, NULL), 0);
	lx_autoclose int full = open("a", O_PATH | O_DIRECTORY | O_CLOEXEC),
			 empty = open("a/b", O_PATH | O_DIRECTORY | O_CLOEXEC);

	put("file", "");
	lx_autoclose int file = open("file", O_RDONLY | O_CLOEXEC);

	assert_int_equal(lx_dir_is_empty(full), 0);
	assert_int_equal(lx_dir_is_empty(empty), 1);
	assert_int_equal(lx_dir_is_empty(file), -ENOTDIR);
	assert_int_equal(lx_dir_is_empty(-2), -EBADF);
}

static void joins_paths(void **state)
{
	static const char *const cases[][3] = {
		{ "a", "b", "a/b" }, { "a/", "/b", "a/b" }, { "/", "b", "/b" }, { "/a//", "b/c", "/a/b/c" }
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++) {
		lx_autofree char *p = lx_path_join(cases[i][0], cases[i][1]);

		assert_string_equal(p, cases[i][2]);
	}
}

static void removes_trees(void **state)
{
	assert_int_equal(lx_mkdir_p("t/a/b", 0755, NULL), 0);
	assert_int_equal(lx_mkdir_p("t/empty", 0755, NULL), 0);
	put("t/f", "x");
	put("t/a/b/g", "x");
	assert_int_equal(mkfifo("t/fifo", 0600), 0);
	assert_int_equal(lx_rm_rf("t/", NULL), 0);
	assert_false(lx_path_exists("t"));
	assert_int_equal(lx_rm_rf("t", NULL), 0); /* not there: fine */
	assert_int_equal(lx_rm_rf("no/such/parent", NULL), 0);
	put("file", "");
	assert_int_equal(lx_rm_rf("file", NULL), 0);
	assert_false(lx_path_exists("file"));
}

static void refuses_nameless_paths(void **state)
{
	for (const char *const *p =
		     (const char *const[]){ "", "/", "//", ".", "..", "./", "a/..", "a/.", NULL };
	     *p; p++)
		assert_int_equal(lx_rm_rf(*p, NULL), -EINVAL);
}

static void does_not_follow_links(void **state)
{
	assert_int_equal(lx_mkdir_p("outside/sub", 0755, NULL), 0);
	put("outside/precious", "x");
	assert_int_equal(lx_mkdir_p("t/in", 0755, NULL), 0);
	assert_int_equal(symlink("../outside", "t/link"), 0);
	assert_int_equal(symlink("../../outside/precious", "t/in/flink"), 0);
	assert_int_equal(symlink("nowhere", "t/dangling"), 0);
	assert_int_equal(symlink("outside", "toplink"), 0);
	assert_int_equal(lx_rm_rf("toplink", NULL), 0);
	assert_false(lx_path_exists("toplink"));
	assert_int_equal(lx_rm_rf("t", NULL), 0);
	assert_false(lx_path_exists("t"));
	assert_true(lx_path_exists("outside/precious"));
	assert_true(lx_path_exists("outside/sub"));
}

/* Deeper than any path name and any descriptor limit; names it would pick itself are taken. */
static void removes_very_deep_trees(void **state)
{
	assert_int_equal(lx_mkdir_p("t/.lx-rm-0/keep", 0755, NULL), 0);
	put("t/.lx-rm-1", "x");
	lx_autoclose int fd = open("t", O_RDONLY | O_DIRECTORY);

	for (int i = 0; i < 3000; i++) {
		assert_int_equal(mkdirat(fd, "deep", 0755), 0);
		assert_int_equal(symlinkat("/", fd, "aaa"), 0);
		int below = openat(fd, "deep", O_RDONLY | O_DIRECTORY);

		assert_true(below >= 0);
		close(fd);
		fd = below;
	}
	struct lx_err err = LX_ERR_INIT;

	if (lx_rm_rf("t", &err) < 0)
		fail_msg("%s", err.msg);
	assert_false(lx_path_exists("t"));
}

/* In a mount namespace of its own. */
static int remove_over_mounts(void)
{
	struct lx_err err = LX_ERR_INIT;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	if (mount("outside", "t/bind", NULL, MS_BIND, NULL) < 0 ||
	    mount("none", "u/tmpfs", "tmpfs", 0, NULL) < 0)
		return 77;
	if (close(open("u/tmpfs/precious", O_CREAT | O_WRONLY, 0600)) < 0)
		return 1;
	/* A bind mount is on the same device: only the kernel can tell it from a directory. */
	if (lx_rm_rf("t", &err) != -EBUSY || err.code != LX_FAILED_PRECONDITION || !strstr(err.msg, "t/bind"))
		return 2;
	if (!lx_path_exists("outside/precious") || !lx_path_exists("t/bind/precious"))
		return 3;
	if (lx_rm_rf("u", &err) != -EBUSY || !lx_path_exists("u/tmpfs/precious"))
		return 4;
	/* Nor the content of a mount that is the path itself. */
	if (lx_rm_rf("u/tmpfs", &err) != -EBUSY || !lx_path_exists("u/tmpfs/precious"))
		return 5;
	return 0;
}

static void stays_on_its_mount(void **state)
{
	assert_int_equal(lx_mkdir_p("t/bind", 0755, NULL), 0);
	assert_int_equal(lx_mkdir_p("u/tmpfs", 0755, NULL), 0);
	assert_int_equal(lx_mkdir_p("outside", 0755, NULL), 0);
	put("outside/precious", "x");
	pid_t pid = fork();

	if (pid == 0)
		_exit(remove_over_mounts());
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: needs root to mount\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define IN_DIR(t) cmocka_unit_test_setup_teardown(t, enter_dir, leave_dir)
	const struct CMUnitTest tests[] = {
		IN_DIR(writes_and_reads_back),
		IN_DIR(volatile_write_replaces_the_whole_file),
		IN_DIR(failed_write_keeps_the_old_file),
		IN_DIR(replaces_a_link_not_its_target),
		IN_DIR(read_has_a_limit),
		IN_DIR(reads_first_lines),
		IN_DIR(knobs_must_exist),
		IN_DIR(makes_directories),
		IN_DIR(knows_an_empty_directory),
		IN_DIR(joins_paths),
		IN_DIR(removes_trees),
		IN_DIR(refuses_nameless_paths),
		IN_DIR(does_not_follow_links),
		IN_DIR(removes_very_deep_trees),
		IN_DIR(stays_on_its_mount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
