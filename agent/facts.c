/*
 * Collecting the facts: what does not change once at start, CRIU's answers when they are
 * there, free space whenever somebody looks. Warnings are derived from the rest.
 */
#include "agent/facts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/loop.h"
#include "agent/worker/apparmor_namespace.h"
#include "agent/worker/disk_quota.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/selinux.h"
#include "proto/pb.h"

/* How often watchers hear of free memory and disk. */
#define FACTS_INTERVAL_MS 30000u

/* What compiles AppArmor profiles. */
#define APPARMOR_PARSER "/usr/sbin/apparmor_parser"

struct lx_facts {
	uv_loop_t *loop;
	struct lx_facts_options opt;
	Lxmgr__V1__NodeFacts *pb;
	struct lx_timer *timer;
	struct criu_work *criu; /* under way */
	bool criu_known;
	bool lxcfs_broken;
};

struct criu_work {
	struct lx_facts *facts; /* NULL: closed meanwhile */
	char *libexec_dir;
	struct lx_facts_criu answer;
};

static int set_feature(struct lx_facts *f, const char *name, const char *value)
{
	return lx_pb_map_set(&lxmgr__v1__node_facts__features_entry__descriptor, &f->pb->n_features,
			     &f->pb->features, name, value);
}

static void on_probed(const char *name, const char *value, void *arg)
{
	struct lx_facts *f = arg;

	if (lx_streq(name, "lxc-version"))
		(void)lx_pb_set(&f->pb->lxc_version, value);
	else
		(void)set_feature(f, name, value);
}

/* ------------------------------------------------------------------ what stays */

static int read_os(struct lx_facts *f)
{
	lx_autobuf struct lx_buf text = { 0 };
	static const char key[] = "PRETTY_NAME=\"";

	if (lx_read_file("/etc/os-release", 65536, &text, NULL) < 0)
		return 0;
	const char *start = strstr(lx_buf_str(&text), key);

	if (!start)
		return 0;
	start += strlen(key);
	lx_autofree char *name = strndup(start, strcspn(start, "\"\n"));

	return name ? lx_pb_set(&f->pb->os, name) : -ENOMEM;
}

static const char *find_lsm(void)
{
	char line[8];

	if (lx_read_line("/sys/module/apparmor/parameters/enabled", line, sizeof(line)) == 0 && *line == 'Y')
		return "apparmor";
	return lx_path_exists(LX_SELINUX_ENFORCE) ? "selinux" : "none";
}

static int collect(struct lx_facts *f)
{
	struct utsname uts;
	int r;

	if (uname(&uts) < 0)
		return -errno;
	f->pb->cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	if ((r = lx_pb_set(&f->pb->version, LX_VERSION)) < 0 ||
	    (r = lx_pb_set(&f->pb->kernel, uts.release)) < 0 ||
	    (r = lx_pb_set(&f->pb->architecture, uts.machine)) < 0 || (r = read_os(f)) < 0 ||
	    (r = lx_pb_set(&f->pb->cgroup_layout, f->opt.cgroups->layout)) < 0 ||
	    (r = lx_pb_set(&f->pb->lsm, find_lsm())) < 0)
		return r;
	/* Of this version of the agent: moves bring what an older one would lose. */
	r = set_feature(f, "snapshots", "yes");
	if (r == 0)
		r = set_feature(f, "apparmor-parser", access(APPARMOR_PARSER, X_OK) == 0 ? "yes" : "no");
	return r < 0 ? r
		     : set_feature(f, LX_FEATURE_APPARMOR_NAMESPACES,
				   lx_apparmor_can_namespace() ? "yes" : "no");
}

/* ------------------------------------------------------------------ what moves */

static uint64_t meminfo(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line ? strtoull(line + strlen(key), NULL, 10) * 1024 : 0;
}

/* Quotas are switched on and off while we run. */
static void measure_quota(struct lx_facts *f)
{
	struct lx_quota_can can;
	char text[sizeof(can.cause) + sizeof(can.cure) + 8];

	lx_quota_probe(f->opt.state_dir, &can);
	snprintf(text, sizeof(text), "%s. %s", can.cause, can.cure);
	(void)set_feature(f, "disk-quota", can.bounds ? "yes" : text);
}

/* So is this (setenforce). */
static void measure_selinux(struct lx_facts *f)
{
	char line[8];

	if (lx_streq(f->pb->lsm, "selinux") && lx_read_line(LX_SELINUX_ENFORCE, line, sizeof(line)) == 0)
		(void)set_feature(f, LX_FEATURE_SELINUX, *line == '0' ? "permissive" : "enforcing");
}

static void measure(struct lx_facts *f)
{
	lx_autobuf struct lx_buf text = { 0 };
	struct statvfs vfs;

	if (lx_read_file("/proc/meminfo", 65536, &text, NULL) == 0) {
		f->pb->memory_bytes = meminfo(lx_buf_str(&text), "MemTotal:");
		f->pb->memory_free_bytes = meminfo(lx_buf_str(&text), "MemAvailable:");
	}
	if (statvfs(f->opt.state_dir, &vfs) == 0) {
		f->pb->disk_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize;
		f->pb->disk_free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	}
	measure_quota(f);
	measure_selinux(f);
}

