#include "migration/warm_locks.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Well below a grace period. */
#define EVERY_NS 3000000L

/* System calls alone: the worker forks meanwhile. */
static void *keep_warm(void *arg)
{
	const struct timespec pause = { .tv_nsec = EVERY_NS };
	struct lx_warm *w = arg;
	char some[512];

	while (!atomic_load(&w->stop)) {
		/* The kernel takes the lock for as long as it fills the buffer, or until all have moved. */
		if (*w->stay ? write(w->fd, w->stay, strlen(w->stay)) < 0
			     : pread(w->fd, some, sizeof(some), 0) < 0)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return NULL;
}

static void start(struct lx_warm *w)
{
	w->on = w->fd >= 0 && pthread_create(&w->thread, NULL, keep_warm, w) == 0;
	if (!w->on && w->fd >= 0)
		close(w->fd);
}

void lx_warm_file_locks(struct lx_warm *w)
{
	*w = (struct lx_warm){ .fd = open("/proc/locks", O_RDONLY | O_CLOEXEC) };
	start(w);
}

void lx_warm_cgroups(const char *dir, struct lx_warm *w)
{
	char path[4096], text[32] = "";
	int n = snprintf(path, sizeof(path), "%s/cgroup.procs", dir);

	*w = (struct lx_warm){ .fd = n < (int)sizeof(path) ? open(path, O_RDWR | O_CLOEXEC) : -1 };
	if (w->fd >= 0 && read(w->fd, text, sizeof(text) - 1) > 0)
		snprintf(w->stay, sizeof(w->stay), "%.*s", (int)strcspn(text, "\n"), text);
	if (*w->stay)
		start(w);
	else if (w->fd >= 0)
		close(w->fd);
}

void lx_warm_stop(struct lx_warm *w)
{
	if (!w->on)
		return;
	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	close(w->fd);
	w->on = false;
}
