/*
 * What is wrong for as long as it is: looked at every two seconds (nodes) or minute (the rest),
 * all from memory but for the manager's own disk. A network that is not up is told by the answer
 * of its node (cluster/networks.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "lxmgr/warnings/warnings.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/selinux.h"
#include "proto/pb.h"

#define MINUTE_LOOKS 30u
/* Percent of a disk that is free: below these it is one, above the last not any more. */
#define DISK_LOW      10u
#define DISK_VERY_LOW 3u
#define DISK_GOOD     12u
#define EXPIRY_DAYS   30
#define DAY_SECONDS   (24 * 60 * 60)

static void set(struct lx_manager *m, const struct lx_warning_of *of, bool holds, const char *message)
{
	if (holds)
		lx_warning_hold(m, of, message);
	else
		lx_warning_resolve(m, of);
}

/* ------------------------------------------------------------------ disks */

static void look_at_disk(struct lx_manager *m, struct lx_warning_of of, uint64_t bytes, uint64_t free_bytes,
			 const char *what)
{
	uint64_t percent = bytes ? free_bytes / (bytes / 100 + 1) : 100;
	char size[LX_SIZE_TEXT_MAX], text[256];

	if (percent >= DISK_LOW && percent < DISK_GOOD)
		return; /* as it was */
	of.severity = percent < DISK_VERY_LOW ? LX_SEVERITY_HIGH : LX_SEVERITY_MODERATE;
	/* Rounded: another message each time would be one that is stored each time. */
	snprintf(text, sizeof(text), "%s is nearly full: less than %" PRIu64 " %% of %s is free", what,
		 percent + 1, lx_format_size(bytes, size, sizeof(size)));
	set(m, &of, percent < DISK_LOW, text);
}

static void look_at_own_disk(struct lx_manager *m)
{
	const struct lx_warning_of of = { .type = "store-nearly-full",
					  .entity = "cluster",
					  .name = "manager" };
	struct statvfs vfs;

	if (statvfs(m->opt.state_dir, &vfs) == 0)
		look_at_disk(m, of, (uint64_t)vfs.f_blocks * vfs.f_frsize,
			     (uint64_t)vfs.f_bavail * vfs.f_frsize, "the disk of the manager's state");
}

/* ------------------------------------------------------------------ certificates */

static void look_at_expiry(struct lx_manager *m, const char *entity, const char *name, const char *what,
			   int64_t end)
{
	const struct lx_warning_of of = { .type = "certificate-expires",
					  .entity = entity,
					  .name = name,
					  .node = lx_streq(entity, "node") ? name : NULL,
					  .severity = LX_SEVERITY_HIGH };
	int64_t left = end - (int64_t)(lx_now_realtime_ns() / LX_NSEC_PER_SEC);
	char when[LX_TIME_TEXT], text[256];

	if (end <= 0)
		return;
	snprintf(text, sizeof(text), "%s %s at %s", what, left > 0 ? "expires" : "has expired",
		 lx_time_rfc3339((uint64_t)end * LX_NSEC_PER_SEC, when));
	set(m, &of, left < (int64_t)EXPIRY_DAYS * DAY_SECONDS, text);
}

static void look_at_certificates(struct lx_manager *m)
{
	look_at_expiry(m, "cluster", "ca", "the certificate of the cluster's own authority",
		       lx_certificate_end(m->ca_pem));
	look_at_expiry(m, "cluster", "manager", "the manager's certificate", lx_certificate_end(m->cert_pem));
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e)) {
		const struct lx_node *n = lx_map_value(e);

		/* It was made when the node joined. */
		if (n->pb->joined_at_ns)
			look_at_expiry(m, "node", n->pb->name, "its agent's certificate",
				       n->pb->joined_at_ns / (int64_t)LX_NSEC_PER_SEC +
					       (int64_t)LX_CERT_DAYS * DAY_SECONDS);
	}
}

/* ------------------------------------------------------------------ nodes */

static struct lx_warning_of of_node(const struct lx_node *n, const char *type, enum lx_severity severity)
{
	return (struct lx_warning_of){ type, "node", n->pb->name, n->pb->name, severity };
}

/* A manager that has just begun knows nothing of its nodes yet. */
static bool is_settled(const struct lx_manager *m)
{
	int64_t seconds = ((int64_t)lx_now_realtime_ns() - m->started_at_ns) / (int64_t)LX_NSEC_PER_SEC;

	return seconds > 2 * (int64_t)m->opt.offline_after_s;
}

