/*
 * The program lx-criu-tar: CRIU's command lines, anything else, and as whom CRIU runs it. Needs root and GNU
 * tar; skips without.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/hidden_pages.h"
#include "tests/unit/tar_fixture.h"

#define BASE 100000u

static const char *const create[] = { TAR_CREATE, "tree", ".", NULL };
static const char *const extract[] = { TAR_EXTRACT, "there", NULL };
static const char *const version[] = { "tar", "--version", NULL };

static void needs_root_and_gnu_tar(void)
{
	if (geteuid() == 0 && access(TAR_GNU, X_OK) == 0)
		return;
	print_message("needs root and " TAR_GNU "\n");
	skip();
}

static void make_tree(void)
{
	lx_autoclose int tree = tar_dir("tree");
	lx_autoclose int fd = openat(tree, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	const struct timespec times[] = { { .tv_sec = 1400000000 }, { .tv_sec = 1500000000, .tv_nsec = 5 } };

	assert_int_equal(write(fd, "text", 4), 4);
	assert_int_equal(fchown(fd, BASE + 7, BASE + 8), 0);
	assert_int_equal(futimens(fd, times), 0);
	assert_int_equal(fchown(tree, BASE, BASE), 0);
}

static struct stat look(const char *path)
{
	lx_autoclose int top = open(tar_top, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	assert_int_equal(fstatat(top, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void does_what_criu_asks_for(void **state)
{
	needs_root_and_gnu_tar();
	make_tree();
	close(tar_dir("there"));
	/* With nothing else in PATH. */
	assert_int_equal(tar_run(tar_ours(), create, NULL, "archive", "/nowhere"), 0);
	assert_string_equal(tar_errors(), "");
	assert_int_equal(tar_run(tar_ours(), extract, "archive", NULL, "/nowhere"), 0);
	assert_string_equal(tar_errors(), "");
	assert_int_equal(look("there/file").st_uid, BASE + 7);
	/* GNU tar carries no more than seconds. */
	assert_int_equal(look("there/file").st_mtim.tv_nsec, 5);
}

static void says_why_it_failed(void **state)
{
	needs_root_and_gnu_tar();
	close(tar_dir("there"));
	close(tar_open("archive", O_WRONLY | O_CREAT | O_TRUNC));
	assert_int_equal(tar_run(tar_ours(), extract, "archive", NULL, NULL), 2);
	assert_non_null(strstr(tar_errors(), "archive"));
	lx_autofree char *tree = lx_path_join(tar_top, "tree");

	assert_int_equal(lx_rm_rf(tree, NULL), 0);
	assert_int_equal(tar_run(tar_ours(), create, NULL, "archive", NULL), 2);
	assert_non_null(strstr(tar_errors(), "\"tree\""));
}

/* ------------------------------------------------------------------ anything else */

static void copy_program(const char *to)
{
	lx_autobuf struct lx_buf program = { 0 };

	assert_int_equal(lx_read_file(tar_ours(), 64 << 20, &program, NULL), 0);
	int fd = tar_open(to, O_WRONLY | O_CREAT | O_TRUNC);

	assert_int_equal(lx_write_full(fd, program.data, program.len), program.len);
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
}

static void output_begins(const char *word)
{
	char got[64] = { 0 };
	lx_autoclose int fd = tar_open("out", O_RDONLY);

	assert_true(read(fd, got, sizeof(got) - 1) > 0);
	assert_true(lx_starts_with(got, word));
}

static void becomes_the_next_tar(void **state)
{
	needs_root_and_gnu_tar();
	close(tar_dir("a"));
	close(tar_dir("b"));
	copy_program("a/tar");
	copy_program("b/tar");
	lx_autofree char *a = lx_asprintf("%s/a", tar_top), *tar = lx_asprintf("%s/a/tar", tar_top);
	/* Twice, and another one of its kind between and behind. */
	lx_autofree char *path = lx_asprintf("/nowhere:%s:%s/b:%s:%s/b:/usr/bin", a, tar_top, a, tar_top);

	assert_int_equal(tar_run(tar, version, NULL, "out", path), 0);
	output_begins("tar (GNU tar)");
	/* Not found in PATH itself. */
	assert_int_equal(tar_run(tar_ours(), version, NULL, "out", path), 0);
	output_begins("tar (GNU tar)");
	assert_int_equal(tar_run(tar, version, NULL, "out", a), 127);
	assert_non_null(strstr(tar_errors(), "no other tar"));
}

