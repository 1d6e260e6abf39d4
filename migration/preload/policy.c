/*
 * Loaded into CRIU (pages.c): AppArmor namespaces of guests. At a restore CRIU makes those that another
 * node's dump names, and loads what is in it: that is to be the instance's own alone.
 *
 * And those inside a guest's own. At a dump CRIU goes through them and
 * puts their names together in a buffer of PATH_MAX bytes without looking how many there are, and at a
 * restore writes the first one over and over (criu/apparmor.c, CRIU 4.2). A guest makes them as deep as
 * it has user namespaces. So CRIU finds no way in where there are any, and gives up: the guest stands still
 * by then, and none can come.
 *
 * And the compiler, which CRIU starts twice for each profile that is loaded there, to put another one in its
 * place for the time of a dump. For one that no process is under it gets what is there (policy_namespace.h):
 * the kernel finds that it has that already. So a dump of a guest that loads a hundred, as a Debian 13 does,
 * takes not a hundred times the compiler's, and these are in force whatever becomes of CRIU.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
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

/* ------------------------------------------------------------------ the compiler */

#define COMPILER "apparmor_parser"
#define ARGS_MAX 16
/* A directory in the one that CRIU names; of the compiler's own there is one for each kernel. */
#define CACHE "/kept"

/* CRIU wants the result as cache/CACHE/NAME of what is called NAME. */
static void compile(const char *cache, const char *source)
{
	const char *kept = getenv(LX_POLICY_KEPT), *slash = strrchr(source, '/');
	const char *name = slash ? slash + 1 : source;
	char idle[PATH_MAX], result[PATH_MAX];

	snprintf(idle, sizeof(idle), "%s/" LX_POLICY_KEPT_IDLE "/%s", kept, name);
	snprintf(result, sizeof(result), "%s" CACHE, cache);
	if ((mkdir(cache, 0700) < 0 && errno != EEXIST) || (mkdir(result, 0700) < 0 && errno != EEXIST))
		_exit(1);
	snprintf(result, sizeof(result), "%s" CACHE "/%s", cache, name);
	if (link(idle, result) == 0)
		_exit(0);
	const char *argv[] = { COMPILER, "-QK", "--ofile", result, source, NULL };

	execvp(COMPILER, (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* As libc's; in a child of CRIU's, which runs nothing but this. */
__attribute__((visibility("default"))) int execlp(const char *file, const char *arg, ...)
{
	char *argv[ARGS_MAX + 1] = { (char *)(uintptr_t)arg };
	size_t n = 1;
	va_list ap;

	va_start(ap, arg);
	while (n < ARGS_MAX && (argv[n] = va_arg(ap, char *)))
		n++;
	va_end(ap);
	argv[n] = NULL;
	if (getenv(LX_POLICY_KEPT) && strcmp(file, COMPILER) == 0) {
		if (n == 4 && strcmp(argv[3], "--print-cache-dir") == 0) {
			(void)!write(STDOUT_FILENO, CACHE "\n", strlen(CACHE "\n"));
			_exit(0);
		}
		if (n == 4 && strcmp(argv[1], "-QWL") == 0)
			compile(argv[2], argv[3]);
	}
	return execvp(file, argv);
}
