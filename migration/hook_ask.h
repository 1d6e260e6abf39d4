/*
 * A step of CRIU's asks the worker whether it may go on (hooks.h is the other end). Nothing
 * but libc: it is linked into a program that is started at every step.
 */
#ifndef LX_MIGRATION_HOOK_ASK_H
#define LX_MIGRATION_HOOK_ASK_H

/*
 * Tells the worker that listens on $LXMGR_HOOK and waits for its word:
 *
 *      <action> NUL <pid of init, or 0>        ---->
 *                                              <----   one byte, the exit code
 *
 * A worker that has gone, or goes while it is waited for, means "no": LX_HOOK_REFUSED.
 */
#define LX_HOOK_REFUSED 1
int lx_hook_ask(const char *action, const char *pid);

#endif
