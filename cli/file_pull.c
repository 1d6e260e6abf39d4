/*
 * lxmgr file pull: files and trees out of an instance.
 *
 * The happy path: entries and their bytes come in order and go to tree.c, which lets
 * nothing out of the destination; or, for one file to stdout or a temporary file, to a
 * descriptor. Writing blocks the loop, and that is the back-pressure. A way to fail is an
 * error of either side; a file that is not whole is removed.
 */
#include <libgen.h>
#include <sys/stat.h>

#include "cli/connection.h"
#include "cli/file.h"
#include "cli/progress.h"
#include "cli/tree.h"
#include "lib/fs.h"
#include "lxmgr/v1/instance.pb-c.h"

struct pull {
	struct cli *cli;
	struct lx_call *call;
	/* Where to: one of the two. */
	struct cli_tree *tree;
	int fd;
	Lxmgr__V1__FileEntry meta; /* fd: of the one file, numbers only */
	bool has_meta;
	uint64_t bytes;
	bool closed;
	struct lx_err err;
	struct cli_progress progress;
	struct cli_progress_state shown;
	char label[256];
};

/* ------------------------------------------------------------------ receiving */

static int entry_to_fd(struct pull *p, const Lxmgr__V1__FileEntry *e, struct lx_err *err)
{
	if (p->has_meta || *e->path)
		return lx_err_set(err, LX_DATA_LOSS, "the server sent more than one file");
	if (e->type != LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR)
		return lx_err_set(err, LX_FAILED_PRECONDITION, "it is no regular file");
	p->meta = *e;
	p->has_meta = true;
	return 0;
}

static int data_to_fd(struct pull *p, const ProtobufCBinaryData *data, struct lx_err *err)
{
	if (!p->has_meta || data->len > p->meta.size - p->bytes)
		return lx_err_set(err, LX_DATA_LOSS, "the server sent more bytes than the file has");
	p->bytes += data->len;
	ssize_t n = lx_write_full(p->fd, data->data, data->len);
	return n < 0 ? lx_err_errno(err, (int)n, "cannot write the output") : 0;
}

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__PullFileResponse *resp = (const Lxmgr__V1__PullFileResponse *)msg;
	struct pull *p = arg;
	int r = 0;

	if (p->err.code != LX_OK)
		return;
	if (resp->what_case == LXMGR__V1__PULL_FILE_RESPONSE__WHAT_ENTRY) {
		r = p->tree ? cli_tree_entry(p->tree, resp->entry, &p->err)
			    : entry_to_fd(p, resp->entry, &p->err);
		p->shown.total = *resp->entry->path ? 0 : resp->entry->size; /* of a tree it is not known */
	} else if (resp->what_case == LXMGR__V1__PULL_FILE_RESPONSE__WHAT_DATA) {
		r = p->tree ? cli_tree_data(p->tree, resp->data.data, resp->data.len, &p->err)
			    : data_to_fd(p, &resp->data, &p->err);
	}
	if (r < 0) {
		lx_call_cancel(call);
		return;
	}
	p->shown.done = p->tree ? cli_tree_bytes(p->tree) : p->bytes;
	cli_progress_show(&p->progress, &p->shown);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct pull *p = arg;

	p->closed = true;
	if (p->err.code == LX_OK)
		p->err = *err;
}

static int finish(struct pull *p, struct lx_err *err)
{
	if (p->err.code != LX_OK) {
		*err = p->err;
		return lx_code_errno(err->code);
	}
	if (p->tree)
		return cli_tree_finish(p->tree, err);
	if (!p->has_meta || p->bytes != p->meta.size)
		return lx_err_set(err, LX_DATA_LOSS, "the server did not send the whole file");
	return 0;
}

