/*
 * lxmgr list: instances, one request, a row each.
 *
 * The manager filters; the configuration is asked for only when a column shows it.
 */
#include "cli/connection.h"
#include "cli/instance.h"
#include "lib/clock.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Instance instance;

#define DEFAULT_COLUMNS "ns46Li"
#define ALL_PROJECTS    "e" /* before them, with --all-projects */

struct cli_list_field {
	char letter;
	const char *name, *heading;
	void (*fill)(struct cli_table *t, size_t column, const instance *i);
};

/* ------------------------------------------------------------------ columns */

static void fill_name(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, i->name);
}

static void fill_status(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, cli_instance_status(i->status));
}

static void fill_addresses(struct cli_table *t, size_t c, const instance *i, bool v6)
{
	lx_autofree char *text = cli_instance_addresses(i, v6, "\n", i->n_nics > 1);

	if (text)
		cli_table_set(t, c, text);
	else
		t->oom = true;
}

static void fill_ipv4(struct cli_table *t, size_t c, const instance *i)
{
	fill_addresses(t, c, i, false);
}

static void fill_ipv6(struct cli_table *t, size_t c, const instance *i)
{
	fill_addresses(t, c, i, true);
}

static void fill_node(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, i->node);
}

static void fill_image(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, i->image);
}

static void fill_architecture(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, i->architecture);
}

static void fill_time(struct cli_table *t, size_t c, int64_t ns)
{
	char text[LX_TIME_TEXT];

	if (ns)
		cli_table_set(t, c, lx_time_rfc3339((uint64_t)ns, text));
}

static void fill_created(struct cli_table *t, size_t c, const instance *i)
{
	fill_time(t, c, i->created_at_ns);
}

static void fill_started(struct cli_table *t, size_t c, const instance *i)
{
	fill_time(t, c, i->started_at_ns);
}

static void fill_description(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, i->image_description);
}

static void fill_size(struct cli_table *t, size_t c, uint64_t bytes)
{
	char text[LX_SIZE_TEXT_MAX];

	if (bytes)
		cli_table_set(t, c, lx_format_size(bytes, text, sizeof(text)));
}

static void fill_disk(struct cli_table *t, size_t c, const instance *i)
{
	fill_size(t, c, i->usage ? i->usage->disk_bytes : 0);
}

static void fill_memory(struct cli_table *t, size_t c, const instance *i)
{
	fill_size(t, c, i->usage ? i->usage->memory_bytes : 0);
}

static void fill_memory_percent(struct cli_table *t, size_t c, const instance *i)
{
	if (i->usage && i->usage->memory_limit_bytes)
		cli_table_setf(t, c, "%.1f%%",
			       100.0 * (double)i->usage->memory_bytes / (double)i->usage->memory_limit_bytes);
}

static void fill_processes(struct cli_table *t, size_t c, const instance *i)
{
	if (i->usage && i->usage->processes)
		cli_table_setf(t, c, "%u", i->usage->processes);
}

static void fill_cpu(struct cli_table *t, size_t c, const instance *i)
{
	if (i->usage && i->usage->cpu_ns)
		cli_table_setf(t, c, "%.1fs", (double)i->usage->cpu_ns / (double)LX_NSEC_PER_SEC);
}

static void fill_pid(struct cli_table *t, size_t c, const instance *i)
{
	if (i->pid)
		cli_table_setf(t, c, "%d", i->pid);
}

static void fill_snapshots(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_setf(t, c, "%u", i->snapshots);
}

static void fill_profiles(struct cli_table *t, size_t c, const instance *i)
{
	lx_autobuf struct lx_buf text = { 0 };

	for (size_t n = 0; n < i->n_profiles; n++)
		if (lx_buf_printf(&text, "%s%s", n ? "\n" : "", i->profiles[n]) < 0)
			t->oom = true;
	cli_table_set(t, c, lx_buf_str(&text));
}

static void fill_short_fingerprint(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_setf(t, c, "%.12s", i->image_fingerprint);
}

static void fill_fingerprint(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, i->image_fingerprint);
}

static void fill_reason(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, *i->status_reason ? i->status_reason : i->last_error);
}

static void fill_project(struct cli_table *t, size_t c, const instance *i)
{
	cli_table_set(t, c, i->project);
}

