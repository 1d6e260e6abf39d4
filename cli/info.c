/*
 * lxmgr info: everything about an instance, for a person to read.
 */
#include "cli/instance.h"
#include "cli/move_report.h"
#include "cli/profile.h"
#include "cli/snapshot.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Instance instance;

/* Values may come from a guest or an image: nothing of them may drive the terminal. */
static void field(int indent, const char *name, const char *value)
{
	if (lx_str_empty(value))
		return;
	printf("%*s%s: ", indent, "", name);
	cli_put_safe(stdout, value);
	putchar('\n');
}

static void time_field(const char *name, int64_t ns)
{
	char text[LX_TIME_TEXT];

	if (ns)
		field(0, name, lx_time_rfc3339((uint64_t)ns, text));
}

static void print_size(const char *name, uint64_t bytes, const char *more)
{
	char text[LX_SIZE_TEXT_MAX];

	if (bytes)
		printf("  %s: %s%s\n", name, lx_format_size(bytes, text, sizeof(text)), more);
}

static void print_uptime(const instance *i)
{
	uint64_t now = lx_now_realtime_ns(), since = (uint64_t)i->started_at_ns;

	if (!i->started_at_ns || now < since)
		return;
	uint64_t s = (now - since) / LX_NSEC_PER_SEC;
	printf("Uptime: %llud %lluh %llum %llus\n", (unsigned long long)s / 86400,
	       (unsigned long long)s / 3600 % 24, (unsigned long long)s / 60 % 60,
	       (unsigned long long)s % 60);
}

static void print_usage(const instance *i)
{
	const Lxmgr__V1__InstanceUsage *u = i->usage;
	char limit[LX_SIZE_TEXT_MAX + 8] = "", text[LX_SIZE_TEXT_MAX];

	if (!u || !i->pid)
		return;
	printf("Uses:\n  Processes: %u\n  CPU: %.3fs since the start\n", u->processes,
	       (double)u->cpu_ns / (double)LX_NSEC_PER_SEC);
	if (u->memory_limit_bytes)
		snprintf(limit, sizeof(limit), " of %s",
			 lx_format_size(u->memory_limit_bytes, text, sizeof(text)));
	print_size("Memory", u->memory_bytes, limit);
	print_size("Memory (peak)", u->memory_peak_bytes, "");
	snprintf(limit, sizeof(limit), " over the image");
	if (u->disk_limit_bytes)
		snprintf(limit, sizeof(limit), " of %s",
			 lx_format_size(u->disk_limit_bytes, text, sizeof(text)));
	print_size("Disk", u->disk_bytes, limit);
	print_size("Received", u->rx_bytes, "");
	print_size("Sent", u->tx_bytes, "");
}

static void print_nics(const instance *i)
{
	if (i->n_nics)
		puts("Network:");
	for (size_t n = 0; n < i->n_nics; n++) {
		const Lxmgr__V1__Nic *nic = i->nics[n];
		printf("  %s:\n", nic->name);
		field(4, "Network", nic->network);
		field(4, "MAC", nic->hwaddr);
		field(4, "IPv4", nic->ipv4_address);
		field(4, "IPv6", nic->ipv6_address);
		field(4, "Host interface", nic->host_name);
	}
}

static int by_key(const void *a, const void *b)
{
	return strcmp((*(struct lx_pb_entry *const *)a)->key, (*(struct lx_pb_entry *const *)b)->key);
}

/* "  limits.memory: 512MiB   (profile small)" */
static void print_config(instance *i)
{
	if (!i->n_expanded_config)
		return;
	puts("Configuration:");
	qsort(i->expanded_config, i->n_expanded_config, sizeof(*i->expanded_config), by_key);
	for (size_t n = 0; n < i->n_expanded_config; n++) {
		const char *key = i->expanded_config[n]->key;
		const char *origin = lx_pb_map_get(i->n_origin, i->origin, key);
		printf("  %s: ", key);
		cli_put_safe(stdout, i->expanded_config[n]->value);
		if (origin && strcmp(origin, "instance") != 0)
			printf("  (%s)", origin);
		putchar('\n');
	}
}

