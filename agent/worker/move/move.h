/*
 * The move worker: one side of one move (migration/migration.h), or what belongs to it.
 *
 *   send.c, send_live.c,
 *   send_dump.c            the source: files, then the dump; COMMIT
 *   send_after.c           back, once more, or gone
 *   dump.c                 CRIU's dump: started, held, released or taken back
 *   receive.c, restore.c   the destination: files, then the restore; READY
 *   receive_own.c          what comes there after COMMIT
 *   snapshots.c            what goes along, of both sides
 *   mend.c                 the source's way back
 *   check.c                preflight of either side
 */
#ifndef LX_WORKER_MOVE_H
#define LX_WORKER_MOVE_H

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/job.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/instance/spec.h"
#include "agent/worker/move/talk.h"
#include "migration/record.h"

/* What both sides have. */
struct lx_move {
	struct lx_job *job;
	struct lx_cgroups cg;
	struct lx_talk talk;
	lx_move_record *rec;
	char operation[72];
	char dir[LX_JOB_PATH_MAX];        /* <run_dir>/moves/<operation>: a file system in memory */
	char images[LX_JOB_PATH_MAX + 8]; /* of the dump */
	char payload[LX_JOB_PATH_MAX];    /* cgroup, v2 */
	char cgroup[LX_JOB_PATH_MAX];     /* the same, below the mount points */
	char *libexec;                    /* directory of our programs */
	Lxmgr__V1__MoveReport *report;
	uint64_t mark_ns;  /* when the present phase began */
	const char *phase; /* that was told last, and when; NULL: none yet */
	uint64_t told_ns;
};

/* Finds paths and the record. Takes the socket out of the job. */
int lx_move_init(struct lx_move *m, struct lx_job *job, const char *operation, struct lx_err *err);
void lx_move_release(struct lx_move *m);

/* A phase ends here: its time goes into the report, to what it had there, and a new one begins. */
void lx_move_phase(struct lx_move *m, const char *ended);
/* Tells the agent, who tells the manager. `phase` is kept. */
void lx_move_progress(struct lx_move *m, const char *phase, uint64_t done, uint64_t total);
/* And from here on also, every now and then, how much has been sent. */
void lx_move_tell_sent(struct lx_move *m);
int lx_move_report_phase(Lxmgr__V1__MoveReport *r, const char *name, int64_t ns);

/* All processes of the guest, as numbers on this node. malloc'ed. */
int lx_move_pids(const struct lx_move *m, pid_t **ret, size_t *ret_n, struct lx_err *err);

/*
 * This process's memory counts as the guest's from here on: what it touches first (cgroups(7)). Beside
 * `init`, for in version 2 a group that has others below it takes no processes; 0: there is none yet.
 */
int lx_move_join_memory(const struct lx_move *m, pid_t init, struct lx_err *err);

/* The directory in which CRIU finds the v2 hierarchy (migration/criu.h). */
int lx_move_yard(const struct lx_move *m, const char *yard, struct lx_err *err);

/*
 * While CRIU has the guest in its hands it stands still by ptrace alone: CRIU has thawed it to work on
 * it. With `still` it also stands once CRIU is gone. CRIU cannot give back one that is held so.
 */
void lx_move_hold(const char *payload, bool still);
/* All processes in it, also those that are held or traced. */
void lx_move_kill(const char *payload);

/* The verbs of this worker. */
int lx_job_send(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_receive(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_mend(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_check_move(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);

/*
 * The source as it was: network rules of CRIU's gone, sockets talking, host ends in their
 * bridges, thawed. What is so already is left alone. Never call it for a move that is committed.
 */
int lx_move_mend(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec,
		 const struct lx_run *run, struct lx_err *err);

#endif
