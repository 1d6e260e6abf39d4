/*
 * What is asked of the security module, against what there is; see the header.
 *
 * The instance's directory keeps the text of its profile ("apparmor"), what the kernel that it
 * was compiled for can do ("apparmor.features") and the result ("apparmor.bin"). While the first
 * two are what they would be now, a start only loads the third, in a system call or two.
 */
#include "agent/worker/instance/lsm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/apparmor.h>
#include <unistd.h>

#include "agent/worker/apparmor_namespace.h"
#include "agent/worker/instance/rootfs.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "profiles/profiles.h"
#include "profiles/selinux.h"

#define LOADED      "/sys/kernel/security/apparmor/profiles"
#define LOADED_MAX  (4u << 20)
#define POLICY_MAX  (1u << 20)
#define KEY         "security.apparmor"
#define KEY_SELINUX "security.selinux.context"
#define KEY_RAW     "raw.apparmor"

static bool kernel_has_apparmor(void)
{
	char line[8];

	return lx_read_line("/sys/module/apparmor/parameters/enabled", line, sizeof(line)) == 0 &&
	       line[0] == 'Y';
}

/* ------------------------------------------------------------------ refusals */

static int lacks(const struct lx_job *job, const struct lx_map *config, const char *what, const char *cure,
		 struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "%s " LX_REFUSAL_APPARMOR " (" KEY "=%s), but this node %s", job->name,
			   lx_config_get(config, KEY), what);

	lx_err_hint(err,
		    "%s, move it to a node that has it (lxmgr node show NODE tells), or ask for less: " KEY
		    "=auto",
		    cure);
	return r;
}

static int check_loaded(const struct lx_job *job, const struct lx_map *config, const char *name,
			struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };
	size_t n = strlen(name);
	int r = lx_read_file(LOADED, LOADED_MAX, &text, err);

	if (r < 0)
		return r;
	for (const char *line = lx_buf_str(&text); line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, n) == 0 && strncmp(line + n, " (", 2) == 0)
			return 0;
	}
	return lacks(job, config, "has no such profile loaded", "Load it there with apparmor_parser", err);
}

/* ------------------------------------------------------------------ the instance's own profile */

static bool same_text(const char *path, const void *data, size_t len)
{
	lx_autobuf struct lx_buf there = { 0 };

	return lx_read_file(path, POLICY_MAX, &there, NULL) == 0 && there.len == len &&
	       memcmp(there.data, data, len) == 0;
}

/* What the kernel's AppArmor can do, in one word. malloc'ed. */
static char *features_id(void)
{
	aa_features *features = NULL;
	char *id = aa_features_new_from_kernel(&features) < 0 ? NULL : aa_features_id(features);

	aa_features_unref(features);
	return id;
}

static int compile(const struct lx_job *job, const char *name, const struct lx_buf *text, const char *binary,
		   struct lx_err *err)
{
	char source[LX_JOB_PATH_MAX], features[LX_JOB_PATH_MAX];
	lx_autofree char *id = features_id();

	if (!id)
		return lx_err_errno(err, errno, "cannot read what the kernel's AppArmor can do");
	lx_job_path(job, source, "apparmor");
	lx_job_path(job, features, "apparmor.features");
	if (lx_path_exists(binary) && same_text(source, text->data, text->len) &&
	    same_text(features, id, strlen(id)))
		return 0;
	/* Without the result nothing is believed of the other two. */
	if (unlink(binary) < 0 && errno != ENOENT)
		return lx_err_errno(err, errno, "cannot remove %s", binary);
	int r = lx_write_file_atomic(source, text->data, text->len, 0600, err);

	if (r == 0)
		r = lx_write_file_atomic(features, id, strlen(id), 0600, err);
	return r == 0 ? lx_apparmor_compile(text, name, job->dir, binary, err) : r;
}

static int load(const char *binary, struct lx_err *err)
{
	aa_kernel_interface *kernel = NULL;
	int r = aa_kernel_interface_new(&kernel, NULL, NULL);

	if (r == 0)
		r = aa_kernel_interface_replace_policy_from_file(kernel, AT_FDCWD, binary);
	if (r < 0)
		r = lx_err_errno(err, errno, "the kernel does not take the AppArmor profile %s", binary);
	aa_kernel_interface_unref(kernel);
	return r;
}

static int own_profile(const struct lx_job *job, const struct lx_map *config, enum lx_apparmor_mode mode,
		       const char *own_namespace, char name[LX_APPARMOR_NAME_MAX], struct lx_err *err)
{
	const struct lx_apparmor_input in = {
		.name = name,
		.complain = mode == LX_APPARMOR_COMPLAIN,
		.own_namespace = own_namespace,
		.config = config,
	};
	lx_autobuf struct lx_buf text = { 0 };
	char binary[LX_JOB_PATH_MAX];

	lx_job_path(job, binary, "apparmor.bin");
	lx_apparmor_name(job->cgroup_root, job->name, name);
	/* Stored before this was checked, by an older version. */
	int r = lx_config_check(KEY_RAW, lx_config_get(config, KEY_RAW), err);

	if (r == 0)
		r = lx_apparmor_policy(&in, &text, err);
	if (r == 0)
		r = compile(job, name, &text, binary, err);
	return r == 0 ? load(binary, err) : r;
}

