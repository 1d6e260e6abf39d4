/* Quotas and restrictions of projects; see quota.h. */
#include "lxmgr/quota.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/intercept.h"
#include "profiles/privileged.h"
#include "profiles/root_disk.h"
#include "profiles/value.h"
#include "proto/pb.h"

static const char *expanded(const Lxmgr__V1__Instance *pb, const char *key)
{
	const char *v = lx_pb_map_get(pb->n_expanded_config, pb->expanded_config, key);

	return v ? v : "";
}

/* ------------------------------------------------------------------ the quotas there are */

/* What one instance is bounded to; false: it is not. A quota is such a function, a row below and a key of
 * projects. */
static bool of_memory(const Lxmgr__V1__Instance *pb, uint64_t *ret)
{
	struct lx_amount a;

	if (lx_value_amount(expanded(pb, "limits.memory"), &a) < 0 || a.percent)
		return false;
	*ret = a.bytes;
	return true;
}

static bool of_cpu(const Lxmgr__V1__Instance *pb, uint64_t *ret)
{
	struct lx_cpus c;

	if (lx_value_cpus(expanded(pb, "limits.cpu"), &c) < 0 || !c.count)
		return false;
	*ret = (uint64_t)c.count * 1000;
	return true;
}

static bool of_processes(const Lxmgr__V1__Instance *pb, uint64_t *ret)
{
	return lx_parse_u64(expanded(pb, "limits.processes"), ret) == 0;
}

static bool of_disk(const Lxmgr__V1__Instance *pb, uint64_t *ret)
{
	uint64_t size = lx_root_disk_size(pb->n_expanded_devices, pb->expanded_devices);

	*ret = size + pb->snapshot_bytes;
	return size > 0;
}

static const struct row {
	const char *name, *key;
	/* NULL: it counts things. Of a sum: what one instance adds, and how its bound is given. */
	bool (*of)(const Lxmgr__V1__Instance *pb, uint64_t *ret);
	const char *example;
	bool bytes;
	unsigned unit; /* in thousandths: 1000 */
} rows[LX_QUOTA_COUNT] = {
	[LX_QUOTA_INSTANCES] = { "instances", "limits.instances", NULL, NULL, false, 1 },
	[LX_QUOTA_CPU] = { "cpu", "limits.cpu", of_cpu, "limits.cpu=1", false, 1000 },
	[LX_QUOTA_MEMORY] = { "memory", "limits.memory", of_memory, "limits.memory=512MiB", true, 1 },
	[LX_QUOTA_PROCESSES] = { "processes", "limits.processes", of_processes, "limits.processes=500", false,
				 1 },
	[LX_QUOTA_DISK] = { "disk", "limits.disk", of_disk, "option size of its root disk, size=10GiB", true,
			    1 },
	[LX_QUOTA_NETWORKS] = { "networks", "limits.networks", NULL, NULL, false, 1 },
	[LX_QUOTA_IMAGES] = { "images", "limits.images", NULL, NULL, false, 1 },
};

const char *lx_quota_name(enum lx_quota q)
{
	return rows[q].name;
}

bool lx_quota_limit(const Lxmgr__V1__Project *p, enum lx_quota q, uint64_t *ret)
{
	const char *text = lx_pb_map_get(p->n_config, p->config, rows[q].key);
	uint64_t v;

	if (lx_str_empty(text) || (rows[q].bytes ? lx_parse_size(text, &v) : lx_parse_u64(text, &v)) < 0)
		return false;
	*ret = v * rows[q].unit; /* the table of keys keeps it small enough */
	return true;
}

/* ------------------------------------------------------------------ arithmetic */

void lx_use_add(struct lx_use *use, const Lxmgr__V1__Instance *pb)
{
	use->used[LX_QUOTA_INSTANCES]++;
	for (size_t q = 0; q < LX_QUOTA_COUNT; q++) {
		uint64_t one = 0;

		if (!rows[q].of)
			continue;
		if (!rows[q].of(pb, &one)) {
			if (use->unbounded[q]++ == 0)
				use->first[q] = pb->name;
		} else if (__builtin_add_overflow(use->used[q], one, &use->used[q])) {
			use->used[q] = UINT64_MAX;
		}
	}
}

static const char *amount(const struct row *row, uint64_t v, char buf[LX_SIZE_TEXT_MAX])
{
	if (row->bytes)
		return lx_format_size(v, buf, LX_SIZE_TEXT_MAX);
	if (v % row->unit)
		snprintf(buf, LX_SIZE_TEXT_MAX, "%.1f", (double)v / row->unit);
	else
		snprintf(buf, LX_SIZE_TEXT_MAX, "%" PRIu64, v / row->unit);
	return buf;
}

static int exceeded(const Lxmgr__V1__Project *p, const struct row *row, uint64_t used, uint64_t limit,
		    struct lx_err *err)
{
	char a[LX_SIZE_TEXT_MAX], b[LX_SIZE_TEXT_MAX];
	int r = lx_err_set(err, LX_RESOURCE_EXHAUSTED, "%s of project %s is %s, and %s would be in use",
			   row->key, p->name, amount(row, limit, b), amount(row, used, a));

