#include "agent/worker/move/memory_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/move/memory_send.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/ahead_files.h"
#include "migration/hidden_pages.h"
#include "migration/page_image.h"
#include "proto/pb.h"

#define LIST_MAX (64u << 20)
/* criu/image-desc.c */
#define LIST_PREFIX "pagemap-shmem-"
#define LIST_NAME   48

static void list_name(const struct lx_segment *seg, char out[LIST_NAME])
{
	snprintf(out, LIST_NAME, LIST_PREFIX "%llu.img", (unsigned long long)seg->id);
}

static uint32_t pages_id(const struct lx_memory *mem, const struct lx_segment *seg)
{
	return LX_SHARED_PAGES_FIRST + (uint32_t)(seg - mem->shared.v);
}

int lx_shared_find(struct lx_memory *mem, uint64_t *bytes, struct lx_err *err)
{
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;
	int r = lx_move_pids(mem->m, &pids, &n, err);

	if (r == 0 && (lx_segments_find(&mem->shared, pids, n) < 0 ||
		       (mem->files_ahead && lx_segments_find_files(&mem->shared, mem->init) < 0)))
		r = lx_err_oom(err);
	for (size_t i = 0; r == 0 && i < mem->shared.n; i++)
		*bytes += lx_segment_bytes(&mem->shared.v[i]);
	return r;
}

/* ------------------------------------------------------------------ rounds */

static int send_run(struct lx_memory *mem, struct lx_segment *seg, struct lx_page_run run, char *buf,
		    struct lx_err *err)
{
	int r = 0;

	for (uint64_t at = run.start; r == 0 && at < run.end;) {
		size_t want = run.end - at < LX_MOVE_CHUNK ? (size_t)(run.end - at) : LX_MOVE_CHUNK;
		ssize_t n = lx_segment_read(seg, at, buf, want);

		if (n <= 0)
			return 0; /* it has shrunk */
		size_t len = ((size_t)n + LX_PAGE_SIZE - 1) / LX_PAGE_SIZE * LX_PAGE_SIZE;

		memset(buf + n, 0, len - (size_t)n);
		mem->bytes += len;
		r = lx_segment_sent(seg, at, buf, len) < 0 ? lx_err_oom(err)
							   : lx_memory_send_data(mem, at, buf, len, err);
		at += len;
	}
	return r;
}

static int begin_pages(struct lx_memory *mem, const struct lx_segment *seg, struct lx_err *err)
{
	Lxmgr__V1__DumpSegment segment = LXMGR__V1__DUMP_SEGMENT__INIT;
	Lxmgr__V1__DumpFile file = LXMGR__V1__DUMP_FILE__INIT;
	char name[LIST_NAME];

	snprintf(name, sizeof(name), seg->path ? LX_AHEAD_CONTENT : "pages-%u.img", pages_id(mem, seg));
	file.name = name;
	file.ahead = true;
	if (seg->name) {
		segment.name.data = (uint8_t *)seg->name;
		segment.name.len = strlen(seg->name);
		segment.sealable = seg->sealable;
		file.segment = &segment;
	}
	return lx_memory_send_begin(mem, &file, err);
}

static int send_segment(struct lx_memory *mem, struct lx_segment *seg, char *buf, struct lx_err *err)
{
	struct lx_page_runs pages = { 0 };
	int r = lx_segment_compare(seg, NULL, &pages, err);

	if (r == 0 && pages.n > 0)
		r = begin_pages(mem, seg, err);
	for (size_t i = 0; r == 0 && i < pages.n; i++)
		r = send_run(mem, seg, pages.v[i], buf, err);
	lx_page_runs_release(&pages);
	return r;
}

int lx_shared_round(struct lx_memory *mem, struct lx_err *err)
{
	lx_autofree char *buf = mem->shared.n > 0 ? malloc(LX_MOVE_CHUNK) : NULL;
	int r = mem->shared.n > 0 && !buf ? lx_err_oom(err) : 0;

	for (size_t i = 0; r == 0 && i < mem->shared.n; i++)
		if (!mem->shared.v[i].twice)
			r = send_segment(mem, &mem->shared.v[i], buf, err);
	return r;
}

/* ------------------------------------------------------------------ standing still */

/* What CRIU sees all the same is sent twice: nothing is lost. */
static void look(const struct lx_memory *mem, size_t i, const char *dir)
{
	const struct lx_segment *seg = &mem->shared.v[i];
	struct lx_page_runs *clean = &mem->clean[i];

	if (seg->twice || seg->pages == 0)
		return;
	int r = lx_segment_compare(seg, clean, NULL, NULL);

	if (r == 0 && seg->path && !lx_segment_is_there(seg, mem->init))
		r = -ENOENT;
	if (r == 0 && clean->n > 0)
		r = seg->path ? lx_hidden_file_write(dir, seg->dev, seg->id, clean, NULL)
			      : lx_hidden_segment_write(dir, seg->id, clean, NULL);
	if (r < 0)
		lx_page_runs_release(clean);
}

static void *look_at_all(void *arg)
{
	struct lx_memory *mem = arg;
	lx_autofree char *dir = lx_path_join(mem->m->images, LX_HIDDEN_PAGES);

	for (size_t i = 0; dir && i < mem->shared.n; i++)
		look(mem, i, dir);
	close(mem->comparing.lock);
	return NULL;
}

static void join(struct lx_memory *mem)
{
	if (mem->comparing.on)
		pthread_join(mem->comparing.thread, NULL);
	mem->comparing.on = false;
}

