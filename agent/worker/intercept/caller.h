/*
 * Who has made a call: what the kernel says of it in /proc, and its memory. Everything is opened once;
 * what is read counts only while lx_caller_waits() says so afterwards, for then the process has not
 * ended in between and its number is nobody else's.
 */
#ifndef LX_INTERCEPT_CALLER_H
#define LX_INTERCEPT_CALLER_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* More than that has no program we know; one that has is left to the kernel. */
#define LX_CALLER_GROUPS_MAX 256

struct lx_caller {
	int listener;
	uint64_t id;
	int proc; /* /proc/<its number> */
	int mem;
	/* Host ids: those that the kernel uses for files. */
	uid_t uid;
	gid_t gid;
	gid_t groups[LX_CALLER_GROUPS_MAX];
	size_t n_groups;
	mode_t umask;
	uint64_t capabilities; /* effective, in its user namespace */
	char program[16];
};

/* 0 or a negative errno. `n` as the kernel gave it. */
int lx_caller_open(int listener, const struct seccomp_notif *n, struct lx_caller *ret);
bool lx_caller_waits(const struct lx_caller *c);
/* Is it in the user namespace of that process, and has it all these capabilities (bits) there? */
bool lx_caller_may(const struct lx_caller *c, pid_t init, uint64_t capabilities);

/* A text of at most `size` - 1 bytes. 0, -EFAULT, -ENAMETOOLONG, or -ESRCH when it waits no more. */
int lx_caller_text(const struct lx_caller *c, uint64_t address, char *out, size_t size);
int lx_caller_bytes(const struct lx_caller *c, uint64_t address, void *out, size_t len);
int lx_caller_write(const struct lx_caller *c, uint64_t address, const void *data, size_t len);

/*
 * This process takes the caller's ids, in the machine's numbers, and keeps its own capabilities; joining
 * the caller's user namespace then gives it all of those there.
 */
int lx_caller_become(const struct lx_caller *c);
/* And no more of these than the caller has. */
int lx_caller_take_capabilities(const struct lx_caller *c);

/* Pure: reads the text of /proc/PID/status. -EINVAL: something is missing; -E2BIG: groups. */
int lx_caller_parse(const char *status, struct lx_caller *ret);

/* ------------------------------------------------------------------ walk.c */

enum lx_walk {
	LX_WALK_PARENT, /* the directory a new name is to be in, which the caller may write to */
	LX_WALK_FOLLOW, /* what is there */
	LX_WALK_LINK    /* the same, also where it is a link */
};

/*
 * Goes where a path of the caller's leads, in its place: its root and working directory, namespaces, ids
 * and capabilities. An O_PATH descriptor, or the negative errno that the caller is to have. `dirfd` is
 * a number of the caller's, or AT_FDCWD.
 */
int lx_walk(const struct lx_caller *c, int dirfd, const char *path, enum lx_walk how);
/* The last name of a path that has one: 0, or the negative errno of mknod(2). Cuts it off `path`. */
int lx_walk_split(char *path, char name[256]);

/* Is it on a file system that asks no process, and that the guest made or starts from? */
bool lx_walk_is_plain(int fd);

#endif
