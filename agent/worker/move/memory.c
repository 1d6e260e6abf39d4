/* Rounds of memory: who is looked at, what is sent, when it is enough. */
#include "agent/worker/move/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/move/memory_send.h"
#include "agent/worker/move/memory_shared.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/hidden_pages.h"
#include "migration/late_pages.h"
#include "migration/page_image.h"
#include "migration/proc_text.h"

/* A process with less is copied while the guest stands still. Half of a small systemd's are larger. */
#define WORTH_IT_PROCESS (UINT64_C(256) << 10)
/* So much may be left for then: a few hundredths of a second. */
#define LEFT_MAX (UINT64_C(4) << 20)
/* A round that leaves more than three quarters of what the one before left will not be the last but one. */
#define SHRINKS(now, before) ((now) < (before) / 4 * 3)
#define ROUNDS_MAX           16u
#define STATUS_MAX           8192u
#define LIST_MAX             (256u << 20)
#define LIST_PREFIX          "pagemap-"
/* With post-copy: less than that is sent at once, for it is touched at once. */
#define LATE_MIN (UINT64_C(1) << 20)

/* ------------------------------------------------------------------ which processes */

static int read_status(pid_t pid, struct lx_proc_status *ret)
{
	char path[64];
	lx_autobuf struct lx_buf text = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	int r = lx_read_file(path, STATUS_MAX, &text, NULL);

	return r < 0 ? r : lx_proc_status_parse(lx_buf_str(&text), ret);
}

static struct lx_memory_process *find(struct lx_memory *mem, pid_t pid)
{
	for (size_t i = 0; i < mem->n; i++)
		if (mem->p[i].pid == pid)
			return &mem->p[i];
	return NULL;
}