static void look_at_node(struct lx_manager *m, const struct lx_node *n)
{
	const struct lx_warning_of away = of_node(n, "node-offline", LX_SEVERITY_HIGH);
	const struct lx_warning_of bare = of_node(n, "no-security-module", LX_SEVERITY_LOW);
	const Lxmgr__V1__NodeFacts *f = n->pb->facts;

	if (lx_node_online(n) || n->reported || is_settled(m))
		set(m, &away, !lx_node_online(n), n->pb->status_reason);
	if (!lx_node_online(n) || !f)
		return;
	bool mute = lx_streq(f->lsm, "apparmor") &&
		    !lx_streq(lx_pb_map_get(f->n_features, f->features, "apparmor-parser"), "yes");
	bool lax = lx_streq(lx_pb_map_get(f->n_features, f->features, LX_FEATURE_SELINUX), "permissive");

	set(m, &bare, mute || lax || lx_streq(f->lsm, "none"),
	    mute  ? "it has AppArmor but no apparmor_parser: user namespaces and seccomp alone confine "
		    "instances"
	    : lax ? "its SELinux is permissive: user namespaces and seccomp alone confine instances"
		  : "it has no AppArmor or SELinux: user namespaces and seccomp alone confine instances");
	look_at_disk(m, of_node(n, "disk-nearly-full", LX_SEVERITY_MODERATE), f->disk_bytes,
		     f->disk_free_bytes, "the disk of the agent's state");
}

/* ------------------------------------------------------------------ instances */

/* Without it an instance cannot start again. */
static void look_at_image(struct lx_manager *m, const struct lx_inst *inst, const struct lx_node *n)
{
	const struct lx_warning_of of = { "image-missing", "instance", inst->key, inst->pb->node,
					  LX_SEVERITY_HIGH };
	char text[256];

	snprintf(text, sizeof(text), "its node has not its image %.12s: it cannot start there again",
		 inst->pb->image_fingerprint);
	set(m, &of, !lx_map_has(&n->images, inst->pb->image_fingerprint), text);
}

/* It starts all the same, and loads no profiles. */
static void look_at_policy(struct lx_manager *m, const struct lx_inst *inst, const struct lx_node *n)
{
	const struct lx_warning_of of = { "no-apparmor-namespace", "instance", inst->key, inst->pb->node,
					  LX_SEVERITY_LOW };
	const char *wanted = lx_pb_map_get(inst->pb->n_expanded_config, inst->pb->expanded_config,
					   LX_KEY_APPARMOR_NAMESPACE);
	const char *has = n->pb->facts ? lx_pb_map_get(n->pb->facts->n_features, n->pb->facts->features,
						       LX_FEATURE_APPARMOR_NAMESPACES)
				       : "yes";

	set(m, &of, lx_apparmor_namespace_is_on(wanted) && !lx_streq(has, "yes"),
	    "its node has no AppArmor namespaces: it cannot load profiles of its own there "
	    "(" LX_KEY_APPARMOR_NAMESPACE ")");
}

static void look_at_instances(struct lx_manager *m)
{
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		const struct lx_node *n = lx_map_get(&m->nodes, inst->pb->node);

		if (!n || !lx_node_online(n) || inst->op || inst->pending)
			continue;
		look_at_image(m, inst, n);
		look_at_policy(m, inst, n);
	}
}

void lx_conditions_lxcfs(struct lx_manager *m, const struct lx_inst *inst, bool lost)
{
	const struct lx_warning_of of = { "lxcfs-lost", "instance", inst->key, inst->pb->node,
					  LX_SEVERITY_MODERATE };

	set(m, &of, lost,
	    "lxcfs of its node has ended: its /proc/meminfo, cpuinfo, stat and the like cannot be read until "
	    "it is restarted or moved");
}

/* ------------------------------------------------------------------ all of it */

static bool is_gone(const struct lx_manager *m, const Lxmgr__V1__Warning *w)
{
	if (lx_streq(w->entity, "instance"))
		return !lx_map_has(&m->instances, w->name);
	return lx_streq(w->entity, "node") && !lx_map_has(&m->nodes, w->name);
}

/* Of what is not there any more nobody needs to know: a node; an instance of before the last start. */
static void drop_gone(struct lx_manager *m)
{
	const struct lx_warnings *ws = m->warnings;
	struct lx_map_entry *next;

	for (struct lx_map_entry *e = lx_map_first(&ws->by_id); e; e = next) {
		struct lx_warning *w = lx_map_value(e);

		next = lx_map_next(e);
		if (is_gone(m, w->pb))
			lx_warning_remove(m, w);
	}
}

void lx_conditions_look(struct lx_manager *m)
{
	if (m->stopping)
		return;
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e))
		look_at_node(m, lx_map_value(e));
	drop_gone(m);
	if (m->warnings->looks++ % MINUTE_LOOKS != 0)
		return;
	look_at_own_disk(m);
	look_at_certificates(m);
	look_at_instances(m);
}
