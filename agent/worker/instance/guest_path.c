/* Taking paths apart, and walking down trees without following links. */
#include "agent/worker/instance/guest_path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int lx_guest_path_parse(const char *path, struct lx_guest_path *ret, struct lx_err *err)
{
	size_t n = strlen(path);

	if (path[0] != '/')
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the path \"%.200s\" in the guest must begin with /", path);
	if (n >= LX_GUEST_PATH_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the path \"%.200s...\" is longer than %d bytes",
				  path, LX_GUEST_PATH_MAX - 1);
	while (n > 1 && path[n - 1] == '/')
		n--;
	memcpy(ret->dir, path, n);
	ret->dir[n] = '\0';
	char *slash = strrchr(ret->dir, '/');

	memcpy(ret->base, slash + 1, strlen(slash + 1) + 1);
	slash[slash == ret->dir] = '\0';
	if (strcmp(ret->base, ".") == 0 || strcmp(ret->base, "..") == 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the path \"%.200s\" must end in a name", path);
	return 0;
}

bool lx_guest_entry_ok(const char *path)
{
	if (!*path || strlen(path) >= LX_GUEST_PATH_MAX)
		return false;
	for (const char *p = path;;) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
		if (!*p)
			return true;
		p++;
	}
}

int lx_guest_open_parent(int root_fd, const char *path, const char **ret_leaf)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	const char *slash = strrchr(path, '/');
	char dir[LX_GUEST_PATH_MAX] = ".";

	*ret_leaf = slash ? slash + 1 : path;
	if (slash) {
		memcpy(dir, path, (size_t)(slash - path));
		dir[slash - path] = '\0';
	}
	int fd = (int)syscall(SYS_openat2, root_fd, dir, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}
