/* The file system of security modules in tables of mounts, and in CRIU's words: see the header. */
#include "migration/securityfs.h"

#include "lib/str.h"
#include "profiles/apparmor_namespace.h"

#define FSTYPE "securityfs"
/* In CRIU's words. */
#define NAME "securityfs"

const char lx_securityfs_dumped[] = "mnt[/" LX_SECURITYFS_IN_GUEST "]:" NAME;

static bool is_whole(const struct lx_mount *m)
{
	return lx_streq(m->fstype, FSTYPE) && lx_streq(m->root, "/");
}

bool lx_securityfs_mounted(const struct lx_mounts *init)
{
	for (size_t i = 0; i < init->n; i++)
		if (is_whole(&init->m[i]) && lx_streq(init->m[i].point, "/" LX_SECURITYFS_IN_GUEST))
			return true;
	return false;
}

int lx_securityfs_restore_options(struct lx_buf *out, struct lx_err *err)
{
	return lx_buf_puts(out, "--external\nmnt[" NAME "]:" LX_SECURITYFS "\n") < 0 ? lx_err_oom(err) : 0;
}
