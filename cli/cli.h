/*
 * The command line: a table of verbs over the manager's API.
 *
 *   main.c                    from argv to a verb and an exit code
 *   verbs.c args.c help.c     the table, reading options by it, showing it
 *   connection.c              one connection, unary calls
 *   operations.c progress.c   waiting for operations
 *   table.c doc.c yaml_*.c    output (and YAML input)
 *   move_report.c             moves in words
 *   <group>.c                 one command group each
 *
 * A verb returns 0, or a negative errno with the error filled; main prints it and
 * exits with 1, or with 2 when the verb said cli_usage().
 */
#ifndef LX_CLI_CLI_H
#define LX_CLI_CLI_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/err.h"
#include "lib/str.h"

#define CLI_EXIT_FAILED 1
#define CLI_EXIT_USAGE  2

#define CLI_DEFAULT_SOCKET "/run/lxmgr/lxmgr.sock"

struct cli;

/* ------------------------------------------------------------------ the table */

/* What a word on the command line names: for completion. */
enum cli_kind {
	CLI_TEXT, /* nothing to offer */
	CLI_INSTANCE,
	CLI_IMAGE,
	CLI_TEMPLATE,
	CLI_PROFILE,
	CLI_NETWORK,
	CLI_NODE,
	CLI_OPERATION,
	CLI_KEY, /* configuration key */
	CLI_KEY_VALUE,
	CLI_LOCAL_PATH,
	CLI_FORMAT,
	CLI_LIVE_MODE,
	CLI_VERB,
	CLI_IDENTITY,
	CLI_ROLE,
	CLI_REMOTE,
	CLI_PROJECT,
	CLI_SNAPSHOT, /* of the instance that is the first operand */
};

struct cli_option {
	const char *name;  /* long form; NULL ends a table */
	char letter;       /* short form, or 0 */
	const char *value; /* what it takes ("PATH"); NULL: a flag */
	const char *help;
	enum cli_kind kind; /* of the value */
};

#define CLI_KINDS 4
#define CLI_MANY  (-1)

struct cli_verb {
	const char *name;                 /* "start", "image alias create"; NULL ends a table */
	const char *aliases;              /* other last words: "ls,show"; or NULL */
	const char *operands;             /* "INSTANCE [KEY]", or NULL */
	const char *summary;              /* one line, no full stop */
	const char *details;              /* paragraphs, or NULL */
	const char *examples;             /* lines of "command" or "command  # what it does", or NULL */
	const struct cli_option *options; /* or NULL */
	int min, max;                     /* number of operands; max CLI_MANY: no limit */
	enum cli_kind kinds[CLI_KINDS];   /* of the operands; the last one set repeats */
	bool hidden;
	bool names_projects; /* --project is about what it says of them, not where it is done */
	int (*run)(struct cli *cli, struct lx_err *err);
};

#define CLI_ALL_PROJECTS_OPTION                                                                              \
	{                                                                                                    \
		"all-projects", 0, NULL, "of all projects that you may see", 0                               \
	}

/* Verbs that belong together. `noun` NULL: they stand at the top level. */
struct cli_group {
	const char *title;
	const char *noun;
	const struct cli_verb *verbs;
};

/* All of them, in the order help shows them. */
extern const struct cli_group cli_groups[];
extern const size_t cli_n_groups;
extern const struct cli_option cli_global_options[];

/* By full name or alias ("image ls"); NULL: none. */
const struct cli_verb *cli_verb_find(const char *name);
/* Whether verbs below "image", "config device" exist. */
bool cli_is_noun(const char *name);
/* Fills the usage error for a name that is neither, with the nearest one as hint. */
int cli_verb_unknown(struct cli *cli, const char *name, struct lx_err *err);

/* ------------------------------------------------------------------ arguments */

struct cli_given {
	const struct cli_option *option;
	const char *value; /* "" for flags */
};

struct cli_args {
	struct cli_given *given;
	size_t n_given;
	char **operands;
	int n_operands;
};

void cli_args_release(struct cli_args *a);
/*
 * Reads the options of `own` (may be NULL) and the global ones from argv[1..], adding to
 * `a->given`. `leading`: stops at the first operand; else options may stand anywhere
 * before "--" and argv is put in order. *ret_rest is the index of the first operand.
 */
