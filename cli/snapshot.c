/*
 * lxmgr snapshot: what an instance was, kept, and put back.
 */
#include "cli/snapshot.h"

#include "cli/operations.h"
#include "lib/clock.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Snapshot snapshot;

/* ------------------------------------------------------------------ create, restore, delete, rename */

static int create_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__CreateSnapshotRequest *req =
		cli_pb_new(&lxmgr__v1__create_snapshot_request__descriptor);
	cli_autopb Lxmgr__V1__Operation *last = NULL;
	int r = req ? cli_request_id(&req->request_id, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	if (lx_pb_set(&req->instance, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&req->snapshot, cli_operand(cli, 1)) < 0 ||
	    lx_pb_set(&req->description, cli_opt(cli, "description")) < 0)
		return lx_err_oom(err);
	r = cli_op_run(cli, "Taking a snapshot of", req->instance, CLI_SNAPSHOTS, "Create", req, &last, err);
	if (r < 0 || cli_no_wait(cli))
		return r;
	const char *name = lx_pb_map_get(last->n_result, last->result, "snapshot");

	if (cli->quiet)
		printf("%s\n", name ? name : "");
	else
		cli_note(cli, "Took snapshot %s of %s", name ? name : "", req->instance);
	return 0;
}

static int restore_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__RestoreSnapshotRequest *req =
		cli_pb_new(&lxmgr__v1__restore_snapshot_request__descriptor);
	int r = req ? cli_request_id(&req->request_id, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	if (lx_pb_set(&req->instance, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&req->snapshot, cli_operand(cli, 1)) < 0)
		return lx_err_oom(err);
	r = cli_op_run(cli, "Restoring", req->instance, CLI_SNAPSHOTS, "Restore", req, NULL, err);
	if (r == 0 && !cli_no_wait(cli))
		cli_note(cli, "%s is as it was in snapshot %s", req->instance, req->snapshot);
	return r;
}

static int delete_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__DeleteSnapshotsRequest *req =
		cli_pb_new(&lxmgr__v1__delete_snapshots_request__descriptor);
	int r = req ? cli_request_id(&req->request_id, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	if (lx_pb_set(&req->instance, cli_operand(cli, 0)) < 0 ||
	    lx_pb_strv_copy(&req->n_snapshots, &req->snapshots, (size_t)cli->args.n_operands - 1,
			    cli->args.operands + 1) < 0)
		return lx_err_oom(err);
	if (cli_flag(cli, "interactive"))
		for (size_t i = 0; i < req->n_snapshots; i++)
			if (!cli_confirm(false, "Delete snapshot %s of %s?", req->snapshots[i],
					 req->instance))
				return lx_err_set(err, LX_CANCELLED, "nothing was deleted: not confirmed");
	return cli_op_run(cli, "Deleting snapshots of", req->instance, CLI_SNAPSHOTS, "Delete", req, NULL,
			  err);
}

static int rename_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__RenameSnapshotRequest *req =
		cli_pb_new(&lxmgr__v1__rename_snapshot_request__descriptor);
	int r = req ? cli_request_id(&req->request_id, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	if (lx_pb_set(&req->instance, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&req->snapshot, cli_operand(cli, 1)) < 0 ||
	    lx_pb_set(&req->new_name, cli_operand(cli, 2)) < 0)
		return lx_err_oom(err);
	return cli_op_run(cli, "Renaming a snapshot of", req->instance, CLI_SNAPSHOTS, "Rename", req, NULL,
			  err);
}

/* ------------------------------------------------------------------ list, show */

int cli_snapshots_get(struct cli *cli, const char *instance, Lxmgr__V1__ListSnapshotsResponse **ret,
		      struct lx_err *err)
{
	Lxmgr__V1__ListSnapshotsRequest req = LXMGR__V1__LIST_SNAPSHOTS_REQUEST__INIT;

	req.instance = (char *)(uintptr_t)instance;
	return cli_call(cli, CLI_SNAPSHOTS, "List", &req, ret, err);
}

