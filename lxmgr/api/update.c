/*
 * From a changed configuration to the running instance:
 *
 *   copy, expand, lease  ->  store (spec and leases, one transaction)  ->  memory
 *        ->  agent (tell.c)  ->  what needs a restart
 *
 * The agent being away is no error: it gets the specification when it is back (tell.c).
 */
#include "lxmgr/api/update.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/disk_size.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/project.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/intercept_mount.h"
#include "profiles/privileged.h"
#include "profiles/profiles.h"
#include "profiles/root_disk.h"
#include "proto/pb.h"

int lx_api_check_config(size_t n, const void *entries, struct lx_err *err)
{
	struct lx_pb_entry *const *v = entries;
	if (n > LX_CONFIG_MAX_KEYS)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "more than %u configuration keys",
				  LX_CONFIG_MAX_KEYS);
	for (size_t i = 0; i < n; i++) {
		int r = lx_config_check(v[i]->key, v[i]->value, err);
		if (r < 0)
			return r;
		/* No client library writes a map like that, and who reads it takes one or the other. */
		if (lx_pb_map_get(n, entries, v[i]->key) != v[i]->value)
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s is given twice", v[i]->key);
	}
	return 0;
}

int lx_api_check_devices(struct lx_manager *m, const char *project, size_t n, const void *entries,
			 struct lx_err *err)
{
	struct lx_pb_device_entry *const *v = entries;
	struct lx_map devices;
	int r = 0;

	if (n > LX_CONFIG_MAX_DEVICES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "more than %u devices", LX_CONFIG_MAX_DEVICES);
	lx_map_init(&devices, lx_pb_options_free);
	if (lx_pb_devices_to(n, entries, &devices) < 0)
		r = lx_err_oom(err);
	for (size_t i = 0; i < n && r == 0; i++) {
		size_t given = v[i]->value ? v[i]->value->n_options : 0;
		if (lx_map_count(&devices) != n || lx_map_count(lx_map_get(&devices, v[i]->key)) != given)
			r = lx_err_set(err, LX_INVALID_ARGUMENT,
				       "device %s or one of its options is given twice", v[i]->key);
	}
	for (struct lx_map_entry *e = lx_map_first(&devices); e && r == 0; e = lx_map_next(e)) {
		const struct lx_map *options = lx_map_value(e);
		r = lx_device_check(lx_map_key(e), options, err);
		const char *network = lx_map_get(options, "network");
		if (r == 0 && network && !lx_network_find(m, project, network, err)) {
			lx_err_wrap(err, "device %s", lx_map_key(e));
			r = -ENOENT;
		}
	}
	lx_map_release(&devices);
	return r;
}

/* Bytes of it as its agent gets it. */
static size_t expanded_size(const Lxmgr__V1__Instance *pb)
{
	Lxmgr__V1__InstanceSpec s = LXMGR__V1__INSTANCE_SPEC__INIT;

	s.n_config = pb->n_expanded_config;
	s.config = (Lxmgr__V1__InstanceSpec__ConfigEntry **)(void *)pb->expanded_config;
	s.n_devices = pb->n_expanded_devices;
	s.devices = (Lxmgr__V1__InstanceSpec__DevicesEntry **)(void *)pb->expanded_devices;
	return protobuf_c_message_get_packed_size(&s.base);
}

/* The root file system is the image's overlay: an instance without it cannot be built. */
static bool has_root(const Lxmgr__V1__Instance *pb)
{
	return lx_root_disk(pb->n_expanded_devices, pb->expanded_devices);
}

bool lx_api_is_privileged(const Lxmgr__V1__Instance *pb)
{
	return lx_privileged_is_on(
		lx_pb_map_get(pb->n_expanded_config, pb->expanded_config, LX_KEY_PRIVILEGED));
}

int lx_api_check_change(const Lxmgr__V1__Instance *before, const Lxmgr__V1__Instance *after,
			struct lx_err *err)
{
	bool privileged = lx_api_is_privileged(before);

	if (privileged == lx_api_is_privileged(after))
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "instance %s was made %s and stays so: its files belong to %s", before->name,
			   privileged ? "privileged" : "unprivileged",
			   privileged ? "the machine's own ids" : "its own range of ids");

	lx_err_hint(err,
		    "Launch a new one %s, and bring its files over: lxmgr file pull -r %s/PATH ., lxmgr file "
		    "push -r.",
		    privileged ? "without the profile or key" : "with -p default -p privileged",
		    before->name);
	return r;
}

