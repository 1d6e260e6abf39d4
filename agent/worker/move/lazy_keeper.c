/*
 * The keeper of a guest's memory: a process of its own that outlives the worker which started
 * it. It puts the memory in place (migration/lazy_memory.h), notes that this has been done, and
 * takes back what was allowed for CRIU, also for a worker that has gone.
 *
 * Its part towards CRIU's restore is that of `criu lazy-pages` (criu/uffd.c, CRIU 4): on one
 * connection a process's number as an int, then a byte that carries its userfaultfd, for each;
 * of a process that is a zombie the number is negative and nothing follows; and FINISHED when
 * all are restored. Until the guest has been thawed, too, only what is touched is put in place: the rest
 * would be in the way of what it waits for.
 *
 * With post-copy the worker tells what has come of what was missing (lazy.h), and hears what is
 * waited for. Without the worker the rest never comes: the keeper says so, and holds on to the guest,
 * which waits where memory is missing, until somebody has ended both.
 *
 * A descriptor is kept until the memory of all is in place, also of a process that has its own:
 * the worker holds it as well (lazy.h), and what the kernel tells by it must be read.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/move/lazy.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/lazy_memory.h"
#include "migration/page_image.h"

#define FINISHED 0x52535446
#define SOCKETS  2

struct keeper {
	int images; /* directory of the memory's images, or -1: there are none */
	int crius;  /* socket; -1: it has finished */
	int worker; /* socket; -1: it is gone, or nothing is missing */
	struct lx_late_pages *late;
	const char *move; /* its directory */
	bool lost;        /* what is missing never comes */
	bool thawed;      /* the guest runs, as far as is known */
	struct lx_lazy_memory *v;
	struct pollfd *polls; /* of each, and of the two sockets behind them */
	size_t n, room;
};

/* ------------------------------------------------------------------ its table */

static int add(struct keeper *k, struct lx_lazy_memory m, struct lx_err *err)
{
	if (k->n == k->room) {
		size_t room = 2 * k->room + 32;
		struct lx_lazy_memory *v = realloc(k->v, room * sizeof(*v));

		if (v)
			k->v = v;
		struct pollfd *polls = realloc(k->polls, (room + SOCKETS) * sizeof(*polls));

		if (polls)
			k->polls = polls;
		if (!v || !polls) {
			lx_lazy_memory_release(&m);
			return lx_err_oom(err);
		}
		k->room = room;
	}
	k->v[k->n++] = m;
	return 0;
}

static void release(struct keeper *k)
{
	for (size_t i = 0; i < k->n; i++)
		lx_lazy_memory_release(&k->v[i]);
	free(k->v);
	free(k->polls);
	if (k->images >= 0)
		close(k->images);
	if (k->crius >= 0)
		close(k->crius);
	if (k->worker >= 0)
		close(k->worker);
	lx_late_pages_free(k->late);
}

/* ------------------------------------------------------------------ CRIU's restore */

static int hear_criu(struct keeper *k, struct lx_err *err)
{
	int word = 0;

	if (recv(k->crius, &word, sizeof(word), MSG_WAITALL) != sizeof(word))
		return lx_err_set(err, LX_ABORTED, "CRIU's restore ended before all was restored");
	if (word == FINISHED) {
		close(k->crius);
		k->crius = -1;
		return 0;
	}
	if (word < 0)
		return 0;
	char byte;
	int uffd;

	if (lx_fd_recv(k->crius, &byte, sizeof(byte), &uffd) != sizeof(byte) || uffd < 0)
		return lx_err_set(err, LX_DATA_LOSS, "CRIU's restore gave no userfaultfd of process %d",
				  word);
	struct lx_lazy_memory m;
	int r = lx_lazy_memory_open(k->images, word, uffd, &m, err);

	if (r == 0 && m.pages >= 0) {
		r = lx_late_pages_read(k->images, word, &k->late, err);
		m.late = lx_late_pages_of(k->late, m.pages_id);
		if (r < 0)
			lx_lazy_memory_release(&m);
	}
	return r < 0 ? r : add(k, m, err);
}

/* ------------------------------------------------------------------ the worker */

static int came(struct keeper *k, const struct lx_lazy_word *w, struct lx_err *err)
{
	struct lx_late_pages *late = lx_late_pages_of(k->late, w->pages_id);
	int r = 0;

	if (!late)
		return 0;
	if (lx_page_runs_drop(&late->missing, w->start, w->end) < 0)
		return lx_err_oom(err);
	for (size_t i = 0; r == 0 && i < k->n; i++)
		if (k->v[i].late == late)
			r = lx_lazy_memory_came(&k->v[i], w->start, w->end, err);
	return r;
}

static int hear_worker(struct keeper *k, struct lx_err *err)
{
	struct lx_lazy_word w;
	ssize_t n = recv(k->worker, &w, sizeof(w), 0);

	if (n == sizeof(w)) {
		k->thawed |= w.what == LX_LAZY_THAWED;
		return w.what == LX_LAZY_CAME ? came(k, &w, err) : 0;
	}
	if (n < 0 && errno == EINTR)
		return 0;
	close(k->worker);
	k->worker = -1;
	k->thawed = true; /* or will be */
	/* Then CRIU's restore is of no use, and must not wait here for what never comes. */
	return k->crius < 0 ? 0 : lx_err_set(err, LX_ABORTED, "the worker has gone before all was restored");
}

