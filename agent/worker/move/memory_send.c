/*
 * Pages are read out of the process with process_vm_readv(2), a frame at a time. While the
 * guest runs any of them may vanish: the call then ends before it, and goes on behind it. What
 * the process itself may not read (PROT_NONE) is read through /proc/<pid>/mem, which is slower.
 */
#include "agent/worker/move/memory_send.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "migration/migration.h"
#include "migration/page_image.h"

int lx_memory_send_begin(struct lx_memory *mem, Lxmgr__V1__DumpFile *file, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;

	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_DUMP_FILE;
	frame.dump_file = file;
	mem->files++;
	return lx_talk_send(&mem->m->talk, &frame, err);
}

static int begin(struct lx_memory *mem, bool ahead, const char *name, uint64_t size, struct lx_err *err)
{
	Lxmgr__V1__DumpFile file = LXMGR__V1__DUMP_FILE__INIT;

	file.name = (char *)(uintptr_t)name;
	file.size = size;
	file.ahead = ahead;
	return lx_memory_send_begin(mem, &file, err);
}

int lx_memory_send_data(struct lx_memory *mem, uint64_t offset, const void *data, size_t len,
			struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__DumpData d = LXMGR__V1__DUMP_DATA__INIT;

	d.offset = offset;
	d.data.data = (uint8_t *)(uintptr_t)data;
	d.data.len = len;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_DUMP_DATA;
	frame.dump_data = &d;
	return lx_talk_send(&mem->m->talk, &frame, err);
}

int lx_memory_send_file(struct lx_memory *mem, bool ahead, const char *name, const struct lx_buf *data,
			struct lx_err *err)
{
	int r = begin(mem, ahead, name, data->len, err);

	for (size_t at = 0; r == 0 && at < data->len; at += LX_MOVE_CHUNK) {
		size_t n = data->len - at < LX_MOVE_CHUNK ? data->len - at : LX_MOVE_CHUNK;

		r = lx_memory_send_data(mem, at, (const char *)data->data + at, n, err);
	}
	return r;
}

/* ------------------------------------------------------------------ pages */

/* Where the walk over the pages is. */
struct cursor {
	const struct lx_page_runs *pages;
	size_t run;
	uint64_t at; /* within it */
};

static bool at_end(const struct cursor *c)
{
	return c->run == c->pages->n;
}

static void step(struct cursor *c, uint64_t bytes)
{
	while (bytes > 0 && !at_end(c)) {
		uint64_t left = c->pages->v[c->run].end - c->at;

		if (bytes < left) {
			c->at += bytes;
			return;
		}
		bytes -= left;
		if (++c->run < c->pages->n)
			c->at = c->pages->v[c->run].start;
	}
}

/* The next pages, as many as fit into one frame, without a gap. */
static size_t next(const struct cursor *c)
{
	uint64_t left = c->pages->v[c->run].end - c->at;

	return left < LX_MOVE_CHUNK ? left : LX_MOVE_CHUNK;
}

static int send_run(struct lx_memory *mem, struct lx_memory_process *p, uint64_t at, const void *data,
		    size_t len, struct lx_page_runs *got, struct lx_err *err)
{
	mem->bytes += len;
	if (p->content.pagemap >= 0 && lx_content_track_sent(&p->content, at, data, len) < 0)
		return lx_err_oom(err);
	return lx_page_runs_append(got, at, at + len) < 0
		       ? lx_err_oom(err)
		       : lx_memory_send_data(mem, lx_page_image_offset(at), data, len, err);
}

/* Bytes of whole pages from there on; 0: the first one is not there. -ESRCH: the process has ended. */
static ssize_t read_pages(pid_t pid, int mem, uint64_t at, void *buf, size_t len)
{
	struct iovec local = { .iov_base = buf, .iov_len = len },
		     remote = { .iov_base = (void *)(uintptr_t)at, .iov_len = len };
	ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	if (n < 0 && errno == EFAULT)
		n = pread(mem, buf, LX_PAGE_SIZE, (off_t)at);
	if (n < 0)
		return errno == EIO || errno == EFAULT || errno == EBADF ? 0 : -errno;
	return n - n % (ssize_t)LX_PAGE_SIZE;
}

static int open_mem(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int lx_memory_send_pages(struct lx_memory *mem, struct lx_memory_process *p, const struct lx_page_runs *pages,
			 struct lx_page_runs *got, struct lx_err *err)
{
	lx_autofree char *buf = malloc(LX_MOVE_CHUNK);
	struct cursor c = { .pages = pages, .at = pages->n ? pages->v[0].start : 0 };
	lx_autoclose int fd = open_mem(p->pid);
	char name[32];

	snprintf(name, sizeof(name), "pages-%u.img", p->pages_id);
	int r = buf ? begin(mem, true, name, 0, err) : lx_err_oom(err);

	while (r == 0 && !at_end(&c)) {
		ssize_t n = read_pages(p->pid, fd, c.at, buf, next(&c));

		if (n < 0)
			return n == -ESRCH ? 0
					   : lx_err_errno(err, (int)n, "cannot read the memory of process %d",
							  (int)p->inside);
		if (n > 0)
			r = send_run(mem, p, c.at, buf, (size_t)n, got, err);
		step(&c, n > 0 ? (uint64_t)n : LX_PAGE_SIZE);
	}
	return r;
}

int lx_memory_send_list(struct lx_memory *mem, const struct lx_memory_process *p, const char *prefix,
			const struct lx_page_runs *pages, struct lx_err *err)
{
	lx_autobuf struct lx_buf out = { 0 };
	char name[32];

	snprintf(name, sizeof(name), "%s%d.img", prefix, (int)p->inside);
	int r = lx_page_image_sparse(p->pages_id, pages, &out, err);

	return r < 0 ? r : lx_memory_send_file(mem, true, name, &out, err);
}

int lx_memory_send_late(struct lx_memory *mem, const struct lx_memory_process *p, uint64_t start,
			uint64_t end, struct lx_err *err)
{
	static char buf[LX_MOVE_CHUNK];
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MemoryPages pages = LXMGR__V1__MEMORY_PAGES__INIT;
	lx_autoclose int fd = open_mem(p->pid);

	for (uint64_t at = start; at < end;) {
		ssize_t n = read_pages(p->pid, fd, at, buf + (at - start), end - at);

		if (n <= 0)
			return lx_err_set(err, LX_DATA_LOSS, "the memory of process %d cannot be read",
					  (int)p->inside);
		at += (uint64_t)n;
	}
	pages.pages_id = p->pages_id;
	pages.start = start;
	pages.data.data = (uint8_t *)buf;
	pages.data.len = end - start;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_PAGES;
	frame.memory_pages = &pages;
	mem->bytes += end - start;
	mem->late_bytes += end - start;
	return lx_talk_send(&mem->m->talk, &frame, err);
}
