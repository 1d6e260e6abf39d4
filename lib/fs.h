/* Files and directories, in the few ways this project needs them. */
#ifndef LX_LIB_FS_H
#define LX_LIB_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/buf.h"
#include "lib/err.h"

/* Appends a whole file (at most `max` bytes, else -EFBIG) to `out`. */
int lx_read_file(const char *path, size_t max, struct lx_buf *out, struct lx_err *err);
/* First line without the newline, for /proc and /sys. No message: -ENOENT is common; -EFBIG: it did not fit.
 */
int lx_read_line(const char *path, char *buf, size_t n);

/*
 * Writes temp + fsync + rename + fsync of the directory, so that after a crash
 * the file is either the old or the new one, whole.
 */
int lx_write_file_atomic(const char *path, const void *data, size_t len, mode_t mode, struct lx_err *err);
/* The same without waiting for the disk: for what is of no use after the machine has restarted. */
int lx_write_file_volatile(const char *path, const void *data, size_t len, mode_t mode, struct lx_err *err);
/* Opens an existing file (cgroup knob, sysctl) and writes `text` in one write(2). */
int lx_write_knob(const char *path, const char *text);

/* mkdir -p; existing directories are left as they are. */
int lx_mkdir_p(const char *path, mode_t mode, struct lx_err *err);
/*
 * rm -rf that neither follows symbolic links nor leaves the file system it
 * started on (a mount below fails with -EBUSY and is left alone). A path that
 * does not exist is success.
 */
int lx_rm_rf(const char *path, struct lx_err *err);
/* fsync of a directory, so that names created in it last. */
int lx_fsync_dir(const char *path);

bool lx_path_exists(const char *path);
bool lx_is_dir(const char *path);
/* Of an open directory, O_PATH is enough: 1: nothing is in it, 0: something is; negative errno. */
int lx_dir_is_empty(int dir);

/* read/write until done or error; return bytes or negative errno. */
ssize_t lx_read_full(int fd, void *buf, size_t n);
ssize_t lx_write_full(int fd, const void *buf, size_t n);

/* "a/b" with exactly one slash; malloc'ed, NULL when out of memory. */
char *lx_path_join(const char *a, const char *b);

#endif
