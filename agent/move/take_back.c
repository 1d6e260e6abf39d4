/*
 * Taking back what was committed to a node that was removed from the cluster before it had said
 * "done": it will never say so, and the only other copy is here. What ran here was ended when it was
 * committed; its files are as they were at that moment. It gets a generation above the one that was
 * given away, so that a copy over there can never again count as the newer one, and is started if it
 * ran.
 *
 * The generation is stored first: should the agent end in between, all of it is done again.
 */
#include "agent/instance/monitor.h"
#include "agent/move/move.h"
#include "lib/log.h"
#include "proto/pb.h"

static void on_raised(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_agent_move *m = t->move;
	struct lx_instance *inst = t->inst;
	struct lx_err err = *end->err, why = LX_ERR_INIT;

	if (err.code == LX_OK)
		(void)lx_instance_set_spec(inst, t->spec, &err);
	m->rec->start = m->rec->mode != LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD;
	lx_err_set(&why, LX_ABORTED, "node %s was removed from the cluster before it had said that it has %s",
		   m->rec->peer, inst->name);
	lx_err_hint(&why, "It is on node %s again, as its files were at the moment of the move%s.",
		    m->agent->node, m->rec->start ? ", and was started" : "");
	if (err.code == LX_OK)
		(void)lx_move_record_take_back(m->agent->state_dir, m->rec, &why, &err);
	if (err.code != LX_OK) {
		lx_error("cannot take back a moved instance", "instance=%s error=\"%s\"", inst->name,
			 err.msg);
		lx_instance_move(inst, LX_ERROR, err.msg);
		lx_task_end(t, &err);
		return;
	}
	lx_warn("an instance was taken back", "instance=%s from=%s", inst->name, m->rec->peer);
	if (m->rec->start)
		lx_task_boot(t);
	else
		lx_task_settle(t, &why);
}

void lx_move_take_back(struct lx_task *t)
{
	struct lx_err err = LX_ERR_INIT;

	lx_pb_free(t->spec);
	t->spec = LX_PB_DUP(Lxmgr__V1__InstanceSpec, t->inst->spec);
	if (t->spec) {
		t->spec->generation = t->move->rec->new_generation + 1;
		if (lx_task_job(t, LX_JOB_WORK,
				lx_job_message(t->spec, LXMGR__V1__WORKER_JOB__JOB_LIMITS, NULL), on_raised,
				&err) == 0)
			return;
	} else {
		lx_err_oom(&err);
	}
	lx_instance_move(t->inst, LX_ERROR, err.msg);
	lx_task_end(t, &err);
}