	lx_err_hint(
		err,
		"lxmgr project show %s shows what it uses; an administrator can raise it: lxmgr project set "
		"%s %s=...",
		p->name, p->name, row->key);
	return r;
}

int lx_use_check(const Lxmgr__V1__Project *p, const struct lx_use *use, struct lx_err *err)
{
	for (size_t q = 0; q < LX_QUOTA_COUNT; q++) {
		const struct row *row = &rows[q];
		uint64_t limit;

		if (!lx_quota_limit(p, (enum lx_quota)q, &limit))
			continue;
		if (use->unbounded[q]) {
			int r = lx_err_set(
				err, LX_FAILED_PRECONDITION,
				"instance %s has no %s that counts against the quota of project %s",
				use->first[q], row->key, p->name);

			lx_err_hint(err, "Give it one, or its profile: %s", row->example);
			return r;
		}
		if (use->used[q] > limit)
			return exceeded(p, row, use->used[q], limit, err);
	}
	return 0;
}

/* ------------------------------------------------------------------ restrictions */

static int restricted(const struct lx_project *p, const Lxmgr__V1__Instance *pb, const char *what,
		      const char *key, struct lx_err *err)
{
	int r = lx_err_set(err, LX_PERMISSION_DENIED, "instance %s may not have %s in project %s (%s)",
			   pb->name, what, p->pb->name, key);

	lx_err_hint(err, "An administrator can allow it: lxmgr project unset %s %s", p->pb->name, key);
	return r;
}

static bool names_it(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == len && strncmp(at, name, len) == 0)
			return true;
	return false;
}

static int check_networks(struct lx_manager *m, const struct lx_project *p, const Lxmgr__V1__Instance *pb,
			  struct lx_err *err)
{
	const char *allowed = lx_project_get(p, "restricted.networks");

	for (size_t i = 0; i < pb->n_expanded_devices && *allowed; i++) {
		const Lxmgr__V1__Device *d = pb->expanded_devices[i]->value;
		const char *name = d ? lx_pb_map_get(d->n_options, d->options, "network") : NULL;
		const Lxmgr__V1__Network *n = name ? lx_network_find(m, p->pb->name, name, NULL) : NULL;
		char what[LX_NAME_MAX + 16];

		if (!n || lx_same_project(n->project, p->pb->name) || names_it(allowed, n->name))
			continue;
		snprintf(what, sizeof(what), "network %s", n->name);
		return restricted(p, pb, what, "restricted.networks", err);
	}
	return 0;
}

static bool is_off(const Lxmgr__V1__Device *d, const char *key)
{
	const char *text = lx_pb_map_get(d->n_options, d->options, key);
	bool on;

	return text && lx_parse_bool(text, &on) == 0 && !on;
}

/*
 * Who may say to be somebody else on a bridge can keep from others what is for them. In a network
 * of all projects that is left to the default one.
 */
static int check_filters(struct lx_manager *m, const struct lx_project *p, const Lxmgr__V1__Instance *pb,
			 struct lx_err *err)
{
	static const char *const filters[] = { "security.mac_filtering", "security.ipv4_filtering",
					       "security.ipv6_filtering" };

	for (size_t i = 0; i < pb->n_expanded_devices; i++) {
		const Lxmgr__V1__Device *d = pb->expanded_devices[i]->value;
		const char *name = d ? lx_pb_map_get(d->n_options, d->options, "network") : NULL;
		const Lxmgr__V1__Network *n = name ? lx_network_find(m, p->pb->name, name, NULL) : NULL;

		for (size_t k = 0;
		     n && !lx_same_project(n->project, p->pb->name) && k < LX_ARRAY_SIZE(filters); k++) {
			if (!is_off(d, filters[k]))
				continue;
			int r = lx_err_set(err, LX_PERMISSION_DENIED,
					   "device %s of %s: %s=false is not for network %s, which other "
					   "projects use",
					   pb->expanded_devices[i]->key, pb->name, filters[k], n->name);
			lx_err_hint(err,
				    "Have an administrator make a network of the project's own: lxmgr "
				    "--project %s network create",
				    p->pb->name);
			return r;
		}
	}
	return 0;
}

static bool is_lowlevel(const Lxmgr__V1__Instance *pb)
{
	const char *value = expanded(pb, "security.apparmor");
	struct lx_map config;
	bool named = false;

	lx_map_init(&config, NULL);
	if (*value && lx_map_set(&config, "security.apparmor", (char *)(uintptr_t)value) == 0)
		named = lx_apparmor_mode(&config) == LX_APPARMOR_NAMED;
	lx_map_release(&config);
	return named || *expanded(pb, "raw.apparmor");
}

