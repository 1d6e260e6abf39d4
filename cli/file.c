/*
 * lxmgr file: what can be done to files in an instance. Push and pull have files of
 * their own; edit is a pull, an editor and a push, create a push of one empty thing.
 */
#include "cli/file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "cli/connection.h"
#include "cli/editor.h"
#include "lib/fs.h"
#include "lxmgr/v1/instance.pb-c.h"

#define EDIT_MAX (64u << 20) /* bytes of a file to edit */

int cli_guest_path(struct cli *cli, const char *text, struct cli_guest_path *ret, struct lx_err *err)
{
	const char *slash = strchr(text, '/');

	if (!slash || slash == text)
		return cli_usage(cli, err, "\"%s\" is not INSTANCE/PATH", text);
	ret->instance = strndup(text, (size_t)(slash - text));
	ret->path = slash;
	return ret->instance ? 0 : lx_err_oom(err);
}

static int delete_run(struct cli *cli, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < cli->args.n_operands; i++) {
		Lxmgr__V1__DeleteFileRequest req = LXMGR__V1__DELETE_FILE_REQUEST__INIT;
		struct cli_guest_path path = { 0 };
		r = cli_guest_path(cli, cli_operand(cli, i), &path, err);
		if (r < 0)
			break;
		req.instance = path.instance;
		req.path = (char *)path.path;
		req.recursive = cli_flag(cli, "recursive");
		r = cli_call(cli, CLI_INSTANCES, "DeleteFile", &req, NULL, err);
		free(path.instance);
	}
	return r;
}

static int create_run(struct cli *cli, struct lx_err *err)
{
	const char *type = cli_opt(cli, "type"), *target = cli_operand(cli, 1);
	Lxmgr__V1__FileEntry e = LXMGR__V1__FILE_ENTRY__INIT;
	struct cli_guest_path path = { 0 };
	struct cli_push p = CLI_PUSH_INIT;
	int r;

	e.mode = 0644;
	if (!type || strcmp(type, "file") == 0) {
		e.type = LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR;
	} else if (strcmp(type, "directory") == 0) {
		e.type = LXMGR__V1__FILE_TYPE__FILE_TYPE_DIRECTORY;
		e.mode = 0755;
	} else if (strcmp(type, "symlink") == 0) {
		e.type = LXMGR__V1__FILE_TYPE__FILE_TYPE_SYMLINK;
		e.mode = 0777;
	} else {
		return cli_usage(cli, err, "--type is file, directory or symlink, not \"%s\"", type);
	}
	if ((e.type == LXMGR__V1__FILE_TYPE__FILE_TYPE_SYMLINK) != (target != NULL))
		return cli_usage(cli, err,
				 target ? "only --type symlink has a target" : "a symlink needs a target");
	r = cli_guest_path(cli, cli_operand(cli, 0), &path, err);
	if (r == 0)
		r = cli_push_options(cli, &p, err);
	if (r == 0) {
		int fd = e.type == LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR
				 ? open("/dev/null", O_RDONLY | O_CLOEXEC)
				 : -1;
		r = cli_push_add(&p, NULL, fd, "", target, &e, err);
	}
	if (r == 0)
		r = cli_push_run(cli, &path, &p, err);
	cli_push_release(&p);
	free(path.instance);
	return r;
}

/* ------------------------------------------------------------------ edit */

static int push_back(struct cli *cli, const struct cli_guest_path *path, const char *local,
		     const Lxmgr__V1__FileEntry *meta, struct lx_err *err)
{
	Lxmgr__V1__FileEntry e = LXMGR__V1__FILE_ENTRY__INIT;
	struct cli_push p = CLI_PUSH_INIT;
	struct stat st;

	if (stat(local, &st) < 0)
		return lx_err_errno(err, errno, "cannot read %s", local);
	e.type = LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR;
	e.mode = meta->mode;
	e.uid = meta->uid;
	e.gid = meta->gid;
	e.size = (uint64_t)st.st_size;
	int r = cli_push_add(&p, local, -1, "", NULL, &e, err);
	if (r == 0)
		r = cli_push_run(cli, path, &p, err);
	cli_push_release(&p);
	return r;
}

static int edit(struct cli *cli, const struct cli_guest_path *path, const char *local, int fd,
		struct lx_err *err)
{
	lx_autobuf struct lx_buf before = { 0 }, after = { 0 };
	Lxmgr__V1__FileEntry meta = LXMGR__V1__FILE_ENTRY__INIT;
	int r = cli_pull_to_fd(cli, path, fd, &meta, err);

	if (r == 0)
		r = lx_read_file(local, EDIT_MAX, &before, err);
	cli_disconnect(cli); /* the editor may stay open for hours */
	if (r == 0)
		r = cli_editor_run(local, err);
	if (r == 0)
		r = lx_read_file(local, EDIT_MAX, &after, err);
	if (r < 0)
		return r;
	if (before.len == after.len && (!after.len || memcmp(before.data, after.data, after.len) == 0)) {
		cli_note(cli, "Nothing was changed.");
		return 0;
	}
	return push_back(cli, path, local, &meta, err);
}