int lx_shared_stand(struct lx_memory *mem, struct lx_err *err)
{
	lx_autofree char *dir = lx_path_join(mem->m->images, LX_HIDDEN_PAGES);
	lx_autofree char *path = dir ? lx_path_join(dir, LX_HIDDEN_LOCK) : NULL;

	if (!path)
		return lx_err_oom(err);
	if (mem->shared.n == 0)
		return 0;
	mem->clean = calloc(mem->shared.n, sizeof(*mem->clean));
	if (!mem->clean)
		return lx_err_oom(err);
	mem->comparing.lock = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	if (mem->comparing.lock < 0 || flock(mem->comparing.lock, LOCK_EX) < 0)
		return lx_err_errno(err, errno, "cannot lock %s", path);
	mem->comparing.on = pthread_create(&mem->comparing.thread, NULL, look_at_all, mem) == 0;
	if (!mem->comparing.on)
		look_at_all(mem);
	return 0;
}

/* ------------------------------------------------------------------ CRIU's lists */

/* The segment that it is of, if CRIU was not shown some of that. */
static const struct lx_segment *segment_of(const struct lx_memory *mem, const char *name)
{
	char list[LIST_NAME];

	for (size_t i = 0; mem->clean && i < mem->shared.n; i++) {
		list_name(&mem->shared.v[i], list);
		if (!mem->shared.v[i].path && mem->clean[i].n > 0 && lx_streq(list, name))
			return &mem->shared.v[i];
	}
	return NULL;
}

bool lx_shared_is_list(struct lx_memory *mem, const char *name)
{
	if (!lx_starts_with(name, LIST_PREFIX))
		return false;
	join(mem); /* it has ended: CRIU would not have come to this */
	return segment_of(mem, name) != NULL;
}

/* What was copied ahead lies in one piece, at its offsets. */
static int send_parent(struct lx_memory *mem, const struct lx_segment *seg, const char *name,
		       struct lx_err *err)
{
	struct lx_page_entry all = { 0, (uint64_t)seg->pages * LX_PAGE_SIZE, LX_PAGES_PRESENT };
	const struct lx_page_image image = { .pages_id = pages_id(mem, seg), .v = &all, .n = 1 };
	lx_autobuf struct lx_buf out = { 0 };
	int r = lx_page_image_write(&image, &out, err);

	return r < 0 ? r : lx_memory_send_file(mem, true, name, &out, err);
}

/* Without such a list CRIU has not dumped that segment: nobody had it any more. */
static int send_list(struct lx_memory *mem, const struct lx_segment *seg, int dir, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 }, out = { 0 };
	struct lx_page_image image = { 0 };
	char name[LIST_NAME], path[PATH_MAX];

	list_name(seg, name);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	if (access(path, F_OK) < 0)
		return 0;
	int r = lx_read_file(path, LIST_MAX, &data, err);

	if (r == 0)
		r = lx_page_image_read(data.data, data.len, &image, err);
	if (r == 0)
		r = lx_page_image_add_parent(&image, &mem->clean[seg - mem->shared.v], err);
	if (r == 0)
		r = lx_page_image_write(&image, &out, err);
	if (r == 0)
		r = send_parent(mem, seg, name, err);
	if (r == 0)
		r = lx_memory_send_file(mem, false, name, &out, err);
	lx_page_image_release(&image);
	return r;
}

/* ------------------------------------------------------------------ files */

static int fill_list(const struct lx_segment *seg, const struct lx_page_runs *clean, uint64_t *numbers,
		     Lxmgr__V1__AheadFile *ret)
{
	struct stat st;

	if (fstat(seg->fd, &st) < 0)
		return -errno;
	ret->path = seg->path;
	ret->size = (uint64_t)st.st_size;
	ret->runs = numbers;
	for (size_t i = 0; i < clean->n; i++) {
		numbers[ret->n_runs++] = clean->v[i].start;
		numbers[ret->n_runs++] = clean->v[i].end;
	}
	return 0;
}

static int send_file_list(struct lx_memory *mem, const struct lx_segment *seg, struct lx_err *err)
{
	const struct lx_page_runs *clean = &mem->clean[seg - mem->shared.v];
	Lxmgr__V1__AheadFile list = LXMGR__V1__AHEAD_FILE__INIT;
	lx_autofree uint64_t *numbers = calloc(2 * clean->n, sizeof(*numbers));
	char name[LIST_NAME];
	int r = numbers ? fill_list(seg, clean, numbers, &list) : -ENOMEM;

	if (r < 0)
		return lx_err_errno(err, r, "cannot look at %s of the guest", seg->path);
	struct lx_buf packed = { 0 };

	packed.data = lx_pb_pack(&list.base, &packed.len);
	snprintf(name, sizeof(name), LX_AHEAD_LIST, pages_id(mem, seg));
	r = packed.data ? lx_memory_send_file(mem, true, name, &packed, err) : lx_err_oom(err);
	free(packed.data);
	return r;
}

int lx_shared_rest(struct lx_memory *mem, int dir, struct lx_err *err)
{
	int r = 0;

	join(mem);
	for (size_t i = 0; r == 0 && mem->clean && i < mem->shared.n; i++)
		if (mem->clean[i].n > 0)
			r = mem->shared.v[i].path ? send_file_list(mem, &mem->shared.v[i], err)
						  : send_list(mem, &mem->shared.v[i], dir, err);
	return r;
}

void lx_shared_back(struct lx_memory *mem)
{
	join(mem);
	for (size_t i = 0; mem->clean && i < mem->shared.n; i++)
		lx_page_runs_release(&mem->clean[i]);
	free(mem->clean);
	mem->clean = NULL;
}

void lx_shared_release(struct lx_memory *mem)
{
	lx_shared_back(mem);
	lx_segments_release(&mem->shared);
}
