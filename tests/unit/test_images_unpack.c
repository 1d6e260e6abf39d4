/*
 * Importing and packing within the test, so that the sanitizers see it: what a stage, a
 * failure, a duplicate and a round trip leave. What archives may hold and how they may be
 * broken is tests/system/test_image_worker.py. Needs root: files get their owners.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>

#include "images/arch.h"
#include "images/export.h"
#include "images/import.h"
#include "images/store.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "proto/pb.h"

static char top[] = "/tmp/lx-images-XXXXXX";
static char *state_dir, *packed;

static int setup(void **state)
{
	assert_non_null(mkdtemp(top));
	state_dir = lx_path_join(top, "state");
	packed = lx_path_join(top, "packed");
	assert_int_equal(mkdir(state_dir, 0700), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(lx_rm_rf(top, NULL), 0);
	free(state_dir);
	free(packed);
	return 0;
}

/* ------------------------------------------------------------------ archives */

static struct archive *begin(bool gzip)
{
	struct archive *a = archive_write_new();

	assert_non_null(a);
	assert_int_equal(archive_write_set_format_pax(a), ARCHIVE_OK);
	if (gzip)
		assert_int_equal(archive_write_add_filter_gzip(a), ARCHIVE_OK);
	assert_int_equal(archive_write_open_filename(a, packed), ARCHIVE_OK);
	return a;
}

static void end(struct archive *a)
{
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
}

static void put(struct archive *a, const char *path, mode_t mode, const char *text, const char *link)
{
	struct archive_entry *e = archive_entry_new();

	archive_entry_set_pathname(e, path);
	archive_entry_set_mode(e, mode);
	archive_entry_set_mtime(e, 1500000000, 123456789);
	if (S_ISLNK(mode))
		archive_entry_set_symlink(e, link);
	else if (link)
		archive_entry_set_hardlink(e, link);
	archive_entry_set_size(e, text ? (int64_t)strlen(text) : 0);
	if (S_ISREG(mode) && !link)
		archive_entry_xattr_add_entry(e, "user.test", "value", 5);
	assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
	if (text)
		assert_true(archive_write_data(a, text, strlen(text)) >= 0);
	archive_entry_free(e);
}

static void put_metadata(struct archive *a)
{
	lx_autobuf struct lx_buf text = { 0 };

	assert_int_equal(lx_buf_printf(&text, "architecture: %s\nproperties:\n  os: Test\n", lx_arch_host()),
			 0);
	put(a, "metadata.yaml", S_IFREG | 0644, lx_buf_str(&text), NULL);
}

static void put_rootfs(struct archive *a)
{
	put(a, "rootfs", S_IFDIR | 0755, NULL, NULL);
	put(a, "rootfs/bin", S_IFDIR | 01777, NULL, NULL);
	put(a, "rootfs/bin/sh", S_IFREG | 04755, "a shell", NULL);
	put(a, "rootfs/bin/ash", S_IFREG | 04755, NULL, "rootfs/bin/sh");
	put(a, "rootfs/sbin/init", S_IFLNK | 0777, NULL, "../bin/busybox");
	put(a, "rootfs/bin/busybox", S_IFREG | 0755, "", NULL);
}

/* ------------------------------------------------------------------ importing */

static int import(Lxmgr__V1__Image **ret, struct lx_err *err)
{
	struct lx_image_import in = { .state_dir = state_dir, .metadata_path = packed };

	*ret = NULL;
	*err = LX_ERR_INIT;
	return lx_image_import(&in, ret, err);
}

static void nothing_in_incoming(void)
{
	lx_autofree char *incoming = lx_image_incoming_path(state_dir);

	/* Only an empty directory can be removed. */
	assert_int_equal(rmdir(incoming), 0);
}

