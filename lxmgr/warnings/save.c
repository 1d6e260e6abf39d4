/*
 * Warnings and denials in the store: each warning a row, an instance's denials one. A transaction
 * takes BATCH of them; the timer runs again as long as some are left.
 */
#include "lxmgr/warnings/warnings.h"

#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define BATCH 200u

/* ------------------------------------------------------------------ out of the store */

static int load_warning(const struct lx_sql_value *c, int n, void *arg)
{
	struct lx_manager *m = arg;
	struct lx_warning *w;
	Lxmgr__V1__Warning *pb = lxmgr__v1__warning__unpack(NULL, c[0].len, c[0].data);

	return lx_warning_add(m->warnings, pb, &w);
}

static int load_denials(const struct lx_sql_value *c, int n, void *arg)
{
	struct lx_manager *m = arg;
	struct lx_inst *inst = lx_map_get(&m->instances_by_uuid, c[0].data);

	if (inst)
		inst->denials = lxmgr__v1__denials__unpack(NULL, c[1].len, c[1].data);
	return 0;
}

static int load_last_id(const struct lx_sql_value *c, int n, void *arg)
{
	struct lx_manager *m = arg;

	if (c[0].i > 0 && (uint64_t)c[0].i > m->warnings->last_id)
		m->warnings->last_id = (uint64_t)c[0].i;
	return 0;
}

int lx_warnings_load(struct lx_manager *m, struct lx_err *err)
{
	static const struct {
		const char *sql;
		lx_store_row row;
	} tables[] = {
		{ "SELECT spec FROM warnings ORDER BY id", load_warning },
		/* Of those that were deleted, too: an id is never used twice. */
		{ "SELECT seq FROM sqlite_sequence WHERE name = 'warnings'", load_last_id },
		{ "SELECT instance, spec FROM denials", load_denials },
	};
	int r = 0;

	for (size_t i = 0; i < LX_ARRAY_SIZE(tables) && r == 0; i++)
		r = lx_store_query(m->store, tables[i].sql, NULL, 0, tables[i].row, m, err);
	return r;
}

/* ------------------------------------------------------------------ into it */

int lx_warning_txn(struct lx_txn *txn, const Lxmgr__V1__Warning *pb)
{
	size_t len;
	lx_autofree uint8_t *bytes = lx_pb_pack(&pb->base, &len);

	if (!bytes)
		return -ENOMEM;
	lx_txn_exec(txn, "INSERT INTO warnings (id, spec) VALUES (?1, ?2)"
			 " ON CONFLICT (id) DO UPDATE SET spec = excluded.spec");
	lx_txn_int(txn, (int64_t)pb->id);
	lx_txn_blob(txn, bytes, len);
	return 0;
}

static unsigned put_warnings(struct lx_manager *m, struct lx_txn *txn, unsigned room)
{
	struct lx_warnings *ws = m->warnings;
	unsigned n = 0;

	for (; ws->n_dropped > 0 && n < room; n++) {
		lx_txn_exec(txn, "DELETE FROM warnings WHERE id = ?1");
		lx_txn_int(txn, (int64_t)ws->dropped[--ws->n_dropped]);
	}
	for (struct lx_map_entry *e = lx_map_first(&ws->by_id); e && n < room; e = lx_map_next(e)) {
		struct lx_warning *w = lx_map_value(e);

		if (!w->dirty || lx_warning_txn(txn, w->pb) < 0)
			continue;
		w->dirty = false;
		n++;
	}
	return n;
}

static unsigned put_denials(struct lx_manager *m, struct lx_txn *txn, unsigned room)
{
	unsigned n = 0;

	for (struct lx_map_entry *e = lx_map_first(&m->instances); e && n < room; e = lx_map_next(e)) {
		struct lx_inst *inst = lx_map_value(e);
		size_t len;
		lx_autofree uint8_t *bytes =
			inst->denials_dirty && inst->denials ? lx_pb_pack(&inst->denials->base, &len) : NULL;

		if (!bytes)
			continue;
		/* It may be being deleted. */
		lx_txn_exec(txn,
			    "INSERT INTO denials (instance, spec) SELECT uuid, ?2 FROM instances"
			    " WHERE uuid = ?1 ON CONFLICT (instance) DO UPDATE SET spec = excluded.spec");
		lx_txn_text(txn, inst->pb->uuid);
		lx_txn_blob(txn, bytes, len);
		inst->denials_dirty = false;
		n++;
	}
	return n;
}

static void on_saved(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	if (err->code != LX_OK)
		lx_error("warnings cannot be stored", "error=\"%s\"", err->msg);
}

bool lx_warnings_save(struct lx_manager *m)
{
	struct lx_txn *txn = lx_txn_new(NULL);
	struct lx_err err = LX_ERR_INIT;

	if (!txn)
		return false;
	unsigned n = put_warnings(m, txn, BATCH);

	n += put_denials(m, txn, n < BATCH ? BATCH - n : 1);
	if (n == 0)
		lx_txn_free(txn);
	else if (lx_store_submit(m->store, txn, on_saved, NULL, &err) < 0)
		lx_error("warnings cannot be stored", "error=\"%s\"", err.msg);
	return n >= BATCH;
}

static void on_timer(uv_timer_t *timer)
{
	struct lx_manager *m = timer->data;

	if (lx_warnings_save(m))
		lx_warnings_save_soon(m);
}

void lx_warnings_save_soon(struct lx_manager *m)
{
	if (!m->stopping && !uv_is_active((uv_handle_t *)&m->warnings->save))
		uv_timer_start(&m->warnings->save, on_timer, LX_WARNINGS_SAVE_MS, 0);
}
