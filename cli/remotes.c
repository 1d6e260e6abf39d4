/*
 * Remotes on disk, for this user alone. A remote is made in a directory beside its place and
 * renamed, so that one that was cut short is not there; the key never leaves it.
 */
#include "cli/remotes.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fs.h"

#define FILE_MAX 65536u

static char *config_path(const char *leaf)
{
	const char *own = getenv("LXMGR_CONFIG_DIR"), *xdg = getenv("XDG_CONFIG_HOME"),
		   *home = getenv("HOME");

	if (!lx_str_empty(own))
		return lx_asprintf("%s/%s", own, leaf);
	if (!lx_str_empty(xdg))
		return lx_asprintf("%s/lxmgr/%s", xdg, leaf);
	return lx_asprintf("%s/.config/lxmgr/%s", lx_str_empty(home) ? "/" : home, leaf);
}

static char *remote_path(const char *name, const char *leaf)
{
	lx_autofree char *dir = config_path("remotes");

	return dir ? lx_asprintf("%s/%s%s%s", dir, name, *leaf ? "/" : "", leaf) : NULL;
}

void cli_remote_release(struct cli_remote *r)
{
	if (r->key.data)
		explicit_bzero(r->key.data, r->key.len);
	lx_buf_release(&r->address);
	lx_buf_release(&r->key);
	lx_buf_release(&r->cert);
	lx_buf_release(&r->ca);
}

bool cli_remote_exists(const char *name)
{
	lx_autofree char *path = remote_path(name, "client.crt");

	return path && lx_path_exists(path);
}

static int read_part(const char *name, const char *leaf, struct lx_buf *out, struct lx_err *err)
{
	lx_autofree char *path = remote_path(name, leaf);

	return path ? lx_read_file(path, FILE_MAX, out, err) : lx_err_oom(err);
}

int cli_remote_load(const char *name, struct cli_remote *ret, struct lx_err *err)
{
	int r = lx_name_check("remote", name, err);

	if (r < 0)
		return r;
	if (!cli_remote_exists(name)) {
		r = lx_err_set(err, LX_NOT_FOUND, "there is no remote %s", name);
		lx_err_hint(err,
			    "lxmgr remote list shows those there are; lxmgr remote add %s TOKEN makes one.",
			    name);
		return r;
	}
	if ((r = read_part(name, "address", &ret->address, err)) < 0 ||
	    (r = read_part(name, "client.key", &ret->key, err)) < 0 ||
	    (r = read_part(name, "client.crt", &ret->cert, err)) < 0 ||
	    (r = read_part(name, "ca.crt", &ret->ca, err)) < 0)
		return r;
	while (ret->address.len && ret->address.data[ret->address.len - 1] == '\n')
		ret->address.data[--ret->address.len] = '\0';
	return 0;
}

static int write_part(const char *dir, const char *leaf, const struct lx_buf *text, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(dir, leaf);

	return path ? lx_write_file_atomic(path, text->data, text->len, 0600, err) : lx_err_oom(err);
}

int cli_remote_store(const char *name, const struct cli_remote *remote, struct lx_err *err)
{
	lx_autofree char *dir = remote_path(name, ""), *top = config_path("remotes");
	/* No remote's name begins with a dot. */
	lx_autofree char *temp = top ? lx_asprintf("%s/.new-%d", top, (int)getpid()) : NULL;
	int r;

	if (!dir || !temp)
		return lx_err_oom(err);
	if ((r = lx_mkdir_p(temp, 0700, err)) == 0 &&
	    (r = write_part(temp, "address", &remote->address, err)) == 0 &&
	    (r = write_part(temp, "client.key", &remote->key, err)) == 0 &&
	    (r = write_part(temp, "client.crt", &remote->cert, err)) == 0 &&
	    (r = write_part(temp, "ca.crt", &remote->ca, err)) == 0 && rename(temp, dir) < 0)
		r = lx_err_errno(err, errno, "cannot store remote %s as %s", name, dir);
	if (r < 0)
		lx_rm_rf(temp, NULL);
	else
		(void)lx_fsync_dir(top);
	return r;
}

int cli_remote_remove(const char *name, struct lx_err *err)
{
	lx_autofree char *dir = remote_path(name, "");

	return dir ? lx_rm_rf(dir, err) : lx_err_oom(err);
}

static int shown(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

int cli_remote_each(void (*each)(const char *name, void *arg), void *arg, struct lx_err *err)
{
	lx_autofree char *top = config_path("remotes");
	struct dirent **found;

	if (!top)
		return lx_err_oom(err);
	int n = scandir(top, &found, shown, alphasort);

	if (n < 0)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot read %s", top);
	for (int i = 0; i < n; i++) {
		if (cli_remote_exists(found[i]->d_name))
			each(found[i]->d_name, arg);
		free(found[i]);
	}
	free(found);
	return 0;
}

char *cli_remote_default(void)
{
	lx_autofree char *path = config_path("remote");
	char name[LX_NAME_MAX + 2];

	if (!path || lx_read_line(path, name, sizeof(name)) < 0 || lx_str_empty(name) ||
	    strcmp(name, CLI_REMOTE_LOCAL) == 0)
		return NULL;
	return strdup(name);
}

int cli_remote_set_default(const char *name, struct lx_err *err)
{
	lx_autofree char *dir = config_path(""), *path = config_path("remote");
	lx_autofree char *line = lx_asprintf("%s\n", name);
	int r;

	if (!dir || !path || !line)
		return lx_err_oom(err);
	r = lx_mkdir_p(dir, 0700, err);
	return r < 0 ? r : lx_write_file_atomic(path, line, strlen(line), 0600, err);
}

/* One that is given as HOST:PORT has none: it has no name to keep it under. */
static char *project_path(const char *remote)
{
	lx_autofree char *dir = config_path("projects");

	if (!dir || (remote && lx_name_check("remote", remote, NULL) < 0))
		return NULL;
	return lx_path_join(dir, remote ? remote : CLI_REMOTE_LOCAL);
}

char *cli_project_default(const char *remote)
{
	lx_autofree char *path = project_path(remote);
	char name[LX_NAME_MAX + 2];

	if (!path || lx_read_line(path, name, sizeof(name)) < 0 || lx_name_check("project", name, NULL) < 0)
		return NULL;
	return strdup(name);
}

int cli_project_set_default(const char *remote, const char *project, struct lx_err *err)
{
	lx_autofree char *dir = config_path("projects"), *path = project_path(remote);
	lx_autofree char *line = lx_asprintf("%s\n", project);
	int r;

	if (remote && lx_name_check("remote", remote, NULL) < 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s has no name to remember a project for",
				  remote);
	if (!dir || !path || !line)
		return lx_err_oom(err);
	r = lx_mkdir_p(dir, 0700, err);
	return r < 0 ? r : lx_write_file_atomic(path, line, strlen(line), 0600, err);
}
