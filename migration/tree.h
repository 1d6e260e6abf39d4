/*
 * Carrying an instance's own files: the upper directory of its overlay.
 *
 * The sender walks the tree in passes. The first sends everything; each later one only what
 * has changed since, found by comparing inode, change time and size of every entry with what
 * it remembers. The last pass is made while nothing runs any more. In the others a file that
 * vanishes or becomes something else is no error, only the next pass' work; in the last it is.
 * Of a file that the receiver has, only the blocks that differ are sent.
 *
 * What is carried: regular files (holes stay holes, and whole pages of zeros become holes),
 * directories, symbolic links, device nodes, FIFOs and sockets; modes, owners, times in
 * nanoseconds, hard links within the tree, and extended attributes (tree_xattr.h says which).
 * Of overlayfs' own attributes only those that mean something over another copy of the same
 * image travel (opaque, whiteout, redirect, metacopy); origin, impure, nlink, uuid, protattr and
 * the work directory's index do not: they belong to the lower tree of this node. Flags of
 * chattr(1) do not travel; an unprivileged guest cannot set those that matter (immutable,
 * append-only).
 *
 * With index=on a file of the image that had several names there and was changed lies in the
 * upper directory under those names only through which it was changed; the others lead to it
 * through work/index, which stays behind. So these names are made in the tree that is sent, as
 * hard links, with the directories above them as the image has them.
 *
 * Content may change without a new change time: through a shared writable mapping of a page
 * that was dirty already, or twice within one tick of the clock. So the tree is written back
 * (syncfs) at the start of each pass but the last: a store into a page that is clean takes a
 * new change time. Files changed within LX_TREE_RACY_NS of a pass, or during it, are looked at
 * again in the next one, and those named by lx_tree_sender_mapped() are compared block by block
 * in every pass. Before the last pass nothing is written back: what it reads comes out of the
 * page cache, where every store has already arrived.
 *
 * Each pass ends with a digest, and a difference is DATA_LOSS. It is the sum of a hash of every
 * entry (path, metadata but atime, attributes, hashes of its blocks), kept up to date on both
 * sides, so that it costs nothing while the guest is frozen. It proves that the receiver was
 * told, in order and completely, what the sender had read, that it understood it the same way,
 * and that every system call to write it down succeeded. It does not prove what a disk will give
 * back: nobody reads the files once more. Hashes are XXH3's: they find mistakes, not forgeries.
 *
 * Both sides block; the receiver writes below its directory only, whatever the frames say:
 * no ".." and no absolute path, and no symbolic link is followed. Both need root, or can only
 * carry what they own.
 */
#ifndef LX_MIGRATION_TREE_H
#define LX_MIGRATION_TREE_H

#include <stdbool.h>
#include <stddef.h>
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

/* Directories, as descriptors that can be read; they stay the caller's. */
struct lx_tree_source {
	int upper;
	int lower;        /* the image, as it lies on disk; -1: there are no hidden names to look for */
	int index;        /* work/index of the overlay; -1 as above */
	uint32_t id_base; /* the image's owner 0 is this host id in the instance */
};

int lx_tree_sender_open(const struct lx_tree_source *source, const struct lx_move_out *out,
			struct lx_tree_sender **ret, struct lx_err *err);
/* This file (path below the tree; fine when it is not there) is mapped shared and writable: see above. */
int lx_tree_sender_mapped(struct lx_tree_sender *s, const char *path, struct lx_err *err);
/*
 * Finds those of the given processes in /proc/<pid>/maps. They are recognised by their size: the
 * overlay has inode numbers of its own, and a path may lead through any mount of the guest's. So
 * a few too many are compared; and it is to be called again before each pass.
 */
int lx_tree_sender_mapped_by(struct lx_tree_sender *s, const pid_t *pids, size_t n, struct lx_err *err);
/* One pass, up to its tree_end. After an error nothing but lx_tree_sender_free() may follow. */
int lx_tree_send(struct lx_tree_sender *s, bool last, struct lx_err *err);
/*
 * The same in two: there may be frames of others in between, and more passes. After the first the tree must
 * stay as it is.
 */
int lx_tree_send_walk(struct lx_tree_sender *s, bool last, struct lx_err *err);
int lx_tree_send_end(struct lx_tree_sender *s, struct lx_err *err);
const struct lx_tree_stats *lx_tree_sender_stats(const struct lx_tree_sender *s);
void lx_tree_sender_free(struct lx_tree_sender *s); /* NULL is fine */

struct lx_tree_receiver;

/* `dir`: the empty upper directory to fill. */
int lx_tree_receiver_open(int dir, struct lx_tree_receiver **ret, struct lx_err *err);
/* Takes in entry, tree_data, tree_remove. After an error nothing but lx_tree_receiver_free() may follow. */
int lx_tree_receive(struct lx_tree_receiver *r, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err);
/* At tree_end: sets what had to wait (times of directories), checks the digest, writes all to disk. */
int lx_tree_receive_end(struct lx_tree_receiver *r, const Lxmgr__V1__TreeEnd *end, struct lx_err *err);
uint64_t lx_tree_received_bytes(const struct lx_tree_receiver *r);
void lx_tree_receiver_free(struct lx_tree_receiver *r); /* NULL is fine */

#endif
