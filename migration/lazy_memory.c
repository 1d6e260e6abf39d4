#include "migration/lazy_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/page_image.h"

#define LIST_MAX (64u << 20)
/* What comes along with a page that is waited for: who touches one will touch the next. */
#define AROUND (64u << 10)
/* For the kernel to tell of what it has done to the address space. */
#define TOLD_MS 50

/* ------------------------------------------------------------------ life */

static int take_list(struct lx_lazy_memory *m, int images, int pid, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 };
	struct lx_page_image list = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/pagemap-%d.img", images, pid);
	int r = lx_read_file(path, LIST_MAX, &data, err);

	if (r == 0)
		r = lx_page_image_read(data.data, data.len, &list, err);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		if (list.v[i].flags & LX_PAGES_LAZY &&
		    lx_lazy_ranges_append(&m->ranges, list.v[i].start, list.v[i].end) < 0)
			r = lx_err_oom(err);
	m->pages_id = list.pages_id;
	lx_page_image_release(&list);
	return r;
}

int lx_lazy_memory_open(int images, int pid, int uffd, struct lx_lazy_memory *ret, struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;
	char name[32];

	*ret = (struct lx_lazy_memory){ .uffd = uffd, .pages = -1 };
	int r = take_list(ret, images, pid, &why);

	if (r == -ENOENT)
		return 0;
	snprintf(name, sizeof(name), "pages-%u.img", ret->pages_id);
	if (r == 0 && ret->ranges.n > 0) {
		ret->pages = openat(images, name, O_RDONLY | O_CLOEXEC);
		if (ret->pages < 0)
			r = lx_err_errno(&why, errno, "cannot open the image of the memory of process %d",
					 pid);
	}
	if (r < 0) {
		lx_lazy_memory_release(ret);
		if (err)
			*err = why;
	}
	return r;
}

void lx_lazy_memory_release(struct lx_lazy_memory *m)
{
	if (m->uffd >= 0)
		close(m->uffd);
	if (m->pages >= 0)
		close(m->pages);
	lx_lazy_ranges_release(&m->ranges);
	*m = (struct lx_lazy_memory){ .uffd = -1, .pages = -1 };
}

/* ------------------------------------------------------------------ into place */

static int read_chunk(const struct lx_lazy_memory *m, uint64_t image, char *buf, size_t len,
		      struct lx_err *err)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = pread(m->pages, buf + at, len - at, (off_t)(lx_page_image_offset(image) + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? lx_err_errno(err, errno, "cannot read the image of a process's memory")
				     : lx_err_set(err, LX_DATA_LOSS,
						  "the image of a process's memory is too short");
		at += (size_t)n;
	}
	return 0;
}

/* It has ended: nobody waits for anything. */
static void forget_all(struct lx_lazy_memory *m)
{
	lx_lazy_ranges_release(&m->ranges);
}

/*
 * Whether there is, or comes at once, something to be read. The kernel looks for a mapping before it looks
 * whether that is being moved: one that has been, and is not told of yet, is as if it had never been there.
 */
static bool is_told(const struct lx_lazy_memory *m)
{
	struct pollfd p = { .fd = m->uffd, .events = POLLIN };

	return poll(&p, 1, TOLD_MS) > 0;
}

/*
 * What is there already stays as it is: the guest has put something newer there. A piece that
 * crosses from one mapping into the next one is refused as a whole, and taken in halves. Returns
 * how far it came; -EAGAIN: something is to be read first.
 */
static ssize_t copy(struct lx_lazy_memory *m, uint64_t address, const char *data, size_t len,
		    struct lx_err *err)
{
	size_t at = 0, piece = len;
	bool gone = false; /* nothing is to be read of it */

