/*
 * How much of the disk an instance's own files take, and how much they may: counted and bounded by the
 * file system itself, which costs nothing and cannot be got round from inside.
 *
 *   ext4, xfs   a project. upper/ and work/ have its number, and what is made in them inherits it. The
 *               number is one of the instance's own range of ids, the first that nothing else has, and
 *               is written nowhere but on the two directories. No user namespace but the machine's may
 *               change it. Names and renames do not cross projects, so both directories have the same.
 *   btrfs       a qgroup, that of a subvolume "disk", in which upper/ and work/ lie. The instance's file
 *               "qgroup" has its number, so that it is found when the subvolume is gone already.
 *
 * Everywhere else, and where quotas are not switched on, nothing is counted. What an instance made
 * before they were has is counted from its next start on (projects), or never (a subvolume cannot be
 * made of a directory).
 *
 * `dir` is always the instance's directory. All of it may wait for the disk.
 */
#ifndef LX_WORKER_DISK_QUOTA_H
#define LX_WORKER_DISK_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct lx_quota_can {
	bool counts, bounds;
	char cause[128], cure[192]; /* why it does not bound, and what to do */
};

/* What the file system below this path (any directory) can do. */
void lx_quota_probe(const char *path, struct lx_quota_can *ret);

struct lx_quota_room {
	uint64_t used, limit;        /* bytes; limit 0: none */
	uint64_t files, files_limit; /* 0, 0: not counted by themselves */
};

/* Where upper/ and work/ are: <dir> itself, or a subvolume in it. `size`: LX_QUOTA_PATH_MAX is enough. */
#define LX_QUOTA_PATH_MAX 1024
void lx_quota_own_dir(const char *dir, char *out, size_t size);

/* Before upper/ and work/ are made: what they must lie in, where it takes that. */
int lx_quota_make(const char *dir, struct lx_err *err);
/*
 * Has them counted from now on. `first`, `n`: numbers that are the instance's. Nothing of it may run: files
 * it has already are given their project one by one. 1: is so already; 0: is so now; -ENODATA: they
 * cannot be, without a message.
 */
int lx_quota_count(const char *dir, uint32_t first, uint32_t n, struct lx_err *err);
/* -ENODATA, without a message: they are not counted. */
int lx_quota_read(const char *dir, struct lx_quota_room *ret);
/* FAILED_PRECONDITION, with the cause, when no limit can be set. `stopped`: nothing of it runs. */
int lx_quota_check_bound(const char *dir, const char *name, bool stopped, struct lx_err *err);
/* The same for so many bytes, and when more is taken already. Changes nothing. */
int lx_quota_check(const char *dir, const char *name, uint64_t bytes, bool stopped, struct lx_err *err);
/* 0: no limit. Below what is taken: nothing more can be written. The number of files is bounded in
 * proportion, where they are counted. */
int lx_quota_bound(const char *dir, uint64_t bytes, struct lx_err *err);
/* Takes off what the file system keeps of it. Before the directory itself is removed; may be repeated. */
void lx_quota_release(const char *dir);

/*
 * As many files as a file system of `bytes` would have, were it made like this one, of `all` bytes and
 * files; 0: no bound.
 */
uint64_t lx_quota_files(uint64_t bytes, uint64_t all_bytes, uint64_t all_files);

/* ------------------------------------------------------------------ back ends */

struct lx_quota_ops {
	bool late; /* what is there already can be counted from now on */
	bool lags; /* an account is right when the file system has been flushed */
	void (*probe)(int fd, struct lx_quota_can *ret);
	int (*make)(const char *dir, struct lx_err *err);
	int (*count)(const char *dir, uint32_t first, uint32_t n, struct lx_err *err);
	int (*read)(const char *dir, struct lx_quota_room *ret);
	/* Only for what is counted. */
	int (*bound)(const char *dir, uint64_t bytes, uint64_t files, struct lx_err *err);
	void (*release)(const char *dir);
};

extern const struct lx_quota_ops lx_quota_project, lx_quota_btrfs;

#endif
