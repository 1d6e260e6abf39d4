/* Looking at an instance's policy namespace before a live move, see the header. */
#include "agent/worker/move/policy.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/worker/apparmor_namespace.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/core_image.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

#define PATH_BYTES (sizeof(LX_APPARMOR_NAMESPACES "//namespaces") + LX_APPARMOR_NAMESPACE_MAX)
/* N: the kernel keeps no copy of what was loaded. */
#define KEPT      "/sys/module/apparmor/parameters/export_binary"
#define CAUSE_MAX 256
#define COLD      "move it with a short stop, --live=off."

/* Entries of a directory; 0 where there is none. */
static unsigned count(const char *namespace, const char *leaf)
{
	char path[PATH_BYTES];
	unsigned n = 0;

	snprintf(path, sizeof(path), LX_APPARMOR_NAMESPACES "/%s/%s", namespace, leaf);
	DIR *dir = opendir(path);

	for (const struct dirent *e; dir && (e = readdir(dir));)
		n += !lx_streq(e->d_name, ".") && !lx_streq(e->d_name, "..");
	if (dir)
		closedir(dir);
	return n;
}

static bool kernel_keeps(void)
{
	char line[8];

	return lx_read_line(KEPT, line, sizeof(line)) < 0 || line[0] != 'N';
}

void lx_policy_find(const struct lx_job *job, char out[LX_APPARMOR_NAMESPACE_MAX])
{
	char path[PATH_BYTES];

	lx_apparmor_namespace_name(job->cgroup_root, job->name, out);
	snprintf(path, sizeof(path), LX_APPARMOR_NAMESPACES "/%s", out);
	if (!lx_is_dir(path))
		out[0] = '\0';
}

static int check_label(const char *images, const char *name, const char *begin, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(images, name);
	lx_autobuf struct lx_buf data = { 0 };
	int r = path ? lx_read_file(path, LX_CORE_IMAGE_MAX, &data, err) : lx_err_oom(err);

	return r < 0 ? r : lx_core_image_label(data.data, data.len, begin, err);
}

static int check_labels(const char *images, const char *begin, struct lx_err *err)
{
	DIR *dir = opendir(images);
	int r = dir ? 0 : lx_err_errno(err, errno, "cannot open %s", images);

	for (const struct dirent *e; r == 0 && (e = readdir(dir));)
		if (lx_core_image_is(e->d_name))
			r = check_label(images, e->d_name, begin, err);
	if (dir)
		closedir(dir);
	return r;
}

/* What its label begins with: "lxmgr-web1//&:lxc-lxmgr-web1:". */
static int put_begin(const struct lx_job *job, const lx_spec *spec, const char *namespace,
		     char begin[LX_APPARMOR_LABEL_MAX], struct lx_err *err)
{
	char name[LX_APPARMOR_NAME_MAX];
	struct lx_map config;
	int r = lx_spec_config(spec, &config, err);

	if (r < 0)
		return r;
	lx_apparmor_name(job->cgroup_root, job->name, name);
	snprintf(begin, LX_APPARMOR_LABEL_MAX, "%s" LX_APPARMOR_STACKED "%s:",
		 lx_apparmor_mode(&config) == LX_APPARMOR_NAMED ? lx_config_get(&config, "security.apparmor")
								: name,
		 namespace);
	lx_map_release(&config);
	return 0;
}

int lx_policy_accept(const struct lx_job *job, const lx_spec *spec, const char *source, const char *images,
		     struct lx_err *err)
{
	char here[LX_APPARMOR_NAMESPACE_MAX], begin[LX_APPARMOR_LABEL_MAX];

	lx_policy_find(job, here);
	if (lx_streq(here, source)) {
		int r = *here ? put_begin(job, spec, here, begin, err) : 0;

		return r == 0 && *here ? check_labels(images, begin, err) : r;
	}
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "%s cannot be restored: its AppArmor namespace is %s on its node and %s here",
			   job->name, *source ? source : "not there", *here ? here : "not there");

	lx_err_hint(err, "Restart it, or " COLD);
	return r;
}

/* False: nothing stands in the way. */
static bool find(const struct lx_job *job, const char *namespace, char cause[CAUSE_MAX],
		 const char **ret_cure)
{
	unsigned inside = count(namespace, "namespaces"), profiles = count(namespace, "profiles");

	if (inside > 0) {
		snprintf(cause, CAUSE_MAX,
			 "there are AppArmor namespaces inside the one of %s, which are not carried",
			 job->name);
		*ret_cure = "Stop the containers inside that have them, and remove them, or " COLD;
	} else if (profiles > LX_POLICY_PROFILES_MAX) {
		snprintf(cause, CAUSE_MAX, "%s has loaded %u AppArmor profiles, and a live move carries %u",
			 job->name, profiles, LX_POLICY_PROFILES_MAX);
		*ret_cure = "Unload some inside (apparmor_parser --remove), or " COLD;
	} else if (profiles > 0 && !kernel_keeps()) {
		snprintf(cause, CAUSE_MAX,
			 "the node's kernel keeps no copy of the AppArmor profiles of %s (" KEPT ": N)",
			 job->name);
		*ret_cure = "Unload them inside (aa-teardown), or " COLD;
	} else {
		return false;
	}
	return true;
}

/* An instance goes on as it was started, and is restored as its configuration says now. */
static bool find_change(const struct lx_job *job, bool asked, bool there, char cause[CAUSE_MAX],
			const char **ret_cure)
{
	/* Of a node that has none it has none whatever it asks for. */
	if (asked == there || (!there && !lx_apparmor_can_namespace()))
		return false;
	snprintf(cause, CAUSE_MAX,
		 "%s runs %s an AppArmor namespace of its own, and " LX_KEY_APPARMOR_NAMESPACE
		 " has been changed since",
		 job->name, there ? "in" : "without");
	*ret_cure = "Restart it, or " COLD;
	return true;
}

int lx_policy_check(const struct lx_job *job, const lx_spec *spec, lx_obstacle_fn fn, void *arg,
		    struct lx_err *err)
{
	Lxmgr__V1__MoveObstacle o = LXMGR__V1__MOVE_OBSTACLE__INIT;
	char namespace[LX_APPARMOR_NAMESPACE_MAX], cause[CAUSE_MAX];
	bool asked = lx_apparmor_namespace_is_on(
		lx_pb_map_get(spec->n_config, spec->config, LX_KEY_APPARMOR_NAMESPACE));
	const char *cure = "";

	lx_policy_find(job, namespace);
	if (!find_change(job, asked, *namespace, cause, &cure) &&
	    (!*namespace || !find(job, namespace, cause, &cure)))
		return 0;
	o.code = (char *)(uintptr_t) "apparmor-namespace";
	o.cause = cause;
	o.cure = (char *)(uintptr_t)cure;
	o.blocks = true;
	return fn(arg, &o, err);
}
