/*
 * --explain and --dry-run of launch and create. With --dry-run the table is what was asked
 * for and goes to stdout; else it is a remark beside the launch and goes to stderr, because
 * stdout may carry a name that a script wants.
 */
#include "cli/placement.h"

#include "cli/connection.h"
#include "cli/table.h"
#include "proto/pb.h"

typedef Lxmgr__V1__PlacementCandidate candidate;

static void row(struct cli_table *t, const candidate *c, bool taken)
{
	char some[LX_SIZE_TEXT_MAX], all[LX_SIZE_TEXT_MAX];

	cli_table_row(t);
	cli_table_set(t, 0, c->node);
	cli_table_set(t, 1, taken ? "taken" : c->fits ? "yes" : "no");
	if (c->fits)
		cli_table_setf(t, 2, "%u", c->score);
	cli_table_setf(t, 3, "%u", c->instances);
	if (c->cpus)
		cli_table_setf(t, 4, "%g of %u", c->cpu_promised / 1000.0, c->cpus);
	if (c->memory_bytes)
		cli_table_setf(t, 5, "%s of %s", lx_format_size(c->memory_promised, some, sizeof(some)),
			       lx_format_size(c->memory_bytes, all, sizeof(all)));
	if (c->disk_bytes)
		cli_table_setf(t, 6, "%s of %s", lx_format_size(c->disk_promised, some, sizeof(some)),
			       lx_format_size(c->disk_bytes, all, sizeof(all)));
	if (c->disk_bytes)
		cli_table_set(t, 7, lx_format_size(c->disk_free_bytes, some, sizeof(some)));
	cli_table_set(t, 8, c->has_image ? "there" : "to fetch");
	cli_table_set(t, 9, c->reason);
}

static int show(const Lxmgr__V1__Placement *p, FILE *out, struct lx_err *err)
{
	static const char *const headings[] = { "NODE",      "FITS",         ">SCORE",     ">INSTANCES",
						"CPU ASKED", "MEMORY ASKED", "DISK ASKED", "DISK FREE",
						"IMAGE",     "WHY",          NULL };
	const struct cli_format f = { .layout = CLI_OUT_TABLE, .header = true };
	cli_autotable struct cli_table t;

	cli_table_init(&t, headings);
	for (size_t i = 0; i < p->n_candidates; i++)
		row(&t, p->candidates[i], i == 0 && *p->node);
	return cli_table_print(&t, &f, out, err);
}

static int nowhere(const Lxmgr__V1__Placement *p, bool shown, struct lx_err *err)
{
	int r = lx_err_set(
		err, LX_FAILED_PRECONDITION, "no node fits%s%s%s%s", p->n_candidates && !shown ? ": " : "",
		p->n_candidates && !shown ? p->candidates[0]->node : "", p->n_candidates && !shown ? " " : "",
		p->n_candidates && !shown ? p->candidates[0]->reason : "");

	if (!p->n_candidates)
		lx_err_hint(err, "The cluster has no node yet: lxmgr node token");
	else if (!shown)
		lx_err_hint(err, "--explain says why for each node.");
	return r;
}

int cli_placement(struct cli *cli, Lxmgr__V1__CreateInstanceRequest *req, struct lx_err *err)
{
	bool explain = cli_flag(cli, "explain"), dry = cli_flag(cli, "dry-run");
	cli_autopb Lxmgr__V1__Placement *p = NULL;
	int r = cli_call(cli, CLI_INSTANCES, "Explain", req, &p, err);

	if (r == 0 && explain)
		r = show(p, dry ? stdout : stderr, err);
	if (r == 0 && !*p->node)
		r = nowhere(p, explain, err);
	if (r == 0 && dry && !explain)
		printf("%s would go to %s\n", *req->name ? req->name : "It", p->node);
	if (r == 0 && lx_pb_set(&req->target, p->node) < 0)
		r = lx_err_oom(err);
	return r;
}