static void print_devices(instance *i)
{
	if (!i->n_expanded_devices)
		return;
	puts("Devices:");
	qsort(i->expanded_devices, i->n_expanded_devices, sizeof(*i->expanded_devices), by_key);
	for (size_t n = 0; n < i->n_expanded_devices; n++) {
		const struct lx_pb_device_entry *e = (const void *)i->expanded_devices[n];
		lx_autofree char *key = lx_asprintf("device %s", e->key);
		const char *origin = key ? lx_pb_map_get(i->n_origin, i->origin, key) : NULL;
		printf("  %s:", e->key);
		for (size_t o = 0; e->value && o < e->value->n_options; o++) {
			printf(" %s=", e->value->options[o]->key);
			cli_put_safe(stdout, e->value->options[o]->value);
		}
		if (origin && strcmp(origin, "instance") != 0)
			printf("  (%s)", origin);
		putchar('\n');
	}
}

static void print_profiles(const instance *i)
{
	fputs("Profiles:", stdout);
	for (size_t n = 0; n < i->n_profiles; n++)
		printf("%s %s", n ? "," : "", i->profiles[n]);
	puts(i->n_profiles ? "" : " none");
}

static void print_snapshots(const Lxmgr__V1__ListSnapshotsResponse *all)
{
	if (all->n_snapshots)
		puts("Snapshots:");
	for (size_t n = 0; n < all->n_snapshots; n++) {
		const Lxmgr__V1__Snapshot *s = all->snapshots[n];
		char when[LX_TIME_TEXT], size[LX_SIZE_TEXT_MAX];

		printf("  %s: %s, %s%s", s->name, lx_time_rfc3339((uint64_t)s->created_at_ns, when),
		       lx_format_size(s->size_bytes, size, sizeof(size)), *s->description ? ", " : "");
		cli_put_safe(stdout, s->description);
		putchar('\n');
	}
}

static void print_last_move(const instance *i)
{
	const Lxmgr__V1__MoveReport *r = i->last_move;

	if (!r)
		return;
	puts("Last move:");
	field(2, "From", r->source);
	field(2, "To", r->target);
	if (r->finished_at_ns) {
		char text[LX_TIME_TEXT];
		field(2, "At", lx_time_rfc3339((uint64_t)r->finished_at_ns, text));
	}
	cli_move_print(r, 2, false);
}

static void print_ids(const instance *i)
{
	const char *on = NULL;
	bool privileged = false;

	for (size_t k = 0; k < i->n_expanded_config; k++)
		if (lx_streq(i->expanded_config[k]->key, "security.privileged"))
			on = i->expanded_config[k]->value;
	if (on && lx_parse_bool(on, &privileged) == 0 && privileged)
		puts("Privileged: yes, its root is its node's root");
	else
		printf("Host ids: %u to %u\n", i->idmap_base,
		       i->idmap_base + (i->idmap_size ? i->idmap_size - 1 : 0));
}

/* "security.syscalls.intercept.mknod": "mknod" */
static void print_intercepts(const instance *i)
{
	static const char prefix[] = "security.syscalls.intercept.";
	bool any = false;

	for (size_t k = 0; k < i->n_expanded_config; k++) {
		bool on = false;

		if (!lx_starts_with(i->expanded_config[k]->key, prefix) ||
		    lx_parse_bool(i->expanded_config[k]->value, &on) < 0 || !on)
			continue;
		printf("%s%s", any ? ", " : "Intercepted: ", i->expanded_config[k]->key + strlen(prefix));
		any = true;
	}
	if (any)
		putchar('\n');
}

static void print_denials(const instance *i)
{
	if (i->n_denials)
		puts("Kept from it:");
	for (size_t n = 0; n < i->n_denials; n++) {
		const Lxmgr__V1__DenialCount *c = i->denials[n];
		char when[LX_TIME_TEXT];

		printf("  %s: %llu, last at %s\n", c->kind, (unsigned long long)c->count,
		       lx_time_rfc3339((uint64_t)c->last_ns, when));
	}
}

