/*
 * What waits until every entry is there: the times of directories, because making files in
 * them changes those; default access lists, because files made later would inherit them;
 * and access lists that name users, because the names are those of the image's own passwd
 * and group files.
 */
#include "images/unpack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/acl.h"
#include "images/attrs.h"
#include "images/ids.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"

static bool is_dir(struct archive_entry *entry)
{
	return archive_entry_filetype(entry) == AE_IFDIR;
}

int lx_unpack_remember(struct lx_unpacker *u, struct archive_entry *entry, const char *path)
{
	bool lists =
		archive_entry_acl_count(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT) > 0 || lx_acl_has_names(entry);

	if (!lists && !is_dir(entry))
		return 0;
	if (u->n_pending == u->cap_pending) {
		size_t cap = u->cap_pending ? u->cap_pending * 2 : 256;
		struct lx_pending *grown = realloc(u->pending, cap * sizeof(*grown));

		if (!grown)
			return lx_err_oom(u->err);
		u->pending = grown;
		u->cap_pending = cap;
	}
	struct lx_pending *p = &u->pending[u->n_pending++];

	*p = (struct lx_pending){ .path = strdup(path), .mtime = { .tv_nsec = UTIME_OMIT } };
	if (is_dir(entry))
		p->mtime = lx_attrs_mtime(entry);
	if (lists)
		p->lists = archive_entry_clone(entry);
	return p->path && (!lists || p->lists) ? 0 : lx_err_oom(u->err);
}

void lx_unpack_forget(struct lx_unpacker *u)
{
	for (size_t i = 0; i < u->n_pending; i++) {
		free(u->pending[i].path);
		archive_entry_free(u->pending[i].lists);
	}
	free(u->pending);
}

/* ------------------------------------------------------------------ names */

static int read_ids(struct lx_unpacker *u, const char *dir, const char *file, struct lx_map *ret)
{
	lx_autobuf struct lx_buf text = { 0 };
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	lx_autoclose int fd = lx_jail_open(&u->jail, path, O_RDONLY | O_NONBLOCK);

	/* Without it nobody is known, which is no reason to refuse an image. */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > LX_IDS_FILE_MAX)
		return 0;
	if (lx_buf_reserve(&text, (size_t)st.st_size + 1) < 0)
		return lx_err_oom(u->err);
	ssize_t n = lx_read_full(fd, text.data, (size_t)st.st_size);

	if (n < 0)
		return lx_err_errno(u->err, (int)n, "cannot read the image's %s", file);
	text.data[n] = '\0';
	return lx_ids_parse(ret, (const char *)text.data) < 0 ? lx_err_oom(u->err) : 0;
}

static int load_ids(struct lx_unpacker *u, struct lx_ids *ids)
{
	const char *dir = u->options->accounts;
	int r = dir ? read_ids(u, dir, "passwd", &ids->users) : 0;

	return r == 0 && dir ? read_ids(u, dir, "group", &ids->groups) : r;
}

/* ------------------------------------------------------------------ doing it */

static int finish(struct lx_unpacker *u, const struct lx_pending *p, const struct lx_ids *ids)
{
	/* A later entry may have put something else in its place: then there is nothing to do. */
	lx_autoclose int fd = lx_jail_open(&u->jail, p->path, O_RDONLY | O_NONBLOCK);
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)))
		return 0;
	if (p->lists) {
		r = lx_attrs_set_access_acl(p->lists, ids, fd, p->path, u->err);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = lx_attrs_set_default_acl(p->lists, ids, fd, p->path, u->err);
	}
	return r == 0 ? lx_attrs_set_mtime(p->mtime, -1, NULL, fd, p->path, u->err) : r;
}

int lx_unpack_last(struct lx_unpacker *u)
{
	struct lx_ids ids;

	lx_ids_init(&ids);
	int r = load_ids(u, &ids);

	for (size_t i = 0; r == 0 && i < u->n_pending; i++)
		r = finish(u, &u->pending[i], &ids);
	lx_ids_release(&ids);
	return r;
}