static int edit_run(struct cli *cli, struct lx_err *err)
{
	const char *dir = getenv("TMPDIR");
	struct cli_guest_path path = { .path = "" };
	int r = cli_guest_path(cli, cli_operand(cli, 0), &path, err);

	if (r < 0)
		return r;
	/* The same ending, so that the editor knows the syntax. */
	const char *ending = strrchr(path.path, '.');
	if (!ending || strchr(ending, '/'))
		ending = "";
	lx_autofree char *local = lx_asprintf("%s/lxmgr-XXXXXX%s", lx_str_empty(dir) ? "/tmp" : dir, ending);
	lx_autoclose int fd = local ? mkstemps(local, (int)strlen(ending)) : -1;
	if (fd < 0) {
		r = lx_err_errno(err, local ? errno : ENOMEM, "cannot make a temporary file");
	} else {
		r = edit(cli, &path, local, fd, err);
		unlink(local);
	}
	free(path.instance);
	return r;
}

/* ------------------------------------------------------------------ the table */

#define OWNER_OPTIONS                                                                                        \
	{ "mode", 0, "MODE", "permissions there, octal", 0 }, { "uid", 0, "N", "owner there", 0 },           \
		{ "gid", 0, "N", "group there", 0 },                                                         \
	{                                                                                                    \
		"create-dirs", 'p', NULL, "make missing parent directories", 0                               \
	}

static const struct cli_option push_options[] = {
	{ "recursive", 'r', NULL, "directories and what is in them", 0 },
	OWNER_OPTIONS,
	{ .name = NULL },
};
static const struct cli_option pull_options[] = {
	{ "recursive", 'r', NULL, "directories and what is in them", 0 },
	{ "create-dirs", 'p', NULL, "make missing directories here", 0 },
	{ .name = NULL },
};
static const struct cli_option delete_options[] = {
	{ "recursive", 'r', NULL, "directories and what is in them", 0 },
	{ .name = NULL },
};
static const struct cli_option create_options[] = {
	{ "type", 0, "TYPE", "file (default), directory or symlink", 0 },
	OWNER_OPTIONS,
	{ .name = NULL },
};

const struct cli_verb cli_file_verbs[] = {
	{ .name = "file push",
	  .aliases = "put",
	  .operands = "SOURCE... INSTANCE/PATH",
	  .summary = "Copy files into an instance",
	  .details =
		  "One SOURCE becomes PATH; with several, with --recursive or when PATH ends with \"/\", "
		  "PATH is a "
		  "directory they go into. \"-\" is stdin. Modes, owners and times are kept unless options "
		  "say otherwise.",
	  .examples = "lxmgr file push index.html web1/var/www/html/\n"
		      "lxmgr file push -r -p ./site web1/srv/www\n"
		      "echo hello | lxmgr file push - web1/root/greeting --mode 0600",
	  .options = push_options,
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_LOCAL_PATH },
	  .run = cli_file_push },
	{ .name = "file pull",
	  .aliases = "get",
	  .operands = "INSTANCE/PATH... TARGET",
	  .summary = "Copy files out of an instance",
	  .details =
		  "TARGET is the file's new name, or with several sources, with --recursive or when it is a "
		  "directory, the directory they go into. \"-\" is stdout. Modes and times are kept, owners "
		  "too "
		  "when run as root; set-uid and set-gid bits are not. Nothing is ever written outside "
		  "TARGET, "
		  "whatever the instance has in store.",
	  .examples = "lxmgr file pull web1/etc/hosts .\n"
		      "lxmgr file pull -r web1/var/log ./logs\n"
		      "lxmgr file pull web1/var/log/syslog - | tail",
	  .options = pull_options,
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE, CLI_LOCAL_PATH },
	  .run = cli_file_pull },
	{ .name = "file delete",
	  .aliases = "rm",
	  .operands = "INSTANCE/PATH...",
	  .summary = "Delete files in an instance",
	  .examples = "lxmgr file delete web1/tmp/old\nlxmgr file delete -r web1/srv/www",
	  .options = delete_options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE },
	  .run = delete_run },
	{ .name = "file edit",
	  .operands = "INSTANCE/PATH",
	  .summary = "Edit a file of an instance in your editor",
	  .details = "The editor is $VISUAL, $EDITOR or vi. Mode and owner stay as they are.",
	  .examples = "lxmgr file edit web1/etc/nginx/nginx.conf",
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = edit_run },
	{ .name = "file create",
	  .operands = "INSTANCE/PATH [LINK-TARGET]",
	  .summary = "Create an empty file, a directory or a symlink in an instance",
	  .examples = "lxmgr file create web1/etc/marker\n"
		      "lxmgr file create --type directory -p web1/srv/www/html --mode 0755\n"
		      "lxmgr file create --type symlink web1/srv/current /srv/v2",
	  .options = create_options,
	  .min = 1,
	  .max = 2,
	  .kinds = { CLI_INSTANCE, CLI_TEXT },
	  .run = create_run },
	{ .name = NULL },
};
