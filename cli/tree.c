/*
 * Writing a tree from outside: see tree.h.
 *
 * The happy path: the root entry, then (below a directory) the others, each after its
 * parent; a file is written under a temporary name beside its place and renamed when its
 * last byte is there; directories get their mode last, because it may forbid writing.
 *
 * A symbolic link is created, never followed: the next component below it is opened with
 * O_NOFOLLOW and fails. rename(2) replaces a link, not what it points to.
 */
#include "cli/tree.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "lib/fs.h"

#define MODE_MASK 0777 /* no set-uid, set-gid: the instance's root is not ours */

struct directory {
	char *path;
	Lxmgr__V1__FileEntry meta; /* numbers only */
};

struct cli_tree {
	int base; /* the directory above the root */
	char *name;
	bool recursive, owners;
	uint64_t entries, bytes;
	Lxmgr__V1__FileType root; /* UNSPECIFIED: not seen yet */

	/* The file being written. */
	int fd, parent;
	char temp[64];
	char *last; /* its name */
	uint64_t left;
	Lxmgr__V1__FileEntry meta;

	struct directory *dirs;
	size_t n_dirs;
};

#define REGULAR   LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR
#define DIRECTORY LXMGR__V1__FILE_TYPE__FILE_TYPE_DIRECTORY
#define SYMLINK   LXMGR__V1__FILE_TYPE__FILE_TYPE_SYMLINK

/* ------------------------------------------------------------------ paths */

int cli_tree_check_path(const char *path, struct lx_err *err)
{
	const char *why = NULL;

	if (*path == '/')
		why = "it is absolute";
	else if (strlen(path) > CLI_TREE_MAX_PATH)
		why = "it is too long";
	for (const char *p = path; !why && *path; p++) {
		size_t len = strcspn(p, "/");
		if (len == 0 || (len == 1 && *p == '.') || (len == 2 && strncmp(p, "..", 2) == 0))
			why = "it has an empty, \".\" or \"..\" component";
		else if (len > CLI_TREE_MAX_NAME)
			why = "a name in it is too long";
		p += len;
		if (!*p)
			break;
	}
	return why ? lx_err_set(err, LX_DATA_LOSS, "refused the path \"%.200s\" that the server sent: %s",
				path, why)
		   : 0;
}

/*
 * Opens the directory that holds `path` (below the root; "" is the root itself) and finds
 * the name in it. *ret_name points into `path` or is the root's name.
 */
static int open_parent(const struct cli_tree *t, const char *path, int *ret_fd, const char **ret_name,
		       struct lx_err *err)
{
	lx_autoclose int dir = fcntl(t->base, F_DUPFD_CLOEXEC, 0);
	const char *name = t->name, *rest = path;
	char component[CLI_TREE_MAX_NAME + 1];

	while (dir >= 0 && *rest) {
		int below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(dir);
		dir = below;
		size_t len = strcspn(rest, "/");
		name = rest;
		rest += len;
		if (*rest) { /* one on the way: a copy that ends */
			snprintf(component, sizeof(component), "%.*s", (int)len, name);
			name = component;
			rest++;
		}
	}
	if (dir < 0)
		return lx_err_errno(err, errno, "cannot write %s%s%s: what is above it is no directory",
				    t->name, *path ? "/" : "", path);
	*ret_fd = lx_move_fd(dir);
	*ret_name = name;
	return 0;
}

/* ------------------------------------------------------------------ metadata */

