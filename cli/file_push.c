/*
 * lxmgr file push: local files and trees into an instance.
 *
 * The happy path: the trees are walked first, so that the total is known; then entry by
 * entry goes out, each file's bytes after it, as fast as the call takes them; the answer
 * counts what arrived. Ways to fail: a file that cannot be read or shrinks while it is
 * read (the call is cancelled; what was sent is there), or whatever the instance says.
 * Sockets, pipes and devices are left out with a warning.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "cli/connection.h"
#include "cli/file.h"
#include "cli/progress.h"
#include "lib/fs.h"
#include "lxmgr/v1/instance.pb-c.h"

#define CHUNK 65536u /* bytes in one message */

/* ------------------------------------------------------------------ what to send */

void cli_push_release(struct cli_push *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->items[i].source);
		free(p->items[i].meta.path);
		free(p->items[i].meta.target);
		if (p->items[i].fd >= 0)
			close(p->items[i].fd);
	}
	free(p->items);
	*p = CLI_PUSH_INIT;
}

int cli_push_add(struct cli_push *p, const char *source, int fd, const char *path, const char *target,
		 const Lxmgr__V1__FileEntry *entry, struct lx_err *err)
{
	if (p->n == CLI_PUSH_MAX_ITEMS)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "more than %u files", CLI_PUSH_MAX_ITEMS);
	if ((p->n & (p->n - 1)) == 0) { /* doubles at every power of two */
		struct cli_push_item *grown = reallocarray(p->items, p->n ? 2 * p->n : 1, sizeof(*grown));
		if (!grown)
			return lx_err_oom(err);
		p->items = grown;
	}
	struct cli_push_item *item = &p->items[p->n++];
	*item = (struct cli_push_item){ .source = source ? strdup(source) : NULL, .fd = fd, .meta = *entry };
	item->meta.path = strdup(path);
	item->meta.target = strdup(target ? target : "");
	if ((source && !item->source) || !item->meta.path || !item->meta.target)
		return lx_err_oom(err);
	if (p->mode >= 0)
		item->meta.mode = (uint32_t)p->mode;
	if (p->uid >= 0)
		item->meta.uid = (uint32_t)p->uid;
	if (p->gid >= 0)
		item->meta.gid = (uint32_t)p->gid;
	p->bytes += entry->size;
	return 0;
}

static Lxmgr__V1__FileEntry entry_of(const struct stat *st, Lxmgr__V1__FileType type)
{
	Lxmgr__V1__FileEntry e = LXMGR__V1__FILE_ENTRY__INIT;

	e.type = type;
	e.mode = st->st_mode & 07777;
	e.uid = st->st_uid;
	e.gid = st->st_gid;
	e.mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
	if (type == LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR)
		e.size = (uint64_t)st->st_size;
	return e;
}

static int add_tree(struct cli_push *p, const char *source, const char *path, struct lx_err *err);

