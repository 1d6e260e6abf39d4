/*
 * The lxcfs of this node: whether it serves, and which files it has. It is a program like any other
 * and may be dead or stand still; then whoever opens a file of it gets an error, or waits.
 */
#ifndef LX_WORKER_LXCFS_H
#define LX_WORKER_LXCFS_H

#include <stdbool.h>

#include "lib/err.h"
#include "profiles/lxcfs.h"

struct lx_lxcfs {
	bool serves;
	bool silent;               /* it does not, for it does not answer: whoever asks it waits */
	lx_lxcfs_set files;        /* that it has, and the node too */
	unsigned int major, minor; /* of its file system; 0:0: none is mounted */
	char why[256];             /* it does not serve, without its subject: "is not mounted at ..." */
};

/* Looks at the table of mounts alone: whether one is mounted at `dir`, serving or not. */
void lx_lxcfs_find(const char *dir, struct lx_lxcfs *ret);
/* And reads from it. Waits for as long as it does not answer: for a thread. */
void lx_lxcfs_ask(const char *dir, struct lx_lxcfs *ret);
/* The same in a child, which is given up soon. For a process of one thread. */
void lx_lxcfs_ask_soon(const char *dir, struct lx_lxcfs *ret);

#endif