	while (at < len) {
		struct uffdio_copy c = {
			.dst = address + at,
			.src = (uint64_t)(uintptr_t)(data + at),
			.len = piece < len - at ? piece : len - at,
		};

		if (ioctl(m->uffd, UFFDIO_COPY, &c) == 0) {
			at += c.len;
			piece = len;
		} else if (c.copy > 0) {
			at += (size_t)c.copy;
		} else if (errno == EAGAIN) {
			return at > 0 ? (ssize_t)at : -EAGAIN;
		} else if (errno == ENOENT && c.len > LX_PAGE_SIZE) {
			piece = c.len / 2 / LX_PAGE_SIZE * LX_PAGE_SIZE;
		} else if (errno == ENOENT && !gone && is_told(m)) {
			return at > 0 ? (ssize_t)at : -EAGAIN;
		} else if (errno == EEXIST || errno == ENOENT) {
			gone |= errno == ENOENT;
			at += LX_PAGE_SIZE;
		} else if (errno == ESRCH) {
			forget_all(m);
			return 0;
		} else {
			return lx_err_errno(err, errno, "cannot put memory of a process in place");
		}
	}
	return (ssize_t)at;
}

/* [start, end) is within a range. */
static int put(struct lx_lazy_memory *m, const struct lx_lazy_range *range, uint64_t start, uint64_t end,
	       struct lx_err *err)
{
	static char buf[LX_LAZY_CHUNK]; /* one for all: whoever does this has one thread */
	uint64_t image = range->image + (start - range->start);
	int r = read_chunk(m, image, buf, end - start, err);

	if (r < 0)
		return r;
	ssize_t n = copy(m, start, buf, end - start, err);

	if (n < 0)
		return n == -EAGAIN ? 0 : (int)n;
	return lx_lazy_ranges_drop(&m->ranges, start, start + (uint64_t)n) < 0 ? lx_err_oom(err) : 0;
}

/* The last part of [start, end), which is within `range`, that has come. */
static bool here(const struct lx_lazy_memory *m, const struct lx_lazy_range *range, uint64_t *start,
		 uint64_t *end)
{
	uint64_t first = range->image + (*start - range->start), last = range->image + (*end - range->start);

	if (!lx_page_runs_last_gap(m->late ? &m->late->missing : NULL, &first, &last))
		return false;
	*start = range->start + (first - range->image);
	*end = range->start + (last - range->image);
	return true;
}

int lx_lazy_memory_step(struct lx_lazy_memory *m, struct lx_err *err)
{
	/* From the last one on: to drop it moves nothing. */
	for (size_t i = m->ranges.n; i-- > 0;) {
		const struct lx_lazy_range *r = &m->ranges.v[i];
		uint64_t start = r->start, end = r->end;

		if (!here(m, r, &start, &end))
			continue;
		return put(m, r, end - start > LX_LAZY_CHUNK ? end - LX_LAZY_CHUNK : start, end, err);
	}
	return 1;
}

int lx_lazy_memory_came(struct lx_lazy_memory *m, uint64_t start, uint64_t end, struct lx_err *err)
{
	int r = 0;

	/* Backwards: what is put in place is dropped, and may split the range that it was of. */
	for (size_t i = m->ranges.n; r == 0 && i-- > 0;) {
		const struct lx_lazy_range range = m->ranges.v[i];
		uint64_t from = start > range.image ? start : range.image,
			 to = range.image + (range.end - range.start);

		if (to > end)
			to = end;
		for (; r == 0 && from < to; from += LX_LAZY_CHUNK) {
			uint64_t n = to - from < LX_LAZY_CHUNK ? to - from : LX_LAZY_CHUNK,
				 at = range.start + (from - range.image);

			r = put(m, &range, at, at + n, err);
		}
		/* It has ended meanwhile. */
		if (i > m->ranges.n)
			i = m->ranges.n;
	}
	return r;
}

/* ------------------------------------------------------------------ what the process does */

static int zero(struct lx_lazy_memory *m, uint64_t page, struct lx_err *err)
{
	struct uffdio_zeropage z = { .range = { .start = page, .len = LX_PAGE_SIZE } };

	if (ioctl(m->uffd, UFFDIO_ZEROPAGE, &z) == 0 || errno == EAGAIN || errno == EEXIST ||
	    errno == ENOENT || errno == ESRCH)
		return 0;
	return lx_err_errno(err, errno, "cannot give a process an empty page");
}