static void metadata(const struct cli_tree *t, int dir, const char *name, int fd,
		     const Lxmgr__V1__FileEntry *e)
{
	const struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = e->mtime_ns / 1000000000, .tv_nsec = e->mtime_ns % 1000000000 },
	};
	bool known_time = e->mtime_ns > 0;

	/* Best effort, as cp(1): a file system may have no owners. */
	if (t->owners && fchownat(dir, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
		errno = 0;
	if (fd >= 0 && fchmod(fd, e->mode & MODE_MASK) < 0)
		errno = 0;
	if (known_time && utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		errno = 0;
}

/* ------------------------------------------------------------------ entries */

static int complete_file(struct cli_tree *t, struct lx_err *err)
{
	int r = 0;

	if (t->fd < 0)
		return 0;
	if (t->left)
		return lx_err_set(err, LX_DATA_LOSS, "%s ended %llu bytes early", t->last,
				  (unsigned long long)t->left);
	metadata(t, t->parent, t->temp, t->fd, &t->meta);
	if (renameat(t->parent, t->temp, t->parent, t->last) < 0)
		r = lx_err_errno(err, errno, "cannot write %s", t->last);
	else
		t->temp[0] = '\0';
	if (close(t->fd) < 0 && r == 0)
		r = lx_err_errno(err, errno, "cannot write %s", t->last);
	t->fd = -1;
	if (t->temp[0])
		unlinkat(t->parent, t->temp, 0);
	close(t->parent);
	t->parent = -1;
	return r;
}

static int begin_file(struct cli_tree *t, const Lxmgr__V1__FileEntry *e, int parent, const char *name,
		      struct lx_err *err)
{
	char *copy = strdup(name);

	if (!copy)
		return lx_err_oom(err);
	free(t->last);
	t->last = copy;
	t->fd = openat(parent, t->temp, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (t->fd < 0)
		return lx_err_errno(err, errno, "cannot write %s", name);
	t->parent = fcntl(parent, F_DUPFD_CLOEXEC, 0);
	if (t->parent < 0) {
		int r = lx_err_errno(err, errno, "cannot write %s", name);
		unlinkat(parent, t->temp, 0);
		close(t->fd);
		t->fd = -1;
		return r;
	}
	t->left = e->size;
	t->meta = *e;
	return t->left ? 0 : complete_file(t, err);
}

static int make_directory(struct cli_tree *t, const Lxmgr__V1__FileEntry *e, int parent, const char *name,
			  struct lx_err *err)
{
	struct stat st;

	if (!t->recursive)
		return lx_err_set(err, LX_FAILED_PRECONDITION, "%s is a directory", name);
	if (mkdirat(parent, name, 0700) < 0) {
		if (errno != EEXIST || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return lx_err_errno(err, errno, "cannot make the directory %s", name);
		if (!S_ISDIR(st.st_mode))
			return lx_err_set(err, LX_ALREADY_EXISTS, "%s is here and is no directory", name);
	}
	if (t->n_dirs == CLI_TREE_MAX_DIRS)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "more than %u directories", CLI_TREE_MAX_DIRS);
	if ((t->n_dirs & (t->n_dirs - 1)) == 0) { /* doubles at every power of two */
		struct directory *grown =
			reallocarray(t->dirs, t->n_dirs ? 2 * t->n_dirs : 1, sizeof(*grown));
		if (!grown)
			return lx_err_oom(err);
		t->dirs = grown;
	}
	char *path = strdup(e->path);
	if (!path)
		return lx_err_oom(err);
	t->dirs[t->n_dirs++] = (struct directory){ .path = path, .meta = *e };
	return 0;
}

static int make_symlink(struct cli_tree *t, const Lxmgr__V1__FileEntry *e, int parent, const char *name,
			struct lx_err *err)
{
	if (!*e->target || strlen(e->target) > CLI_TREE_MAX_PATH)
		return lx_err_set(err, LX_DATA_LOSS, "the link %s has no usable target", name);
	if (symlinkat(e->target, parent, t->temp) < 0)
		return lx_err_errno(err, errno, "cannot make the link %s", name);
	metadata(t, parent, t->temp, -1, e);
	if (renameat(parent, t->temp, parent, name) < 0) {
		int r = lx_err_errno(err, errno, "cannot make the link %s", name);
		unlinkat(parent, t->temp, 0);
		return r;
	}
	return 0;
}

/* The first entry is the root, and only a directory has more. */
static int check_order(struct cli_tree *t, const Lxmgr__V1__FileEntry *e, struct lx_err *err)
{
	bool first = t->entries++ == 0;

	if (t->entries > CLI_TREE_MAX_ENTRIES)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "more than %u files", CLI_TREE_MAX_ENTRIES);
	if (first != !*e->path || (!first && t->root != DIRECTORY))
		return lx_err_set(err, LX_DATA_LOSS,
				  "the server sent an entry where there can be none: \"%.200s\"", e->path);
	if (first)
		t->root = e->type;
	return cli_tree_check_path(e->path, err);
}

int cli_tree_entry(struct cli_tree *t, const Lxmgr__V1__FileEntry *e, struct lx_err *err)
{
	lx_autoclose int parent = -1;
	const char *name;
	int r = complete_file(t, err);

	if (r == 0)
		r = check_order(t, e, err);
	if (r == 0)
		r = open_parent(t, e->path, &parent, &name, err);
	if (r != 0)
		return r;
	snprintf(t->temp, sizeof(t->temp), ".lxmgr-pull-%ld-%llu", (long)getpid(),
		 (unsigned long long)t->entries);
	switch (e->type) {
	case REGULAR:
		return begin_file(t, e, parent, name, err);
	case DIRECTORY:
		return make_directory(t, e, parent, name, err);
	case SYMLINK:
		return make_symlink(t, e, parent, name, err);
	default:
		return lx_err_set(err, LX_DATA_LOSS, "%s is neither a file, a directory nor a link", name);
	}
}

int cli_tree_data(struct cli_tree *t, const void *data, size_t len, struct lx_err *err)
{
	if (t->fd < 0 || len > t->left)
		return lx_err_set(err, LX_DATA_LOSS, "the server sent more bytes than %s has",
				  t->last ? t->last : t->name);
	ssize_t n = lx_write_full(t->fd, data, len);
	if (n < 0)
		return lx_err_errno(err, (int)n, "cannot write %s", t->last);
	t->left -= len;
	t->bytes += len;
	return t->left ? 0 : complete_file(t, err);
}

int cli_tree_finish(struct cli_tree *t, struct lx_err *err)
{
	int r = complete_file(t, err);

	if (r == 0 && !t->entries)
		r = lx_err_set(err, LX_DATA_LOSS, "the server sent nothing");
	/* Deepest first: a directory's mode may forbid to enter it. */
	for (size_t i = t->n_dirs; r == 0 && i > 0; i--) {
		lx_autoclose int parent = -1, fd = -1;
		const char *name;
		r = open_parent(t, t->dirs[i - 1].path, &parent, &name, err);
		if (r != 0)
			break;
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return lx_err_errno(err, errno, "cannot finish the directory %s", name);
		metadata(t, parent, name, fd, &t->dirs[i - 1].meta);
	}
	return r;
}

/* ------------------------------------------------------------------ life */

int cli_tree_open(const char *directory, const char *name, bool recursive, bool owners, struct cli_tree **ret,
		  struct lx_err *err)
{
	if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "\"%s\" is no name for a file here", name);
	struct cli_tree *t = calloc(1, sizeof(*t));
	if (!t)
		return lx_err_oom(err);
	t->fd = t->parent = -1;
	t->recursive = recursive;
	t->owners = owners;
	t->name = strdup(name);
	t->base = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = 0;
	if (!t->name)
		r = lx_err_oom(err);
	else if (t->base < 0)
		r = lx_err_errno(err, errno, "cannot open the directory %s", directory);
	if (r < 0)
		cli_tree_free(t);
	else
		*ret = t;
	return r;
}

uint64_t cli_tree_bytes(const struct cli_tree *t)
{
	return t->bytes;
}

void cli_tree_free(struct cli_tree *t)
{
	if (!t)
		return;
	if (t->fd >= 0) {
		close(t->fd);
		unlinkat(t->parent, t->temp, 0);
		close(t->parent);
	}
	if (t->base >= 0)
		close(t->base);
	for (size_t i = 0; i < t->n_dirs; i++)
		free(t->dirs[i].path);
	free(t->dirs);
	free(t->name);
	free(t->last);
	free(t);
}