static void warn_of(struct lx_facts *f, const char *text)
{
	(void)lx_pb_strv_add(&f->pb->n_warnings, &f->pb->warnings, text);
}

static void warn(struct lx_facts *f)
{
	static const struct {
		const char *feature;
		const char *consequence;
	} needed[] = {
		{ "overlay", "instances cannot be created" },
		{ "user-namespaces", "instances cannot be started" },
		{ "idmapped-mounts", "instances cannot be started: Linux 5.19 or newer is needed" },
	};

	lx_pb_strv_free(&f->pb->n_warnings, &f->pb->warnings);
	for (size_t i = 0; i < LX_ARRAY_SIZE(needed); i++) {
		const char *value = lx_pb_map_get(f->pb->n_features, f->pb->features, needed[i].feature);

		if (lx_streq(value, "yes"))
			continue;
		lx_autofree char *text = lx_asprintf("%s: %s (%s)", needed[i].feature, needed[i].consequence,
						     value ? value : "not known");
		if (text)
			warn_of(f, text);
	}
	if (lx_streq(f->pb->lsm, "none"))
		warn_of(f, "no AppArmor or SELinux: user namespaces and seccomp alone confine instances");
	else if (lx_streq(f->pb->lsm, "apparmor") && access(APPARMOR_PARSER, X_OK) < 0)
		warn_of(f, "no apparmor_parser (package apparmor): AppArmor confines no instance");
	else if (lx_streq(lx_pb_map_get(f->pb->n_features, f->pb->features, LX_FEATURE_SELINUX),
			  "permissive"))
		warn_of(f, "SELinux is permissive: it tells, and confines no instance");
	if (f->criu_known && lx_str_empty(f->pb->criu_version))
		warn_of(f, "no CRIU: instances cannot move while they run");
	const char *lxcfs = lx_pb_map_get(f->pb->n_features, f->pb->features, "lxcfs");

	if (f->lxcfs_broken && lxcfs) {
		lx_autofree char *text =
			lx_asprintf("lxcfs %s: instances with files of it read errors in /proc", lxcfs);

		if (text)
			warn_of(f, text);
	}
}

void lx_facts_lxcfs(struct lx_facts *f, const char *value, bool broken)
{
	(void)set_feature(f, "lxcfs", value);
	f->lxcfs_broken = broken;
}

const Lxmgr__V1__NodeFacts *lx_facts_get(struct lx_facts *f)
{
	measure(f);
	warn(f);
	return f->pb;
}

/* ------------------------------------------------------------------ CRIU */

static void criu_work(void *arg)
{
	struct criu_work *w = arg;

	lx_facts_ask_criu(w->libexec_dir, &w->answer);
}

static void criu_done(void *arg)
{
	struct criu_work *w = arg;
	struct lx_facts *f = w->facts;

	if (f) {
		f->criu = NULL;
		f->criu_known = true;
		(void)lx_pb_set(&f->pb->criu_version, w->answer.version);
		if (*w->answer.version) {
			(void)set_feature(f, "criu", w->answer.check);
			(void)set_feature(f, "soft-dirty", w->answer.soft_dirty);
		}
		f->opt.changed(f->opt.arg);
	}
	free(w->libexec_dir);
	free(w);
}

static int ask_criu(struct lx_facts *f, struct lx_err *err)
{
	struct criu_work *w = calloc(1, sizeof(*w));
	char *dir = strdup(f->opt.libexec_dir);

	if (!w || !dir) {
		free(w);
		free(dir);
		return lx_err_oom(err);
	}
	*w = (struct criu_work){ .facts = f, .libexec_dir = dir };
	int r = lx_loop_work(f->loop, criu_work, criu_done, w, err);

	if (r < 0) {
		free(dir);
		free(w);
		return r;
	}
	f->criu = w;
	return 0;
}

/* ------------------------------------------------------------------ life */

static void on_timer(void *arg)
{
	struct lx_facts *f = arg;

	f->opt.changed(f->opt.arg);
}

int lx_facts_open(uv_loop_t *loop, const struct lx_facts_options *opt, struct lx_facts **ret,
		  struct lx_err *err)
{
	struct lx_facts *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return lx_err_oom(err);
	f->loop = loop;
	f->opt = *opt;
	f->pb = malloc(sizeof(*f->pb));
	if (!f->pb) {
		free(f);
		return lx_err_oom(err);
	}
	lxmgr__v1__node_facts__init(f->pb);
	r = collect(f);
	if (r < 0)
		lx_err_errno(err, r, "cannot find out about this machine");
	if (r == 0)
		r = lx_facts_probe(opt->state_dir, on_probed, f, err);
	if (r == 0)
		r = ask_criu(f, err);
	if (r == 0)
		r = lx_timer_start(loop, FACTS_INTERVAL_MS, FACTS_INTERVAL_MS, on_timer, f, &f->timer, err);
	if (r < 0) {
		lx_facts_close(f);
		return r;
	}
	*ret = f;
	return 0;
}

void lx_facts_close(struct lx_facts *f)
{
	if (!f)
		return;
	if (f->criu)
		f->criu->facts = NULL;
	lx_timer_stop(f->timer);
	lx_pb_free(f->pb);
	free(f);
}
