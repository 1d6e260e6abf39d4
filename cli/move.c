/*
 * lxmgr move: an instance to another node, and how that went.
 *
 * One request; the manager picks the node if none is named, looks whether it can be done before
 * anything is touched, and its operation is followed like any other. With --check nothing is
 * done at all: move_check.c.
 */
#include "cli/move.h"

#include "cli/move_report.h"
#include "cli/operations.h"
#include "proto/pb.h"

typedef Lxmgr__V1__MoveInstanceRequest request;

int cli_live_mode(struct cli *cli, Lxmgr__V1__LiveMode *ret, struct lx_err *err)
{
	static const struct {
		const char *word;
		Lxmgr__V1__LiveMode mode;
	} words[] = {
		{ "required", LXMGR__V1__LIVE_MODE__LIVE_MODE_REQUIRED },
		{ "preferred", LXMGR__V1__LIVE_MODE__LIVE_MODE_PREFERRED },
		{ "off", LXMGR__V1__LIVE_MODE__LIVE_MODE_OFF },
	};
	const char *text = cli_opt(cli, "live");

	*ret = LXMGR__V1__LIVE_MODE__LIVE_MODE_UNSPECIFIED;
	if (!text)
		return 0;
	for (size_t i = 0; i < LX_ARRAY_SIZE(words); i++)
		if (lx_streq(text, words[i].word)) {
			*ret = words[i].mode;
			return 0;
		}
	return cli_usage(cli, err, "--live is one of required, preferred and off, not \"%s\"", text);
}

int cli_move_timeout(struct cli *cli, uint32_t *ret, struct lx_err *err)
{
	const char *text = cli_opt(cli, "timeout");
	uint64_t seconds = 0;

	if (text && (lx_parse_duration(text, &seconds) < 0 || !seconds || seconds > UINT32_MAX))
		return cli_usage(cli, err, "--timeout needs seconds (30) or a duration (1m30s), not \"%s\"",
				 text);
	*ret = (uint32_t)seconds;
	return 0;
}

/* Options that make no sense together. */
static int check_options(struct cli *cli, struct lx_err *err)
{
	if (cli_flag(cli, "stateless") && cli_flag(cli, "live"))
		return cli_usage(cli, err, "--stateless stops it, so --live has no meaning with it");
	if (cli_flag(cli, "postcopy") &&
	    (cli_flag(cli, "stateless") || lx_streq(cli_opt(cli, "live"), "off")))
		return cli_usage(cli, err,
				 "--postcopy is a way of moving live, which the other option excludes");
	if (cli_flag(cli, "check") && cli_no_wait(cli))
		return cli_usage(cli, err, "--check does nothing that could be waited for");
	if (!cli_flag(cli, "check") && cli_flag(cli, "format"))
		return cli_usage(cli, err,
				 "--format is for --check; lxmgr operation show has the report of "
				 "a move in every format");
	return 0;
}

static int fill(struct cli *cli, request *req, struct lx_err *err)
{
	int r = check_options(cli, err);

	if (r == 0)
		r = cli_live_mode(cli, &req->live, err);
	if (r == 0)
		r = cli_move_timeout(cli, &req->timeout_seconds, err);
	if (r < 0)
		return r;
	req->stateless = cli_flag(cli, "stateless");
	req->postcopy = cli_flag(cli, "postcopy");
	if (lx_pb_set(&req->name, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&req->target, cli_opt(cli, "target")) < 0)
		return lx_err_oom(err);
	return cli_request_id(&req->request_id, err);
}

static void print_result(const Lxmgr__V1__Operation *last, bool phases)
{
	const Lxmgr__V1__MoveReport *move = last->move;
	const char *from = lx_pb_map_get(last->n_result, last->result, "from"),
		   *to = lx_pb_map_get(last->n_result, last->result, "to");

	if (move && lx_str_empty(from))
		from = move->source;
	if (move && lx_str_empty(to))
		to = move->target;
	printf("Moved %s", last->subject);
	if (!lx_str_empty(from))
		printf(" from %s", from);
	if (!lx_str_empty(to))
		printf(" to %s", to);
	putchar('\n');
	if (move)
		cli_move_print(move, 2, phases);
}

