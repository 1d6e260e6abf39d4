/*
 * Fuzzing what a node takes in of another's files: the input is a row of frames, each with its
 * length (two bytes, little-endian) in front, received into a directory of its own on a memory
 * file system. Whatever they say, nothing may appear or change beside that directory.
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
#include "migration/tree.h"

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
	assert(mkdtemp(top));
	atexit(remove_top);
}

static int receive_one(struct lx_tree_receiver *r, const Lxmgr__V1__MoveFrame *f)
{
	struct lx_err err = LX_ERR_INIT;
	int e = f->what_case == LXMGR__V1__MOVE_FRAME__WHAT_TREE_END
			? lx_tree_receive_end(r, f->tree_end, &err)
			: lx_tree_receive(r, f, &err);

	assert(e == 0 ? err.code == LX_OK : e < 0 && err.code != LX_OK && err.msg[0]);
	return e;
}

static void receive(struct lx_tree_receiver *r, const uint8_t *data, size_t size)
{
	for (int e = 0; size >= 2 && e == 0;) {
		size_t len = data[0] | (size_t)data[1] << 8;

		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		Lxmgr__V1__MoveFrame *f = lxmgr__v1__move_frame__unpack(NULL, len, data);

		e = f ? receive_one(r, f) : -1;
		if (f)
			lxmgr__v1__move_frame__free_unpacked(f, NULL);
		data += len;
		size -= len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct stat before, after;
	struct lx_tree_receiver *r = NULL;

	begin();
	snprintf(path, sizeof(path), "%s/tree", top);
	assert(mkdir(path, 0700) == 0);
	lx_autoclose int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert(dir >= 0 && stat(top, &before) == 0);
	assert(lx_tree_receiver_open(dir, &r, NULL) == 0);
	receive(r, data, size);
	lx_tree_receiver_free(r);
	assert(stat(top, &after) == 0);
	assert(after.st_nlink == before.st_nlink && after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
	       after.st_mtim.tv_nsec == before.st_mtim.tv_nsec && after.st_mode == before.st_mode &&
	       after.st_uid == before.st_uid);
	assert(lx_rm_rf(path, NULL) == 0);
	return 0;
}