static int add(struct lx_memory *mem, pid_t pid, pid_t inside)
{
	struct lx_memory_process *grown = realloc(mem->p, (mem->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	mem->p = grown;
	grown[mem->n++] = (struct lx_memory_process){
		.pid = pid, .inside = inside, .track = LX_WRITE_TRACK_NONE, .content = LX_CONTENT_TRACK_NONE
	};
	grown[mem->n - 1].pages_id = (uint32_t)mem->n; /* from 1 */
	return 0;
}

/* Those that are large enough and not known yet; with `min` 0 all. Returns what all of them have. */
static int look_for(struct lx_memory *mem, uint64_t min, uint64_t *ret_bytes, struct lx_err *err)
{
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;
	int r = lx_move_pids(mem->m, &pids, &n, err);

	*ret_bytes = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct lx_proc_status status;

		if (read_status(pids[i], &status) < 0 || status.anonymous < min)
			continue;
		*ret_bytes += status.anonymous;
		if (!find(mem, pids[i]) && add(mem, pids[i], status.inside) < 0)
			r = lx_err_oom(err);
	}
	return r;
}

/* ------------------------------------------------------------------ watching them */

static bool by_marks(const struct lx_memory *mem)
{
	return mem->how == LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_SOFT_DIRTY;
}

static bool by_content(const struct lx_memory *mem)
{
	return mem->how == LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_CONTENT || by_marks(mem);
}

static bool is_watched(const struct lx_memory *mem, const struct lx_memory_process *p)
{
	return by_content(mem) ? p->content.pagemap >= 0 : p->track.uffd >= 0;
}

static int watch(const struct lx_memory *mem, struct lx_memory_process *p, struct lx_err *err)
{
	/* Who comes later may share its memory with one that is watched: vfork(2). */
	enum lx_content_marks marks = !by_marks(mem)    ? LX_MARKS_NONE
				      : mem->rounds > 0 ? LX_MARKS_KEEP
							: LX_MARKS_CLEAR;

	return by_content(mem) ? lx_content_track_open(p->pid, marks, &p->content, err)
			       : lx_write_track_open(p->pid, &p->track, err);
}

static void unwatch(struct lx_memory_process *p)
{
	lx_write_track_close(&p->track);
	lx_content_track_close(&p->content);
}

static int take(const struct lx_memory *mem, struct lx_memory_process *p, struct lx_page_runs *pages)
{
	return by_content(mem) ? lx_content_track_take(&p->content, pages, NULL)
			       : lx_write_track_take(&p->track, pages, NULL);
}

static int look(const struct lx_memory *mem, struct lx_memory_process *p, struct lx_page_runs *watched,
		struct lx_page_runs *written)
{
	return by_content(mem) ? lx_content_track_look(&p->content, watched, written, NULL)
			       : lx_write_track_look(&p->track, watched, written, NULL);
}

/* Who cannot be watched is copied at the end, whole. */
static void watch_all(struct lx_memory *mem)
{
	for (size_t i = 0; i < mem->n; i++) {
		struct lx_memory_process *p = &mem->p[i];
		struct lx_err why = LX_ERR_INIT;

		if (!is_watched(mem, p) && watch(mem, p, &why) < 0)
			lx_debug("the memory of a process is not watched", "pid=%d why=\"%s\"", (int)p->pid,
				 why.msg);
	}
}

/* ------------------------------------------------------------------ the plan */

int lx_memory_plan(struct lx_move *m, const lx_spec *spec, pid_t init, bool files_ahead, bool postcopy,
		   struct lx_memory *ret, struct lx_err *err)
{
	uint64_t bytes = 0;
	struct lx_map config;

	*ret = (struct lx_memory){ .m = m, .init = init, .files_ahead = files_ahead };
	int r = look_for(ret, WORTH_IT_PROCESS, &bytes, err);

	if (r == 0)
		r = lx_shared_find(ret, &bytes, err);
	if (r == 0)
		r = lx_spec_config(spec, &config, err);
	if (r < 0)
		return r;
	ret->how = lx_memory_choice(lx_map_get(&config, "migration.memory"), bytes, ret->why);
	ret->after = postcopy && lx_memory_postcopy(ret->how, bytes, ret->why);
	ret->on = ret->after || ret->how != LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_STOP_AND_COPY;
	lx_map_release(&config);
	return 0;
}

void lx_memory_release(struct lx_memory *mem)
{
	for (size_t i = 0; i < mem->n; i++) {
		unwatch(&mem->p[i]);
		lx_page_runs_release(&mem->p[i].sent);
		lx_page_runs_release(&mem->p[i].clean);
		lx_page_runs_release(&mem->p[i].hidden);
		lx_page_runs_release(&mem->p[i].late);
	}
	free(mem->p);
	lx_shared_release(mem);
	*mem = (struct lx_memory){ 0 };
}

/* ------------------------------------------------------------------ rounds */

/* What of `pages` could not be read is not as it was sent before. */
static int note_sent(struct lx_memory_process *p, const struct lx_page_runs *pages,
		     const struct lx_page_runs *got)
{
	struct lx_page_runs rest = { 0 }, sum = { 0 };
	int r = lx_page_runs_without(&p->sent, pages, &rest);

	if (r == 0)
		r = lx_page_runs_union(&rest, got, &sum);
	lx_page_runs_release(&rest);
	if (r < 0) {
		lx_page_runs_release(&sum);
		return r;
	}
	lx_page_runs_release(&p->sent);
	p->sent = sum;
	return 0;
}

/* One process's part of a round: `pages`, or what of them is still there; with `all` they must be. */
static int send_part(struct lx_memory *mem, struct lx_memory_process *p, const struct lx_page_runs *pages,
		     bool all, struct lx_err *err)
{
	struct lx_page_runs got = { 0 };
	/* A reader wants to find a file, also an empty one. */
	int r = pages->n || all ? lx_memory_send_pages(mem, p, pages, &got, err) : 0;

	if (r == 0 && all && lx_page_runs_bytes(&got) != lx_page_runs_bytes(pages))
		r = lx_err_set(err, LX_ABORTED, "the memory of process %d cannot be read", (int)p->inside);
	if (r == 0 && note_sent(p, pages, &got) < 0)
		r = lx_err_oom(err);
	lx_page_runs_release(&got);
	return r;
}

static int send_round(struct lx_memory *mem, uint64_t *ret_bytes, struct lx_err *err)
{
	struct lx_page_runs pages = { 0 };
	uint64_t before = mem->bytes;
	int r = 0;

	mem->rounds++;
	for (size_t i = 0; r == 0 && i < mem->n; i++) {
		struct lx_memory_process *p = &mem->p[i];

		if (!is_watched(mem, p))
			continue;
		if (take(mem, p, &pages) == 0)
			r = send_part(mem, p, &pages, false, err);
		else /* It has ended, or become another program: what it has is sent at the end. */
			unwatch(p);
	}
	lx_page_runs_release(&pages);
	if (r == 0)
		r = lx_shared_round(mem, err);
	*ret_bytes = mem->bytes - before;
	return r;
}

int lx_memory_ahead(struct lx_memory *mem, struct lx_err *err)
{
	uint64_t before = UINT64_MAX, now = 0, bytes;
	int r = 0;

	/* All of it afterwards, then. */
	if (mem->how == LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_STOP_AND_COPY)
		return 0;
	while (r == 0 && mem->rounds < ROUNDS_MAX) {
		lx_move_progress(mem->m, "memory", mem->m->talk.sent, 0);
		r = look_for(mem, WORTH_IT_PROCESS, &bytes, err);
		if (r == 0)
			r = lx_shared_find(mem, &bytes, err);
		if (r < 0)
			break;
		watch_all(mem);
		r = send_round(mem, &now, err);
		if (now <= LEFT_MAX || !SHRINKS(now, before))
			break;
		before = now;
	}
	return r;
}

/* ------------------------------------------------------------------ standing still */

static int find_clean(const struct lx_memory *mem, struct lx_memory_process *p, struct lx_page_runs *watched,
		      struct lx_page_runs *written, struct lx_page_runs *kept)
{
	if (look(mem, p, watched, written) < 0)
		return 0;
	lx_page_runs_clear(kept);
	return lx_page_runs_common(&p->sent, watched, kept) < 0 ||
			       lx_page_runs_without(kept, written, &p->clean) < 0
		       ? -ENOMEM
		       : 0;
}

/* What CRIU does not see in time it looks at: nothing is lost. */
static void hide(const struct lx_memory *mem, struct lx_memory_process *p)
{
	lx_autofree char *dir = lx_path_join(mem->m->images, LX_HIDDEN_PAGES);

	if (!dir || !p->clean.n || lx_hidden_pages_choose(p->pid, &p->clean, &p->hidden) < 0 || !p->hidden.n)
		return;
	if (lx_hidden_pages_write(dir, p->pid, &p->hidden, NULL) < 0)
		lx_page_runs_release(&p->hidden);
}

int lx_memory_stand(struct lx_memory *mem, struct lx_err *err)
{
	struct lx_page_runs watched = { 0 }, written = { 0 }, kept = { 0 };
	uint64_t bytes;
	/* The small ones as well: their pages are sent with the rest. */
	int r = look_for(mem, 0, &bytes, err);

	for (size_t i = 0; r == 0 && i < mem->n; i++)
		if (is_watched(mem, &mem->p[i]) && find_clean(mem, &mem->p[i], &watched, &written, &kept) < 0)
			r = lx_err_oom(err);
	for (size_t i = 0; r == 0 && i < mem->n; i++)
		hide(mem, &mem->p[i]);
	if (r == 0)
		r = lx_shared_stand(mem, err);
	lx_page_runs_release(&watched);
	lx_page_runs_release(&written);
	lx_page_runs_release(&kept);
	return r;
}

void lx_memory_back(struct lx_memory *mem)
{
	for (size_t i = 0; i < mem->n; i++) {
		lx_page_runs_release(&mem->p[i].clean);
		lx_page_runs_release(&mem->p[i].hidden);
	}
	lx_shared_back(mem);
}

/* "pagemap-17.img": of the process that has that number inside. Shared memory has other names. */
static pid_t list_of(const char *name)
{
	char *end;

	if (!lx_starts_with(name, LIST_PREFIX))
		return 0;
	long inside = strtol(name + strlen(LIST_PREFIX), &end, 10);

	return inside > 0 && inside <= INT_MAX && lx_streq(end, ".img") ? (pid_t)inside : 0;
}

bool lx_memory_is_list(struct lx_memory *mem, const char *name)
{
	return mem->on && (list_of(name) > 0 || lx_shared_is_list(mem, name));
}

/* The last of that number: an earlier one has ended. */
static struct lx_memory_process *find_inside(struct lx_memory *mem, pid_t inside)
{
	for (size_t i = mem->n; i-- > 0;)
		if (mem->p[i].inside == inside)
			return &mem->p[i];
	return NULL;
}

static int send_lazy(struct lx_memory *mem, struct lx_memory_process *p, const struct lx_page_runs *lazy,
		     struct lx_err *err)
{
	struct lx_page_runs rest = { 0 };
	int r = lx_page_runs_without(lazy, &p->clean, &rest) < 0 ? lx_err_oom(err) : 0;

	if (r == 0 && mem->after && lx_page_runs_bytes(&rest) >= LATE_MIN) {
		p->late = rest;
		rest = (struct lx_page_runs){ 0 };
		r = lx_memory_send_list(mem, p, LX_LATE_PREFIX, &p->late, err);
	}
	if (r == 0)
		r = send_part(mem, p, &rest, true, err);
	if (r == 0)
		r = lx_memory_send_list(mem, p, LIST_PREFIX, lazy, err);
	lx_page_runs_release(&rest);
	return r;
}

static int send_one(struct lx_memory *mem, int dir, const char *name, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 }, out = { 0 };
	struct lx_page_image image = { 0 };
	struct lx_page_runs lazy = { 0 }, all = { 0 };
	struct lx_memory_process *p = find_inside(mem, list_of(name));
	char path[PATH_MAX];

	if (!p)
		return lx_err_set(err, LX_INTERNAL, "the dump has a process %d that the guest has not",
				  (int)list_of(name));

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	int r = lx_read_file(path, LIST_MAX, &data, err);

	if (r == 0)
		r = lx_page_image_read(data.data, data.len, &image, err);
	if (r == 0)
		r = lx_page_image_lazy_to_parent(&image, &lazy, err);
	if (r == 0)
		r = lx_page_image_add_parent(&image, &p->hidden, err);
	if (r == 0)
		r = lx_page_image_write(&image, &out, err);
	if (r == 0 && lx_page_runs_union(&lazy, &p->hidden, &all) < 0)
		r = lx_err_oom(err);
	if (r == 0)
		r = send_lazy(mem, p, &all, err);
	if (r == 0)
		r = lx_memory_send_file(mem, false, name, &out, err);
	lx_page_image_release(&image);
	lx_page_runs_release(&lazy);
	lx_page_runs_release(&all);
	return r;
}

int lx_memory_rest(struct lx_memory *mem, int dir, struct lx_err *err)
{
	lx_autoclosedir DIR *d = fdopendir(dup(dir));
	int r = d ? 0 : lx_err_errno(err, errno, "cannot read the dump");

	mem->rounds++;
	if (d)
		rewinddir(d);
	for (struct dirent *e; r == 0 && (e = readdir(d));)
		if (list_of(e->d_name) > 0)
			r = send_one(mem, dir, e->d_name, err);
	return r < 0 ? r : lx_shared_rest(mem, dir, err);
}
