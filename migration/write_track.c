/*
 * Every mapping is asked with PM_SCAN_CHECK_WPASYNC, which fails for one that is not watched:
 * it is new, or was moved or replaced, and what its pages say is of no use. It is watched from
 * then on, and all of it counts as written. So no mapping is ever believed to be what it was
 * because it lies where another one lay.
 */
#include "migration/write_track.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/memory_maps.h"
#include "migration/pagemap_scan.h"
#include "migration/remote_call.h"
#include "migration/remote_uffd.h"

/* linux/userfaultfd.h of 6.7. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define FEATURE_WP_ASYNC (1ull << 15)

#define REGIONS 512

/* ------------------------------------------------------------------ opening */

static int enable(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURE_WP_ASYNC };

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

static int open_pagemap(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

bool lx_write_track_possible(void)
{
	lx_autoclose int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	lx_autoclose int pagemap = open_pagemap(getpid());
	struct lx_scan_arg none = { .size = sizeof(none) };

	return lx_remote_call_possible() && uffd >= 0 && pagemap >= 0 && enable(uffd) == 0 &&
	       ioctl(pagemap, LX_SCAN, &none) == 0;
}

int lx_write_track_open(pid_t pid, struct lx_write_track *ret, struct lx_err *err)
{
	*ret = LX_WRITE_TRACK_NONE;
	int r = lx_remote_uffd(pid, err);

	if (r < 0)
		return r;
	ret->uffd = r;
	ret->pid = pid;
	ret->pagemap = open_pagemap(pid);
	r = ret->pagemap < 0 ? -errno : enable(ret->uffd);
	if (r < 0) {
		lx_write_track_close(ret);
		return lx_err_errno(err, r, "cannot watch the memory of process %d", (int)pid);
	}
	return 0;
}

void lx_write_track_close(struct lx_write_track *t)
{
	if (t->uffd >= 0)
		close(t->uffd);
	if (t->pagemap >= 0)
		close(t->pagemap);
	*t = LX_WRITE_TRACK_NONE;
}

/* ------------------------------------------------------------------ scanning */

/* Appends to `ret`. -EPERM: the mapping is not watched. */
static int scan(const struct lx_write_track *t, uint64_t start, uint64_t end, uint64_t flags,
		uint64_t category, struct lx_page_runs *ret)
{
	struct lx_scan_region regions[REGIONS];
	struct lx_scan_arg arg = {
		.size = sizeof(arg),
		.flags = flags,
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = REGIONS,
		.category_inverted = LX_PAGE_ZERO,
		.category_mask = category | LX_PAGE_ZERO,
		.category_anyof_mask = LX_PAGE_PRESENT | LX_PAGE_SWAPPED,
		.return_mask = LX_PAGE_PRESENT,
	};

	while (arg.start < end) {
		int n = ioctl(t->pagemap, LX_SCAN, &arg);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++)
			if (lx_page_runs_append(ret, regions[i].start, regions[i].end) < 0)
				return -ENOMEM;
		if (arg.walk_end <= arg.start)
			break;
		arg.start = arg.walk_end;
	}
	return 0;
}

static bool watch(const struct lx_write_track *t, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = { .range = { .start = start, .len = end - start },
				       .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(t->uffd, UFFDIO_REGISTER, &reg) == 0;
}

/* One mapping. With `watched` NULL: takes. */
static int look_at(struct lx_write_track *t, uint64_t start, uint64_t end, struct lx_page_runs *watched,
		   struct lx_page_runs *written)
{
	uint64_t flags = LX_SCAN_CHECK_WPASYNC | (watched ? 0 : LX_SCAN_WP_MATCHING);
	int r = scan(t, start, end, flags, LX_PAGE_WRITTEN, written);

	if (r == 0)
		return watched ? lx_page_runs_append(watched, start, end) : 0;
	if (r != -EPERM)
		return r;
	/* What has its own userfaultfd, or is gone, is not watched: it is sent at the end. */
	if (watched || !watch(t, start, end))
		return 0;
	return scan(t, start, end, flags, 0, written);
}

static int walk(struct lx_write_track *t, struct lx_page_runs *watched, struct lx_page_runs *written,
		struct lx_err *err)
{
	char path[64];
	lx_autobuf struct lx_buf text = { 0 };
	struct lx_proc_map map;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)t->pid);
	int r = lx_read_file(path, LX_PROC_MAPS_MAX, &text, err);

	if (r < 0)
		return r;
	for (const char *at = lx_buf_str(&text); r == 0 && (at = lx_proc_map_next(at, &map));)
		if (lx_map_goes_ahead(&map))
			r = look_at(t, map.start, map.end, watched, written);
	return r < 0 ? lx_err_errno(err, r, "cannot watch the memory of process %d", (int)t->pid) : 0;
}

int lx_write_track_take(struct lx_write_track *t, struct lx_page_runs *ret, struct lx_err *err)
{
	lx_page_runs_clear(ret);
	return walk(t, NULL, ret, err);
}

int lx_write_track_look(struct lx_write_track *t, struct lx_page_runs *watched, struct lx_page_runs *written,
			struct lx_err *err)
{
	lx_page_runs_clear(watched);
	lx_page_runs_clear(written);
	return walk(t, watched, written, err);
}
