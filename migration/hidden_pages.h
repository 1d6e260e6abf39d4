/*
 * Pages that CRIU does not see in its dump, because they have been copied already and not been
 * written since: else it holds on to each of them, which takes a second for 4 GiB while the
 * guest stands still. They are added to its lists afterwards (page_image.h).
 *
 * A library that is loaded into CRIU before libc (migration/preload) leaves them out of what
 * PAGEMAP_SCAN says. Without it, or on a kernel without that call, CRIU sees them and all is as
 * slow as it was.
 *
 * The file of a process, in a directory that CRIU knows from its environment, is named by its
 * number and holds its runs, struct lx_page_run, as they lie in memory. That of a segment that processes
 * share (segments.h) is named by its inode, after a prefix: its runs look like holes to CRIU. Those may still
 * be written when CRIU begins: whoever does holds a lock (flock(2)) on a file beside them until all are
 * there.
 */
#ifndef LX_MIGRATION_HIDDEN_PAGES_H
#define LX_MIGRATION_HIDDEN_PAGES_H

#include <sys/types.h>

#include "lib/err.h"
#include "migration/page_runs.h"

#define LX_HIDDEN_PAGES_DIR     "LX_HIDDEN_PAGES" /* the variable that names the directory */
#define LX_HIDDEN_PAGES         ".hidden"         /* its name, below that of the images; no image's */
#define LX_HIDDEN_SEGMENT       "shared-"
#define LX_HIDDEN_FILE          "file-%llx-%llu" /* device, inode */
#define LX_HIDDEN_LOCK          "lock"
#define LX_HIDDEN_PAGES_LIBRARY "lx-criu-preload.so"

/*
 * Those of `clean` that may be hidden: in large private mappings of no file that are not
 * locked, and not where a thread's stack pointer is, for CRIU treats others in a way of its own.
 * The process stands still. `ret` is empty. 0 or a negative errno; then nothing is hidden.
 */
int lx_hidden_pages_choose(pid_t pid, const struct lx_page_runs *clean, struct lx_page_runs *ret);
int lx_hidden_pages_write(const char *dir, pid_t pid, const struct lx_page_runs *hidden, struct lx_err *err);
int lx_hidden_segment_write(const char *dir, uint64_t id, const struct lx_page_runs *hidden,
			    struct lx_err *err);
int lx_hidden_file_write(const char *dir, dev_t dev, uint64_t id, const struct lx_page_runs *hidden,
			 struct lx_err *err);

#endif
