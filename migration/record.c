/* The journal's files, and the moves its states may make. */
#include "migration/record.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/sm.h"
#include "lib/str.h"
#include "proto/pb.h"

#define OPERATION_MAX 64

#define NONE      LXMGR__V1__MOVE_STATE__MOVE_STATE_UNSPECIFIED
#define EXPECTED  LXMGR__V1__MOVE_STATE__MOVE_STATE_EXPECTED
#define RUNNING   LXMGR__V1__MOVE_STATE__MOVE_STATE_RUNNING
#define READY     LXMGR__V1__MOVE_STATE__MOVE_STATE_READY
#define COMMITTED LXMGR__V1__MOVE_STATE__MOVE_STATE_COMMITTED
#define DONE      LXMGR__V1__MOVE_STATE__MOVE_STATE_DONE
#define ABORTED   LXMGR__V1__MOVE_STATE__MOVE_STATE_ABORTED

static const char *const names[] = {
	[NONE] = "none", [EXPECTED] = "expected",   [RUNNING] = "running", [READY] = "ready",
	[DONE] = "done", [COMMITTED] = "committed", [ABORTED] = "aborted",
};

static const uint32_t source_moves[LX_ARRAY_SIZE(names)] = {
	[NONE] = LX_SM_TO(RUNNING),
	[RUNNING] = LX_SM_TO(COMMITTED) | LX_SM_TO(ABORTED),
	[COMMITTED] = LX_SM_TO(DONE),
};
static const uint32_t destination_moves[LX_ARRAY_SIZE(names)] = {
	[NONE] = LX_SM_TO(EXPECTED),
	[EXPECTED] = LX_SM_TO(RUNNING) | LX_SM_TO(ABORTED),
	[RUNNING] = LX_SM_TO(READY) | LX_SM_TO(ABORTED),
	[READY] = LX_SM_TO(COMMITTED) | LX_SM_TO(ABORTED),
	[COMMITTED] = LX_SM_TO(DONE),
};

/* A source whose destination is no more. */
static const uint32_t back_moves[LX_ARRAY_SIZE(names)] = { [COMMITTED] = LX_SM_TO(ABORTED) };

static const struct lx_sm_def source_sm = { "move (source)", names, LX_ARRAY_SIZE(names), source_moves };
static const struct lx_sm_def destination_sm = { "move (destination)", names, LX_ARRAY_SIZE(names),
						 destination_moves };
static const struct lx_sm_def back_sm = { "move (taken back)", names, LX_ARRAY_SIZE(names), back_moves };

static bool is_source(const lx_move_record *rec)
{
	return rec->role == LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE;
}

static const struct lx_sm_def *machine_of(const lx_move_record *rec)
{
	return is_source(rec) ? &source_sm : &destination_sm;
}

const char *lx_move_state_name(Lxmgr__V1__MoveState state)
{
	return (unsigned)state < LX_ARRAY_SIZE(names) ? names[state] : "unknown";
}

int lx_move_operation_check(const char *operation, struct lx_err *err)
{
	size_t n = strlen(operation);
	bool good = n > 0 && n <= OPERATION_MAX;

	for (const char *p = operation; good && *p; p++)
		good = isalnum((unsigned char)*p) || *p == '-';
	return good ? 0
		    : lx_err_set(err, LX_INVALID_ARGUMENT,
				 "a move needs an operation's id of 1 to %d letters, digits and dashes",
				 OPERATION_MAX);
}

static char *record_path(const char *state_dir, const char *operation)
{
	return lx_asprintf("%s/" LX_MOVES_DIR "/%s.pb", state_dir, operation);
}

int lx_move_record_load(const char *state_dir, const char *operation, lx_move_record **ret,
			struct lx_err *err)
{
	lx_autofree char *path = record_path(state_dir, operation);
	lx_autobuf struct lx_buf data = { 0 };
	int r = lx_move_operation_check(operation, err);

	if (r < 0)
		return r;
	if (!path)
		return lx_err_oom(err);
	r = lx_read_file(path, LX_MOVE_RECORD_MAX, &data, err);
	if (r < 0)
		return r;
	lx_move_record *rec = lxmgr__v1__move_record__unpack(NULL, data.len, data.data);

	if (!rec || !lx_streq(rec->operation, operation)) {
		lx_move_record_free(rec);
		return lx_err_set(err, LX_DATA_LOSS, "%s is damaged: it holds no record of that move", path);
	}
	*ret = rec;
	return 0;
}

int lx_move_record_save(const char *state_dir, const lx_move_record *rec, struct lx_err *err)
{
	lx_autofree char *dir = lx_path_join(state_dir, LX_MOVES_DIR),
			 *path = record_path(state_dir, rec->operation);
	size_t len = 0;
	lx_autofree uint8_t *data = lx_pb_pack(&rec->base, &len);
	int r = lx_move_operation_check(rec->operation, err);

	if (r < 0)
		return r;
	if (!dir || !path || !data)
		return lx_err_oom(err);
	r = lx_mkdir_p(dir, 0700, err);
	return r < 0 ? r : lx_write_file_atomic(path, data, len, 0600, err);
}

static int advance(const struct lx_sm_def *sm, const char *state_dir, lx_move_record *rec,
		   Lxmgr__V1__MoveState to, struct lx_err *err)
{
	Lxmgr__V1__MoveState from = rec->state;
	unsigned state = rec->state;

	if (lx_sm_move(sm, &state, to, rec->instance) < 0)
		return lx_err_set(err, LX_INTERNAL, "the move of %s is %s: it cannot be %s any more",
				  rec->instance, lx_move_state_name(from), lx_move_state_name(to));
	rec->state = to;
	rec->updated_at_ns = (int64_t)lx_now_realtime_ns();
	int r = lx_move_record_save(state_dir, rec, err);

	if (r < 0)
		rec->state = from;
	return r;
}

int lx_move_record_advance(const char *state_dir, lx_move_record *rec, Lxmgr__V1__MoveState to,
			   struct lx_err *err)
{
	return advance(machine_of(rec), state_dir, rec, to, err);
}

static int give_up(const struct lx_sm_def *sm, const char *state_dir, lx_move_record *rec,
		   const struct lx_err *why, struct lx_err *err)
{
	rec->error_code = why->code;
	if (lx_pb_set(&rec->error, why->msg) < 0 || lx_pb_set(&rec->hint, why->hint) < 0)
		return lx_err_oom(err);
	return advance(sm, state_dir, rec, ABORTED, err);
}

int lx_move_record_abort(const char *state_dir, lx_move_record *rec, const struct lx_err *why,
			 struct lx_err *err)
{
	return give_up(machine_of(rec), state_dir, rec, why, err);
}

int lx_move_record_take_back(const char *state_dir, lx_move_record *rec, const struct lx_err *why,
			     struct lx_err *err)
{
	return give_up(is_source(rec) ? &back_sm : machine_of(rec), state_dir, rec, why, err);
}

int lx_move_record_remove(const char *state_dir, const char *operation, struct lx_err *err)
{
	lx_autofree char *path = record_path(state_dir, operation);

	if (!path)
		return lx_err_oom(err);
	if (unlink(path) < 0 && errno != ENOENT)
		return lx_err_errno(err, errno, "cannot remove %s", path);
	return 0;
}

void lx_move_record_free(lx_move_record *rec)
{
	lx_pb_free(rec);
}