static size_t stored(void)
{
	Lxmgr__V1__Image **images;
	size_t n;

	assert_int_equal(lx_image_list(state_dir, &images, &n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		lx_pb_free(images[i]);
	free(images);
	return n;
}

static void needs_root(void)
{
	if (geteuid() != 0)
		skip();
}

static void imports_and_exports(void **state)
{
	Lxmgr__V1__Image *first, *again, *back, *loaded;
	struct lx_err err = LX_ERR_INIT;
	struct stat a, b;

	needs_root();
	struct archive *out = begin(true);

	put_metadata(out);
	put_rootfs(out);
	end(out);
	assert_int_equal(import(&first, &err), 0);
	assert_string_equal(first->os, "Test");
	assert_string_equal(lx_pb_map_get(first->n_properties, first->properties, "init"), "busybox");
	assert_int_equal(import(&again, &err), 0);
	assert_string_equal(first->fingerprint, again->fingerprint);
	assert_int_equal(lx_image_load(state_dir, first->fingerprint, &loaded, &err), 0);
	assert_int_equal(loaded->unpacked_bytes, first->unpacked_bytes);
	assert_int_equal(stored(), 1);

	lx_autofree char *path = lx_image_path(state_dir, first->fingerprint);
	lx_autoclose int dir = open(path, O_RDONLY | O_DIRECTORY);

	assert_int_equal(fstatat(dir, "rootfs/bin/sh", &a, 0), 0);
	assert_int_equal(fstatat(dir, "rootfs/bin/ash", &b, 0), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_mode, S_IFREG | 04755);
	assert_int_equal(fstatat(dir, "rootfs/bin", &a, 0), 0);
	assert_int_equal(a.st_mtim.tv_nsec, 123456789);

	lx_autoclose int fd = open(packed, O_WRONLY | O_TRUNC);

	assert_int_equal(lx_image_export(state_dir, first->fingerprint, "zstd", fd, NULL, &err), 0);
	assert_int_equal(import(&back, &err), 0);
	assert_string_not_equal(back->fingerprint, first->fingerprint);
	assert_int_equal(back->unpacked_bytes, first->unpacked_bytes);
	assert_int_equal(stored(), 2);
	assert_int_equal(lx_image_delete(state_dir, back->fingerprint, &err), 0);
	assert_int_equal(lx_image_delete(state_dir, first->fingerprint, &err), 0);
	assert_int_equal(lx_image_delete(state_dir, first->fingerprint, &err), 0);
	assert_int_equal(stored(), 0);
	nothing_in_incoming();
	lx_pb_free(first);
	lx_pb_free(again);
	lx_pb_free(back);
	lx_pb_free(loaded);
}

static void fails_without_a_trace(const char *says)
{
	Lxmgr__V1__Image *image;
	struct lx_err err;

	assert_true(import(&image, &err) < 0);
	assert_null(image);
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	if (!strstr(err.msg, says))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
	assert_int_equal(stored(), 0);
	nothing_in_incoming();
}

static void refuses_and_leaves_nothing(void **state)
{
	struct archive *out;

	needs_root();
	out = begin(false);
	put_rootfs(out);
	end(out);
	fails_without_a_trace("no metadata.yaml");

	out = begin(false);
	put_metadata(out);
	end(out);
	fails_without_a_trace("rootfs");

	out = begin(false);
	put_metadata(out);
	put(out, "rootfs/door", S_IFLNK | 0777, NULL, "/tmp");
	put(out, "rootfs/door/x", S_IFREG | 0644, "out", NULL);
	end(out);
	fails_without_a_trace("symbolic link");

	out = begin(false);
	put_metadata(out);
	put(out, "rootfs/x", S_IFREG | 0644, NULL, "../../../etc/passwd");
	end(out);
	fails_without_a_trace("\"..\"");
}

static void notices_damage(void **state)
{
	lx_autobuf struct lx_buf whole = { 0 };

	needs_root();
	struct archive *out = begin(true);

	put_metadata(out);
	put_rootfs(out);
	end(out);
	assert_int_equal(lx_read_file(packed, 1 << 20, &whole, NULL), 0);
	/* The checksum in the trailer, and the trailer's last byte. */
	assert_int_equal(lx_write_file_atomic(packed, whole.data, whole.len - 1, 0600, NULL), 0);
	fails_without_a_trace("cut off");
	whole.data[whole.len - 6] ^= 1;
	assert_int_equal(lx_write_file_atomic(packed, whole.data, whole.len, 0600, NULL), 0);
	fails_without_a_trace("damaged");
}

static void replaces_a_directory_that_is_no_image(void **state)
{
	Lxmgr__V1__Image *image;
	struct lx_err err;

	needs_root();
	struct archive *out = begin(false);

	put_metadata(out);
	put_rootfs(out);
	end(out);
	assert_int_equal(import(&image, &err), 0);
	lx_autofree char *path = lx_image_path(state_dir, image->fingerprint);
	lx_autofree char *pb = lx_path_join(path, "image.pb");

	lx_pb_free(image);
	assert_int_equal(unlink(pb), 0);
	assert_int_equal(stored(), 0);
	assert_int_equal(import(&image, &err), 0);
	assert_int_equal(stored(), 1);
	assert_int_equal(lx_image_delete(state_dir, image->fingerprint, &err), 0);
	lx_pb_free(image);
	nothing_in_incoming();
}

static void sweeps(void **state)
{
	lx_autofree char *incoming = lx_image_incoming_path(state_dir);
	lx_autofree char *rest = lx_path_join(incoming, "half/rootfs/etc");
	lx_autofree char *half = lx_path_join(incoming, "half");
	struct lx_err err = LX_ERR_INIT;
	struct lx_stage stage;

	assert_int_equal(lx_mkdir_p(rest, 0755, &err), 0);
	assert_int_equal(lx_stage_begin(state_dir, &stage, &err), 0);
	assert_int_equal(lx_image_store_sweep(state_dir, &err), 0);
	assert_false(lx_path_exists(half));
	/* Somebody works on that one. */
	assert_true(lx_is_dir(stage.path));
	lx_stage_end(&stage);
	nothing_in_incoming();
	assert_int_equal(lx_image_store_sweep(state_dir, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(imports_and_exports),
		cmocka_unit_test(refuses_and_leaves_nothing),
		cmocka_unit_test(notices_damage),
		cmocka_unit_test(replaces_a_directory_that_is_no_image),
		cmocka_unit_test(sweeps),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
