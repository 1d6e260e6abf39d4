#include "agent/worker/move/copies.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/page_image.h"

#define CHUNK    (1u << 20)
#define LIST_MAX (64u << 20)
/* Longer than the kernel's own limit (memfd_create(2)), and it says no. */
#define MEMFD_NAME_MAX 256
#define LIST_PREFIX    "pagemap-shmem-"
/* So much is copied while the rest still comes: the guest may be frozen when all is here. */
#define AT_ONCE (UINT64_C(16) << 20)
/* For a child: it has but the last round to copy when somebody waits for it. */
#define PATIENCE_MS 20000

static void give_up(struct lx_copy *copy)
{
	if (copy->fd >= 0)
		close(copy->fd);
	copy->fd = -1;
	lx_page_runs_release(&copy->news);
}

static struct lx_copy *find(struct lx_copies *c, uint32_t pages_id)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->v[i].pages_id == pages_id)
			return &c->v[i];
	return NULL;
}

/* ------------------------------------------------------------------ the child */

static bool copy_run(int image, int fd, char *buf, struct lx_page_run run)
{
	while (run.start < run.end) {
		uint64_t left = run.end - run.start;
		ssize_t n = pread(image, buf, left < CHUNK ? (size_t)left : CHUNK, (off_t)run.start);

		if (n <= 0 || pwrite(fd, buf, (size_t)n, (off_t)run.start) != n)
			return false;
		run.start += (uint64_t)n;
	}
	return true;
}