int cli_args_parse(struct cli_args *a, const struct cli_option *own, bool leading, int argc, char **argv,
		   int *ret_rest, struct lx_err *err);

/* ------------------------------------------------------------------ one run */

struct lx_channel;

struct cli {
	const struct cli_verb *verb;
	struct cli_args args;
	bool quiet, debug;
	bool misused;  /* the error is the caller's spelling: exit 2 */
	int exit_code; /* for a verb that succeeded: exec returns the command's */

	const char *socket;  /* manager's unix socket, or NULL when remote is set */
	const char *remote;  /* host:port over TLS, or the name of one in remotes.h */
	char *own_remote;    /* it, when it is the default one: owned */
	const char *project; /* that calls are about, "*": all; NULL: the default one */
	char *own_project;   /* it, when it is the one switched to: owned */
	int (*dial_remote)(struct cli *cli, struct lx_err *err); /* NULL: calls go to `socket` */
	char **argv;                                             /* as it was typed */

	void *loop; /* uv_loop_t, made by the first call */
	struct lx_channel *channel;
	bool dialled; /* a channel was made once: the manager was needed */
};

/* The last value given for an option, NULL when it was not. */
const char *cli_opt(const struct cli *cli, const char *name);
bool cli_flag(const struct cli *cli, const char *name);
/* for (size_t i = 0; (v = cli_opt_next(cli, "config", &i));) all values, in order. */
const char *cli_opt_next(const struct cli *cli, const char *name, size_t *i);
/* The number of an option; *ret stays when it was not given. Usage error when it is none. */
int cli_opt_u32(struct cli *cli, const char *name, uint32_t *ret, struct lx_err *err);
static inline const char *cli_operand(const struct cli *cli, int i)
{
	return i < cli->args.n_operands ? cli->args.operands[i] : NULL;
}

/* The project that calls are about, by its name. */
static inline const char *cli_project(const struct cli *cli)
{
	return cli->project ? cli->project : "default";
}

/* Whether they are about all of them. */
static inline bool cli_all_projects(const struct cli *cli)
{
	return strcmp(cli_project(cli), "*") == 0;
}

/* A usage error: exit code 2, and a hint at --help unless `err` has one. */
int cli_usage(struct cli *cli, struct lx_err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ------------------------------------------------------------------ saying things */

/* Progress and remarks on stderr; nothing with --quiet. */
void cli_note(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "Error: ..." and "Hint: ..." on stderr. */
void cli_report(const struct lx_err *err);
/* Prints text from outside: control characters that could drive a terminal become '?'. */
void cli_put_safe(FILE *out, const char *text);
/* Whether `fd` is a terminal that wants colours (NO_COLOR, TERM=dumb). */
bool cli_colours(int fd);
/* A question on the terminal; `fallback` when there is none. */
bool cli_confirm(bool fallback, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ------------------------------------------------------------------ verbs that others use */

int cli_help_verb(const struct cli_verb *verb, FILE *out);
int cli_help_noun(const char *noun, FILE *out);
int cli_help_all(FILE *out);
int cli_manpage(struct cli *cli, struct lx_err *err);

extern const struct cli_verb cli_launch_verbs[], cli_power_verbs[], cli_delete_verbs[], cli_list_verbs[],
	cli_info_verbs[], cli_move_verbs[], cli_exec_verbs[], cli_file_verbs[], cli_image_verbs[],
	cli_image_edit_verbs[], cli_profile_verbs[], cli_profile_assign_verbs[], cli_profile_device_verbs[],
	cli_config_verbs[], cli_config_device_verbs[], cli_network_verbs[], cli_node_verbs[],
	cli_node_evacuate_verbs[], cli_operation_verbs[], cli_event_verbs[], cli_version_verbs[],
	cli_dev_verbs[], cli_completion_verbs[], cli_help_verbs[], cli_identity_verbs[],
	cli_identity_token_verbs[], cli_remote_verbs[], cli_audit_verbs[], cli_warning_verbs[],
	cli_profile_suggest_verbs[], cli_project_verbs[], cli_snapshot_verbs[];

#endif
