/* For tests of migration/tar/: a place on a memory file system, and running programs there. */
#ifndef LX_TESTS_TAR_FIXTURE_H
#define LX_TESTS_TAR_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

/* An archive's file, and directories to unpack to, by these names below one of our own in /dev/shm. */
extern char tar_top[];

/* cmocka's. */
int tar_setup(void **state);
int tar_teardown(void **state);

/* Directory below the top, emptied if it is there; a descriptor. */
int tar_dir(const char *name);
/* A file below the top, opened; must succeed. */
int tar_open(const char *name, int flags);

/*
 * Runs a program with these files below the top as its input and output (NULL: /dev/null), its errors in
 * "errors". `argv` ends with NULL; PATH is `path`, or the usual one. The exit status; a signal is 1000.
 */
int tar_run(const char *program, const char *const *argv, const char *in, const char *out, const char *path);
/* What it said. Valid until the next call. */
const char *tar_errors(void);

/* lx-criu-tar, as it was built. */
const char *tar_ours(void);

#define TAR_GNU "/usr/bin/tar"

#define TAR_CREATE                                                                                           \
	"tar", "--create", "--gzip", "--no-unquote", "--no-wildcards", "--one-file-system", "--check-links", \
		"--preserve-permissions", "--sparse", "--numeric-owner", "--directory"
#define TAR_EXTRACT "tar", "--extract", "--gzip", "--no-unquote", "--no-wildcards", "--directory"

#endif
