/*
 * Archives that are broken or mean ill, built block by block: each is refused, and nothing beside the
 * directory changes. Needs root, since owners are set; skips without.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/tar/extract.h"
#include "migration/tar/header.h"
#include "migration/tar/pax.h"
#include "tests/unit/tar_fixture.h"

/* ------------------------------------------------------------------ building */

static struct lx_buf archive;

static void begin(void)
{
	archive.len = 0;
}

static struct lx_tarball_header header(char type, const char *name, const char *link, uint64_t size)
{
	struct lx_tarball_header h = { .type = type };

	memcpy(h.magic, LX_TARBALL_USTAR, sizeof(h.magic));
	memcpy(h.name, name, strnlen(name, sizeof(h.name)));
	memcpy(h.link, link, strnlen(link, sizeof(h.link)));
	lx_tarball_put_number(h.mode, sizeof(h.mode), 0755);
	lx_tarball_put_number(h.uid, sizeof(h.uid), 0);
	lx_tarball_put_number(h.gid, sizeof(h.gid), 0);
	lx_tarball_put_number(h.size, sizeof(h.size), size);
	lx_tarball_put_number(h.mtime, sizeof(h.mtime), 1);
	return h;
}

static void add_header(struct lx_tarball_header h)
{
	lx_tarball_seal(&h);
	assert_int_equal(lx_buf_append(&archive, &h, sizeof(h)), 0);
}

static void add_text(const char *text)
{
	static const char zeros[LX_TARBALL_BLOCK];

	assert_int_equal(lx_buf_puts(&archive, text), 0);
	assert_int_equal(lx_buf_append(&archive, zeros, lx_tarball_padding(strlen(text))), 0);
}

static void add(char type, const char *name, const char *link, const char *text)
{
	add_header(header(type, name, link, strlen(text)));
	add_text(text);
}

static void end(void)
{
	static const char zeros[2 * LX_TARBALL_BLOCK];

	assert_int_equal(lx_buf_append(&archive, zeros, sizeof(zeros)), 0);
}

/* ------------------------------------------------------------------ unpacking */

struct bytes {
	const uint8_t *at;
	size_t left, step;
};

static ptrdiff_t next_bytes(void *arg, const void **data, const char **why)
{
	struct bytes *b = arg;
	size_t n = b->left < b->step ? b->left : b->step;

	*data = b->at;
	b->at += n;
	b->left -= n;
	return (ptrdiff_t)n;
}

/* In steps of so many bytes. */
static int unpack(size_t step, struct lx_err *err)
{
	struct bytes b = { .at = archive.data, .left = archive.len, .step = step };
	const struct lx_tarball_source source = { .next = next_bytes, .arg = &b };
	struct lx_tarball_reader *reader;
	lx_autoclose int there = tar_dir("top/there");

	*err = LX_ERR_INIT;
	assert_int_equal(lx_tarball_reader_open(&source, &reader, err), 0);
	int r = lx_tarball_extract(reader, there, err);

	lx_tarball_reader_free(reader);
	assert_true(r == 0 ? err->code == LX_OK : r < 0 && err->code != LX_OK && err->msg[0]);
	return r;
}

