/*
 * Mount tables. A line is
 *
 *   36 35 98:0 /root /point rw,noatime shared:1 master:2 - ext4 /dev/sda rw
 *
 * with blanks, newlines and backslashes in names as \040 and the like. The table keeps one
 * copy of the text, cut into strings.
 */
#include "migration/mounts.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

static int octal(const char *p)
{
	int v = 0;

	for (int i = 0; i < 3; i++) {
		if (p[i] < '0' || p[i] > '7')
			return -1;
		v = v * 8 + (p[i] - '0');
	}
	return v <= 255 ? v : -1;
}

/* Takes the \ooo out of a name, in place. */
static char *unescape(char *s)
{
	char *to = s;

	for (const char *p = s; *p;) {
		int v = *p == '\\' ? octal(p + 1) : -1;

		if (v > 0) {
			*to++ = (char)v;
			p += 4;
		} else {
			*to++ = *p++;
		}
	}
	*to = '\0';
	return s;
}

static int number(const char *s)
{
	return (int)strtol(s, NULL, 10);
}

static bool parse_line(char *line, struct lx_mount *m)
{
	char *save = NULL, *field[6], *f;

	for (size_t i = 0; i < LX_ARRAY_SIZE(field); i++) {
		field[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!field[i])
			return false;
	}
	m->id = number(field[0]);
	m->parent = number(field[1]);

	char *colon = strchr(field[2], ':');

	if (!colon)
		return false;
	m->major = (unsigned int)strtoul(field[2], NULL, 10);
	m->minor = (unsigned int)strtoul(colon + 1, NULL, 10);
	m->root = unescape(field[3]);
	m->point = unescape(field[4]);
	while ((f = strtok_r(NULL, " ", &save)) && !lx_streq(f, "-")) {
		if (lx_starts_with(f, "shared:"))
			m->shared = number(f + strlen("shared:"));
		else if (lx_starts_with(f, "master:"))
			m->master = number(f + strlen("master:"));
	}
	if (!f)
		return false;
	m->fstype = strtok_r(NULL, " ", &save);
	if (!m->fstype)
		return false;
	f = strtok_r(NULL, " ", &save);
	m->source = f ? unescape(f) : "";
	f = strtok_r(NULL, " ", &save);
	m->options = f ? f : "";
	return true;
}

int lx_mounts_parse(const char *text, struct lx_mounts *ret, struct lx_err *err)
{
	size_t lines = 0;

	*ret = (struct lx_mounts){ 0 };
	for (const char *p = text; *p; p = strchrnul(p, '\n'), p += *p == '\n')
		lines++;
	if (lines > LX_MOUNTS_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "it has more than %u mounts", LX_MOUNTS_MAX);
	ret->text = strdup(text);
	ret->m = calloc(lines ? lines : 1, sizeof(*ret->m));
	if (!ret->text || !ret->m)
		return lx_err_oom(err);

	char *save = NULL;

	for (char *line = strtok_r(ret->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!parse_line(line, &ret->m[ret->n])) {
			lx_err_set(err, LX_INTERNAL, "line %zu of its table of mounts is not understood",
				   ret->n + 1);
			return -EBADMSG;
		}
		ret->n++;
	}
	return 0;
}

int lx_mounts_read(pid_t pid, struct lx_mounts *ret, struct lx_err *err)
{
	char path[64];
	lx_autobuf struct lx_buf text = { 0 };

	*ret = (struct lx_mounts){ 0 };
	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	int r = lx_read_file(path, LX_MOUNTS_TEXT_MAX, &text, err);

	return r < 0 ? r : lx_mounts_parse(lx_buf_str(&text), ret, err);
}

void lx_mounts_release(struct lx_mounts *t)
{
	free(t->m);
	free(t->text);
	*t = (struct lx_mounts){ 0 };
}

bool lx_mount_is_root(const struct lx_mount *m)
{
	return lx_streq(m->point, "/");
}

bool lx_path_is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n && dir[n - 1] == '/')
		n--;
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

bool lx_mount_is_credentials(const struct lx_mount *m)
{
	return lx_streq(m->fstype, "ramfs") && lx_starts_with(m->point, "/run/credentials/");
}

struct group {
	int shared, master;
	const char *first; /* shortest root; init's if there are several */
	size_t table;
};