/* In a namespace of its own it is under the profile and under what there will be in that. */
static int take_profile(const struct lx_job *job, const struct lx_map *config, enum lx_apparmor_mode mode,
			struct lx_lsm *ret, struct lx_err *err)
{
	char profile[LX_APPARMOR_NAME_MAX], namespace[LX_APPARMOR_NAMESPACE_MAX];
	int r;

	lx_apparmor_namespace_name(job->cgroup_root, job->name, namespace);
	if (mode == LX_APPARMOR_NAMED) {
		snprintf(profile, sizeof(profile), "%s", lx_config_get(config, KEY));
		r = check_loaded(job, config, profile, err);
	} else {
		r = own_profile(job, config, mode, ret->own_namespace ? namespace : NULL, profile, err);
	}
	if (r == 0 && ret->own_namespace)
		r = lx_apparmor_namespace_make(namespace, err);
	if (r < 0)
		return r;
	if (ret->own_namespace)
		lx_apparmor_stack(profile, namespace, ret->label);
	else
		snprintf(ret->label, sizeof(ret->label), "%s", profile);
	return 0;
}

static int prepare_apparmor(const struct lx_job *job, const struct lx_map *config, struct lx_lsm *ret,
			    struct lx_err *err)
{
	enum lx_apparmor_mode mode = lx_apparmor_mode(config);
	bool demanded = lx_apparmor_demanded(mode);

	if (!ret->apparmor)
		return demanded ? lacks(job, config, "has a kernel without it",
					"Boot it with security=apparmor", err)
				: 0;
	if (mode == LX_APPARMOR_UNCONFINED)
		return 0;
	if (!aa_is_enabled())
		return demanded ? lacks(job, config, "has no securityfs mounted",
					"Mount it at /sys/kernel/security", err)
				: 0;
	if (mode != LX_APPARMOR_NAMED && !lx_apparmor_can_compile())
		return demanded ? lacks(job, config, "has no apparmor_parser", "Install it there (apparmor)",
					err)
				: 0;
	ret->own_namespace = lx_apparmor_namespace_wanted(config) && lx_apparmor_can_namespace();
	return take_profile(job, config, mode, ret, err);
}

/* ------------------------------------------------------------------ both modules */

static int check_storage(const struct lx_job *job, const char *image, const char *context, bool enforcing,
			 struct lx_err *err)
{
	char own[LX_JOB_PATH_MAX], shared[LX_JOB_PATH_MAX];
	const char *const paths[2] = { own, shared };

	lx_job_own_path(job, own, "upper");
	lx_image_path(job, image, shared);
	return lx_selinux_check_storage(job, context, paths, enforcing, err);
}

static int prepare_selinux(const struct lx_job *job, const char *image, const struct lx_map *config,
			   struct lx_lsm *ret, struct lx_err *err)
{
	const char *context = lx_config_get(config, KEY_SELINUX);
	char enforce[8];

	if (lx_str_empty(context))
		return 0;
	if (lx_read_line(LX_SELINUX_ENFORCE, enforce, sizeof(enforce)) == 0) {
		ret->selinux = context;
		return check_storage(job, image, context, *enforce != '0', err);
	}
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "%s " LX_REFUSAL_SELINUX " (" KEY_SELINUX
			   "), but this node's kernel has no SELinux",
			   job->name);

	lx_err_hint(err,
		    "Move it to a node that has it (lxmgr node show NODE tells), or take the key away: "
		    "lxmgr config unset %s " KEY_SELINUX,
		    job->name);
	return r;
}

int lx_lsm_prepare(const struct lx_job *job, const char *image, const struct lx_map *config,
		   struct lx_lsm *ret, struct lx_err *err)
{
	static const char *const keys[] = { KEY, KEY_SELINUX };
	int r = 0;

	*ret = (struct lx_lsm){ .apparmor = kernel_has_apparmor() };
	for (size_t i = 0; i < LX_ARRAY_SIZE(keys) && r == 0; i++)
		r = lx_config_check(keys[i], lx_config_get(config, keys[i]), err);
	if (r == 0)
		r = prepare_apparmor(job, config, ret, err);
	return r == 0 ? prepare_selinux(job, image, config, ret, err) : r;
}

void lx_lsm_forget(const struct lx_job *job)
{
	aa_kernel_interface *kernel = NULL;
	char name[LX_APPARMOR_NAME_MAX], namespace[LX_APPARMOR_NAMESPACE_MAX];

	if (!kernel_has_apparmor() || !aa_is_enabled())
		return;
	lx_apparmor_namespace_name(job->cgroup_root, job->name, namespace);
	lx_apparmor_namespace_remove(namespace);
	lx_apparmor_name(job->cgroup_root, job->name, name);
	if (aa_kernel_interface_new(&kernel, NULL, NULL) == 0 &&
	    aa_kernel_interface_remove_policy(kernel, name) < 0 && errno != ENOENT)
		lx_debug("cannot remove an AppArmor profile", "profile=%s error=\"%s\"", name,
			 strerror(errno));
	aa_kernel_interface_unref(kernel);
}
