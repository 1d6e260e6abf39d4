/*
 * File by file, and of each only where it has data: a sparse one may seem larger than the disk. Small ones
 * are left alone; they have too little to share.
 */
#include "agent/worker/snapshot/share.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define SMALL (64 << 10)
/* No file system takes more at once. */
#define AT_ONCE (16 << 20)

/* False: this file system cannot, and need not be asked again. */
static bool share_range(int from, int copy, off_t at, off_t len)
{
	union {
		struct file_dedupe_range range;
		uint8_t room[sizeof(struct file_dedupe_range) + sizeof(struct file_dedupe_range_info)];
	} x = { 0 };

	x.range.src_offset = (uint64_t)at;
	x.range.src_length = (uint64_t)len;
	x.range.dest_count = 1;
	x.range.info[0].dest_fd = copy;
	x.range.info[0].dest_offset = (uint64_t)at;
	int r = ioctl(from, FIDEDUPERANGE, &x.range) < 0 ? -errno : x.range.info[0].status;

	return r != -EOPNOTSUPP && r != -ENOTTY && r != -EXDEV && r != -ENOSYS;
}

static bool share_file(int from, int copy)
{
	off_t end = 0;

	for (off_t at; (at = lseek(copy, end, SEEK_DATA)) >= 0;) {
		end = lseek(copy, at, SEEK_HOLE);
		for (; at < end; at += AT_ONCE)
			if (!share_range(from, copy, at, end - at < AT_ONCE ? end - at : AT_ONCE))
				return false;
		if (end < 0)
			break;
	}
	return true;
}

static int open_in(int dir, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };

	return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

void lx_tree_share(int from, const char *copy)
{
	char *const roots[] = { (char *)(uintptr_t)copy, NULL };
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	bool can = tree != NULL;
	const FTSENT *e;

	while (can && (e = fts_read(tree))) {
		if (e->fts_info != FTS_F || e->fts_statp->st_size < SMALL)
			continue;
		const char *name = e->fts_path + strlen(copy) + 1;
		lx_autoclose int theirs = open_in(from, name);
		lx_autoclose int ours = open(e->fts_accpath, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
		struct stat st;

		if (theirs >= 0 && ours >= 0 && fstat(theirs, &st) == 0 && S_ISREG(st.st_mode))
			can = share_file(theirs, ours);
	}
	if (tree)
		(void)fts_close(tree);
}