/* Keys that are good each, but not together. */
static int check_together(const Lxmgr__V1__Instance *pb, struct lx_err *err)
{
	struct lx_map config;
	int r;

	lx_map_init(&config, free);
	r = lx_pb_map_to(pb->n_expanded_config, pb->expanded_config, &config);
	r = r < 0 ? lx_err_oom(err) : lx_privileged_check(&config, err);
	if (r == 0)
		r = lx_limits_check(&config, err);
	if (r == 0)
		r = lx_mount_check_keys(&config, err);
	if (r == 0)
		r = lx_apparmor_namespace_check(&config, err);
	lx_map_release(&config);
	return r < 0 ? r : lx_api_check_disk_with(pb, err);
}

int lx_api_check_expanded(const Lxmgr__V1__Instance *pb, struct lx_err *err)
{
	size_t size = expanded_size(pb);

	if (!has_root(pb)) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "instance %s has no root disk", pb->name);
		lx_err_hint(err, "Use a profile that has one (default), or add: -d root,type=disk,path=/");
		return r;
	}
	if (pb->n_expanded_config > LX_CONFIG_MAX_KEYS || pb->n_config > LX_CONFIG_MAX_KEYS)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "instance %s would have more than %u configuration keys", pb->name,
				  LX_CONFIG_MAX_KEYS);
	if (pb->n_expanded_devices > LX_CONFIG_MAX_DEVICES || pb->n_devices > LX_CONFIG_MAX_DEVICES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "instance %s would have more than %u devices",
				  pb->name, LX_CONFIG_MAX_DEVICES);
	if (size > LX_MAX_INSTANCE_SPEC)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the configuration of instance %s would take %zu bytes: at most %u",
				  pb->name, size, LX_MAX_INSTANCE_SPEC);
	return check_together(pb, err);
}

static void bind_address(struct lx_txn *txn, const char *cidr)
{
	char text[64];
	const char *slash = strchr(cidr, '/');
	if (lx_str_empty(cidr) || !slash || (size_t)(slash - cidr) >= sizeof(text)) {
		lx_txn_text(txn, NULL);
		return;
	}
	memcpy(text, cidr, (size_t)(slash - cidr));
	text[slash - cidr] = '\0';
	lx_txn_text(txn, text);
}

static void lease_row(struct lx_txn *txn, const char *sql, const Lxmgr__V1__Instance *pb, const char *name,
		      const Lxmgr__V1__Nic *nic)
{
	lx_txn_exec(txn, sql);
	lx_txn_text(txn, pb->uuid);
	lx_txn_text(txn, name);
	lx_txn_text(txn, nic->bridge);
	lx_txn_text(txn, nic->hwaddr);
	bind_address(txn, nic->ipv4_address);
	bind_address(txn, nic->ipv6_address);
}

#define LEASE_ROW " INTO leases (instance, nic, network, hwaddr, ipv4, ipv6) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"

void lx_txn_leases(struct lx_txn *txn, const Lxmgr__V1__Instance *pb)
{
	lx_txn_exec(txn, "DELETE FROM leases WHERE instance = ?1");
	lx_txn_text(txn, pb->uuid);
	for (size_t i = 0; i < pb->n_nics; i++)
		lease_row(txn, "INSERT" LEASE_ROW, pb, pb->nics[i]->name, pb->nics[i]);
	for (size_t i = 0; i < pb->n_held_nics; i++) {
		const Lxmgr__V1__Nic *nic = pb->held_nics[i];
		char name[64];

		/* One of its own cards may have taken its address over: there is a row of it then. */
		snprintf(name, sizeof(name), "%s %s", nic->name, nic->host_name);
		lease_row(txn, "INSERT OR IGNORE" LEASE_ROW, pb, name, nic);
	}
}

struct reapply {
	struct lx_manager *m;
	Lxmgr__V1__Instance *next;   /* what it will be */
	Lxmgr__V1__Instance *before; /* what it was when its leases were taken */
	char *uuid;
	bool in_operation; /* which tells its agent itself */
	lx_tell_cb cb;
	void *arg;
};

static void reapply_free(struct reapply *r)
{
	if (!r)
		return;
	lx_pb_free(r->next);
	lx_pb_free(r->before);
	free(r->uuid);
	free(r);
}

static void finish(struct reapply *r, size_t n, char *const *restart, const struct lx_err *err)
{
	struct lx_inst *inst = lx_map_get(&r->m->instances_by_uuid, r->uuid);
	r->cb(inst, n, restart, err, r->arg);
	reapply_free(r);
}

static void on_told(struct lx_inst *inst, size_t n, char *const *restart, const struct lx_err *err, void *arg)
{
	struct reapply *r = arg;

	r->cb(inst, n, restart, err, r->arg);
	reapply_free(r);
}

