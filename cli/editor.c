/*
 * Editing: see editor.h. The text lives in a private temporary file while the editor runs
 * and is lost only when the person gives up.
 */
#include "cli/editor.h"

#include <signal.h>
#include <sys/wait.h>

#include "lib/fs.h"

static const char *editor(void)
{
	const char *e = getenv("VISUAL");

	if (lx_str_empty(e))
		e = getenv("EDITOR");
	return lx_str_empty(e) ? "vi" : e;
}

/* Ctrl-C is the editor's while it runs: the text must not be lost to it. */
static void editor_signals(void (*interrupt)(int), void (*pipe)(int))
{
	signal(SIGINT, interrupt);
	signal(SIGQUIT, interrupt);
	signal(SIGPIPE, pipe);
}

static int run_and_wait(const char *script, const char *path, int *status, struct lx_err *err)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return lx_err_errno(err, errno, "cannot start the editor");
	if (pid == 0) {
		editor_signals(SIG_DFL, SIG_DFL);
		/* $EDITOR may have arguments of its own, so the shell takes it apart. */
		execl("/bin/sh", "sh", "-c", script, editor(), path, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return lx_err_errno(err, errno, "lost sight of the editor");
	return 0;
}

int cli_editor_run(const char *path, struct lx_err *err)
{
	lx_autofree char *script = lx_asprintf("%s \"$1\"", editor());
	int status = -1;

	if (!script)
		return lx_err_oom(err);
	editor_signals(SIG_IGN, SIG_IGN);
	int r = run_and_wait(script, path, &status, err);
	editor_signals(SIG_DFL, SIG_IGN);
	if (r < 0)
		return r;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	r = lx_err_set(err, LX_ABORTED, "the editor \"%s\" failed", editor());
	lx_err_hint(err, "Set EDITOR to one that is there.");
	return r;
}

/* ------------------------------------------------------------------ documents */

struct edit {
	struct cli *cli;
	int (*apply)(struct cli *cli, const json_t *doc, void *arg, struct lx_err *err);
	void *arg;
};

static int apply_text(const struct edit *e, const struct lx_buf *text, struct lx_err *err)
{
	json_t *doc = NULL;
	int r = cli_yaml_read(lx_buf_str(text), text->len, &doc, err);

	if (r == 0)
		r = e->apply(e->cli, doc, e->arg, err);
	json_decref(doc);
	return r;
}

int cli_read_document(const char *path, struct lx_buf *text, struct lx_err *err)
{
	if (strcmp(path, "-") != 0)
		return lx_read_file(path, CLI_YAML_MAX_BYTES, text, err);

	char chunk[4096];
	ssize_t n;

	while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) > 0) {
		if (text->len + (size_t)n > CLI_YAML_MAX_BYTES)
			return lx_err_set(err, LX_INVALID_ARGUMENT, "stdin is longer than %u bytes",
					  CLI_YAML_MAX_BYTES);
		if (lx_buf_append(text, chunk, (size_t)n) < 0)
			return lx_err_oom(err);
	}
	return n < 0 ? lx_err_errno(err, errno, "cannot read stdin") : 0;
}

/* Until it is accepted, unchanged, or the person has had enough. */
static int edit_loop(const struct edit *e, const char *path, const struct lx_buf *before, struct lx_err *err)
{
	for (;;) {
		lx_autobuf struct lx_buf after = { 0 };
		int r = cli_editor_run(path, err);
		if (r == 0)
			r = lx_read_file(path, CLI_YAML_MAX_BYTES, &after, err);
		if (r < 0)
			return r;
		if (strcmp(lx_buf_str(before), lx_buf_str(&after)) == 0) {
			cli_note(e->cli, "Nothing was changed.");
			return 0;
		}
		r = apply_text(e, &after, err);
		if (r == 0 || !isatty(STDIN_FILENO))
			return r;
		cli_report(err);
		if (!cli_confirm(false, "Edit it again?"))
			return r;
		*err = LX_ERR_INIT;
	}
}

static int edit_in_editor(const struct edit *e, const struct lx_buf *text, struct lx_err *err)
{
	const char *dir = getenv("TMPDIR");
	lx_autofree char *path = lx_asprintf("%s/lxmgr-XXXXXX.yaml", lx_str_empty(dir) ? "/tmp" : dir);
	int fd = path ? mkstemps(path, 5) : -1;

	if (!path)
		return lx_err_oom(err);
	if (fd < 0)
		return lx_err_errno(err, errno, "cannot make a temporary file");
	ssize_t n = lx_write_full(fd, text->data, text->len);
	close(fd);
	int r = n < 0 ? lx_err_errno(err, (int)n, "cannot write %s", path) : edit_loop(e, path, text, err);
	unlink(path);
	return r;
}

int cli_edit(struct cli *cli, const struct cli_doc *d, const char *heading,
	     int (*apply)(struct cli *cli, const json_t *doc, void *arg, struct lx_err *err), void *arg,
	     struct lx_err *err)
{
	const struct edit e = { cli, apply, arg };
	lx_autobuf struct lx_buf text = { 0 };

	if (!isatty(STDIN_FILENO)) {
		int r = cli_read_document("-", &text, err);
		return r < 0 ? r : apply_text(&e, &text, err);
	}
	if (d->oom || lx_buf_printf(&text, "# %s\n# Lines that begin with # are left out.\n", heading) < 0 ||
	    cli_yaml_write(d->root, &text) < 0)
		return lx_err_oom(err);
	return edit_in_editor(&e, &text, err);
}
