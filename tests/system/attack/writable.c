/*
 * Prints every regular file below the given directories that it may write to, where that is mounted,
 * with the capabilities it has. It opens none. Processes in /proc are left out.
 */
#include <ctype.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OPEN_MAX 64

static int look(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	const char *name = path + at->base;

	if (kind == FTW_SL)
		return FTW_CONTINUE;
	if (at->level == 1 && strncmp(path, "/proc/", 6) == 0 && isdigit((unsigned char)*name))
		return FTW_SKIP_SUBTREE;
	/* Of one that nobody may write to the kernel takes nothing, whoever opens it. */
	if (S_ISREG(st->st_mode) && (st->st_mode & 0222) && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
		puts(path);
	return FTW_CONTINUE;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (nftw(argv[i], look, OPEN_MAX, FTW_PHYS | FTW_ACTIONRETVAL) < 0)
			perror(argv[i]);
	return 0;
}
