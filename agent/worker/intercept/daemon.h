/*
 * lx-intercept: makes, for one running instance, the system calls that its policy lets stop
 * (profiles/intercept.h), in the guest's place.
 *
 *   kernel --- a call has stopped ---> serve.c: a slot ---> a child: call.c --- outcome ---> kernel
 *                                                             |  mknod.c, mount.c, setxattr.c, sysinfo.c
 *                                                             +- walk.c: a child of its own, as the caller
 *   liblxc's monitor keeps the listener and hands it out at any time (listener.c)
 *   agent, workers ---> control.c
 *
 * It is in a cgroup of its own below the instance's, and leaves with liblxc's monitor. The agent may
 * come and go; should this one be killed, the agent starts another, and calls wait until then.
 *
 * What a guest can do to it is bounded. Its memory and its paths are looked at in a child alone, which
 * has a deadline and is killed then; there are LX_CALLS_MAX of them, and CALLS_A_SECOND begin. A call
 * that is not done, for whatever reason, goes on to the kernel (SECCOMP_USER_NOTIF_FLAG_CONTINUE), which
 * decides as if nothing had been in between: so no fault and no race in here gives a guest anything.
 * What is done here is decided by a copy of the caller's arguments and done with that copy.
 *
 * No call is lost: the kernel writes each one it hands out straight into a file in the run directory
 * (struct lx_slots), where a successor finds it. It is begun anew then, so one that had been made a
 * moment before its answer may be answered EEXIST, a mount EBUSY.
 */
#ifndef LX_INTERCEPT_DAEMON_H
#define LX_INTERCEPT_DAEMON_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/intercept_message.h"
#include "lib/err.h"
#include "lib/str.h"

#define LX_CALLS_MAX     8u
#define LX_LISTENERS_MAX 128u
#define LX_CLIENTS_MAX   32u

/* What becomes of a call. Zeroes: it goes on to the kernel. */
struct lx_outcome {
	bool done;
	int32_t error; /* negative errno, or 0 */
	bool refused;  /* not done, and worth telling */
	struct lx_intercept_refusal refusal;
};

enum lx_slot_state { LX_SLOT_FREE, LX_SLOT_OF_INIT, LX_SLOT_OF_OTHERS };

/* The file <run_dir>/<instance>.calls, one page; locked by who serves. */
struct lx_slots {
	struct lx_slot {
		uint32_t state; /* enum lx_slot_state; set before the kernel is asked */
		struct seccomp_notif call;
	} at[LX_CALLS_MAX];
};

struct lx_listener {
	int fd;
	bool init;      /* the one of the guest's init and all that descends from it */
	bool ended;     /* nobody is left who could call */
	unsigned calls; /* under way */
};

struct lx_running {
	struct lx_listener *listener;
	struct lx_outcome *outcome; /* shared with the child */
	pid_t pid;
	int pidfd;
	uint64_t deadline_ns;
	bool answered; /* it did not end in time; its slot is free when it has ended */
};

struct lx_interceptd {
	struct lx_job job; /* names and directories alone */
	struct lx_cgroups cgroups;
	struct lxc_container *container;

	pid_t monitor;
	int monitor_fd; /* pidfd; -1: not told yet */
	int control_fd;
	int clients[LX_CLIENTS_MAX]; /* -1: free */
	bool watches[LX_CLIENTS_MAX];

	struct lx_listener *listeners[LX_LISTENERS_MAX];
	size_t n_listeners;
	bool has_init;    /* a listener of the init that runs */
	uint64_t look_ns; /* when to ask for it again, or when who asks is late */
	unsigned looked;  /* in vain, since the last one ended */
	pid_t look_pid;   /* asks the monitor; 0: nobody does */
	int look_sock;    /* where the answer comes; -1 */

	struct lx_slots *slots;
	int slots_fd; /* holds the lock: no child of ours may keep it */
	struct lx_running running[LX_CALLS_MAX];
	double budget; /* calls that may begin */
	uint64_t budget_ns;
};

/* ------------------------------------------------------------------ slots.c */

/* Maps and locks the file. -EBUSY with an error: another one serves. */
int lx_slots_open(struct lx_interceptd *d, struct lx_err *err);

/* ------------------------------------------------------------------ listener.c */

/* Takes the descriptor over, also when there is no room (-ENOSPC). */
int lx_listener_add(struct lx_interceptd *d, int fd, bool init);
/* Has the monitor asked for init's, when it is time. */
void lx_listener_look(struct lx_interceptd *d);
/* The answer is there. With it, what a predecessor left in the slots begins anew. */
void lx_listener_found(struct lx_interceptd *d);
/* Its filter is nobody's any more. */
void lx_listener_ended(struct lx_interceptd *d, struct lx_listener *l);
/* Frees those that have ended and serve no call. */
void lx_listeners_sweep(struct lx_interceptd *d);

/* ------------------------------------------------------------------ serve.c */

/* Takes one call of a listener that has one, if there is a slot for it. */
void lx_serve_take(struct lx_interceptd *d, struct lx_listener *l);
/* Begins the call in a slot. */
void lx_serve_begin(struct lx_interceptd *d, unsigned slot, struct lx_listener *l);
void lx_serve_ended(struct lx_interceptd *d, unsigned slot);
/* Those that are late. */
void lx_serve_late(struct lx_interceptd *d);
/* May a call begin? *ret_ms: else in how long. */
bool lx_serve_ready(struct lx_interceptd *d, int *ret_ms);

/* ------------------------------------------------------------------ control.c */

int lx_intercept_listen(struct lx_interceptd *d, struct lx_err *err);
void lx_intercept_accept(struct lx_interceptd *d);
/* False: the loop is to end. */
bool lx_intercept_read(struct lx_interceptd *d, unsigned client);
void lx_intercept_tell(struct lx_interceptd *d, const struct lx_intercept_refusal *r);

/* ------------------------------------------------------------------ in a child: call.c */

void lx_call_make(const struct lx_interceptd *d, int listener, const struct seccomp_notif *n,
		  struct lx_outcome *out);

/* How long it may take. */
unsigned lx_call_deadline_ms(const struct seccomp_notif *n);

/* confine.c: gives up all that none of this needs. */
int lx_intercept_confine(struct lx_err *err);

#endif
