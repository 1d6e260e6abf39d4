/*
 * A tree with all kinds of things in it, packed and unpacked by this tar and by GNU's, every way round:
 * it comes out as it went in. Needs root for owners and device nodes, and GNU tar; skips without.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "migration/tar/create.h"
#include "migration/tar/extract.h"
#include "tests/unit/tar_fixture.h"
#include "tests/unit/tar_tree.h"

/* ------------------------------------------------------------------ packing and unpacking */

static void pack(int dir, const char *out)
{
	struct lx_err err = LX_ERR_INIT;
	lx_autoclose int fd = tar_open(out, O_WRONLY | O_CREAT | O_TRUNC);

	if (lx_tarball_create(dir, fd, &err) < 0)
		fail_msg("%s", err.msg);
}

static void unpack(const char *in, int dir)
{
	struct lx_err err = LX_ERR_INIT;
	lx_autoclose int fd = tar_open(in, O_RDONLY);

	if (lx_tarball_extract_gzip(fd, dir, &err) < 0)
		fail_msg("%s", err.msg);
	/* All of it was read. */
	assert_int_equal(read(fd, &err, 1), 0);
}

/* `format` may be NULL, `sparse` too. */
static void gnu_packs(const char *format, const char *sparse, const char *out)
{
	const char *const argv[] = { TAR_CREATE, "tree", ".", format, sparse, NULL };

	if (tar_run(TAR_GNU, argv, NULL, out, NULL) != 0)
		fail_msg("%s: %s", format ? format : "tar", tar_errors());
}

static void gnu_unpacks(const char *in, const char *to)
{
	const char *const argv[] = { TAR_EXTRACT, to, NULL };

	if (tar_run(TAR_GNU, argv, in, NULL, NULL) != 0)
		fail_msg("tar: %s", tar_errors());
}

static void needs_root_and_gnu_tar(void)
{
	if (geteuid() == 0 && access(TAR_GNU, X_OK) == 0)
		return;
	print_message("needs root and " TAR_GNU "\n");
	skip();
}

/* GNU tar makes two of it. */
static void link_fifo(int tree)
{
	assert_int_equal(linkat(tree, "fifo", tree, "same fifo", 0), 0);
	tar_set_time(tree, ".", 1000000000, 111111111);
}

static void compare_trees(int tree, int there, enum tar_exact exact)
{
	tar_compare(tree, there, exact);
	assert_int_equal(tar_inode(there, "one"), tar_inode(there, "other"));
	assert_int_equal(tar_inode(there, "one"), tar_inode(there, "sticky/one more"));
	assert_int_equal(tar_inode(there, "link"), tar_inode(there, "same link"));
}

static void own_archives_come_out_as_they_went_in(void **state)
{
	needs_root_and_gnu_tar();
	lx_autoclose int tree = tar_make_tree(), there = tar_dir("there");
	struct stat st;

	link_fifo(tree);
	pack(tree, "archive");
	unpack("archive", there);
	compare_trees(tree, there, TAR_NANOSECONDS);
	assert_int_equal(tar_inode(there, "fifo"), tar_inode(there, "same fifo"));
	lx_autoclose int archive = tar_open("archive", O_RDONLY);

	/* The noise and the small things, not the gigabyte of hole. */
	assert_int_equal(fstat(archive, &st), 0);
	assert_true(st.st_size < 4 * TAR_MIB);
	/* Again, over what is there. */
	unpack("archive", there);
	compare_trees(tree, there, TAR_NANOSECONDS);
	assert_int_equal(tar_inode(there, "fifo"), tar_inode(there, "same fifo"));
}

static void gnu_tar_reads_own_archives(void **state)
{
	needs_root_and_gnu_tar();
	lx_autoclose int tree = tar_make_tree(), there = tar_dir("there");

	link_fifo(tree);
	pack(tree, "archive");
	gnu_unpacks("archive", "there");
	compare_trees(tree, there, TAR_NANOSECONDS);
	assert_int_equal(tar_inode(there, "fifo"), tar_inode(there, "same fifo"));
}

static void gnu_tars_archives_are_read(void **state)
{
	/* GNU tar's own format, and pax with three ways of sparse files; others cannot hold all of the tree.
	 */
	static const char *const formats[][2] = {
		{ NULL },
		{ "--format=gnu" },
		{ "--format=oldgnu" },
		{ "--format=posix", "--sparse-version=0.0" },
		{ "--format=posix", "--sparse-version=0.1" },
		{ "--format=posix", "--sparse-version=1.0" },
	};

	needs_root_and_gnu_tar();
	lx_autoclose int tree = tar_make_tree();

	for (size_t i = 0; i < LX_ARRAY_SIZE(formats); i++) {
		lx_autoclose int there = tar_dir("there");

		print_message("%s %s\n", formats[i][0] ? formats[i][0] : "as CRIU has it",
			      formats[i][1] ? formats[i][1] : "");
		gnu_packs(formats[i][0], formats[i][1], "archive");
		unpack("archive", there);
		compare_trees(tree, there, formats[i][1] ? TAR_NANOSECONDS : TAR_SECONDS);
	}
}