static void stored(struct reapply *r, const struct lx_err *err)
{
	struct lx_manager *m = r->m;
	struct lx_inst *inst = lx_map_get(&m->instances_by_uuid, r->uuid);
	struct lx_err e = *err;

	if (e.code == LX_OK && !inst)
		lx_err_set(&e, LX_NOT_FOUND, "instance %s was deleted meanwhile", r->next->name);
	if (e.code != LX_OK) {
		lx_leases_drop_nics(m, r->next, r->before);
		finish(r, 0, NULL, &e);
		return;
	}
	lx_leases_drop_nics(m, r->before, r->next);
	/* What is live stays; what was decided replaces it. */
	Lxmgr__V1__Instance *old = inst->pb, *pb = r->next;
	pb->status = old->status;
	pb->started_at_ns = old->started_at_ns;
	pb->pid = old->pid;
	pb->snapshots = old->snapshots;
	pb->snapshot_bytes = old->snapshot_bytes;
	lx_pb_free(pb->usage);
	pb->usage = old->usage;
	old->usage = NULL;
	lx_pb_set(&pb->status_reason, old->status_reason);
	lx_pb_set(&pb->operation, old->operation);
	lx_pb_set(&pb->apparmor, old->apparmor);
	lx_pb_set(&pb->last_error, old->last_error);
	inst->pb = pb;
	r->next = NULL;
	lx_pb_free(old);
	lx_inst_touch(m, inst);
	lx_link_apply_networks(m);

	inst->untold |= r->in_operation;
	/* That its agent could not be told now is no failure of the change. */
	if (r->in_operation || lx_inst_tell(m, inst, on_told, r, &e) != 0) {
		e = LX_ERR_INIT;
		finish(r, 0, NULL, &e);
	}
}

static void on_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct reapply *r = arg;
	struct lx_manager *m = r->m;

	stored(r, err);
	lx_turn_release(m);
}

static int reapply(struct lx_manager *m, struct lx_call *call, struct lx_inst *inst,
		   Lxmgr__V1__Instance *changed, bool in_operation, lx_tell_cb cb, void *arg,
		   struct lx_err *err)
{
	struct reapply *r = calloc(1, sizeof(*r));
	struct lx_txn *txn = lx_txn_new(NULL);
	lx_autofree uint8_t *spec = NULL;
	size_t len;
	int rc;

	if (!changed)
		changed = LX_PB_DUP(Lxmgr__V1__Instance, inst->pb);
	if (r)
		r->next = changed;
	else
		lx_pb_free(changed);
	if (!r || !txn || !r->next || !(r->uuid = strdup(inst->pb->uuid)) ||
	    !(r->before = LX_PB_DUP(Lxmgr__V1__Instance, inst->pb))) {
		rc = lx_err_oom(err);
		goto fail;
	}
	r->m = m;
	r->in_operation = in_operation;
	r->cb = cb;
	r->arg = arg;
	if ((rc = lx_inst_expand(m, r->next, err)) < 0)
		goto fail;
	if ((rc = lx_leases_update_nics(m, r->next, err)) < 0)
		goto unlease;
	if (!(spec = lx_inst_pack(r->next, &len))) {
		rc = lx_err_oom(err);
		goto unlease;
	}
	lx_txn_exec(txn, "UPDATE instances SET spec = ?1 WHERE uuid = ?2");
	lx_txn_blob(txn, spec, len);
	lx_txn_text(txn, r->next->uuid);
	lx_txn_expect(txn, 1, "the instance was deleted meanwhile");
	lx_txn_leases(txn, r->next);
	lx_audit_into(m, call, txn);
	rc = lx_store_submit(m->store, lx_move_ptr(txn), on_stored, r, err);
	if (rc == 0) {
		lx_turn_hold(m);
		return 0;
	}
	lx_audit_failed(call);
unlease:
	lx_leases_drop_nics(m, r->next, r->before);
fail:
	lx_txn_free(txn);
	reapply_free(r);
	return rc;
}

int lx_inst_reapply(struct lx_manager *m, struct lx_call *call, struct lx_inst *inst,
		    Lxmgr__V1__Instance *changed, lx_tell_cb cb, void *arg, struct lx_err *err)
{
	return reapply(m, call, inst, changed, false, cb, arg, err);
}

int lx_inst_reapply_in_operation(struct lx_manager *m, struct lx_inst *inst, Lxmgr__V1__Instance *changed,
				 lx_tell_cb cb, void *arg, struct lx_err *err)
{
	return reapply(m, NULL, inst, changed, true, cb, arg, err);
}
