/* The instance worker in the place of CRIU, when liblxc calls that (restore.c). */
#ifndef LX_WORKER_STAND_IN_H
#define LX_WORKER_STAND_IN_H

/* The name under which it is called, and the variable that names its job's file. */
#define LX_STAND_IN_NAME "criu"
#define LX_STAND_IN_JOB  "LXMGR_RESTORE_JOB"

/* An exit code; returns only when there is no CRIU to become, or it is not to be. */
int lx_stand_in(int argc, char **argv);

#endif