/* What the oldest formats can hold. */
static int make_plain_tree(const char *long_name)
{
	int dir = tar_dir("tree");
	lx_autoclose int below = tar_put_dir(dir, "a directory with a name that is not short", 0750);

	tar_put_text(dir, "one", "file");
	assert_int_equal(linkat(dir, "one", dir, "other", 0), 0);
	assert_int_equal(symlinkat("one", dir, "link"), 0);
	tar_put_text(below, long_name, "x");
	tar_set_time(dir, "one", 1234567890, 0);
	return dir;
}

static void old_formats_are_read(void **state)
{
	static const char *const formats[][2] = {
		{ "--format=v7", "a file" },
		{ "--format=ustar",
		  "a file whose name and that of its directory need the prefix of the header" },
	};

	needs_root_and_gnu_tar();
	for (size_t i = 0; i < LX_ARRAY_SIZE(formats); i++) {
		lx_autoclose int tree = make_plain_tree(formats[i][1]), there = tar_dir("there");
		const char *const argv[] = { "tar",         "-czC", "tree", "--numeric-owner",
					     formats[i][0], ".",    NULL };

		if (tar_run(TAR_GNU, argv, NULL, "archive", NULL) != 0)
			fail_msg("%s", tar_errors());
		unpack("archive", there);
		assert_int_equal(tar_compare(tree, there, TAR_SECONDS), 5);
		assert_int_equal(tar_inode(there, "one"), tar_inode(there, "other"));
	}
}

/* GNU tar gives what it unpacks the time of unpacking. */
static void times_of_access_are_kept(void **state)
{
	needs_root_and_gnu_tar();
	lx_autoclose int tree = tar_dir("tree"), there = tar_dir("there");
	struct stat st;

	tar_put_text(tree, "file", "text");
	tar_set_time(tree, "file", 1500000100, 5);
	pack(tree, "archive");
	unpack("archive", there);
	assert_int_equal(fstatat(there, "file", &st, 0), 0);
	assert_int_equal(st.st_atim.tv_sec, 1500000000);
	assert_int_equal(st.st_atim.tv_nsec, 987654321);
}

/* Deeper than images may be, and than there are descriptors. */
static void deep_trees_are_carried(void **state)
{
	char path[2048] = "", *end = path;
	struct rlimit before;

	needs_root_and_gnu_tar();
	lx_autoclose int tree = tar_dir("tree"), there = tar_dir("there");

	for (int i = 0; i < 500; i++) {
		end = stpcpy(end, i % 10 ? "d" : "dd");
		assert_int_equal(mkdirat(tree, path, 0755), 0);
		end = stpcpy(end, "/");
	}
	stpcpy(end, "bottom");
	tar_put_text(tree, path, "here");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, before.rlim_max }), 0);
	pack(tree, "archive");
	unpack("archive", there);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	tar_same_content(tree, path, there, path, 4);
}

/* ------------------------------------------------------------------ what cannot be done */

static void unreadable_input_is_an_error(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	lx_autoclose int there = tar_dir("there");

	assert_true(lx_tarball_extract_gzip(there, there, &err) < 0);
	assert_non_null(strstr(err.msg, strerror(EISDIR)));
}

static void full_output_is_an_error(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	lx_autoclose int tree = tar_dir("tree"), full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_true(lx_tarball_create(tree, full, &err) < 0);
	assert_non_null(strstr(err.msg, strerror(ENOSPC)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(own_archives_come_out_as_they_went_in, tar_unmount),
		cmocka_unit_test_teardown(gnu_tar_reads_own_archives, tar_unmount),
		cmocka_unit_test_teardown(gnu_tars_archives_are_read, tar_unmount),
		cmocka_unit_test(old_formats_are_read),
		cmocka_unit_test(times_of_access_are_kept),
		cmocka_unit_test(deep_trees_are_carried),
		cmocka_unit_test(unreadable_input_is_an_error),
		cmocka_unit_test(full_output_is_an_error),
	};

	return cmocka_run_group_tests_name("migration/tar", tests, tar_setup_mounts, tar_teardown);
}