static int add_children(struct cli_push *p, const char *source, const char *path, struct lx_err *err)
{
	lx_autoclosedir DIR *dir = opendir(source);
	struct dirent *d;
	int r = 0;

	if (!dir)
		return lx_err_errno(err, errno, "cannot read the directory %s", source);
	while (r == 0 && (errno = 0, d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		lx_autofree char *below = lx_path_join(source, d->d_name);
		lx_autofree char *name = lx_path_join(path, d->d_name);
		r = below && name ? add_tree(p, below, name, err) : lx_err_oom(err);
	}
	if (r == 0 && errno)
		r = lx_err_errno(err, errno, "cannot read the directory %s", source);
	return r;
}

static int add_link(struct cli_push *p, const char *source, const char *path, const struct stat *st,
		    struct lx_err *err)
{
	const Lxmgr__V1__FileEntry e = entry_of(st, LXMGR__V1__FILE_TYPE__FILE_TYPE_SYMLINK);
	char target[4096];
	ssize_t n = readlink(source, target, sizeof(target) - 1);

	if (n < 0)
		return lx_err_errno(err, errno, "cannot read the link %s", source);
	target[n] = '\0';
	return cli_push_add(p, NULL, -1, path, target, &e, err);
}

static int add_tree(struct cli_push *p, const char *source, const char *path, struct lx_err *err)
{
	struct stat st;

	if (lstat(source, &st) < 0)
		return lx_err_errno(err, errno, "cannot read %s", source);
	if (S_ISLNK(st.st_mode))
		return add_link(p, source, path, &st, err);
	if (S_ISDIR(st.st_mode)) {
		const Lxmgr__V1__FileEntry e = entry_of(&st, LXMGR__V1__FILE_TYPE__FILE_TYPE_DIRECTORY);
		int r = cli_push_add(p, NULL, -1, path, NULL, &e, err);
		return r < 0 ? r : add_children(p, source, path, err);
	}
	if (!S_ISREG(st.st_mode)) {
		cli_warn("%s is neither a file, a directory nor a link: left out", source);
		return 0;
	}
	const Lxmgr__V1__FileEntry e = entry_of(&st, LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR);
	return cli_push_add(p, source, -1, path, NULL, &e, err);
}

/* stdin's size must be known before its bytes: what is no file goes through one. */
static int spool_stdin(int *ret_fd, struct stat *st, struct lx_err *err)
{
	lx_autofclose FILE *spool = NULL;
	uint8_t data[CHUNK];
	ssize_t n;

	if (fstat(STDIN_FILENO, st) == 0 && S_ISREG(st->st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) == 0) {
		*ret_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
		return *ret_fd < 0 ? lx_err_errno(err, errno, "cannot read stdin") : 0;
	}
	spool = tmpfile();
	if (!spool)
		return lx_err_errno(err, errno, "cannot make a temporary file");
	while ((n = read(STDIN_FILENO, data, sizeof(data))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return lx_err_errno(err, errno, "cannot read stdin");
		if (lx_write_full(fileno(spool), data, (size_t)n) < 0)
			return lx_err_errno(err, errno, "cannot write a temporary file");
	}
	*ret_fd = fcntl(fileno(spool), F_DUPFD_CLOEXEC, 0);
	if (*ret_fd < 0 || fstat(*ret_fd, st) < 0 || lseek(*ret_fd, 0, SEEK_SET) < 0)
		return lx_err_errno(err, errno, "cannot read a temporary file");
	return 0;
}

static int add_stdin(struct cli_push *p, struct lx_err *err)
{
	struct stat st;
	int fd = -1, r = spool_stdin(&fd, &st, err);

	if (r < 0)
		return r;
	Lxmgr__V1__FileEntry e = entry_of(&st, LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR);
	e.mode = 0644;
	e.uid = e.gid = 0;
	e.mtime_ns = 0;
	return cli_push_add(p, NULL, fd, "", NULL, &e, err);
}

static int add_source(struct cli *cli, struct cli_push *p, const char *source, struct lx_err *err)
{
	bool recursive = cli_flag(cli, "recursive");
	struct stat st;
	int r;

	if (strcmp(source, "-") == 0)
		return p->into_directory
			       ? cli_usage(cli, err, "stdin needs the full name of one file to become")
			       : add_stdin(p, err);
	if (stat(source, &st) < 0)
		return lx_err_errno(err, errno, "cannot read %s", source);
	if (S_ISDIR(st.st_mode) && !recursive) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s is a directory", source);
		lx_err_hint(err, "Push it with --recursive.");
		return r;
	}
	lx_autofree char *real = realpath(source, NULL); /* "." and "dir/" have a name too */
	if (!real)
		return lx_err_errno(err, errno, "cannot read %s", source);
	if (S_ISDIR(st.st_mode))
		return add_tree(p, real, strrchr(real, '/') + 1, err);
	if (!S_ISREG(st.st_mode))
		return lx_err_set(err, LX_FAILED_PRECONDITION, "%s is neither a file nor a directory",
				  source);
	const char *name = strrchr(source, '/') ? strrchr(source, '/') + 1 : source;
	const Lxmgr__V1__FileEntry e = entry_of(&st, LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR);
	return cli_push_add(p, source, -1, p->into_directory ? name : "", NULL, &e, err);
}

/* ------------------------------------------------------------------ sending it */

struct push {
	struct cli *cli;
	struct cli_push *what;
	struct lx_call *call;
	size_t at; /* next item */
	int fd;    /* of the file being sent */
	const char *name;
	uint64_t left, sent;
	bool full, half_closed, closed;
	struct lx_err err; /* ours comes before the call's */
	struct cli_progress progress;
	struct cli_progress_state shown;
	char label[256];
};

static void abort_push(struct push *p, const struct lx_err *err)
{
	if (p->err.code == LX_OK)
		p->err = *err;
	lx_call_cancel(p->call);
	p->full = true; /* nothing more goes out */
}

static void send_message(struct push *p, const Lxmgr__V1__PushFileRequest *req)
{
	if (lx_call_send(p->call, &req->base) != 0)
		p->full = true; /* or ended: `closed` tells */
}

static int open_item(struct push *p, struct cli_push_item *item, struct lx_err *err)
{
	struct stat st;

	p->name = item->source ? item->source : "stdin";
	if (!item->source) {
		p->fd = lx_move_fd(item->fd);
		return 0;
	}
	p->fd = open(item->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (p->fd < 0 || fstat(p->fd, &st) < 0)
		return lx_err_errno(err, errno, "cannot read %s", item->source);
	if (!S_ISREG(st.st_mode))
		return lx_err_set(err, LX_ABORTED, "%s changed while it was read", item->source);
	item->meta.size = (uint64_t)st.st_size;
	return 0;
}

static int next_item(struct push *p, struct lx_err *err)
{
	struct cli_push_item *item = &p->what->items[p->at++];
	Lxmgr__V1__PushFileRequest req = LXMGR__V1__PUSH_FILE_REQUEST__INIT;

	if (item->meta.type == LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR) {
		int r = open_item(p, item, err);
		if (r < 0)
			return r;
		p->left = item->meta.size;
	}
	req.what_case = LXMGR__V1__PUSH_FILE_REQUEST__WHAT_ENTRY;
	req.entry = &item->meta;
	send_message(p, &req);
	return 0;
}

static int next_bytes(struct push *p, struct lx_err *err)
{
	Lxmgr__V1__PushFileRequest req = LXMGR__V1__PUSH_FILE_REQUEST__INIT;
	uint8_t data[CHUNK];
	ssize_t n = 0;

	if (p->left)
		n = read(p->fd, data, p->left < sizeof(data) ? (size_t)p->left : sizeof(data));
	if (n < 0)
		return lx_err_errno(err, errno, "cannot read %s", p->name);
	if (n == 0 && p->left)
		return lx_err_set(err, LX_ABORTED, "%s became shorter while it was read", p->name);
	if (n > 0) {
		req.what_case = LXMGR__V1__PUSH_FILE_REQUEST__WHAT_DATA;
		req.data.data = data;
		req.data.len = (size_t)n;
		send_message(p, &req);
		p->left -= (uint64_t)n;
		p->sent += (uint64_t)n;
	}
	if (!p->left) {
		close(p->fd);
		p->fd = -1;
	}
	return 0;
}

/* Sends until the call is full or nothing is left. */
static void pump(struct push *p)
{
	struct lx_err err = LX_ERR_INIT;
	int r = 0;

	while (r == 0 && !p->full && !p->closed && !p->half_closed) {
		if (p->fd >= 0) {
			r = next_bytes(p, &err);
		} else if (p->at < p->what->n) {
			r = next_item(p, &err);
		} else {
			lx_call_half_close(p->call);
			p->half_closed = true;
		}
	}
	if (r < 0)
		abort_push(p, &err);
	p->shown.done = p->sent;
	cli_progress_show(&p->progress, &p->shown);
}

static void on_writable(struct lx_call *call, void *arg)
{
	struct push *p = arg;

	p->full = p->err.code != LX_OK;
	pump(p);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct push *p = arg;

	p->closed = true;
	if (p->err.code == LX_OK)
		p->err = *err;
}

int cli_push_run(struct cli *cli, const struct cli_guest_path *to, struct cli_push *what, struct lx_err *err)
{
	static const struct lx_call_events events = { .writable = on_writable, .closed = on_closed };
	Lxmgr__V1__PushFileRequest req = LXMGR__V1__PUSH_FILE_REQUEST__INIT;
	Lxmgr__V1__PushFileStart start = LXMGR__V1__PUSH_FILE_START__INIT;
	struct push p = { .cli = cli, .what = what, .fd = -1, .err = LX_ERR_INIT };
	int r = cli_connect(cli, err);

	if (r == 0)
		r = lx_channel_stream(cli->channel, CLI_INSTANCES, "PushFile", cli_options(cli), &events, &p,
				      &p.call, err);
	if (r < 0)
		return r;
	snprintf(p.label, sizeof(p.label), "Pushing to %s%s", to->instance, to->path);
	p.shown = (struct cli_progress_state){
		.label = p.label, .phase = "", .total = what->bytes, .unit = "bytes"
	};
	cli_progress_init(&p.progress, cli->quiet);
	start.instance = to->instance;
	start.path = (char *)to->path;
	start.create_dirs = what->create_dirs;
	start.into_directory = what->into_directory;
	req.what_case = LXMGR__V1__PUSH_FILE_REQUEST__WHAT_START;
	req.start = &start;
	send_message(&p, &req);
	pump(&p);
	r = cli_run_call(cli, p.call, &p.closed, err);
	cli_progress_clear(&p.progress);
	if (p.fd >= 0)
		close(p.fd);
	if (r == 0 && p.err.code != LX_OK) {
		*err = p.err;
		r = lx_code_errno(err->code);
	}
	return r;
}

/* ------------------------------------------------------------------ the verb */

static int number_option(struct cli *cli, const char *name, int base, uint32_t max, int64_t *ret,
			 struct lx_err *err)
{
	const char *text = cli_opt(cli, name);
	char *end;

	if (!text)
		return 0;
	errno = 0;
	unsigned long long v = strtoull(text, &end, base);
	if (errno || end == text || *end || *text == '-' || v > max)
		return cli_usage(cli, err, "--%s needs %s, not \"%s\"", name,
				 base == 8 ? "an octal mode such as 0644" : "a number", text);
	*ret = (int64_t)v;
	return 0;
}

int cli_push_options(struct cli *cli, struct cli_push *p, struct lx_err *err)
{
	int r = number_option(cli, "mode", 8, 07777, &p->mode, err);

	if (r == 0)
		r = number_option(cli, "uid", 10, UINT32_MAX - 1, &p->uid, err);
	if (r == 0)
		r = number_option(cli, "gid", 10, UINT32_MAX - 1, &p->gid, err);
	p->create_dirs = cli_flag(cli, "create-dirs");
	return r;
}

int cli_file_push(struct cli *cli, struct lx_err *err)
{
	struct cli_guest_path to = { 0 };
	struct cli_push p = CLI_PUSH_INIT;
	int last = cli->args.n_operands - 1;
	int r = cli_guest_path(cli, cli_operand(cli, last), &to, err);

	if (r == 0)
		r = cli_push_options(cli, &p, err);
	if (r == 0)
		p.into_directory = last > 1 || cli_flag(cli, "recursive") || lx_ends_with(to.path, "/");
	for (int i = 0; r == 0 && i < last; i++)
		r = add_source(cli, &p, cli_operand(cli, i), err);
	if (r == 0)
		r = cli_push_run(cli, &to, &p, err);
	cli_push_release(&p);
	free(to.instance);
	return r;
}
