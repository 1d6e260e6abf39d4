/*
 * What a preflight looks at, between the files that look: preflight_scan.c (processes, namespaces,
 * sockets, and the order of all), preflight_fds.c (descriptors, memory, deleted files) and
 * preflight_mounts.c.
 */
#ifndef LX_MIGRATION_PREFLIGHT_SCAN_H
#define LX_MIGRATION_PREFLIGHT_SCAN_H

#include <stdbool.h>
#include <sys/stat.h>

#include "lib/map.h"
#include "migration/guest_processes.h"
#include "migration/preflight.h"
#include "migration/preflight_judge.h"
#include "migration/preflight_report.h"
#include "migration/preflight_socket.h"

/* Deleted files that are told apart; beyond that their sizes are not added up. */
#define LX_SCAN_GHOSTS_MAX 4096u
/* Of namespaces that are judged: all but those of mounts. */
#define LX_SCAN_KINDS 9

struct lx_scan_ghost {
	uint64_t dev, ino;
};

struct lx_scan {
	const struct lx_preflight_guest *g;
	struct lx_guest_processes ps;
	struct lx_guest_mounts mounts;
	struct lx_mounts outside;
	int *mount_ids; /* sorted */
	size_t n_mount_ids;
	struct lx_map namespaces;    /* "uts:[4026531838]": some process lives in it */
	char own[LX_SCAN_KINDS][64]; /* init's */
	struct lx_map nets;          /* network namespaces, to ask about sockets -> descriptor, malloc'ed */
	struct lx_guest_sockets sockets;
	struct lx_scan_ghost ghosts[LX_SCAN_GHOSTS_MAX];
	size_t n_ghosts;
	uint64_t ghost_bytes;
	struct lx_preflight_report report;
};

/* What was found of a process, if it was anything. */
int lx_scan_report(struct lx_scan *s, const struct lx_guest_process *p, const struct lx_verdict *v,
		   struct lx_err *err);
/* 0 or a negative errno. */
int lx_scan_link(int dir, const char *name, char *out, size_t n);

/* preflight_fds.c */
int lx_scan_fds(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err);
int lx_scan_maps(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err);
/* All of the deleted files that were found, last. */
int lx_scan_ghosts(struct lx_scan *s, struct lx_err *err);

/* preflight_mounts.c */
/* Before all else, of the processes that are known. */
int lx_scan_collect_mounts(struct lx_scan *s, struct lx_err *err);
int lx_scan_mounts(struct lx_scan *s, struct lx_err *err);
/* A file in one of them? True when the kernel does not say. */
bool lx_scan_knows_mount(const struct lx_scan *s, const struct statx *st);
/* Of lxcfs, and of none that serves on this node? */
bool lx_scan_is_of_ended_lxcfs(const struct lx_scan *s, const struct statx *st);

#endif
