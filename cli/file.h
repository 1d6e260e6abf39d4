/* Files in instances: what push, pull, edit, create and delete share. */
#ifndef LX_CLI_FILE_H
#define LX_CLI_FILE_H

#include "cli/cli.h"
#include "lxmgr/v1/stream.pb-c.h"

/* "web1/etc/hosts" in its two parts. */
struct cli_guest_path {
	char *instance;   /* owned */
	const char *path; /* "/etc/hosts"; borrowed from the text */
};
int cli_guest_path(struct cli *cli, const char *text, struct cli_guest_path *ret, struct lx_err *err);

/* ------------------------------------------------------------------ file_push.c */

/* One thing to send. */
struct cli_push_item {
	char *source;              /* local file to open, or NULL */
	int fd;                    /* else an open one, or -1 */
	Lxmgr__V1__FileEntry meta; /* owned: path, target */
};

struct cli_push {
	struct cli_push_item *items;
	size_t n;
	uint64_t bytes; /* of all, as far as known */
	/* Given on the command line; -1: as the file has it. */
	int64_t mode, uid, gid;
	bool create_dirs, into_directory;
};
#define CLI_PUSH_INIT      ((struct cli_push){ .mode = -1, .uid = -1, .gid = -1 })
#define CLI_PUSH_MAX_ITEMS 20000000u

void cli_push_release(struct cli_push *p);
/* --mode, --uid, --gid, --create-dirs. */
int cli_push_options(struct cli *cli, struct cli_push *p, struct lx_err *err);
/* Adds an item; `entry` gives everything but path and target, which are copied. */
int cli_push_add(struct cli_push *p, const char *source, int fd, const char *path, const char *target,
		 const Lxmgr__V1__FileEntry *entry, struct lx_err *err);
int cli_push_run(struct cli *cli, const struct cli_guest_path *to, struct cli_push *p, struct lx_err *err);
int cli_file_push(struct cli *cli, struct lx_err *err);

/* ------------------------------------------------------------------ file_pull.c */

/* Writes one regular file to `fd` and says what it is. *ret_meta may be NULL; numbers only. */
int cli_pull_to_fd(struct cli *cli, const struct cli_guest_path *from, int fd, Lxmgr__V1__FileEntry *ret_meta,
		   struct lx_err *err);
int cli_file_pull(struct cli *cli, struct lx_err *err);

#endif