__attribute__((noreturn)) static void copy_news(const struct lx_move *m, int images,
						const struct lx_copy *copy)
{
	char name[64];
	static char buf[CHUNK];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(name, sizeof(name), LX_PAGES_PARENT_DIR "/pages-%u.img", copy->pages_id);
	int image = openat(images, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool ok = image >= 0 && lx_move_join_memory(m, 0, NULL) == 0;

	for (size_t i = 0; ok && i < copy->news.n; i++)
		ok = copy_run(image, copy->fd, buf, copy->news.v[i]);
	_exit(ok ? EXIT_SUCCESS : EXIT_FAILURE);
}

static bool has_ended(pid_t child, int patience_ms)
{
	lx_autoclose int fd = (int)syscall(SYS_pidfd_open, child, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return fd < 0 || poll(&p, 1, patience_ms) > 0;
}

/* It has ended, or is ended. */
static void collect(struct lx_copies *c)
{
	int status = 0;

	if (c->child == 0)
		return;
	if (!has_ended(c->child, PATIENCE_MS))
		kill(c->child, SIGKILL);
	while (waitpid(c->child, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS) {
		lx_debug("shared memory is not put in place ahead", "pages=%u", c->copying->pages_id);
		give_up(c->copying);
	}
	c->child = 0;
	c->copying = NULL;
}

/* One child at a time: what it copies must come in the order in which it came here. */
static void copy_so_far(struct lx_copies *c, const struct lx_move *m, int images)
{
	struct lx_copy *copy = c->open;

	if (!copy || copy->news.n == 0)
		return;
	collect(c);
	if (copy->fd < 0)
		return;
	c->copying = copy;
	c->child = fork();
	if (c->child == 0)
		copy_news(m, images, copy);
	if (c->child < 0) {
		c->child = 0;
		c->copying = NULL;
		give_up(copy);
	}
	lx_page_runs_clear(&copy->news); /* the child has its own */
	copy->bytes = 0;
}

/* ------------------------------------------------------------------ as it comes */

static struct lx_copy *add(struct lx_copies *c, uint32_t pages_id, const Lxmgr__V1__DumpSegment *segment)
{
	char name[MEMFD_NAME_MAX];

	if (c->n == LX_ARRAY_SIZE(c->v) || segment->name.len >= sizeof(name))
		return NULL;
	memcpy(name, segment->name.data, segment->name.len);
	name[segment->name.len] = '\0';
	c->v[c->n] = (struct lx_copy){ .pages_id = pages_id };
	struct lx_copy *copy = &c->v[c->n++];

	copy->fd = memfd_create(name, MFD_CLOEXEC | (segment->sealable ? MFD_ALLOW_SEALING : 0));
	if (copy->fd >= 0 && fchown(copy->fd, c->root, c->root) < 0)
		give_up(copy);
	return copy;
}

void lx_copies_begin(struct lx_copies *c, const struct lx_move *m, int images, const Lxmgr__V1__DumpFile *f)
{
	unsigned pages_id = 0;
	int end = 0;

	copy_so_far(c, m, images);
	c->open = NULL;
	/* NOLINTNEXTLINE(cert-err34-c): a number that does not fit is no segment's */
	if (!f->segment || sscanf(f->name, "pages-%u.img%n", &pages_id, &end) != 1 || end == 0 ||
	    pages_id < LX_SHARED_PAGES_FIRST)
		return;
	c->open = find(c, pages_id);
	if (!c->open)
		c->open = add(c, pages_id, f->segment);
}

void lx_copies_note(struct lx_copies *c, const struct lx_move *m, int images, uint64_t offset, size_t len)
{
	struct lx_copy *copy = c->open;
	bool in_order = copy && (copy->news.n == 0 || copy->news.v[copy->news.n - 1].end <= offset);

	if (!copy || copy->fd < 0)
		return;
	if (!in_order || lx_page_runs_append(&copy->news, offset, offset + len) < 0) {
		give_up(copy);
		return;
	}
	copy->bytes += len;
	if (copy->bytes >= AT_ONCE && (c->child == 0 || has_ended(c->child, 0)))
		copy_so_far(c, m, images);
}

/* ------------------------------------------------------------------ for CRIU */

static int read_list(int dir, const char *prefix, uint64_t shmid, struct lx_page_image *ret)
{
	char path[PATH_MAX];
	lx_autobuf struct lx_buf data = { 0 };

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s" LIST_PREFIX "%llu.img", dir, prefix,
		 (unsigned long long)shmid);
	int r = lx_read_file(path, LIST_MAX, &data, NULL);

	return r < 0 ? r : lx_page_image_read(data.data, data.len, ret, NULL);
}

/* What is not in the list is zero now: the guest has given it back since it was copied. */
static int punch(int fd, const struct lx_page_image *list)
{
	uint64_t at = 0, size = (uint64_t)lseek(fd, 0, SEEK_END);
	int r = 0;

	for (size_t i = 0; r == 0 && i <= list->n && at < size; i++) {
		uint64_t start = i < list->n ? list->v[i].start : size;

		if (start > at)
			r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
				      (off_t)(start - at));
		if (i < list->n)
			at = list->v[i].end;
	}
	return r;
}

/* The list of `shmid` in the dump, and the copy that its pages are in. */
static bool match(struct lx_copies *c, int images, uint64_t shmid, struct lx_shared_copy *ret)
{
	struct lx_page_image ahead = { 0 }, list = { 0 };
	struct lx_copy *copy = read_list(images, LX_PAGES_PARENT_DIR "/", shmid, &ahead) == 0
				       ? find(c, ahead.pages_id)
				       : NULL;
	bool fits = copy && copy->fd >= 0 && read_list(images, "", shmid, &list) == 0 &&
		    punch(copy->fd, &list) == 0;

	if (fits)
		*ret = (struct lx_shared_copy){ shmid, copy->pages_id, getpid(), copy->fd };
	lx_page_image_release(&ahead);
	lx_page_image_release(&list);
	return fits;
}

static void write_for_criu(struct lx_copies *c, const struct lx_move *m, int images)
{
	struct lx_shared_copy found[LX_SHARED_COPIES_MAX];
	lx_autofree char *path = lx_path_join(m->dir, LX_SHARED_COPIES);
	lx_autoclose int own = dup(images);
	lx_autoclosedir DIR *d = own < 0 ? NULL : fdopendir(own);
	size_t n = 0;

	if (d) {
		(void)lx_move_fd(own);
		rewinddir(d);
	}
	for (struct dirent *e; d && n < LX_ARRAY_SIZE(found) && (e = readdir(d));) {
		char *end;

		if (!lx_starts_with(e->d_name, LIST_PREFIX))
			continue;
		uint64_t shmid = strtoull(e->d_name + strlen(LIST_PREFIX), &end, 10);

		if (lx_streq(end, ".img") && match(c, images, shmid, &found[n]))
			n++;
	}
	if (path && n > 0)
		(void)lx_write_file_atomic(path, found, n * sizeof(*found), 0600, NULL);
}

void lx_copies_ready(struct lx_copies *c, const struct lx_move *m, int images)
{
	copy_so_far(c, m, images);
	c->open = NULL;
	collect(c);
	if (c->n > 0)
		write_for_criu(c, m, images);
}

void lx_copies_release(struct lx_copies *c)
{
	if (c->child > 0)
		kill(c->child, SIGKILL);
	collect(c);
	for (size_t i = 0; i < c->n; i++)
		give_up(&c->v[i]);
}
