/*
 * Texts of /proc, taken apart. What is in them comes from the guest: names with any byte in
 * them, paths of any length. Nothing here does I/O.
 */
#ifndef LX_MIGRATION_PROC_TEXT_H
#define LX_MIGRATION_PROC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LX_PROC_NAME_MAX 64
#define LX_PROC_UNIT_MAX 128

/* /proc/<pid>/status */
struct lx_proc_status {
	char name[LX_PROC_NAME_MAX]; /* printable */
	char state;
	pid_t parent, tracer; /* as seen by who reads; 0: none, or not to be seen */
	pid_t inside;         /* in the innermost PID namespace */
	pid_t session;        /* there; 0: its leader is outside of it */
	uint64_t anonymous;   /* bytes of private memory that are of no file, and in memory now */
};

/* 0, or -EBADMSG when a line that every kernel has is missing. */
int lx_proc_status_parse(const char *text, struct lx_proc_status *ret);

/* /proc/<pid>/fdinfo/<fd>: what is asked about. */
struct lx_proc_fdinfo {
	unsigned int flags;
	pid_t pid; /* of a pidfd; -1: that process has ended, 0: not a pidfd */
};
void lx_proc_fdinfo_parse(const char *text, struct lx_proc_fdinfo *ret);

/* More bytes than are read of a process's mappings. */
#define LX_PROC_MAPS_MAX (64u << 20)

/* One line of /proc/<pid>/maps; the text's newline ends it. */
struct lx_proc_map {
	char range[64]; /* "7f..-7f..": its name in map_files */
	uint64_t start, end;
	const char *path; /* borrowed from the text, `path_len` bytes; none: 0 */
	size_t path_len;
};
/* The next line's start, or NULL at the end. A line that makes no sense has no path. */
const char *lx_proc_map_next(const char *text, struct lx_proc_map *ret);

/*
 * The unit that a cgroup (path below the payload) belongs to: the last component that is the
 * name of a service, scope, socket, mount or swap; "" when there is none.
 */
void lx_proc_unit(const char *cgroup, char unit[LX_PROC_UNIT_MAX]);

/* Copies what is printable ASCII or well-formed UTF-8; the rest becomes '?'. Cut at n. */
void lx_proc_printable(const char *text, size_t len, char *out, size_t n);

#endif
