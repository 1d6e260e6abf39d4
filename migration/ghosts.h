/*
 * Names that CRIU gives to deleted files while it works, and takes away again unless it is killed:
 *
 *   link_remap.<number>         a dump: the file has other names, but not the one it was opened by
 *   <name>.cr.<number>.ghost    a restore: the file has no name any more
 *
 * Of a guest's own files of such names they are told by their time: they have been made, or had
 * their number of names changed, while the guest stood still.
 */
#ifndef LX_MIGRATION_GHOSTS_H
#define LX_MIGRATION_GHOSTS_H

#include "lib/err.h"

/*
 * Looks for them in `upper`, the directory of the instance's own files, and removes them below
 * `root`: the same directory, or the root of the running guest that has it mounted.
 * `since`: a file that was made when CRIU was started; when it is not there nothing is done.
 */
int lx_ghosts_remove(const char *upper, int root, const char *since, struct lx_err *err);

#endif
