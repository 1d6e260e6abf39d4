/*
 * lxmgr move --check: what stands in the way of a move. Touches nothing.
 *
 * Obstacles first that block, as they were found. The exit code is 0 when the move can be done
 * as it was asked for, else 1: a script need not read the table.
 */
#include "cli/connection.h"
#include "cli/move.h"
#include "cli/move_report.h"

typedef Lxmgr__V1__MoveCheck check;

static void add_rows(struct cli_table *t, const check *c, bool blocking)
{
	for (size_t i = 0; i < c->n_obstacles; i++) {
		const Lxmgr__V1__MoveObstacle *o = c->obstacles[i];
		if (o->blocks != blocking)
			continue;
		cli_table_row(t);
		cli_table_set(t, 0, o->code);
		cli_table_set(t, 1, o->cause);
		cli_table_set(t, 2, o->cure);
		cli_table_set(t, 3, o->node);
		cli_table_set(t, 4, o->blocks ? "yes" : "no");
	}
}

static int print_table(const check *c, const struct cli_format *f, struct lx_err *err)
{
	static const char *const headings[] = { "CODE", "CAUSE", "CURE", "NODE", "BLOCKS", NULL };
	cli_autotable struct cli_table t;

	cli_table_init(&t, headings);
	add_rows(&t, c, true);
	add_rows(&t, c, false);
	return cli_table_print(&t, f, stdout, err);
}

/* "web1 can be moved to node2: live (pre-copy)." */
static void print_verdict(const struct cli *cli, const char *name, const check *c)
{
	const char *mode = cli_move_mode(c->mode), *memory = cli_move_memory(c->memory);
	bool live = c->mode == LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE;

	if (c->possible)
		cli_note(cli, "%s can be moved to %s: %s%s%s%s", name, c->target, mode,
			 live && *memory ? " (" : "", live ? memory : "", live && *memory ? ")" : "");
	else
		cli_note(cli, "%s cannot be moved to %s as asked for.%s%s", name, c->target,
			 *c->next ? " " : "", c->next);
	if (c->possible && live && *c->memory_reason)
		cli_note(cli, "Memory so because: %s", c->memory_reason);
}

static int print_doc(const char *name, const check *c, const struct cli_format *f, struct lx_err *err)
{
	cli_autodoc struct cli_doc d;
	json_t *root = cli_doc_init(&d, false);

	cli_doc_str(&d, root, "name", name);
	cli_doc_str(&d, root, "target", c->target);
	cli_doc_bool(&d, root, "possible", c->possible);
	cli_doc_str(&d, root, "mode", cli_move_mode(c->mode));
	cli_doc_str(&d, root, "memory", cli_move_memory(c->memory));
	cli_doc_str(&d, root, "memory_reason", c->memory_reason);
	cli_doc_str(&d, root, "next", c->next);
	cli_move_obstacles_doc(&d, root, "obstacles", c->n_obstacles, c->obstacles);
	return cli_doc_print(&d, f, stdout, err);
}

int cli_move_check(struct cli *cli, const Lxmgr__V1__MoveInstanceRequest *req, struct lx_err *err)
{
	cli_autopb check *c = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_INSTANCES, "CheckMove", req, &c, err);
	if (r != 0)
		return r;
	cli->exit_code = c->possible ? 0 : CLI_EXIT_FAILED;
	if (cli_is_document(&f))
		return print_doc(req->name, c, &f, err);
	if (c->n_obstacles)
		r = print_table(c, &f, err);
	if (r == 0)
		print_verdict(cli, req->name, c);
	return r;
}
