/*
 * What the manager gives up before it does anything else.
 *
 * It talks to networks and to every user of the machine, and holds the cluster's keys: whoever
 * finds a fault in how it reads a message should find nothing in it to go on with. It needs
 * its files, sockets, threads and a clock; so whatever it was started with, it keeps
 *
 *   no capability         but net_bind_service, where it is to listen below port 1024
 *   no way to gain one    bounding and ambient set empty, no_new_privs
 *   no core, no debugger  of its own user's: its memory holds the CA's key
 *   no files to write     but below its state directory and its socket's (confine_files.c)
 *   no system calls       that it never makes and others' exploits begin with (confine_calls.c)
 *
 * All of it is done before the first thread is made, because most of it is a thread's own and
 * later threads inherit it; a start is under it as well. Nothing can give it back.
 */
#ifndef LX_LXMGR_CONFINE_H
#define LX_LXMGR_CONFINE_H

#include <sys/types.h>

#include "lib/err.h"

struct lx_manager_options;

/*
 * Takes everything away from this process, whose only thread the caller is.
 *
 * Root becomes the owner of the state directory where that is there and somebody else's, and
 * gets the socket's group as its own, which it could not give the socket to otherwise. A socket's
 * directory that is missing is made for that owner. Fails where the kernel refuses any of it, but for
 * Landlock: a manager that is less confined than these lines say does not start.
 */
int lx_confine(const struct lx_manager_options *opt, struct lx_err *err);

/* The part of it that is a filter of system calls, for this thread and those it makes. */
int lx_confine_calls(struct lx_err *err);

/* The part of it that bounds where files are written; makes the two directories that are left.
 * Without Landlock in the kernel it does nothing. */
int lx_confine_files(const struct lx_manager_options *opt, struct lx_err *err);

/* The directory its socket is in, malloc'ed; NULL without memory. */
char *lx_socket_dir(const struct lx_manager_options *opt);

/* The gid of the socket's group, (gid_t)-1 where there is no such group. */
gid_t lx_socket_gid(const struct lx_manager_options *opt);

#endif
