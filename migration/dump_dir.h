/*
 * Where a dump lies on a node: a file system in memory of its own, <run_dir>/moves/<operation>,
 * which only root can enter. It is never on a disk, and gone with one unmount.
 */
#ifndef LX_MIGRATION_DUMP_DIR_H
#define LX_MIGRATION_DUMP_DIR_H

#include <stdbool.h>

#include "lib/err.h"

#define LX_DUMP_DIR_MAX 1024

void lx_dump_dir_path(const char *run_dir, const char *operation, char out[LX_DUMP_DIR_MAX]);
/* Empty; or, with `keep`, the one that is there as it is. */
int lx_dump_dir_make(const char *run_dir, const char *operation, bool keep, struct lx_err *err);
bool lx_dump_dir_exists(const char *run_dir, const char *operation);
/* One that is not there is fine. */
void lx_dump_dir_remove(const char *run_dir, const char *operation);

#endif
