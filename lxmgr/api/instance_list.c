/* InstanceService.List: from memory, and packed only when something has changed. */
#include "lxmgr/api/instances.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/auth/auth.h"
#include "proto/pb.h"

#define MAX_FILTERS 64u

static bool has_glob(const char *s)
{
	return strpbrk(s, "*?[") != NULL;
}

/* One filter of "lxmgr list": key=value, or a name pattern or prefix. */
static bool matches(const struct lx_inst *inst, const char *filter)
{
	const Lxmgr__V1__Instance *pb = inst->pb;
	const char *eq = strchr(filter, '=');

	if (!eq)
		return has_glob(filter) ? fnmatch(filter, pb->name, 0) == 0
					: lx_starts_with(pb->name, filter);
	size_t n = (size_t)(eq - filter);
	const char *value = eq + 1;
	if (n == 6 && strncmp(filter, "status", n) == 0)
		return strcasecmp(lx_inst_status_name(pb->status), value) == 0;
	if (n == 4 && strncmp(filter, "node", n) == 0)
		return lx_streq(pb->node, value);
	if (n == 4 && strncmp(filter, "name", n) == 0)
		return fnmatch(value, pb->name, 0) == 0;
	if (n == 7 && strncmp(filter, "project", n) == 0)
		return fnmatch(value, pb->project, 0) == 0;
	if (n == 5 && strncmp(filter, "image", n) == 0)
		return fnmatch(value, pb->image, 0) == 0 || lx_starts_with(pb->image_fingerprint, value);
	if (n == 7 && strncmp(filter, "profile", n) == 0) {
		for (size_t i = 0; i < pb->n_profiles; i++)
			if (fnmatch(value, pb->profiles[i], 0) == 0)
				return true;
		return false;
	}
	char key[256];
	if (n >= sizeof(key))
		return false;
	memcpy(key, filter, n);
	key[n] = '\0';
	const char *have = lx_pb_map_get(pb->n_expanded_config, pb->expanded_config, key);
	return have && fnmatch(value, have, 0) == 0;
}

/* A shallow copy without the large fields; points into the original. */
static void basic_view(Lxmgr__V1__Instance *out, const Lxmgr__V1__Instance *pb)
{
	*out = *pb;
	out->n_config = out->n_devices = out->n_expanded_config = out->n_expanded_devices = out->n_origin = 0;
}

void lx_api_instance_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ListInstancesRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	Lxmgr__V1__ListInstancesResponse resp = LXMGR__V1__LIST_INSTANCES_RESPONSE__INIT;
	bool full = req->view == LXMGR__V1__INSTANCE_VIEW__INSTANCE_VIEW_FULL;
	struct lx_scope scope;
	size_t n = lx_map_count(&m->instances);

	lx_scope_of(m, call, &scope);
	/* What of all projects may be seen depends on who asks. */
	bool plain = !full && !req->n_filters && (!scope.all || scope.cluster != LX_ROLE_NONE);
	if (plain && m->list_cache && m->list_revision == m->revision &&
	    lx_streq(m->list_project, scope.project)) {
		lx_call_reply_bytes(call, (struct lx_bytes){ m->list_cache, m->list_cache_len });
		return;
	}
	if (req->n_filters > MAX_FILTERS) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "more than %u filters", MAX_FILTERS);
		return;
	}
	lx_autofree Lxmgr__V1__Instance **list = calloc(n + 1, sizeof(*list));
	lx_autofree Lxmgr__V1__Instance *views = calloc(n + 1, sizeof(*views));
	if (!list || !views) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	resp.instances = list;
	resp.revision = m->revision;
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		bool wanted = !req->n_filters;
		if (!lx_scope_sees(&scope, inst->pb->project))
			continue;
		for (size_t i = 0; i < req->n_filters && !wanted; i++)
			wanted = matches(inst, req->filters[i]);
		if (!wanted)
			continue;
		if (full) {
			list[resp.n_instances++] = inst->pb;
		} else {
			basic_view(&views[resp.n_instances], inst->pb);
			list[resp.n_instances] = &views[resp.n_instances];
			resp.n_instances++;
		}
	}
	if (!plain) {
		lx_call_reply(call, &resp.base);
		return;
	}
	/* Asked far more often than anything changes: packed once for each change. */
	size_t len;
	uint8_t *bytes = lx_pb_pack(&resp.base, &len);
	if (!bytes) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	free(m->list_cache);
	m->list_cache = bytes;
	m->list_cache_len = len;
	m->list_revision = m->revision;
	snprintf(m->list_project, sizeof(m->list_project), "%s", scope.project);
	lx_call_reply_bytes(call, (struct lx_bytes){ bytes, len });
}