static void wake(const struct lx_lazy_memory *m, uint64_t start, uint64_t len)
{
	struct uffdio_range range = { .start = start, .len = len };

	(void)ioctl(m->uffd, UFFDIO_WAKE, &range);
}

/* Whoever waits there for a page that has not come looks again. */
static int on_drop(struct lx_lazy_memory *m, uint64_t start, uint64_t end, struct lx_err *err)
{
	int r = lx_lazy_ranges_drop(&m->ranges, start, end);

	wake(m, start, end - start);
	return r < 0 ? lx_err_oom(err) : 0;
}

static int on_remap(struct lx_lazy_memory *m, uint64_t from, uint64_t to, uint64_t len, struct lx_err *err)
{
	int r = lx_lazy_ranges_remap(&m->ranges, from, to, len);

	wake(m, from, len);
	return r < 0 ? lx_err_oom(err) : 0;
}

/* With what is around it. 1: it has not come. */
static int put_around(struct lx_lazy_memory *m, const struct lx_lazy_range *range, uint64_t page,
		      struct lx_err *err)
{
	uint64_t block = page & ~(uint64_t)(AROUND - 1), image = range->image + (page - range->start);
	uint64_t start = block > range->start ? block : range->start,
		 end = block + AROUND < range->end ? block + AROUND : range->end;
	uint64_t first = range->image + (start - range->start), last = range->image + (end - range->start);

	if (!lx_page_runs_gap_at(m->late ? &m->late->missing : NULL, image, &first, &last)) {
		m->wanted = image;
		return 1;
	}
	return put(m, range, range->start + (first - range->image), range->start + (last - range->image),
		   err);
}

static int on_fault(struct lx_lazy_memory *m, uint64_t address, struct lx_err *err)
{
	uint64_t page = address & ~(uint64_t)(LX_PAGE_SIZE - 1);
	const struct lx_lazy_range *range = lx_lazy_ranges_find(&m->ranges, page);
	int r = range ? put_around(m, range, page, err) : zero(m, page, err);

	/* It is woken when the page is put in place. */
	if (r == 1)
		return 0;
	/* Whoever waits looks again; when nothing was done it asks again. */
	wake(m, page, LX_PAGE_SIZE);
	return r;
}

static int on_fork(const struct lx_lazy_memory *m, int uffd, struct lx_lazy_memory *child, struct lx_err *err)
{
	*child = (struct lx_lazy_memory){
		.uffd = uffd, .pages = -1, .pages_id = m->pages_id, .late = m->late
	};
	if (m->pages >= 0)
		child->pages = fcntl(m->pages, F_DUPFD_CLOEXEC, 0);
	if ((m->pages >= 0 && child->pages < 0) || lx_lazy_ranges_copy(&m->ranges, &child->ranges) < 0) {
		lx_lazy_memory_release(child);
		return lx_err_oom(err);
	}
	return 1;
}

int lx_lazy_memory_serve(struct lx_lazy_memory *m, struct lx_lazy_memory *child, struct lx_err *err)
{
	struct uffd_msg msg;

	m->wanted = 0;
	ssize_t n = read(m->uffd, &msg, sizeof(msg));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != sizeof(msg))
		return lx_err_errno(err, n < 0 ? errno : EIO, "cannot read what a process waits for");
	switch (msg.event) {
	case UFFD_EVENT_PAGEFAULT:
		return on_fault(m, msg.arg.pagefault.address, err);
	case UFFD_EVENT_FORK:
		return on_fork(m, (int)msg.arg.fork.ufd, child, err);
	case UFFD_EVENT_REMAP:
		return on_remap(m, msg.arg.remap.from, msg.arg.remap.to, msg.arg.remap.len, err);
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		return on_drop(m, msg.arg.remove.start, msg.arg.remove.end, err);
	default:
		return lx_err_set(err, LX_INTERNAL, "the kernel tells of a process what nobody asked for: %u",
				  (unsigned)msg.event);
	}
}
