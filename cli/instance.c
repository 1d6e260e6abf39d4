/* Instances in words: see instance.h. */
#include "cli/instance.h"

#include "lib/buf.h"

const char *cli_instance_status(Lxmgr__V1__InstanceStatus status)
{
	static const char *const words[] = {
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_UNSPECIFIED] = "UNKNOWN",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_CREATING] = "CREATING",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED] = "STOPPED",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STARTING] = "STARTING",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING] = "RUNNING",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FREEZING] = "FREEZING",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN] = "FROZEN",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPING] = "STOPPING",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_DELETING] = "DELETING",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_ERROR] = "ERROR",
		[LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_UNKNOWN] = "UNKNOWN",
	};

	return (size_t)status < LX_ARRAY_SIZE(words) && words[status] ? words[status] : "UNKNOWN";
}

char *cli_instance_addresses(const Lxmgr__V1__Instance *i, bool v6, const char *separator, bool with_nic)
{
	lx_autobuf struct lx_buf text = { 0 };
	int r = 0;

	for (size_t n = 0; r == 0 && n < i->n_nics; n++) {
		const Lxmgr__V1__Nic *nic = i->nics[n];
		const char *address = v6 ? nic->ipv6_address : nic->ipv4_address;
		if (!*address)
			continue;
		r = lx_buf_printf(&text, "%s%.*s", text.len ? separator : "", (int)strcspn(address, "/"),
				  address);
		if (r == 0 && with_nic)
			r = lx_buf_printf(&text, " (%s)", nic->name);
	}
	return r < 0 ? NULL : strdup(lx_buf_str(&text));
}

static void addresses_doc(struct cli_doc *d, json_t *to, const char *key, const Lxmgr__V1__Instance *i,
			  bool v6)
{
	lx_autofree char *text = cli_instance_addresses(i, v6, ",", false);

	if (text)
		cli_doc_str(d, to, key, text);
	else
		d->oom = true;
}

void cli_instance_doc(struct cli_doc *d, json_t *to, const Lxmgr__V1__Instance *i)
{
	const Lxmgr__V1__InstanceUsage none = LXMGR__V1__INSTANCE_USAGE__INIT;
	const Lxmgr__V1__InstanceUsage *u = i->usage ? i->usage : &none;

	cli_doc_str(d, to, "name", i->name);
	cli_doc_str(d, to, "project", i->project);
	cli_doc_str(d, to, "status", cli_instance_status(i->status));
	cli_doc_str(d, to, "status_reason", i->status_reason);
	cli_doc_str(d, to, "node", i->node);
	cli_doc_str(d, to, "image", i->image);
	cli_doc_str(d, to, "image_fingerprint", i->image_fingerprint);
	cli_doc_str(d, to, "image_description", i->image_description);
	cli_doc_str(d, to, "architecture", i->architecture);
	addresses_doc(d, to, "ipv4", i, false);
	addresses_doc(d, to, "ipv6", i, true);
	cli_doc_strv(d, to, "profiles", i->n_profiles, i->profiles);
	cli_doc_time(d, to, "created_at", i->created_at_ns);
	cli_doc_time(d, to, "started_at", i->started_at_ns);
	cli_doc_int(d, to, "pid", (uint64_t)i->pid);
	cli_doc_str(d, to, "apparmor", i->apparmor);
	cli_doc_int(d, to, "memory", u->memory_bytes);
	cli_doc_int(d, to, "memory_peak", u->memory_peak_bytes);
	cli_doc_int(d, to, "memory_limit", u->memory_limit_bytes);
	cli_doc_int(d, to, "cpu_ns", u->cpu_ns);
	cli_doc_int(d, to, "processes", u->processes);
	cli_doc_int(d, to, "disk", u->disk_bytes);
	cli_doc_int(d, to, "disk_limit", u->disk_limit_bytes);
	cli_doc_int(d, to, "snapshot_count", i->snapshots);
	cli_doc_int(d, to, "snapshot_bytes", i->snapshot_bytes);
	cli_doc_int(d, to, "rx_bytes", u->rx_bytes);
	cli_doc_int(d, to, "tx_bytes", u->tx_bytes);
	cli_doc_str(d, to, "uuid", i->uuid);
	cli_doc_str(d, to, "operation", i->operation);
	cli_doc_str(d, to, "last_error", i->last_error);
}
