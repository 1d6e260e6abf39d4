/*
 * Loaded into CRIU (pages.c): AppArmor namespaces of guests. At a restore CRIU makes those that another
 * node's dump names, and loads what is in it: that is to be the instance's own alone.
 *
 * And those inside a guest's own. At a dump CRIU goes through them and
 * puts their names together in a buffer of PATH_MAX bytes without looking how many there are, and at a
 * restore writes the first one over and over (criu/apparmor.c, CRIU 4.2). A guest makes them as deep as
 * it has user namespaces. So CRIU finds no way in where there are any, and gives up: the guest stands still
 * by then, and none can come.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/policy_namespace.h"
#include "profiles/apparmor_namespace.h"

#define ALL LX_APPARMOR_NAMESPACES "/"
#define END "/namespaces/"

/* The directory of namespaces in one of them. */
static bool is_inside(const char *path)
{
	size_t n = strlen(path), end = strlen(END);

	return strncmp(path, LX_APPARMOR_NAMESPACES "/", strlen(LX_APPARMOR_NAMESPACES "/")) == 0 &&
	       n > end && strcmp(path + n - end, END) == 0;
}

static bool has_entries(DIR *dir)
{
	const struct dirent *e;

	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return true;
	rewinddir(dir);
	return false;
}

/* As libc's. */
__attribute__((visibility("default"))) DIR *opendir(const char *path)
{
	DIR *(*real)(const char *) = (DIR * (*)(const char *)) dlsym(RTLD_NEXT, "opendir");
	DIR *dir = real(path);

	if (!dir || !is_inside(path) || !has_entries(dir))
		return dir;
	closedir(dir);
	errno = ENOTSUP;
	return NULL;
}

/* As libc's. */
__attribute__((visibility("default"))) int mkdir(const char *path, mode_t mode)
{
	const char *own = getenv(LX_POLICY_NAMESPACE);

	if (own && strncmp(path, ALL, strlen(ALL)) == 0 && strcmp(path + strlen(ALL), own) != 0) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