static int move_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb request *req = cli_pb_new(&lxmgr__v1__move_instance_request__descriptor);
	cli_autopb Lxmgr__V1__Operation *last = NULL;
	int r = req ? fill(cli, req, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	if (cli_flag(cli, "check"))
		return cli_move_check(cli, req, err);
	r = cli_op_run(cli, "Moving", req->name, CLI_INSTANCES, "Move", req, &last, err);
	if (r == 0 && !cli_no_wait(cli) && !cli->quiet)
		print_result(last, cli_flag(cli, "verbose"));
	return r;
}

static const struct cli_option options[] = {
	{ "target", 0, "NODE", "to this node; else the manager decides", CLI_NODE },
	{ "live", 0, "MODE",
	  "required (default): live or not at all; preferred: live, else with a short clean stop; off: with "
	  "that stop at once",
	  CLI_LIVE_MODE },
	{ "stateless", 0, NULL, "stop it, copy everything, start it there", 0 },
	{ "postcopy", 0, NULL,
	  "live: memory that is written too fast follows after it runs there (see below for the risk)", 0 },
	CLI_MOVE_TIMEOUT_OPTION,
	{ "check", 0, NULL, "only say whether it can be done and what stands in the way", 0 },
	{ "verbose", 0, NULL, "report also how long each step took", 0 },
	{ "format", 'f', "FORMAT", "of --check: table (default), compact, csv, json or yaml", CLI_FORMAT },
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};

const struct cli_verb cli_move_verbs[] = {
	{ .name = "move",
	  .aliases = "migrate",
	  .operands = "INSTANCE",
	  .summary = "Move an instance to another node",
	  .details =
		  "One that runs goes live: it runs on there with its processes, memory and established "
		  "connections, and who talks to it sees a pause of a fraction of a second. One that is "
		  "stopped is moved as it lies. Before anything is touched both nodes look whether it can "
		  "be done; what stands in the way is named with its cause and its cure (--check).\n\n"
		  "With --live=preferred one that cannot go live is moved near-live: its files are copied "
		  "while it runs, then it is stopped cleanly, what has changed since is copied, and it is "
		  "started there.\n\n"
		  "Memory of 32 MiB and more is copied in rounds while it runs, and only the rest while it "
		  "stands still. What has been written since a round is told by the kernel (Linux 6.7), or "
		  "found by comparing: what the kernel has marked as written, where it does that "
		  "(soft-dirty), or else everything (content). --check and the report say which it is, and "
		  "why; the key migration.memory chooses another. Memory that processes share, and large "
		  "files in a tmpfs such as /dev/shm, are always compared.\n\n"
		  "With --postcopy what is still missing then is not waited for: the instance runs there at "
		  "once, and its memory follows; it waits only where it touches what has not come yet. So "
		  "the "
		  "pause does not grow with what is written, but until all has come (\"Exposed\" in the "
		  "report) "
		  "the loss of the source or of the link between the nodes loses what ran in it: the "
		  "instance is "
		  "then booted there from its files. Small memory is not worth it and goes as without.\n\n"
		  "A dump that meets what passes by itself, such as news that a process has not read yet, is "
		  "done "
		  "again, up to four times; the report says so (\"Dumped\"). Who writes to a log faster "
		  "than it is read is held until it has been. After a live move a systemd that "
		  "keeps pidfds (Debian 13) is told to reload its configuration (SIGHUP): it knows its "
		  "processes "
		  "by numbers that a restore changes.\n\n"
		  "What goes over a link of a gigabit or less is compressed while "
		  "the link is waited for (\"on the wire\" in the report).\n\n"
		  "The report has the downtime, from the freeze to the thaw, and of a live move also "
		  "\"Downtime for a peer\": until something that a process in it says is at its card there, "
		  "which "
		  "is what others on the network wait for. Where nothing is said before the move is "
		  "reported, "
		  "the line is missing, and peer_downtime_ns is 0.\n\n"
		  "Without --target it goes to the node with the most room. lxmgr info shows the last move "
		  "of an instance. Should the source be away when a move ends, what only it knows of it "
		  "(\"Still to come\"), or how it ended, follows when it is back: lxmgr operation show ID.",
	  .examples = "lxmgr move web1 --target node2\n"
		      "lxmgr move web1 --target node2 --check  # can it be done, and what is in the way?\n"
		      "lxmgr move web1 --live=preferred        # wherever there is room\n"
		      "lxmgr move db1 --target node2 --postcopy\n"
		      "lxmgr move db1 --target node3 --stateless --timeout 2m",
	  .options = options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = move_run },
	{ .name = NULL },
};