static const struct cli_list_field fields[] = {
	{ 'e', "project", "PROJECT", fill_project },
	{ 'n', "name", "NAME", fill_name },
	{ 's', "status", "STATUS", fill_status },
	{ '4', "ipv4", "IPV4", fill_ipv4 },
	{ '6', "ipv6", "IPV6", fill_ipv6 },
	{ 'L', "node", "NODE", fill_node },
	{ 'i', "image", "IMAGE", fill_image },
	{ 'd', "description", "DESCRIPTION", fill_description },
	{ 'a', "architecture", "ARCHITECTURE", fill_architecture },
	{ 'c', "created", "CREATED", fill_created },
	{ 'U', "started", "STARTED", fill_started },
	{ 'p', "pid", ">PID", fill_pid },
	{ 'm', "memory", ">MEMORY", fill_memory },
	{ 'M', "memory%", ">MEMORY%", fill_memory_percent },
	{ 'N', "processes", ">PROCESSES", fill_processes },
	{ 'u', "cpu", ">CPU", fill_cpu },
	{ 'D', "disk", ">DISK", fill_disk },
	{ 'S', "snapshots", ">SNAPSHOTS", fill_snapshots },
	{ 'P', "profiles", "PROFILES", fill_profiles },
	{ 'f', "fingerprint", "FINGERPRINT", fill_short_fingerprint },
	{ 'F', "full-fingerprint", "FINGERPRINT", fill_fingerprint },
	{ 'r', "reason", "REASON", fill_reason },
};

static const struct cli_list_field *field_by_name(const char *name, size_t len)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(fields); i++)
		if (strlen(fields[i].name) == len && strncasecmp(fields[i].name, name, len) == 0)
			return &fields[i];
	return NULL;
}

static const struct cli_list_field *field_by_letter(char letter)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(fields); i++)
		if (fields[i].letter == letter)
			return &fields[i];
	return NULL;
}

static int add_column(struct cli_list_column *ret, size_t *n, const struct cli_list_field *field,
		      const char *key, size_t len, struct lx_err *err)
{
	if (*n == CLI_LIST_MAX_COLUMNS)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "at most %d columns", CLI_LIST_MAX_COLUMNS);
	ret[*n] = (struct cli_list_column){ .field = field, .key = field ? NULL : strndup(key, len) };
	if (!field && !ret[*n].key)
		return lx_err_oom(err);
	(*n)++;
	return 0;
}

int cli_list_columns(const char *text, struct cli_list_column *ret, size_t *ret_n, bool *ret_full,
		     struct lx_err *err)
{
	int r = 0;

	*ret_n = 0;
	*ret_full = false;
	for (const char *p = text; r == 0 && *p; p += *p == ',') {
		size_t len = strcspn(p, ",");
		const struct cli_list_field *field = field_by_name(p, len);
		if (field) {
			r = add_column(ret, ret_n, field, NULL, 0, err);
		} else if (memchr(p, '.', len)) {
			*ret_full = true;
			r = add_column(ret, ret_n, NULL, p, len, err);
		} else {
			for (size_t i = 0; r == 0 && i < len; i++) {
				field = field_by_letter(p[i]);
				r = field ? add_column(ret, ret_n, field, NULL, 0, err)
					  : lx_err_set(err, LX_INVALID_ARGUMENT,
						       "there is no column \"%.*s\"", (int)len, p);
			}
		}
		p += len;
	}
	if (r == 0 && !*ret_n)
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "no columns to show");
	return r;
}

void cli_list_columns_release(struct cli_list_column *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(c[i].key);
}

/* ------------------------------------------------------------------ the verb */

static int by_name(const void *a, const void *b)
{
	const instance *x = *(instance *const *)a, *y = *(instance *const *)b;
	int r = strcmp(x->project, y->project);

	return r ? r : strcmp(x->name, y->name);
}

static void add_row(struct cli_table *t, const struct cli_list_column *columns, size_t n, const instance *i)
{
	cli_table_row(t);
	for (size_t c = 0; c < n; c++) {
		if (columns[c].field)
			columns[c].field->fill(t, c, i);
		else
			cli_table_set(
				t, c,
				lx_pb_map_get(i->n_expanded_config, i->expanded_config, columns[c].key));
	}
}

static int print_table(const Lxmgr__V1__ListInstancesResponse *resp, const struct cli_list_column *columns,
		       size_t n, const struct cli_format *f, struct lx_err *err)
{
	cli_autotable struct cli_table t;

	cli_table_init(&t, NULL);
	for (size_t c = 0; c < n; c++)
		cli_table_column(&t, columns[c].field ? columns[c].field->heading : columns[c].key);
	for (size_t i = 0; i < resp->n_instances; i++)
		add_row(&t, columns, n, resp->instances[i]);
	return cli_table_print(&t, f, stdout, err);
}

