/*
 * Files in a guest's tmpfs that were copied ahead (segments.h): at the destination they lie beside the images
 * of its memory, content and list, under these names. The archive out of which CRIU makes the tmpfs
 * lacks what the list says is as it was sent, so the guest must not run before that has been put back.
 */
#ifndef LX_MIGRATION_AHEAD_FILES_H
#define LX_MIGRATION_AHEAD_FILES_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"

#define LX_AHEAD_CONTENT "file-%u.img"  /* each byte at its offset */
#define LX_AHEAD_LIST    "file-%u.list" /* one AheadFile */

/* Whether there is a list in `dir`. */
bool lx_ahead_files_any(int dir);
/*
 * Writes what is in the lists into the files of the guest whose init is `init`, which the tmpfs have and
 * nobody uses; times stay as they are. A path that is not such a file is an error.
 */
int lx_ahead_files_fill(int dir, pid_t init, struct lx_err *err);

#endif
