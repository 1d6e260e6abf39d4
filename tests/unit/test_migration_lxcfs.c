/* Files of lxcfs in tables of mounts, in CRIU's words, and in its image of open files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "migration/criu.h"
#include "migration/file_image.h"
#include "migration/lxcfs_mounts.h"

/* ---- tables of mounts ---- */

#define GUEST                                                                                                \
	"20 1 0:50 / / rw - overlay lxmgr rw\n"                                                              \
	"21 20 0:51 / /proc rw - proc proc rw\n"                                                             \
	"22 20 0:52 / /sys rw - sysfs sysfs rw\n"
#define MEMINFO "30 21 0:43 /proc/meminfo /proc/meminfo ro - fuse.lxcfs lxcfs rw\n"
#define ONLINE                                                                                               \
	"31 22 0:43 /sys/devices/system/cpu/online /sys/devices/system/cpu/online ro - fuse.lxcfs lxcfs "    \
	"rw\n"

static lx_lxcfs_set set_of(const char *path)
{
	return 1u << lx_lxcfs_file_at(path);
}

static void finds_what_is_the_nodes(void **state)
{
	const lx_lxcfs_set meminfo = set_of("/proc/meminfo"),
			   online = set_of("/sys/devices/system/cpu/online");
	const struct {
		const char *text;
		lx_lxcfs_set found;
	} t[] = {
		{ GUEST, 0 },
		{ GUEST MEMINFO ONLINE, meminfo | online },
		/* The node's own, which stand for those of a node before. */
		{ GUEST "30 21 0:21 /meminfo /proc/meminfo ro - proc proc rw\n", meminfo },
		{ GUEST
		  "31 22 0:40 /devices/system/cpu/online /sys/devices/system/cpu/online ro - sysfs s rw\n",
		  online },
		/* The guest's own file, bound over itself: CRIU knows that. */
		{ GUEST "30 21 0:51 /meminfo /proc/meminfo ro - proc proc rw\n", 0 },
		/* Other files, and file systems that call themselves so. */
		{ GUEST "30 21 0:43 /proc/stat /proc/meminfo ro - fuse.lxcfs lxcfs rw\n", 0 },
		{ GUEST "30 21 0:43 / /proc/meminfo ro - fuse.lxcfs lxcfs rw\n", 0 },
		{ GUEST "30 20 0:43 /proc/meminfo /srv/meminfo ro - fuse.lxcfs lxcfs rw\n", 0 },
		{ GUEST "30 21 0:43 /proc/meminfo /proc/meminfo ro - fuse.sshfs lxcfs rw\n", 0 },
		{ GUEST "30 21 0:21 /stat /proc/meminfo ro - proc proc rw\n", 0 },
		/* Without what it lies over nothing is known of it. */
		{ MEMINFO, 0 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_automounts struct lx_mounts m = { 0 };

		assert_int_equal(lx_mounts_parse(t[i].text, &m, NULL), 0);
		assert_int_equal(lx_lxcfs_mounted(&m), t[i].found);
	}
}

static void services_have_copies(void **state)
{
	lx_automounts struct lx_mounts init = { 0 }, service = { 0 };

	assert_int_equal(lx_mounts_parse(GUEST MEMINFO, &init, NULL), 0);
	assert_int_equal(lx_mounts_parse("1 2 0:43 /proc/meminfo /srv/x ro - fuse.lxcfs lxcfs rw\n"
					 "1 2 0:43 /proc/stat /proc/stat ro - fuse.lxcfs lxcfs rw\n"
					 "1 2 0:44 /proc/meminfo /proc/meminfo ro - fuse.lxcfs lxcfs rw\n",
					 &service, NULL),
			 0);
	assert_true(lx_mount_is_lxcfs(&service.m[0], &init));
	/* None of init's: CRIU would not know them. */
	assert_false(lx_mount_is_lxcfs(&service.m[1], &init));
	assert_false(lx_mount_is_lxcfs(&service.m[2], &init));
}

static void tells_those_that_are_lost(void **state)
{
	lx_automounts struct lx_mounts m = { 0 }, own = { 0 };

	assert_int_equal(lx_mounts_parse(GUEST MEMINFO ONLINE, &m, NULL), 0);
	assert_int_equal(
		lx_mounts_parse(GUEST "30 21 0:21 /meminfo /proc/meminfo ro - proc proc rw\n", &own, NULL),
		0);
	assert_true(lx_lxcfs_is_whole(&m, true, 0, 43));
	assert_false(lx_lxcfs_is_whole(&m, false, 0, 43));
	assert_false(lx_lxcfs_is_whole(&m, true, 0, 44)); /* another one serves by now */
	assert_true(lx_lxcfs_is_whole(&own, false, 0, 0));
}

/* ---- CRIU's words ---- */

static void both_sides_use_the_same_names(void **state)
{
	lx_autobuf struct lx_buf options = { 0 };
	const lx_lxcfs_set meminfo = set_of("/proc/meminfo");
	const struct lx_criu_dump dump = { .criu = "criu",
					   .images = "/i",
					   .freezer = "/f",
					   .cgroup = "/c",
					   .hook = "/h",
					   .v2_only = "/y",
					   .lazy = true,
					   .mounts = { .lxcfs = (1u << LX_LXCFS_FILES) - 1 } };
	struct lx_criu_args args;
	size_t named = 0;

	assert_int_equal(lx_lxcfs_restore_options("/var/lib/lxcfs", meminfo, &options, NULL), 0);
	assert_non_null(
		strstr(lx_buf_str(&options), "--external\nmnt[proc/meminfo]:/var/lib/lxcfs/proc/meminfo\n"));
	assert_non_null(strstr(lx_buf_str(&options), "--external\nmnt[proc/stat]:/proc/stat\n"));
	assert_int_equal(lx_criu_dump_args(&dump, &args, NULL), 0);
	for (unsigned i = 0; i + 1 < args.n; i++)
		if (strcmp(args.v[i], "--external") == 0 && strncmp(args.v[i + 1], "mnt[/", 5) == 0) {
			char *name = strchr(args.v[i + 1], ':') + 1;
			char *end = strchr(args.v[i + 1], ']');

			*end = '\0';
			assert_string_equal(args.v[i + 1] + 5, name);
			named++;
		}
	assert_int_equal(named, LX_LXCFS_FILES);
	lx_criu_args_release(&args);
}

/* ---- open files ---- */

/*
 * As CRIU 4.2 writes it: id 7, a regular file of flags 0, position 12, an owner of no use, a name, a
 * mount, a size of 1391, a mode; and one of another kind.
 */
#define HEAD "\x19\x43\x56\x54\x38\x31\x30\x56"
#define FILE_OF(name_len, total, reg_len, name)                                                              \
	total "\x00\x00\x00\x08\x01\x10\x07\x1a" reg_len                                                     \
	      "\x08\x07\x10\x00\x18\x0c\x2a\x08\x08\x00\x10\x00\x18\x00\x20\x00\x32" name_len name           \
	      "\x38\x80\x10\x40\xef\x0a\x50\xa4\x82\x02"
#define MEMINFO_FILE FILE_OF("\x0d", "\x2f", "\x29", "/proc/meminfo")
#define OTHER_FILE   FILE_OF("\x0d", "\x2f", "\x29", "/etc/hostname")
#define PIPE         "\x06\x00\x00\x00\x08\x02\x10\x09\x42\x00"
#define BYTES(text)  (text), sizeof(text) - 1

static void sizes_are_taken_out(void **state)
{
	static const char size[] = "\x40\xef\x0a";
	lx_autobuf struct lx_buf out = { 0 }, again = { 0 };

	assert_int_equal(lx_file_image_unsize(BYTES(HEAD PIPE MEMINFO_FILE OTHER_FILE), &out, NULL), 0);
	/* Three bytes less: its own size is gone, the other's is there, and so is all else. */
	assert_int_equal(out.len, sizeof(HEAD PIPE MEMINFO_FILE OTHER_FILE) - 1 - 3);
	assert_memory_equal(out.data, HEAD PIPE, sizeof(HEAD PIPE) - 1);
	assert_memory_equal(out.data + out.len - (sizeof(OTHER_FILE) - 1), OTHER_FILE,
			    sizeof(OTHER_FILE) - 1);
	const uint8_t *file = out.data + sizeof(HEAD PIPE) - 1;
	size_t n = out.len - (sizeof(HEAD PIPE) - 1) - (sizeof(OTHER_FILE) - 1);

	assert_int_equal(file[0], 0x2f - 3);
	assert_null(memmem(file, n, size, 3));
	assert_non_null(memmem(file, n, "/proc/meminfo", 13));
	assert_non_null(memmem(file, n, "\x18\x0c", 2));         /* position */
	assert_non_null(memmem(file, n, "\x38\x80\x10", 3));     /* mount */
	assert_non_null(memmem(file, n, "\x50\xa4\x82\x02", 4)); /* mode */
	/* What has been through it once is read again. */
	assert_int_equal(lx_file_image_unsize(out.data, out.len, &again, NULL), 0);
}

static void others_are_left_as_they_are(void **state)
{
	lx_autobuf struct lx_buf out = { 0 };

	assert_int_equal(lx_file_image_unsize(BYTES(HEAD), &out, NULL), 0);
	assert_int_equal(lx_file_image_unsize(BYTES(HEAD PIPE OTHER_FILE), &out, NULL), 0);
	assert_int_equal(out.len, 0);
}

static void damaged_images_are_refused(void **state)
{
	static const char whole[] = HEAD MEMINFO_FILE PIPE;
	struct lx_err err = LX_ERR_INIT;
	lx_autobuf struct lx_buf out = { 0 };

	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char *cut = malloc(len + 1);

		assert_non_null(cut);
		memcpy(cut, whole, len);
		int r = lx_file_image_unsize(cut, len, &out, &err);

		free(cut);
		/* An end between two messages is one. */
		if (len == sizeof(HEAD) - 1 || len == sizeof(HEAD MEMINFO_FILE) - 1)
			assert_int_equal(r, 0);
		else
			assert_int_equal(r, -EBADMSG);
		lx_buf_release(&out);
	}
	assert_int_equal(lx_file_image_unsize(BYTES("\x19\x43\x56\x54\x25\x40\x08\x56"), &out, &err),
			 -EBADMSG);
	assert_int_equal(lx_file_image_unsize(BYTES(HEAD "\xff\xff\xff\xff"), &out, &err), -EBADMSG);
	assert_int_equal(lx_file_image_unsize(BYTES(HEAD "\x02\x00\x00\x00\x1a\x7f"), &out, &err), -EBADMSG);
	assert_int_equal(err.code, LX_DATA_LOSS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_is_the_nodes),    cmocka_unit_test(services_have_copies),
		cmocka_unit_test(tells_those_that_are_lost),  cmocka_unit_test(both_sides_use_the_same_names),
		cmocka_unit_test(sizes_are_taken_out),        cmocka_unit_test(others_are_left_as_they_are),
		cmocka_unit_test(damaged_images_are_refused),
	};

	return cmocka_run_group_tests_name("migration: lxcfs", tests, NULL, NULL);
}
