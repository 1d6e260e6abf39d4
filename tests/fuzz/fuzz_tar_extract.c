/*
 * Fuzzing what a node unpacks of another's tmpfs: the input is an archive as it is when it has been
 * decompressed, unpacked into a directory of its own on a memory file system. Whatever it says, nothing may
 * appear or change beside that directory.
 * Without root the owners cannot be set and most inputs end early; run it as root.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/tar/extract.h"
#include "migration/tar/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Headers whose checksums are wrong would end nearly every input at once. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	for (size_t at = 0; at + LX_TARBALL_BLOCK <= size; at += LX_TARBALL_BLOCK) {
		struct lx_tarball_header *h = (void *)(data + at);

		if (memcmp(h->magic, "ustar", 5) == 0)
			lx_tarball_seal(h);
	}
	return size;
}

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
	assert(mkdtemp(top));
	atexit(remove_top);
}

struct bytes {
	const uint8_t *at;
	size_t left;
};

/* In uneven pieces, so that blocks are cut. */
static ptrdiff_t next_bytes(void *arg, const void **data, const char **why)
{
	struct bytes *b = arg;
	size_t n = b->left < 1000 ? b->left : 1000;

	*data = b->at;
	*why = NULL;
	b->at += n;
	b->left -= n;
	return (ptrdiff_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { .at = data, .left = size };
	const struct lx_tarball_source source = { .next = next_bytes, .arg = &b };
	struct lx_tarball_reader *reader;
	struct lx_err err = LX_ERR_INIT;
	struct stat before, after;
	char path[64];

	begin();
	snprintf(path, sizeof(path), "%s/tree", top);
	assert(mkdir(path, 0700) == 0);
	lx_autoclose int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert(dir >= 0 && stat(top, &before) == 0);
	assert(lx_tarball_reader_open(&source, &reader, &err) == 0);
	int r = lx_tarball_extract(reader, dir, &err);

	assert(r == 0 ? err.code == LX_OK : r < 0 && err.code != LX_OK && err.msg[0]);
	lx_tarball_reader_free(reader);
	assert(stat(top, &after) == 0);
	assert(after.st_nlink == before.st_nlink && after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
	       after.st_mtim.tv_nsec == before.st_mtim.tv_nsec && after.st_mode == before.st_mode &&
	       after.st_uid == before.st_uid);
	assert(lx_rm_rf(path, NULL) == 0);
	return 0;
}
