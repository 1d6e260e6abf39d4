/*
 * What is said to lx-intercept (agent/worker/intercept/daemon.h) over its socket, one message each. It
 * lives as long as its instance, and may be older than who talks to it: fields are only added, at the
 * end, and what an older side does not send is zero.
 */
#ifndef LX_WORKER_INTERCEPT_MESSAGE_H
#define LX_WORKER_INTERCEPT_MESSAGE_H

#include <stdint.h>

/* In the instance's directory, while its calls stop: the policy of what enters the guest later. */
#define LX_POLICY_INSIDE "seccomp.inside"
/* Beside it, and as long: file systems that are mounted for it, as in their key. */
#define LX_MOUNTS_ALLOWED "mounts.allowed"

enum lx_intercept_kind {
	LX_INTERCEPT_MONITOR = 1, /* liblxc's monitor is there: answered with 0 or an errno (int32_t) */
	LX_INTERCEPT_LISTENER,    /* a descriptor comes along, to be served as well: answered the same way */
	LX_INTERCEPT_WATCH        /* tell us: struct lx_intercept_refusal, from now on; no answer */
};

struct lx_intercept_request {
	uint32_t kind;
	int32_t monitor;
	uint64_t monitor_start; /* clock ticks since boot */
};

#define LX_INTERCEPT_TEXT 48

/* A call that was left to the kernel, which refuses it, though its caller had the guest's rights for it. */
struct lx_intercept_refusal {
	char call[16];                /* "mknod" */
	char what[LX_INTERCEPT_TEXT]; /* "b 8:0"; printable */
	char program[16];             /* as the kernel names it; printable */
};

#endif