static int by_ids(const void *pa, const void *pb)
{
	const struct group *a = pa, *b = pb;

	if (a->shared != b->shared)
		return a->shared < b->shared ? -1 : 1;
	if (a->master != b->master)
		return a->master < b->master ? -1 : 1;
	size_t la = strlen(a->first), lb = strlen(b->first);

	if (la != lb)
		return la < lb ? -1 : 1;
	return a->table < b->table ? -1 : a->table > b->table;
}

static int same_ids(const void *pa, const void *pb)
{
	const struct group *a = pa, *b = pb;

	if (a->shared != b->shared)
		return a->shared < b->shared ? -1 : 1;
	return a->master < b->master ? -1 : a->master > b->master;
}

static int same_shared(const void *pa, const void *pb)
{
	const struct group *a = pa, *b = pb;

	return a->shared < b->shared ? -1 : a->shared > b->shared;
}

/* CRIU is given the root and securityfs, and finds devices of the node by itself: their masters are outside.
 */
static bool has_outer_master(const struct lx_mounts *tables, size_t n_tables, const struct lx_mount *m)
{
	if (lx_streq(m->fstype, "devtmpfs") || lx_streq(m->fstype, "securityfs"))
		return true;
	for (size_t t = 0; t < n_tables; t++)
		for (size_t i = 0; i < tables[t].n; i++)
			if (lx_mount_is_root(&tables[t].m[i]) && tables[t].m[i].master == m->master)
				return true;
	return false;
}

int lx_mounts_unshareable(const struct lx_mounts *tables, size_t n_tables,
			  int (*fn)(void *arg, size_t table, const struct lx_mount *m), void *arg)
{
	size_t n = 0, all = 0;

	for (size_t t = 0; t < n_tables; t++)
		all += tables[t].n;
	lx_autofree struct group *groups = calloc(all ? all : 1, sizeof(*groups));

	if (!groups)
		return -ENOMEM;
	for (size_t t = 0; t < n_tables; t++) {
		for (size_t i = 0; i < tables[t].n; i++) {
			const struct lx_mount *m = &tables[t].m[i];

			if (m->shared || m->master)
				groups[n++] = (struct group){ m->shared, m->master, m->root, t };
		}
	}
	/* One entry a group, the one with the shortest root. */
	qsort(groups, n, sizeof(*groups), by_ids);
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!kept || same_ids(&groups[kept - 1], &groups[i]) != 0)
			groups[kept++] = groups[i];

	for (size_t t = 0; t < n_tables; t++) {
		for (size_t i = 0; i < tables[t].n; i++) {
			const struct lx_mount *m = &tables[t].m[i];
			struct group key = { m->shared, m->master, NULL, 0 };
			const struct group *g;

			if (!m->shared && !m->master)
				continue;
			g = bsearch(&key, groups, kept, sizeof(*groups), same_ids);
			bool ok = g && lx_path_is_below(m->root, g->first);

			/* A master that is in none of the tables, and none that CRIU is told of. */
			if (ok && m->master && !has_outer_master(tables, n_tables, m)) {
				key.shared = m->master;
				ok = bsearch(&key, groups, kept, sizeof(*groups), same_shared);
			}
			if (!ok) {
				int r = fn(arg, t, m);

				if (r < 0)
					return r;
			}
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ without a root */

static bool same_fs(const struct lx_mount *a, const struct lx_mount *b)
{
	return a->major == b->major && a->minor == b->minor;
}

/* In `t` at all, or (`whole`) by its root. */
static bool has_fs(const struct lx_mounts *t, const struct lx_mount *m, bool whole)
{
	for (size_t i = 0; i < t->n; i++)
		if (same_fs(&t->m[i], m) && (!whole || lx_streq(t->m[i].root, "/")))
			return true;
	return false;
}

static bool is_rootless(const struct lx_mounts *tables, size_t n_tables, const struct lx_mount *m)
{
	if (!lx_streq(m->fstype, "tmpfs") || lx_streq(m->root, "/") || has_fs(&tables[0], m, false))
		return false;
	for (size_t t = 1; t < n_tables; t++)
		if (has_fs(&tables[t], m, true))
			return false;
	return true;
}

int lx_mounts_rootless(const struct lx_mounts *tables, size_t n_tables,
		       int (*fn)(void *arg, size_t table, const struct lx_mount *m), void *arg)
{
	int r = 0;

	for (size_t t = 1; r == 0 && t < n_tables; t++)
		for (size_t i = 0; r == 0 && i < tables[t].n; i++)
			if (is_rootless(tables, n_tables, &tables[t].m[i]))
				r = fn(arg, t, &tables[t].m[i]);
	return r;
}
