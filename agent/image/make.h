/*
 * A call that makes an image: a job of the image worker, its progress on the call, the image
 * as its last message. The work belongs to the call: when the caller goes away the worker is
 * asked to give up (SIGTERM), and leaves nothing.
 */
#ifndef LX_AGENT_IMAGE_MAKE_H
#define LX_AGENT_IMAGE_MAKE_H

#include "agent/agent.h"
#include "agent/jobs.h"

/*
 * Runs the job (taken in any case) and takes the call over. `ended` (may be NULL) comes once,
 * when the worker is through. On failure the call is still the caller's, and `ended` never
 * comes.
 */
int lx_make_image(struct lx_agent *a, struct lx_call *call, Lxmgr__V1__WorkerJob *msg,
		  void (*ended)(void *arg), void *arg, struct lx_err *err);

/* Tells the caller how many bytes have come. */
void lx_make_progress(struct lx_call *call, const char *phase, uint64_t done, uint64_t total);

/* The last message, before the call is ended: the image. */
void lx_make_done(struct lx_call *call, Lxmgr__V1__Image *image);

#endif
