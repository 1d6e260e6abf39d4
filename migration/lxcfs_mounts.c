/* Files of lxcfs in tables of mounts, and in CRIU's words: see the header. */
#include "migration/lxcfs_mounts.h"

#include <string.h>

#include "lib/str.h"

/* What its file system is of another machine's or process', and not what lies below it. */
static bool is_over_another(const struct lx_mount *m, const struct lx_mounts *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->m[i].id == m->parent)
			return t->m[i].major != m->major || t->m[i].minor != m->minor;
	return false;
}

/* Its number in the table of files; -1: it is something else. */
static int file_of(const struct lx_mount *m, const struct lx_mounts *t)
{
	int i = lx_lxcfs_file_at(m->point);

	if (i < 0 || !is_over_another(m, t))
		return -1;
	if (lx_streq(m->fstype, LX_LXCFS_FSTYPE))
		return lx_streq(m->root, m->point) ? i : -1;
	/* "/proc/meminfo" is "/meminfo" of a proc. */
	if (!lx_streq(m->fstype, "proc") && !lx_streq(m->fstype, "sysfs"))
		return -1;
	return lx_streq(m->root, strchr(m->point + 1, '/')) ? i : -1;
}

lx_lxcfs_set lx_lxcfs_mounted(const struct lx_mounts *init)
{
	lx_lxcfs_set found = 0;

	for (size_t i = 0; i < init->n; i++) {
		int file = file_of(&init->m[i], init);

		if (file >= 0)
			found |= 1u << file;
	}
	return found;
}

bool lx_mount_is_lxcfs(const struct lx_mount *m, const struct lx_mounts *init)
{
	for (size_t i = 0; i < init->n; i++)
		if (init->m[i].major == m->major && init->m[i].minor == m->minor &&
		    lx_streq(init->m[i].root, m->root) && file_of(&init->m[i], init) >= 0)
			return true;
	return false;
}

bool lx_lxcfs_is_whole(const struct lx_mounts *t, bool serves, unsigned int major, unsigned int minor)
{
	for (size_t i = 0; i < t->n; i++)
		if (lx_streq(t->m[i].fstype, LX_LXCFS_FSTYPE) && file_of(&t->m[i], t) >= 0 &&
		    !(serves && t->m[i].major == major && t->m[i].minor == minor))
			return false;
	return true;
}

int lx_lxcfs_restore_options(const char *dir, lx_lxcfs_set have, struct lx_buf *out, struct lx_err *err)
{
	for (size_t i = 0; i < LX_LXCFS_FILES; i++)
		if (lx_buf_printf(out, "--external\nmnt[%s]:%s/%s\n", lx_lxcfs_files[i],
				  have & 1u << i ? dir : "", lx_lxcfs_files[i]) < 0)
			return lx_err_oom(err);
	return 0;
}