/* An option more, an option less, another order: not what it knows. */
static void does_not_guess(void **state)
{
	static const char *const lines[][16] = {
		{ TAR_CREATE, "tree", ".", "--verbose" },
		{ TAR_CREATE, "tree" },
		{ TAR_CREATE, "tree", "file" },
		{ TAR_EXTRACT, "there", "." },
		{ "tar", "--extract", "--gzip", "--no-wildcards", "--no-unquote", "--directory", "there" },
		{ "tar" },
	};

	needs_root_and_gnu_tar();
	for (size_t i = 0; i < LX_ARRAY_SIZE(lines); i++)
		assert_int_equal(tar_run(tar_ours(), lines[i], NULL, NULL, "/nowhere"), 127);
}

/* ------------------------------------------------------------------ as a guest's root */

static void write_map(pid_t pid, const char *which)
{
	char path[64], map[32];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, which);
	snprintf(map, sizeof(map), "0 %u 65536", BASE);
	assert_int_equal(lx_write_knob(path, map), 0);
}

/* tar_run() in a user namespace, as CRIU's child is. The exit status. */
static int run_in_guest(const char *program, const char *const *argv, const char *in, const char *out)
{
	int ready[2], go[2], status = 0;
	char c = 0;

	assert_int_equal(pipe2(ready, O_CLOEXEC) | pipe2(go, O_CLOEXEC), 0);
	pid_t pid = fork();

	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) < 0 || write(ready[1], &c, 1) != 1 || read(go[0], &c, 1) != 1 ||
		    setgid(0) < 0 || setuid(0) < 0)
			_exit(126);
		_exit(tar_run(program, argv, in, out, NULL));
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	write_map(pid, "uid_map");
	write_map(pid, "gid_map");
	assert_int_equal(write(go[1], &c, 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

/* Files that root in there can write, as CRIU has opened them. */
static void open_to_guest(const char *name)
{
	int fd = tar_open(name, O_WRONLY | O_CREAT | O_TRUNC);

	assert_int_equal(fchown(fd, BASE, BASE), 0);
	close(fd);
}

static void make_there(void)
{
	lx_autoclose int there = tar_dir("there");

	assert_int_equal(fchown(there, BASE, BASE), 0);
	open_to_guest("archive");
	open_to_guest("errors");
}

static void works_as_a_guests_root(void **state)
{
	needs_root_and_gnu_tar();
	make_tree();
	make_there();
	copy_program("tar");
	lx_autofree char *tar = lx_path_join(tar_top, "tar");

	assert_int_equal(run_in_guest(tar, create, NULL, "archive"), 0);
	assert_int_equal(run_in_guest(tar, extract, "archive", NULL), 0);
	/* Numbers in the archive are the guest's. */
	assert_int_equal(look("there/file").st_uid, BASE + 7);
	assert_int_equal(look("there/file").st_gid, BASE + 8);
	assert_int_equal(look("there/file").st_mode, S_IFREG | 0640);
	make_there();
	assert_int_equal(tar_run(TAR_GNU, create, NULL, "archive", NULL), 0);
	/* The machine's numbers mean nobody in there: as GNU tar has it. */
	assert_int_equal(run_in_guest(TAR_GNU, extract, "archive", NULL), 2);
	assert_int_equal(run_in_guest(tar, extract, "archive", NULL), 2);
}

static void device_nodes_fail_there_as_with_gnu_tar(void **state)
{
	needs_root_and_gnu_tar();
	make_tree();
	copy_program("tar");
	lx_autofree char *tar = lx_path_join(tar_top, "tar"), *node = lx_path_join(tar_top, "tree/null");

	assert_int_equal(mknod(node, S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(chown(node, BASE, BASE), 0);
	make_there();
	assert_int_equal(run_in_guest(tar, create, NULL, "archive"), 0);
	assert_int_equal(run_in_guest(TAR_GNU, extract, "archive", NULL), 2);
	assert_int_equal(run_in_guest(tar, extract, "archive", NULL), 2);
	assert_non_null(strstr(tar_errors(), "null"));
}

#define LARGE (4u << 20)
#define PIECE (1u << 20)

/* A large file of four pieces, of which the third is a hole; its second one and half of the last are hidden.
 */
static void make_large(bool hidden)
{
	static char piece[PIECE];
	const struct lx_page_run runs[] = { { PIECE, 2 * PIECE }, { LARGE - PIECE / 2, LARGE } };
	lx_autoclose int tree = tar_dir("tree"), lists = tar_dir(LX_HIDDEN_PAGES);
	lx_autoclose int fd = openat(tree, "large", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	char name[64];
	struct stat st;

	for (size_t i = 0; i < 4; i++) {
		memset(piece, 'a' + (int)i, sizeof(piece));
		if (i != 2)
			assert_int_equal(pwrite(fd, piece, PIECE, (off_t)(i * PIECE)), PIECE);
	}
	assert_int_equal(fstat(fd, &st), 0);
	snprintf(name, sizeof(name), LX_HIDDEN_FILE, (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	lx_autoclose int list = hidden ? openat(lists, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;

	assert_true(!hidden || write(list, runs, sizeof(runs)) == sizeof(runs));
}

/* What lies at that place of the file that was unpacked. */
static char at(off_t offset)
{
	lx_autoclose int fd = tar_open("there/large", O_RDONLY);
	char c = 0;

	assert_int_equal(pread(fd, &c, 1, offset), 1);
	return c;
}

static void check_large(bool hidden)
{
	assert_int_equal(look("there/large").st_size, LARGE);
	assert_int_equal(at(0), 'a');
	assert_int_equal(at(PIECE - 1), 'a');
	assert_int_equal(at(PIECE), hidden ? 0 : 'b');
	assert_int_equal(at(2 * PIECE), 0);
	assert_int_equal(at(3 * PIECE), 'd');
	assert_int_equal(at(LARGE - PIECE / 2 - 1), 'd');
	assert_int_equal(at(LARGE - 1), hidden ? 0 : 'd');
}

/* Also for GNU tar, which knows nothing of it. */
static void leaves_out_what_is_hidden(void **state)
{
	needs_root_and_gnu_tar();
	for (int hidden = 0; hidden < 2; hidden++)
		for (int gnu = 0; gnu < 2; gnu++) {
			make_large(hidden);
			close(tar_dir("there"));
			assert_int_equal(setenv(LX_HIDDEN_PAGES_DIR, "yes", 1), 0);
			int r = tar_run(tar_ours(), create, NULL, "archive", "/nowhere");

			assert_int_equal(unsetenv(LX_HIDDEN_PAGES_DIR), 0);
			assert_int_equal(r, 0);
			assert_int_equal(tar_run(gnu ? TAR_GNU : tar_ours(), extract, "archive", NULL, NULL),
					 0);
			check_large(hidden);
		}
}

/* Who is not run by CRIU for a move archives all there is. */
static void without_its_word_nothing_is_hidden(void **state)
{
	needs_root_and_gnu_tar();
	make_large(true);
	close(tar_dir("there"));
	assert_int_equal(tar_run(tar_ours(), create, NULL, "archive", "/nowhere"), 0);
	assert_int_equal(tar_run(tar_ours(), extract, "archive", NULL, "/nowhere"), 0);
	check_large(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(does_what_criu_asks_for),
		cmocka_unit_test(says_why_it_failed),
		cmocka_unit_test(becomes_the_next_tar),
		cmocka_unit_test(does_not_guess),
		cmocka_unit_test(works_as_a_guests_root),
		cmocka_unit_test(device_nodes_fail_there_as_with_gnu_tar),
		cmocka_unit_test(leaves_out_what_is_hidden),
		cmocka_unit_test(without_its_word_nothing_is_hidden),
	};

	return cmocka_run_group_tests_name("lx-criu-tar", tests, tar_setup, tar_teardown);
}
