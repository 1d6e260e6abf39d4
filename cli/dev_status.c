/*
 * lxmgr dev status: which of the daemons run, and where.
 */
#include "cli/dev.h"
#include "cli/table.h"

enum { COL_PROGRAM, COL_STATUS, COL_PID, COL_NODE, COL_NETNS, COL_LOG };

static void daemon_row(struct cli *cli, const struct cli_dev *d, struct cli_table *t,
		       const struct cli_daemon *daemon)
{
	cli_table_row(t);
	cli_table_set(t, COL_PROGRAM, daemon->program);
	cli_table_set(t, COL_STATUS, daemon->pid ? "RUNNING" : "STOPPED");
	if (daemon->pid)
		cli_table_setf(t, COL_PID, "%ld", (long)daemon->pid);
	cli_table_setf(t, COL_LOG, "%s/log/%s.log", d->state_dir, daemon->name);
	if (!daemon->pid)
		cli->exit_code = CLI_EXIT_FAILED;
}

static int node_row(struct cli *cli, const struct cli_dev *d, struct cli_table *t, unsigned number,
		    struct lx_err *err)
{
	lx_autofree char *name = NULL;
	cli_autonode n;
	int r = cli_dev_node_init(d, number, &n, err);

	if (r == 0)
		r = cli_dev_node_name(&n, &name, err);
	if (r < 0)
		return r;
	daemon_row(cli, d, t, &n.agent);
	cli_table_set(t, COL_NODE, name);
	cli_table_set(t, COL_NETNS, n.netns);
	return 0;
}

static int status(struct cli *cli, const struct cli_dev *d, struct lx_err *err)
{
	static const char *const headings[] = { "PROGRAM",           "STATUS", ">PID", "NODE",
						"NETWORK NAMESPACE", "LOG",    NULL };
	const struct cli_format f = { CLI_OUT_TABLE, true };
	struct cli_daemon manager = { .program = "lxmgrd", .name = "lxmgrd" };
	cli_autotable struct cli_table t;
	int r = cli_daemon_check(d, &manager, err);

	cli_table_init(&t, headings);
	if (r == 0)
		daemon_row(cli, d, &t, &manager);
	for (unsigned i = 1; r == 0 && i <= d->nodes; i++)
		r = node_row(cli, d, &t, i, err);
	if (r == 0)
		r = cli_table_print(&t, &f, stdout, err);
	if (r == 0)
		printf("Socket: %s\nState: %s\n", d->setting[CLI_DEV_SOCKET], d->state_dir);
	return r;
}

int cli_dev_status(struct cli *cli, struct lx_err *err)
{
	struct cli_dev d;
	int r = cli_dev_init(cli, &d, err);

	if (r == 0)
		r = status(cli, &d, err);
	return cli_dev_end(cli, &d, r, err);
}
