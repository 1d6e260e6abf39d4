/*
 * Carrying an instance's own files: the upper directory of its overlay.
 *
 * The sender walks the tree in passes. The first sends everything; each later one only what
 * has changed since, found by comparing inode, change time and size of every entry with what
 * it remembers. The last pass is made while nothing runs any more and ends with a digest of
 * the whole tree, which the receiver compares with its own: a difference is DATA_LOSS.
 *
 * What is carried: regular files (holes stay holes), directories, symbolic links, device
 * nodes, FIFOs and sockets; modes, owners, times in nanoseconds, hard links within the tree,
 * and extended attributes including security.capability and POSIX ACLs. Of overlayfs' own
 * attributes only those that mean something over another copy of the same image travel
 * (opaque, whiteout, redirect, metacopy); origin, impure, nlink, uuid, protattr and the work
 * directory's index do not: they belong to the lower tree of this node.
 *
 * Content may change without a new change time: through a shared writable mapping of a page
 * that was dirty already, or twice within one tick of the clock. So the tree is written back
 * (syncfs) before each pass, files changed within LX_TREE_RACY_NS of their pass are looked at
 * again in the next one, and those named by lx_tree_sender_mapped() are compared block by
 * block in every pass. Of a large file that the receiver has, only the blocks that differ are
 * sent.
 *
 * Both sides block; the receiver writes below its directory only, whatever the frames say:
 * no ".." and no absolute path, and no symbolic link is followed.
 */
#ifndef LX_MIGRATION_TREE_H
#define LX_MIGRATION_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "migration/migration.h"

/* Longest path below the tree, and most entries in it. */
#define LX_TREE_PATH_MAX    4096
#define LX_TREE_ENTRIES_MAX 20000000u
/* Granularity that any file system's clock is assumed to have. */
#define LX_TREE_RACY_NS (1000u * 1000 * 1000)

struct lx_tree_stats {
	uint64_t entries;    /* looked at in the last pass */
	uint64_t files_sent; /* over all passes: entries sent with their content or anew */
	uint64_t bytes_sent; /* of content, over all passes */
};

struct lx_tree_sender;

/* `dir` is the upper directory, a descriptor that can be read; it stays the caller's. */
int lx_tree_sender_open(int dir, const struct lx_move_out *out, struct lx_tree_sender **ret,
			struct lx_err *err);
/* This file (path below the tree) is mapped shared and writable by somebody: see above. */
int lx_tree_sender_mapped(struct lx_tree_sender *s, const char *path, struct lx_err *err);
/* Finds those in /proc/<pid>/maps of the given processes, whose root is the overlay. */
int lx_tree_sender_mapped_by(struct lx_tree_sender *s, const pid_t *pids, size_t n, struct lx_err *err);
/* One pass, up to its tree_end. */
int lx_tree_send(struct lx_tree_sender *s, bool last, struct lx_err *err);
const struct lx_tree_stats *lx_tree_sender_stats(const struct lx_tree_sender *s);
void lx_tree_sender_free(struct lx_tree_sender *s); /* NULL is fine */

struct lx_tree_receiver;

/* `dir`: the empty upper directory to fill. */
int lx_tree_receiver_open(int dir, struct lx_tree_receiver **ret, struct lx_err *err);
/* Takes in entry, tree_data, tree_remove. */
int lx_tree_receive(struct lx_tree_receiver *r, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err);
/* At tree_end: sets what had to wait (times of directories), syncs; the last one checks the digest. */
int lx_tree_receive_end(struct lx_tree_receiver *r, const Lxmgr__V1__TreeEnd *end, struct lx_err *err);
uint64_t lx_tree_received_bytes(const struct lx_tree_receiver *r);
void lx_tree_receiver_free(struct lx_tree_receiver *r);

#endif
