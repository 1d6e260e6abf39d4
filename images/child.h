/*
 * Programs that work for us: started with a clean environment, their output read from a
 * pipe, gone when we are gone.
 */
#ifndef LX_IMAGES_CHILD_H
#define LX_IMAGES_CHILD_H

#include <sys/types.h>

#include "images/progress.h"
#include "lib/buf.h"
#include "lib/err.h"

#define LX_CHILD_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* Where lx_child_spec.give_fd is found. */
#define LX_CHILD_FD      3
#define LX_CHILD_FD_PATH "/proc/self/fd/3"

enum lx_child_flags {
	/* Own mounts and processes: whatever it mounts or leaves running ends with it. */
	LX_CHILD_CONTAINED = 1,
	/*
	 * It reads what a stranger wrote: as nobody, without network, with no more than
	 * messages to write.
	 */
	LX_CHILD_SEALED = 2,
};

struct lx_child_spec {
	const char *const *argv; /* argv[0]: the program's path */
	const char *const *env;  /* NULL-terminated, besides PATH; may be NULL */
	int give_fd;             /* handed on as LX_CHILD_FD; -1: none */
	int err_fd;              /* where its stderr goes; -1: into the same pipe as stdout */
	unsigned flags;
};

struct lx_child {
	pid_t pid;
	int out; /* read end of its stdout */
};

/* malloc'ed path of a program in LX_CHILD_PATH, or NULL. */
char *lx_find_program(const char *name);

/* Debian's usual way to get it is the hint: LX_FAILED_PRECONDITION. */
int lx_need_program(const char *name, const char *package, char **ret, struct lx_err *err);

int lx_child_start(const struct lx_child_spec *spec, struct lx_child *ret, struct lx_err *err);
/* Closes the pipe and waits. Returns the exit code, or 128 + n when signal n ended it. */
int lx_child_wait(struct lx_child *c);
/* Ends it (and, if contained, all it started) first. */
void lx_child_kill(struct lx_child *c);

/* Runs a program and collects what it writes, at most `max` bytes. Returns as lx_child_wait(),
 * or negative errno. */
int lx_child_output(const char *const *argv, size_t max, struct lx_buf *out, struct lx_err *err);

#endif