bool lx_instance_intercepts(const Lxmgr__V1__Instance *pb)
{
	unsigned any = 0;

	for (size_t i = 0; i < pb->n_expanded_config; i++)
		any |= lx_intercept_of_key(pb->expanded_config[i]->key, pb->expanded_config[i]->value);
	return any != 0;
}

int lx_restriction_check(struct lx_manager *m, const struct lx_project *p, const Lxmgr__V1__Instance *pb,
			 struct lx_err *err)
{
	bool nesting;

	if (lx_project_is_on(p, "restricted.privileged") &&
	    lx_privileged_is_on(expanded(pb, LX_KEY_PRIVILEGED)))
		return restricted(p, pb, LX_KEY_PRIVILEGED, "restricted.privileged", err);
	if (lx_project_is_on(p, "restricted.nesting") &&
	    lx_parse_bool(expanded(pb, "security.nesting"), &nesting) == 0 && nesting)
		return restricted(p, pb, "security.nesting", "restricted.nesting", err);
	if (lx_project_is_on(p, "restricted.nesting") &&
	    lx_apparmor_namespace_is_on(expanded(pb, LX_KEY_APPARMOR_NAMESPACE)))
		return restricted(p, pb, LX_KEY_APPARMOR_NAMESPACE, "restricted.nesting", err);
	if (lx_project_is_on(p, "restricted.interception") && lx_instance_intercepts(pb))
		return restricted(p, pb, LX_KEY_INTERCEPT "*", "restricted.interception", err);
	if (lx_project_is_on(p, "restricted.lowlevel") && is_lowlevel(pb))
		return restricted(p, pb, "rules of its own", "restricted.lowlevel", err);
	int r = lx_project_is_default(p->pb->name) ? 0 : check_filters(m, p, pb, err);
	return r < 0 ? r : check_networks(m, p, pb, err);
}

/* ------------------------------------------------------------------ projects in memory */

static uint64_t count_networks(struct lx_manager *m, const char *project)
{
	uint64_t n = 0;

	for (struct lx_map_entry *e = lx_map_first(&m->networks); e; e = lx_map_next(e))
		n += lx_same_project(((const Lxmgr__V1__Network *)lx_map_value(e))->project, project);
	return n;
}

/* With those that may become one. */
static uint64_t count_images(struct lx_manager *m, const char *project)
{
	uint64_t n = 0;

	for (struct lx_map_entry *e = lx_map_first(&m->images); e; e = lx_map_next(e))
		n += lx_same_project(((const Lxmgr__V1__Image *)lx_map_value(e))->project, project);
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		const struct lx_op *op = lx_map_value(e);

		n += op->kind && op->kind->makes_images && !lx_op_ended(op) &&
		     lx_same_project(op->pb->project, project);
	}
	return n;
}

/* The one of `next` that takes its place. */
static const Lxmgr__V1__Instance *replaced(const Lxmgr__V1__Instance *pb, Lxmgr__V1__Instance *const *next,
					   size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (lx_streq(next[i]->uuid, pb->uuid))
			return next[i];
	return NULL;
}

static void use_with(struct lx_manager *m, const char *project, Lxmgr__V1__Instance *const *next, size_t n,
		     struct lx_use *ret)
{
	*ret = (struct lx_use){ 0 };
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);

		if (lx_same_project(inst->pb->project, project) && !replaced(inst->pb, next, n))
			lx_use_add(ret, inst->pb);
	}
	for (size_t i = 0; i < n; i++)
		lx_use_add(ret, next[i]);
}

void lx_project_use(struct lx_manager *m, const char *project, struct lx_use *ret)
{
	use_with(m, project, NULL, 0, ret);
	ret->used[LX_QUOTA_NETWORKS] = count_networks(m, project);
	ret->used[LX_QUOTA_IMAGES] = count_images(m, project);
}

int lx_project_check(struct lx_manager *m, const char *project, Lxmgr__V1__Instance *const *next, size_t n,
		     struct lx_err *err)
{
	struct lx_project *p = lx_project_for_new(m, project, err);
	struct lx_use use;
	int r = 0;

	if (!p)
		return lx_code_errno(err->code);
	for (size_t i = 0; i < n && r == 0; i++)
		r = lx_restriction_check(m, p, next[i], err);
	if (r < 0 || !p->pb->n_config) /* without quotas nothing need be counted */
		return r;
	use_with(m, project, next, n, &use);
	return lx_use_check(p->pb, &use, err);
}

int lx_project_room(struct lx_manager *m, const char *project, enum lx_quota q, struct lx_err *err)
{
	struct lx_project *p = lx_project_for_new(m, project, err);
	uint64_t limit, used;

	if (!p)
		return lx_code_errno(err->code);
	if (!lx_quota_limit(p->pb, q, &limit))
		return 0;
	used = q == LX_QUOTA_NETWORKS ? count_networks(m, project) : count_images(m, project);
	return used < limit ? 0 : exceeded(p->pb, &rows[q], used + 1, limit, err);
}