static int print_doc(const Lxmgr__V1__ListInstancesResponse *resp, bool full, const struct cli_format *f,
		     struct lx_err *err)
{
	cli_autodoc struct cli_doc d;
	json_t *array = cli_doc_init(&d, true);

	for (size_t i = 0; i < resp->n_instances; i++) {
		const instance *inst = resp->instances[i];
		json_t *object = cli_doc_add(&d, array);
		cli_instance_doc(&d, object, inst);
		if (full)
			cli_doc_map(&d, object, "config", inst->n_expanded_config, inst->expanded_config);
	}
	return cli_doc_print(&d, f, stdout, err);
}

static int list(struct cli *cli, const struct cli_format *f, const struct cli_list_column *columns, size_t n,
		bool full, struct lx_err *err)
{
	Lxmgr__V1__ListInstancesRequest req = LXMGR__V1__LIST_INSTANCES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListInstancesResponse *resp = NULL;

	req.view = full ? LXMGR__V1__INSTANCE_VIEW__INSTANCE_VIEW_FULL
			: LXMGR__V1__INSTANCE_VIEW__INSTANCE_VIEW_BASIC;
	req.filters = cli->args.operands;
	req.n_filters = (size_t)cli->args.n_operands;
	int r = cli_call(cli, CLI_INSTANCES, "List", &req, &resp, err);
	if (r < 0)
		return r;
	if (resp->n_instances)
		qsort(resp->instances, resp->n_instances, sizeof(*resp->instances), by_name);
	return cli_is_document(f) ? print_doc(resp, full, f, err) : print_table(resp, columns, n, f, err);
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	struct cli_list_column columns[CLI_LIST_MAX_COLUMNS];
	const char *text = cli_opt(cli, "columns");
	struct cli_format f;
	size_t n = 0;
	bool full = false;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0) {
		if (!text)
			text = cli_all_projects(cli) ? ALL_PROJECTS DEFAULT_COLUMNS : DEFAULT_COLUMNS;
		r = cli_list_columns(text, columns, &n, &full, err);
		if (r < 0) {
			cli->misused = true;
			lx_err_hint(err, "See lxmgr list --help for the columns there are.");
		}
	}
	if (r == 0)
		r = list(cli, &f, columns, n, full, err);
	cli_list_columns_release(columns, n);
	return r;
}

static const struct cli_option options[] = {
	{ "columns", 'c', "COLUMNS", "what to show (default " DEFAULT_COLUMNS ")", 0 },
	CLI_ALL_PROJECTS_OPTION,
	CLI_FORMAT_OPTION,
	{ .name = NULL },
};

const struct cli_verb cli_list_verbs[] = {
	{ .name = "list",
	  .aliases = "ls",
	  .operands = "[FILTER...]",
	  .summary = "List instances",
	  .details =
		  "FILTER is the beginning of a name, a pattern of names ('web*'), or KEY=VALUE where KEY is "
		  "status, "
		  "node, image, project, profile or a configuration key. An instance is shown when any of "
		  "them "
		  "matches.\n"
		  "COLUMNS are letters or names separated by commas: n name, s status, 4 ipv4, 6 ipv6, L "
		  "node, "
		  "e project, i image, d description (of the image), a architecture, c created, U started, p "
		  "pid, m "
		  "memory, "
		  "M memory% (of the limit), N processes, u cpu (seconds), D disk, S snapshots, P profiles, "
		  "f "
		  "fingerprint, "
		  "F full-fingerprint, r reason (of the status), or a configuration key such as user.owner.\n"
		  "As json and yaml every instance has: name, status, node, image, ipv4, ipv6, profiles, "
		  "created_at, pid, memory, processes and more; ipv4 and ipv6 are text, \"\" when there is "
		  "none and "
		  "separated by commas when there are several; sizes are in bytes.",
	  .examples = "lxmgr list\n"
		      "lxmgr list 'web*' status=running -c nsNm\n"
		      "lxmgr list -c name,ipv4,limits.memory\n"
		      "lxmgr list --format json | jq -r '.[].ipv4'\n"
		      "lxmgr list --format csv -c n4",
	  .options = options,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE },
	  .run = list_run },
	{ .name = NULL },
};