static void print_text(instance *i, const Lxmgr__V1__ListSnapshotsResponse *snapshots)
{
	field(0, "Name", i->name);
	field(0, "Status", cli_instance_status(i->status));
	field(0, "Reason", i->status_reason);
	field(0, "Last error", i->last_error);
	field(0, "Operation", i->operation);
	field(0, "Node", i->node);
	field(0, "Evacuated from", i->evacuated_from);
	if (i->pid)
		printf("PID: %d\n", i->pid);
	time_field("Created", i->created_at_ns);
	time_field("Started", i->started_at_ns);
	print_uptime(i);
	printf("Image: ");
	cli_put_safe(stdout, i->image);
	printf(" (%.12s)\n", i->image_fingerprint);
	field(0, "Description", i->image_description);
	print_ids(i);
	field(0, "AppArmor", i->apparmor);
	print_intercepts(i);
	print_profiles(i);
	print_usage(i);
	print_denials(i);
	print_snapshots(snapshots);
	print_last_move(i);
	print_nics(i);
	print_config(i);
	print_devices(i);
}

static int print_doc(const instance *i, const Lxmgr__V1__ListSnapshotsResponse *snapshots,
		     const struct cli_format *f, struct lx_err *err)
{
	cli_autodoc struct cli_doc d;
	json_t *root = cli_doc_init(&d, false);

	cli_instance_doc(&d, root, i);
	json_t *nics = cli_doc_array(&d, root, "nics");
	for (size_t n = 0; n < i->n_nics; n++) {
		const Lxmgr__V1__Nic *nic = i->nics[n];
		json_t *object = cli_doc_add(&d, nics);
		cli_doc_str(&d, object, "name", nic->name);
		cli_doc_str(&d, object, "network", nic->network);
		cli_doc_str(&d, object, "hwaddr", nic->hwaddr);
		cli_doc_str(&d, object, "ipv4", nic->ipv4_address);
		cli_doc_str(&d, object, "ipv6", nic->ipv6_address);
		cli_doc_str(&d, object, "host_name", nic->host_name);
	}
	cli_doc_map(&d, root, "config", i->n_config, i->config);
	cli_doc_devices(&d, root, "devices", i->n_devices, i->devices);
	cli_doc_map(&d, root, "expanded_config", i->n_expanded_config, i->expanded_config);
	cli_doc_devices(&d, root, "expanded_devices", i->n_expanded_devices, i->expanded_devices);
	cli_doc_map(&d, root, "origin", i->n_origin, i->origin);
	cli_doc_str(&d, root, "evacuated_from", i->evacuated_from);
	json_t *denials = cli_doc_object(&d, root, "denials");
	for (size_t n = 0; n < i->n_denials; n++)
		cli_doc_int(&d, denials, i->denials[n]->kind, i->denials[n]->count);
	json_t *array = cli_doc_array(&d, root, "snapshots");
	for (size_t n = 0; n < snapshots->n_snapshots; n++)
		cli_snapshot_doc(&d, cli_doc_add(&d, array), snapshots->snapshots[n]);
	if (i->last_move)
		cli_move_doc(&d, root, "last_move", i->last_move);
	return cli_doc_print(&d, f, stdout, err);
}

static int info_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb instance *i = NULL;
	cli_autopb Lxmgr__V1__ListSnapshotsResponse *snapshots = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_instance_get(cli, cli_operand(cli, 0), &i, err);
	if (r == 0 && i->snapshots)
		r = cli_snapshots_get(cli, i->name, &snapshots, err);
	else if (r == 0)
		snapshots = cli_pb_new(&lxmgr__v1__list_snapshots_response__descriptor);
	if (r == 0 && !snapshots)
		r = lx_err_oom(err);
	if (r != 0)
		return r;
	if (cli_is_document(&f))
		return print_doc(i, snapshots, &f, err);
	print_text(i, snapshots);
	return 0;
}

static const struct cli_option options[] = {
	{ "format", 'f', "FORMAT", "json or yaml, for scripts", CLI_FORMAT },
	{ .name = NULL },
};

const struct cli_verb cli_info_verbs[] = {
	{ .name = "info",
	  .operands = "INSTANCE",
	  .summary = "Show everything about an instance",
	  .details = "State, use of resources, addresses, and the configuration that acts, with the profile "
		     "that each "
		     "key comes from.",
	  .examples = "lxmgr info web1\nlxmgr info web1 --format json | jq .expanded_config",
	  .options = options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = info_run },
	{ .name = NULL },
};
