/*
 * The report of a move whose source did not hear "done": its agent or worker was killed after COMMIT,
 * or the stream was cut. The journal has what the source knew when it committed, with the times until
 * then; the destination tells the rest with the outcome. It counts from "ready" on: how long "commit"
 * was on its way is known to neither, and what was before "ready" is the source's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/move/move.h"
#include "proto/pb.h"

#define COLD LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD

static int add_phase(Lxmgr__V1__MoveReport *r, const Lxmgr__V1__MoveDone__PhasesEntry *from)
{
	Lxmgr__V1__MoveReport__PhasesEntry **grown = realloc(r->phases, (r->n_phases + 1) * sizeof(*grown));

	if (grown)
		r->phases = grown;
	/* Entries of different map fields have the same shape. */
	Lxmgr__V1__MoveReport__PhasesEntry *e = grown ? malloc(sizeof(*e)) : NULL;

	if (!e)
		return -1;
	lxmgr__v1__move_report__phases_entry__init(e);
	r->phases[r->n_phases++] = e;
	e->value = from->value;
	return lx_pb_set(&e->key, from->key);
}

static void say_incomplete(Lxmgr__V1__MoveReport *r, const struct lx_agent_move *m, const char *what)
{
	char text[256];

	snprintf(text, sizeof(text), "%s is not known: node %s does not say", what, m->rec->peer);
	(void)lx_pb_set(&r->incomplete, text);
}

static void take_times(Lxmgr__V1__MoveReport *r, const struct lx_agent_move *m,
		       const Lxmgr__V1__MoveDone *done)
{
	if (done && done->ready_done_ns) {
		r->total_ns += done->ready_done_ns;
		r->finished_at_ns = done->finished_at_ns;
	} else {
		r->total_ns = 0;
		say_incomplete(r, m, "how long it took");
	}
	if (done && done->ready_heard_ns)
		r->peer_downtime_ns = r->downtime_ns + done->ready_heard_ns;
	if (done && done->ready_thawed_ns) {
		r->downtime_ns += done->ready_thawed_ns;
	} else {
		r->downtime_ns = 0;
		if (m->rec->mode != COLD)
			say_incomplete(r, m, "how long it stood still");
	}
}

void lx_move_take_figures(struct lx_agent_move *m, const Lxmgr__V1__MoveOutcome *outcome)
{
	Lxmgr__V1__MoveReport *r = m->rec->report;
	const Lxmgr__V1__MoveDone *done = outcome->done;

	if (!r || m->rec->role != LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE)
		return;
	/* Short of memory, a line is missing. */
	(void)lx_pb_set(&r->booted, outcome->booted);
	(void)lx_pb_set(&r->source, m->agent->node);
	(void)lx_pb_set(&r->target, m->rec->peer);
	take_times(r, m, done);
	if (!done)
		return;
	r->exposed_ns = done->exposed_ns;
	for (size_t i = 0; i < done->n_phases; i++)
		(void)add_phase(r, done->phases[i]);
}