/* A wish: one that finds no room is not waited for. */
static void want(const struct keeper *k, const struct lx_lazy_memory *m)
{
	const struct lx_lazy_word w = { .what = LX_LAZY_WANTED, .pages_id = m->pages_id, .start = m->wanted };

	if (k->worker >= 0)
		(void)send(k->worker, &w, sizeof(w), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ------------------------------------------------------------------ the loop */

static bool note(const char *move, const char *name, const char *text)
{
	lx_autofree char *path = lx_path_join(move, name);

	return path && lx_write_file_atomic(path, text, strlen(text), 0600, NULL) == 0;
}

static int listen_to_all(struct keeper *k, int timeout)
{
	size_t n = k->n;

	for (size_t i = 0; i < n; i++)
		k->polls[i] = (struct pollfd){ .fd = k->v[i].uffd, .events = POLLIN };
	k->polls[n] = (struct pollfd){ .fd = k->crius, .events = POLLIN };
	k->polls[n + 1] = (struct pollfd){ .fd = k->worker, .events = POLLIN };
	return poll(k->polls, n + SOCKETS, timeout);
}

static int serve_all(struct keeper *k, struct lx_err *err)
{
	int r = 0;

	/* Those that come by a fork are listened to from the next time on. */
	for (size_t i = 0, n = k->n; i < n && r == 0; i++) {
		struct lx_lazy_memory child;

		if (!(k->polls[i].revents & POLLIN))
			continue;
		r = lx_lazy_memory_serve(&k->v[i], &child, err);
		if (k->v[i].wanted)
			want(k, &k->v[i]);
		if (r == 1)
			r = add(k, child, err);
	}
	return r;
}

/* One chunk of anybody's. 1: there is none left. */
static int step(struct keeper *k, struct lx_err *err)
{
	int r = 1;

	for (size_t i = 0; i < k->n && r == 1; i++)
		r = lx_lazy_memory_step(&k->v[i], err);
	return r;
}

static int hear_all(struct keeper *k, int timeout, struct lx_err *err)
{
	int n = listen_to_all(k, timeout), r = 0;

	if (n < 0 && errno != EINTR)
		return lx_err_errno(err, errno, "cannot listen to the guest's processes");
	if (n <= 0)
		return 0;
	bool criu = k->polls[k->n].revents, worker = k->polls[k->n + 1].revents;

	r = serve_all(k, err);
	if (r == 0 && criu)
		r = hear_criu(k, err);
	if (r == 0 && worker)
		r = hear_worker(k, err);
	return r;
}

/* All that is here is in place. 1: there is nothing else to come. */
static int wait_for_late(struct keeper *k)
{
	if (!lx_late_pages_any(k->late))
		return 1;
	if (k->worker < 0 && !k->lost)
		k->lost =
			note(k->move, LX_LAZY_WHY, "the source is gone, and not all memory had come from it");
	return 0;
}

static int keep(struct keeper *k, struct lx_err *err)
{
	bool nothing = true; /* to do but to listen */
	int r = 0;

	while (r == 0) {
		r = hear_all(k, nothing ? -1 : 0, err);
		if (r < 0 || k->crius >= 0 || !k->thawed)
			continue;
		r = step(k, err);
		nothing = r == 1;
		if (nothing)
			r = wait_for_late(k);
	}
	return r == 1 ? 0 : r;
}

/* ------------------------------------------------------------------ life */

/* The sockets have their numbers, as the worker has left them; nothing else of the worker's stays. */
static void cut_off(void)
{
	int null = open("/dev/null", O_RDWR);

	(void)setpgid(0, 0);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	syscall(SYS_close_range, LX_LAZY_WORKER_FD + 1, ~0u, 0);
}

static int keep_memory(const char *move, struct lx_err *err)
{
	lx_autofree char *images = lx_path_join(move, "images/" LX_PAGES_PARENT_DIR);
	struct keeper k = { .images = -1, .crius = -1, .worker = LX_LAZY_WORKER_FD, .move = move };
	int r = images ? 0 : lx_err_oom(err);

	if (r == 0) {
		k.crius = accept4(LX_LAZY_KEEPER_FD, NULL, NULL, SOCK_CLOEXEC);
		if (k.crius < 0)
			r = lx_err_errno(err, errno, "cannot wait for CRIU's restore");
	}
	close(LX_LAZY_KEEPER_FD);
	/* By now they are all here. */
	if (r == 0)
		k.images = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && k.images < 0 && errno != ENOENT)
		r = lx_err_errno(err, errno, "cannot open %s", images);
	/* Room for the sockets' places among those who are listened to. */
	if (r == 0) {
		k.polls = calloc(SOCKETS, sizeof(*k.polls));
		r = k.polls ? keep(&k, err) : lx_err_oom(err);
	}
	release(&k);
	return r;
}

int lx_lazy_keeper(int argc, char **argv)
{
	struct lx_err err = LX_ERR_INIT;
	char number[32];

	if (argc != 2) {
		fprintf(stderr, LX_LAZY_KEEPER ": this program is started by lx-move-worker\n");
		return EXIT_FAILURE;
	}
	cut_off();
	snprintf(number, sizeof(number), "%d", (int)getpid());
	if (!note(argv[1], LX_LAZY_PID, number))
		return EXIT_FAILURE;
	int r = keep_memory(argv[1], &err);

	if (r < 0)
		(void)note(argv[1], LX_LAZY_WHY, err.msg);
	lx_lazy_forbid(argv[1], -1);
	return r == 0 && note(argv[1], LX_LAZY_DONE, "") ? EXIT_SUCCESS : EXIT_FAILURE;
}
