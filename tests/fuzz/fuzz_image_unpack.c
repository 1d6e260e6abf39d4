/*
 * Fuzzing the unpacker: the input is an archive, unpacked into a directory of its own on a
 * memory file system. Whatever it holds, nothing may appear beside that directory.
 * Without root the owners cannot be set and most inputs end early; run it as root.
 */
#include <assert.h>
#include <fcntl.h>
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/pack.h"
#include "images/unpack.h"
#include "images/walk.h"
#include "lib/cleanup.h"
#include "lib/fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[] = "/dev/shm/lx-fuzz-XXXXXX";

static void remove_top(void)
{
	(void)lx_rm_rf(top, NULL);
}

static void begin(void)
{
	static bool begun;

	if (begun)
		return;
	begun = true;
	setlocale(LC_CTYPE, "C.UTF-8");
	assert(mkdtemp(top));
	atexit(remove_top);
}

static int count(void *arg, const struct lx_walk_entry *e, struct lx_err *err)
{
	(void)err;
	++*(unsigned *)arg;
	/* Nothing but what a container may have. */
	assert(e->st->st_uid <= LX_IMAGE_ID_MAX && e->st->st_gid <= LX_IMAGE_ID_MAX);
	assert(!S_ISBLK(e->st->st_mode) && !S_ISSOCK(e->st->st_mode));
	return 0;
}

static int unpack(const uint8_t *data, size_t size, int dir)
{
	static const struct lx_unpack_options options = { .accounts = "etc",
							  .max_entries = 500,
							  .max_file = 1 << 20 };
	struct lx_unpacked done = { 0 };
	struct lx_err err = LX_ERR_INIT;
	lx_autotar struct lx_tar *tar = NULL;
	lx_autoclose int file = memfd_create("input", MFD_CLOEXEC);

	assert(file >= 0 && lx_write_full(file, data, size) == (ssize_t)size &&
	       lseek(file, 0, SEEK_SET) == 0);
	struct lx_tar_source source = { .fd = file, .name = "the input", .size = size, .max_bytes = 4 << 20 };
	int r = lx_tar_open(&source, &tar, &err);

	if (r == 0)
		r = lx_unpack(tar, dir, &options, &done, &err);
	assert(r == 0 ? err.code == LX_OK : r < 0 && err.code != LX_OK && err.msg[0]);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	unsigned inside = 0, beside = 0;

	begin();
	snprintf(path, sizeof(path), "%s/tree", top);
	assert(mkdir(path, 0700) == 0);
	lx_autoclose int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclose int above = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert(dir >= 0 && above >= 0);
	unpack(data, size, dir);
	assert(lx_walk(dir, count, &inside, NULL) == 0);
	assert(lx_walk(above, count, &beside, NULL) == 0);
	assert(beside == inside + 1);
	assert(lx_rm_rf(path, NULL) == 0);
	return 0;
}