void cli_snapshot_doc(struct cli_doc *d, json_t *to, const snapshot *s)
{
	cli_doc_str(d, to, "name", s->name);
	cli_doc_str(d, to, "instance", s->instance);
	cli_doc_str(d, to, "project", s->project);
	cli_doc_str(d, to, "description", s->description);
	cli_doc_time(d, to, "created_at", s->created_at_ns);
	cli_doc_int(d, to, "size", s->size_bytes);
	cli_doc_str(d, to, "image_fingerprint", s->image_fingerprint);
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "NAME", "CREATED", ">SIZE", "DESCRIPTION", NULL };
	cli_autopb Lxmgr__V1__ListSnapshotsResponse *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_snapshots_get(cli, cli_operand(cli, 0), &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);

		for (size_t i = 0; i < resp->n_snapshots; i++)
			cli_snapshot_doc(&d, cli_doc_add(&d, array), resp->snapshots[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;

	cli_table_init(&t, headings);
	for (size_t i = 0; i < resp->n_snapshots; i++) {
		const snapshot *s = resp->snapshots[i];
		char when[LX_TIME_TEXT], size[LX_SIZE_TEXT_MAX];

		cli_table_row(&t);
		cli_table_set(&t, 0, s->name);
		cli_table_set(&t, 1, lx_time_rfc3339((uint64_t)s->created_at_ns, when));
		cli_table_set(&t, 2, lx_format_size(s->size_bytes, size, sizeof(size)));
		cli_table_set(&t, 3, s->description);
	}
	return cli_table_print(&t, &f, stdout, err);
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__SnapshotRequest req = LXMGR__V1__SNAPSHOT_REQUEST__INIT;
	cli_autopb snapshot *s = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	req.instance = cli->args.operands[0];
	req.snapshot = cli->args.operands[1];
	if (r == 0)
		r = cli_call(cli, CLI_SNAPSHOTS, "Get", &req, &s, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;
	json_t *root = cli_doc_init(&d, false);

	cli_snapshot_doc(&d, root, s);
	cli_doc_strv(&d, root, "profiles", s->n_profiles, s->profiles);
	cli_doc_map(&d, root, "config", s->n_config, s->config);
	cli_doc_devices(&d, root, "devices", s->n_devices, s->devices);
	return cli_doc_print(&d, &f, stdout, err);
}

/* ------------------------------------------------------------------ the table */

static const struct cli_option create_options[] = {
	{ "description", 0, "TEXT", "what it is for", 0 },
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};
static const struct cli_option wait_options[] = { CLI_NO_WAIT_OPTION, { .name = NULL } };
static const struct cli_option delete_options[] = {
	{ "interactive", 'i', NULL, "ask before each one", 0 },
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};
static const struct cli_option format_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };

const struct cli_verb cli_snapshot_verbs[] = {
	{ .name = "snapshot create",
	  .operands = "INSTANCE [SNAPSHOT]",
	  .summary = "Keep what an instance is now",
	  .details =
		  "A snapshot holds what is on the root disk of the instance beyond its image, and its own "
		  "configuration: keys, devices, profiles. Memory and running processes are not in it, nor "
		  "what is in directories of the machine that were passed to it.\n\n"
		  "One that runs need not be stopped: its files are copied while it runs on, then it stands "
		  "still for the moment that it takes to copy what has changed meanwhile. So the files are "
		  "those of one moment, as after a loss of power: what programs had not written yet is not "
		  "in them.\n\n"
		  "Without a name it is the first free one of snap0, snap1 and so on. Snapshots lie beside "
		  "the instance on its node's disk, count against limits.disk of its project but not against "
		  "the size of its root disk, move along when it moves, and are deleted with it. There can "
		  "be as many as its key snapshots.max says.",
	  .examples = "lxmgr snapshot create web1                  # snap0\n"
		      "lxmgr snapshot create web1 before-upgrade --description 'nginx 1.22, all well'\n"
		      "lxmgr config set web1 snapshots.max=5",
	  .options = create_options,
	  .min = 1,
	  .max = 2,
	  .kinds = { CLI_INSTANCE, CLI_TEXT },
	  .run = create_run },
	{ .name = "snapshot list",
	  .aliases = "ls",
	  .operands = "INSTANCE",
	  .summary = "List the snapshots of an instance, the oldest first",
	  .examples = "lxmgr snapshot list web1\nlxmgr snapshot list web1 --format json | jq '.[-1].name'",
	  .options = format_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = list_run },
	{ .name = "snapshot show",
	  .aliases = "info",
	  .operands = "INSTANCE SNAPSHOT",
	  .summary = "Show a snapshot, with the configuration in it",
	  .examples = "lxmgr snapshot show web1 snap0",
	  .options = format_options,
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_INSTANCE, CLI_SNAPSHOT },
	  .run = show_run },
	{ .name = "snapshot restore",
	  .operands = "INSTANCE SNAPSHOT",
	  .summary = "Make an instance what it was",
	  .details = "Its files and its configuration become those of the snapshot; what it has now is lost: "
		     "take "
		     "another snapshot first to keep it. One that runs is stopped at once, without a clean "
		     "shutdown, and started again afterwards. Addresses stay those it has, where the "
		     "configuration "
		     "asks for no other.\n\n"
		     "The snapshot stays, and so do all others. When there is no room for its files beside "
		     "those "
		     "that are there, nothing changes.",
	  .examples = "lxmgr snapshot restore web1 snap0\n"
		      "lxmgr snapshot create web1 now && lxmgr snapshot restore web1 before-upgrade",
	  .options = wait_options,
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_INSTANCE, CLI_SNAPSHOT },
	  .run = restore_run },
	{ .name = "snapshot rename",
	  .aliases = "mv",
	  .operands = "INSTANCE SNAPSHOT NEW-NAME",
	  .summary = "Rename a snapshot",
	  .examples = "lxmgr snapshot rename web1 snap0 good",
	  .options = wait_options,
	  .min = 3,
	  .max = 3,
	  .kinds = { CLI_INSTANCE, CLI_SNAPSHOT, CLI_TEXT },
	  .run = rename_run },
	{ .name = "snapshot delete",
	  .aliases = "rm",
	  .operands = "INSTANCE SNAPSHOT...",
	  .summary = "Delete snapshots of an instance",
	  .details = "All that are named or, when one of them is not there, none.",
	  .examples = "lxmgr snapshot delete web1 snap0 snap1",
	  .options = delete_options,
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE, CLI_SNAPSHOT },
	  .run = delete_run },
	{ .name = NULL },
};
