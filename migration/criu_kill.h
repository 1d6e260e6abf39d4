/*
 * Processes that work on a move and have lost whom they work for: CRIU, the hooks it runs, and
 * liblxc's restore with the worker that called it. Their worker was killed, or they hang.
 *
 * They are known by LXMGR_HOOK, which is in the environment they were started with: the path of
 * the socket in the move's directory. A guest may forge that, and has its own processes killed.
 */
#ifndef LX_MIGRATION_CRIU_KILL_H
#define LX_MIGRATION_CRIU_KILL_H

#include <stdbool.h>

/* The variable's name. */
#define LX_MOVE_MARK "LXMGR_HOOK"

/* Is there one, the monitor of what was restored not counted? */
bool lx_criu_at_work(const char *run_dir, const char *operation);
/*
 * Returns when none of that move is left: they have `patience_ms` to end by themselves, as CRIU
 * does that takes back its dump, then they are killed. Never for a move that has ended well: the
 * monitor of what it has restored is one of them.
 */
void lx_criu_end(const char *run_dir, const char *operation, int patience_ms);

#endif
