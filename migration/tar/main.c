/*
 * lx-criu-tar: what CRIU finds under the name "tar", first in its PATH. CRIU keeps what is in a tmpfs as a
 * compressed archive, and runs a tar for each of a guest's while that stands still, on both sides of a move.
 * This one is static, and compresses by itself instead of starting gzip.
 *
 * It knows the two command lines of CRIU's (criu/filesystems.c, tmpfs_dump_common() and tmpfs_restore()) and
 * does what GNU tar does with them. Asked for anything else it becomes the next tar in PATH; and since that
 * one reads what this one writes and the other way round, either side of a move may have it instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/hidden_pages.h"
#include "migration/tar/create.h"
#include "migration/tar/extract.h"

/* GNU tar's, after an error. */
#define EXIT_FATAL 2
/* A shell's, when there is no such program. */
#define EXIT_NO_PROGRAM 127

/* What stands for any word: the directory. */
#define ANY ""

static const char *const create_words[] = {
	"--create",
	"--gzip",
	"--no-unquote",
	"--no-wildcards",
	"--one-file-system",
	"--check-links",
	"--preserve-permissions",
	"--sparse",
	"--numeric-owner",
	"--directory",
	ANY,
	".",
};
static const char *const extract_words[] = {
	"--extract", "--gzip", "--no-unquote", "--no-wildcards", "--directory", ANY,
};

/* The directory that is named, when these are the words of the command line; else NULL. */
static const char *match(int argc, char *const *argv, const char *const *words, size_t n)
{
	const char *dir = NULL;

	if ((size_t)argc != n + 1)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (words[i][0] == '\0')
			dir = argv[i + 1];
		else if (!lx_streq(words[i], argv[i + 1]))
			return NULL;
	}
	return dir;
}

/* ------------------------------------------------------------------ another tar */

/*
 * Behind the directory in PATH that this program was found in: were two of its kind there, each would find
 * the other for ever.
 */
static const char *rest_of_path(const char *path)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	const char *slash = self ? strrchr(self, '/') : NULL, *rest = path;
	size_t len = slash ? (size_t)(slash - self) : 0;

	for (const char *p = path; slash && p; p = strchr(p, ':') ? strchr(p, ':') + 1 : NULL)
		if (strncmp(p, self, len) == 0 && (p[len] == ':' || p[len] == '\0'))
			rest = p + len + (p[len] == ':');
	return rest;
}

static int become_other(char **argv)
{
	const char *path = getenv("PATH");
	lx_autofree char *rest = strdup(rest_of_path(path ? path : "/usr/bin:/bin"));
	char *save = NULL;

	for (char *dir = rest ? strtok_r(rest, ":", &save) : NULL; dir; dir = strtok_r(NULL, ":", &save)) {
		lx_autofree char *tar = lx_asprintf("%s/tar", dir);

		if (tar)
			execv(tar, argv);
	}
	fprintf(stderr, "lx-criu-tar: this is not what CRIU asks for, and there is no other tar in PATH\n");
	return EXIT_NO_PROGRAM;
}

/* ------------------------------------------------------------------ the two verbs */

static int run(const char *dir, bool is_create)
{
	struct lx_err err = LX_ERR_INIT;
	lx_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? lx_err_errno(&err, errno, "cannot open the directory \"%s\"", dir) : 0;

	/* CRIU's own way to it is not open to who runs this. */
	if (r == 0 && getenv(LX_HIDDEN_PAGES_DIR) && setenv(LX_HIDDEN_PAGES_DIR, LX_HIDDEN_PAGES, 1) < 0)
		r = lx_err_oom(&err);
	if (r == 0)
		r = is_create ? lx_tarball_create(fd, STDOUT_FILENO, &err)
			      : lx_tarball_extract_gzip(STDIN_FILENO, fd, &err);
	if (r < 0)
		fprintf(stderr, "lx-criu-tar: cannot %s: %s\n", is_create ? "create" : "extract", err.msg);
	return r < 0 ? EXIT_FATAL : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	const char *create = match(argc, argv, create_words, LX_ARRAY_SIZE(create_words));
	const char *extract = match(argc, argv, extract_words, LX_ARRAY_SIZE(extract_words));

	if (!create && !extract)
		return become_other(argv);
	return run(create ? create : extract, create != NULL);
}
