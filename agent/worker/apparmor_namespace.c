/* Making and removing policy namespaces, see the header. */
#include "agent/worker/apparmor_namespace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fs.h"
#include "lib/log.h"
#include "profiles/apparmor_namespace.h"

#define STACK "/sys/kernel/security/apparmor/features/domain/stack"
/* 0: only the machine's own root loads policy (Documentation/admin-guide/sysctl/kernel.rst). */
#define UNPRIVILEGED "/proc/sys/kernel/unprivileged_userns_apparmor_policy"

#define PATH_BYTES (sizeof(LX_APPARMOR_NAMESPACES "/") + LX_APPARMOR_NAMESPACE_MAX)

static void path_of(const char *name, char out[PATH_BYTES])
{
	snprintf(out, PATH_BYTES, LX_APPARMOR_NAMESPACES "/%s", name);
}

bool lx_apparmor_can_namespace(void)
{
	char line[8];

	if (lx_read_line(STACK, line, sizeof(line)) < 0 || line[0] != 'y' ||
	    !lx_is_dir(LX_APPARMOR_NAMESPACES))
		return false;
	/* A kernel without the switch has no such root. */
	return lx_read_line(UNPRIVILEGED, line, sizeof(line)) == 0 && line[0] == '1';
}

void lx_apparmor_namespace_remove(const char *name)
{
	char path[PATH_BYTES];

	path_of(name, path);
	if (rmdir(path) < 0 && errno != ENOENT)
		lx_debug("cannot remove an AppArmor namespace", "namespace=%s error=\"%s\"", name,
			 strerror(errno));
}

int lx_apparmor_namespace_make(const char *name, struct lx_err *err)
{
	char path[PATH_BYTES];

	lx_apparmor_namespace_remove(name);
	path_of(name, path);
	return mkdir(path, 0755) < 0 ? lx_err_errno(err, errno, "cannot make the AppArmor namespace %s", name)
				     : 0;
}