static int run(struct pull *p, const struct cli_guest_path *from, bool recursive, struct lx_err *err)
{
	static const struct lx_call_events events = { .message = on_message, .closed = on_closed };
	Lxmgr__V1__PullFileRequest req = LXMGR__V1__PULL_FILE_REQUEST__INIT;
	int r = cli_connect(p->cli, err);

	if (r == 0)
		r = lx_channel_stream(p->cli->channel, CLI_INSTANCES, "PullFile", cli_options(p->cli),
				      &events, p, &p->call, err);
	if (r < 0)
		return r;
	snprintf(p->label, sizeof(p->label), "Pulling %s%s", from->instance, from->path);
	p->shown = (struct cli_progress_state){ .label = p->label, .phase = "", .unit = "bytes" };
	cli_progress_init(&p->progress, p->cli->quiet || (p->fd == STDOUT_FILENO && isatty(STDOUT_FILENO)));
	req.instance = from->instance;
	req.path = (char *)from->path;
	req.recursive = recursive;
	if (lx_call_send(p->call, &req.base) >= 0)
		lx_call_half_close(p->call);
	r = cli_run_call(p->cli, p->call, &p->closed, err);
	cli_progress_clear(&p->progress);
	return r < 0 ? r : finish(p, err);
}

int cli_pull_to_fd(struct cli *cli, const struct cli_guest_path *from, int fd, Lxmgr__V1__FileEntry *ret_meta,
		   struct lx_err *err)
{
	struct pull p = { .cli = cli, .fd = fd, .err = LX_ERR_INIT };
	int r = run(&p, from, false, err);

	if (r < 0) {
		lx_err_wrap(err, "cannot pull %s%s", from->instance, from->path);
		return r;
	}
	if (ret_meta)
		*ret_meta = p.meta;
	return 0;
}

/* ------------------------------------------------------------------ where to */

static int pull_tree(struct cli *cli, const struct cli_guest_path *from, const char *directory,
		     const char *name, struct lx_err *err)
{
	struct pull p = { .cli = cli, .fd = -1, .err = LX_ERR_INIT };
	bool recursive = cli_flag(cli, "recursive");
	/* As root files keep their owner, as with tar(1). */
	int r = cli_tree_open(directory, name, recursive, geteuid() == 0, &p.tree, err);

	if (r == 0)
		r = run(&p, from, recursive, err);
	if (r < 0)
		lx_err_wrap(err, "cannot pull %s%s", from->instance, from->path);
	cli_tree_free(p.tree);
	return r;
}

/* The last name of a path in the instance; the instance's own name for its root. */
static char *local_name(const struct cli_guest_path *from)
{
	lx_autofree char *copy = strdup(from->path);
	const char *name = copy ? basename(copy) : NULL;

	if (!name)
		return NULL;
	return strdup(strcmp(name, "/") == 0 ? from->instance : name);
}

static int pull_one(struct cli *cli, const char *source, const char *target, bool into, struct lx_err *err)
{
	struct cli_guest_path from = { 0 };
	int r = cli_guest_path(cli, source, &from, err);

	if (r < 0)
		return r;
	if (into) {
		lx_autofree char *name = local_name(&from);
		r = name ? pull_tree(cli, &from, target, name, err) : lx_err_oom(err);
	} else {
		lx_autofree char *a = strdup(target), *b = strdup(target);
		r = a && b ? pull_tree(cli, &from, dirname(a), basename(b), err) : lx_err_oom(err);
	}
	free(from.instance);
	return r;
}

static int pull_to_stdout(struct cli *cli, const char *source, struct lx_err *err)
{
	struct cli_guest_path from = { 0 };
	int r = cli_guest_path(cli, source, &from, err);

	if (r == 0)
		r = cli_pull_to_fd(cli, &from, STDOUT_FILENO, NULL, err);
	free(from.instance);
	return r;
}

int cli_file_pull(struct cli *cli, struct lx_err *err)
{
	int last = cli->args.n_operands - 1;
	const char *target = cli_operand(cli, last);
	bool into = last > 1 || cli_flag(cli, "recursive") || lx_ends_with(target, "/") || lx_is_dir(target);
	int r = 0;

	if (strcmp(target, "-") == 0) {
		if (last > 1 || cli_flag(cli, "recursive"))
			return cli_usage(cli, err, "only one file can go to stdout");
		return pull_to_stdout(cli, cli_operand(cli, 0), err);
	}
	if (cli_flag(cli, "create-dirs")) {
		lx_autofree char *copy = strdup(target);
		r = copy ? lx_mkdir_p(into ? target : dirname(copy), 0755, err) : lx_err_oom(err);
	} else if (into && !lx_is_dir(target) && mkdir(target, 0755) < 0) {
		r = lx_err_errno(err, errno, "cannot make the directory %s", target);
	}
	for (int i = 0; r == 0 && i < last; i++)
		r = pull_one(cli, cli_operand(cli, i), target, into, err);
	return r;
}
