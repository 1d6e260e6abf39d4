/*
 * Who of a guest's processes has not come through a CRIU that was killed.
 *
 * CRIU has a process run code of its own: at its registers' and a code word's cost, both of which it puts
 * back afterwards. When CRIU is killed in between the kernel lets go of the process as it is, and it dies
 * of what it comes to, of a signal that no handler of its own sees. Nobody can put that right: the process
 * runs again before its tracer's death is known to anybody. All that is left is to know.
 *
 * One that is struck while its registers are back and its signal mask is not goes on, but hears nothing.
 */
#ifndef LX_MIGRATION_CASUALTIES_H
#define LX_MIGRATION_CASUALTIES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"

struct lx_roll_entry;

/* The processes, as they were. Zeroed: none. */
struct lx_roll {
	struct lx_roll_entry *entries;
	size_t n;
};

/* Who has gone by now is left out. */
int lx_roll_take(const pid_t *pids, size_t n, struct lx_roll *ret, struct lx_err *err);
/*
 * How many of them are not there any more, or hear nothing; `names` gets the first ones, "nginx (311),
 * cron (42) and 3 more", with the numbers they have inside.
 */
size_t lx_roll_missing(const struct lx_roll *roll, char *names, size_t size);
/* True while that process of them is there, and not about to end. */
bool lx_roll_lives(const struct lx_roll *roll, pid_t pid);
void lx_roll_release(struct lx_roll *roll);

#endif