static void refused(const char *why)
{
	struct lx_err err;
	struct stat before, after;

	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	close(tar_dir("top"));
	close(tar_dir("top/there"));
	lx_autoclose int top = tar_open("top", O_RDONLY | O_DIRECTORY);

	close(openat(top, "secret", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(fstatat(top, "secret", &before, 0), 0);
	if (unpack(SIZE_MAX, &err) == 0)
		fail_msg("not refused: %s", why);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
	assert_true(unpack(7, &err) < 0);
	assert_int_equal(fstatat(top, "secret", &after, 0), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_size, 0);
	assert_int_equal(after.st_nlink, 1);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_memory_equal(&after.st_ctim, &before.st_ctim, sizeof(after.st_ctim));
	/* Only it and the directory. */
	assert_int_equal(unlinkat(top, "secret", 0), 0);
	lx_autofree char *there = lx_path_join(tar_top, "top/there");

	assert_int_equal(lx_rm_rf(there, NULL), 0);
	assert_int_equal(unlinkat(AT_FDCWD, there, AT_REMOVEDIR), -1);
	lx_autofree char *path = lx_path_join(tar_top, "top");

	assert_int_equal(rmdir(path), 0);
}

/* ------------------------------------------------------------------ ways out */

static void names_that_lead_out(void **state)
{
	static const char *const names[] = { "../secret", "a/../../secret", "..", "./..",
					     "a/..",      "/secret",        "//" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		begin();
		add('0', names[i], "", "evil");
		end();
		refused("refused");
		/* By another way to say it. */
		begin();
		add('L', "././@LongLink", "", names[i]);
		add('0', "good", "", "evil");
		end();
		refused("refused");
		begin();
		add('1', "good", names[i], "");
		end();
		refused("refused");
	}
	begin();
	add('x', "pax", "", "18 path=../secret\n");
	add('0', "good", "", "evil");
	end();
	refused("..");
}

static void files_through_symbolic_links(void **state)
{
	begin();
	add('2', "out", "..", "");
	add('0', "out/secret", "", "evil");
	end();
	refused("symbolic link");
	begin();
	add('5', "a", "", "");
	add('2', "a/b", "../..", "");
	add('5', "a/b/c", "", "");
	end();
	refused("symbolic link");
	begin();
	add('2', "out", "..", "");
	add('1', "mine", "out/secret", "");
	end();
	refused("symbolic link");
	/* Itself it may be replaced, and what it points to stays: this one ends with a mistake of its own. */
	begin();
	add('2', "secret", "../secret", "");
	add('1', "same", "secret", "");
	add('0', "secret", "", "evil");
	add('0', "same", "", "evil");
	add('2', "secret", "../secret", "");
	add('5', "secret", "", "");
	add('0', "secret/in", "", "evil");
	add('?', "wrong", "", "");
	end();
	refused("kind");
}

static void things_in_each_others_way(void **state)
{
	begin();
	add('0', "a", "", "file");
	add('0', "a/b", "", "file");
	end();
	refused("no directory");
	begin();
	add('5', "a", "", "");
	add('0', "a", "", "file");
	end();
	refused("\"a\"");
	begin();
	add('0', ".", "", "file");
	end();
	refused("no directory");
	begin();
	add('1', "a", ".", "");
	end();
	refused("refused");
	begin();
	add('1', "a", "missing", "");
	end();
	refused("hard link");
}

/* ------------------------------------------------------------------ broken ones */

static void cut_off_anywhere(void **state)
{
	begin();
	add('5', "dir", "", "");
	add('x', "pax", "", "11 path=a\n\n");
	archive.len -= 2 * LX_TARBALL_BLOCK;
	add('x', "pax", "", "10 path=a\n");
	add('0', "x", "", "text");
	end();
	size_t whole = archive.len;

	for (size_t len = 0; len < whole; len += len % 512 ? 1 : 511) {
		archive.len = len;
		refused("broken");
	}
	archive.len = whole;
}

static void garbage(void **state)
{
	struct lx_tarball_header h = header('0', "a", "", 0);

	begin();
	for (int i = 0; i < 4096; i++)
		assert_int_equal(lx_buf_append(&archive, &(uint8_t){ (uint8_t)(i * 167 + 13) }, 1), 0);
	refused("no header");
	/* One bit. */
	begin();
	add_header(h);
	archive.data[1] ^= 1;
	end();
	refused("no header");
	begin();
	add('0', "", "", "");
	end();
	refused("no name");
	begin();
	add('M', "a", "", "");
	end();
	refused("kind");
	/* One block of zeros, and more. */
	begin();
	end();
	archive.len -= LX_TARBALL_BLOCK;
	add('0', "a", "", "");
	end();
	refused("zeros");
	begin();
	memcpy(h.mode, "rwxr-xr-", 8);
	add_header(h);
	end();
	refused("number");
}

static void huge_numbers(void **state)
{
	struct lx_tarball_header h = header('0', "a", "", 077777777777);

	begin();
	add_header(h);
	end();
	refused("ends");
	/* Binary: 2^63 - 1, negative, and more than there is room for. */
	memset(h.size, 0xff, sizeof(h.size));
	begin();
	add_header(h);
	end();
	refused("negative");
	memset(h.size, 0, sizeof(h.size));
	h.size[0] = (char)0x80;
	memset(h.size + 4, 0xff, 8);
	h.size[4] = 0x7f;
	begin();
	add_header(h);
	end();
	refused("ends");
	h.size[1] = 1;
	begin();
	add_header(h);
	end();
	refused("number");
	h = header('0', "a", "", 0);
	memset(h.uid, 0xff, sizeof(h.uid));
	begin();
	add_header(h);
	end();
	refused("owner");
	/* What is said of the next one. */
	for (const char *type = "LKxg"; *type; type++) {
		begin();
		add_header(header(*type, "a", "", 040000000000));
		end();
		refused("too long");
	}
	begin();
	add('x', "pax", "", "29 size=18446744073709551615\n");
	add('0', "a", "", "");
	end();
	refused("size");
}

static void broken_records(void **state)
{
	static const char *const records[] = {
		"x",
		"10 path=a",
		"8 path=a\n",
		"0 \n",
		"999999999999999999999999 path=a\n",
		"-5 path=a\n",
		"11 path a\n\n",
		"4 =\n ",
		"16 mtime=1.2.3x\n",
		"11 uid=-1\n ",
		"12 size=1k\n ",
		"28 GNU.sparse.numbytes=100\n ",
		"30 GNU.sparse.map=0,1,2,x,3\n  ",
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(records); i++) {
		begin();
		add('x', "pax", "", records[i]);
		add('0', "a", "", "");
		end();
		refused("record");
	}
}

static void maps_of_holes_that_do_not_fit(void **state)
{
	static const char *const maps[] = {
		/* beyond the end, overlapping, backwards, too much, too little */
		"0,4,100,1", "0,2,1,2", "2,2,0,2", "0,5", "0,3", "18446744073709551615,4",
	};
	struct lx_tarball_header h = header('S', "a", "", 4);

	for (size_t i = 0; i < LX_ARRAY_SIZE(maps); i++) {
		lx_autobuf struct lx_buf text = { 0 };

		assert_int_equal(lx_tarball_pax_put_number(&text, "GNU.sparse.size", 50), 0);
		assert_int_equal(lx_tarball_pax_put(&text, "GNU.sparse.map", maps[i]), 0);
		begin();
		add('x', "pax", "", lx_buf_str(&text));
		add('0', "a", "", "text");
		end();
		refused("map of its holes");
	}
	/* Version 1.0: in front of the content. */
	static const char *const lines[] = { "x", "", "1\n0\n", "9999999999999999999999\n",
					     "1000000000\n0\n1\n" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(lines); i++) {
		lx_autobuf struct lx_buf text = { 0 };

		assert_int_equal(lx_tarball_pax_put_number(&text, "GNU.sparse.major", 1), 0);
		assert_int_equal(lx_tarball_pax_put_number(&text, "GNU.sparse.realsize", 1000), 0);
		begin();
		add('x', "pax", "", lx_buf_str(&text));
		add('0', "a", "", lines[i]);
		end();
		refused("holes");
	}
	/* GNU's own: further pieces are announced, and do not come. */
	h.sparse.extended = 1;
	lx_tarball_put_number(h.sparse.size, sizeof(h.sparse.size), 100);
	lx_tarball_put_number(h.sparse.pieces[0][0], 12, 0);
	lx_tarball_put_number(h.sparse.pieces[0][1], 12, 4);
	memcpy(h.magic, "ustar  ", 8);
	begin();
	add_header(h);
	refused("ends");
}

static void gzip_that_is_damaged(void **state)
{
	/* An empty gzip stream; its first byte wrong; its length wrong; cut. */
	static const uint8_t whole[] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0 };

	for (int i = 0; i < 4; i++) {
		struct lx_err err = LX_ERR_INIT;
		uint8_t bytes[sizeof(whole)];
		lx_autoclose int there = tar_dir("there"),
				 fd = tar_open("archive", O_RDWR | O_CREAT | O_TRUNC);

		memcpy(bytes, whole, sizeof(whole));
		bytes[0] ^= i == 1;
		bytes[sizeof(whole) - 1] ^= i == 2;
		size_t len = sizeof(whole) - (i == 3 ? 5 : 0);

		assert_int_equal(write(fd, bytes, len), len);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_true(lx_tarball_extract_gzip(fd, there, &err) < 0);
		assert_non_null(strstr(err.msg, "broken"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_that_lead_out),
		cmocka_unit_test(files_through_symbolic_links),
		cmocka_unit_test(things_in_each_others_way),
		cmocka_unit_test(cut_off_anywhere),
		cmocka_unit_test(garbage),
		cmocka_unit_test(huge_numbers),
		cmocka_unit_test(broken_records),
		cmocka_unit_test(maps_of_holes_that_do_not_fit),
		cmocka_unit_test(gzip_that_is_damaged),
	};
	int failed = cmocka_run_group_tests_name("migration/tar, hostile", tests, tar_setup, tar_teardown);

	lx_buf_release(&archive);
	return failed;
}
