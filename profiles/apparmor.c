/*
 * Writing an instance's AppArmor profile.
 *
 * What it is for: a guest is root in a user namespace of its own and bounded by capabilities and
 * a system call filter. The profile is the layer behind these. It knows paths: the parts of /proc
 * and /sys that speak for the whole machine cannot be written whatever the kernel would let
 * pass; file systems are mounted from a list, so that no other driver of the kernel's is in the
 * guest's reach; signals and tracing end at the instance.
 *
 * What a rule denies the kernel tells of only if the rule says so ("audit deny"), and in complain
 * mode only then lets pass: so there it does not say so.
 */
#include "profiles/apparmor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/apparmor_mounts.h"
#include "profiles/profiles.h"

#define KEY "security.apparmor"

enum lx_apparmor_mode lx_apparmor_mode_of(const char *value)
{
	static const struct {
		const char *value;
		enum lx_apparmor_mode mode;
	} modes[] = {
		{ "auto", LX_APPARMOR_AUTO },
		{ "enforce", LX_APPARMOR_ENFORCE },
		{ "complain", LX_APPARMOR_COMPLAIN },
		{ "unconfined", LX_APPARMOR_UNCONFINED },
	};

	if (lx_str_empty(value))
		value = lx_config_key_find(LX_KEY_INSTANCE, KEY)->def;
	for (size_t i = 0; i < LX_ARRAY_SIZE(modes); i++)
		if (lx_streq(modes[i].value, value))
			return modes[i].mode;
	return LX_APPARMOR_NAMED;
}

enum lx_apparmor_mode lx_apparmor_mode(const struct lx_map *config)
{
	return lx_apparmor_mode_of(lx_map_get(config, KEY));
}

bool lx_apparmor_demanded(enum lx_apparmor_mode mode)
{
	return mode == LX_APPARMOR_ENFORCE || mode == LX_APPARMOR_COMPLAIN || mode == LX_APPARMOR_NAMED;
}

void lx_apparmor_name(const char *cgroup_root, const char *instance, char out[LX_APPARMOR_NAME_MAX])
{
	snprintf(out, LX_APPARMOR_NAME_MAX, "%s-%s", cgroup_root, instance);
	/* A name with a slash at its beginning would attach to programs, others read badly. */
	for (char *p = out; *p; p++)
		if (*p == '/')
			*p = '.';
}

/* ------------------------------------------------------------------ all but */

static bool begins(const char *name, const char *prefix, size_t n)
{
	return strncmp(name, prefix, n) == 0 && strlen(name) >= n;
}

/* The characters that come next in those allowed names that begin as the first n of `prefix`. */
static size_t next_characters(const char *const *allowed, const char *prefix, size_t n, char *out)
{
	size_t found = 0;

	out[0] = '\0';
	for (; *allowed; allowed++) {
		char c = begins(*allowed, prefix, n) ? (*allowed)[n] : '\0';

		if (!c || c == '*' || strchr(out, c))
			continue;
		out[found++] = c;
		out[found] = '\0';
	}
	return found;
}

/* Whether such a name ends there, and whether anything may follow. */
static bool ends_there(const char *const *allowed, const char *prefix, size_t n, bool *ret_any)
{
	bool ends = false;

	*ret_any = false;
	for (; *allowed; allowed++) {
		if (!begins(*allowed, prefix, n))
			continue;
		if ((*allowed)[n] == '*')
			*ret_any = true;
		ends = ends || (*allowed)[n] == '\0';
	}
	return ends;
}

/* Has the same prefix been dealt with for a name before this one? */
static bool seen(const char *const *allowed, size_t i, size_t n)
{
	for (size_t j = 0; j < i; j++)
		if (begins(allowed[j], allowed[i], n))
			return true;
	return false;
}

static int deny_at(struct lx_buf *out, const char *verb, const char *dir, const char *const *allowed,
		   const char *prefix, size_t n, const char *perms)
{
	char next[64];
	bool any;
	bool ends = ends_there(allowed, prefix, n, &any);

	if (any)
		return 0;
	next_characters(allowed, prefix, n, next);
	/* Behind a whole name only "/" goes on: below it is allowed, beside it is not. */
	return lx_buf_printf(out, "  %s %s/%.*s[^%s%s]{,**} %s,\n", verb, dir, (int)n, prefix, next,
			     ends ? "/" : "", perms);
}

int lx_apparmor_deny_others(struct lx_buf *out, const char *verb, const char *dir, const char *const *allowed,
			    const char *perms)
{
	int r = 0;

	for (size_t i = 0; allowed[i] && r == 0; i++)
		for (size_t n = 0; n <= strlen(allowed[i]) && r == 0; n++)
			if (allowed[i][n] != '*' && (n == 0 || allowed[i][n - 1] != '*') &&
			    !seen(allowed, i, n))
				r = deny_at(out, verb, dir, allowed, allowed[i], n, perms);
			else if (allowed[i][n] == '*')
				break;
	return r;
}

/* ------------------------------------------------------------------ parts */

static const char basics[] = "  # Files by the ids they belong to, the network by its own namespace, "
			     "capabilities by their bounding set.\n"
			     "  file,\n"
			     "  network,\n"
			     "  capability,\n"
			     "  unix,\n"
			     "  dbus,\n";

/* The kernel asks for mac_admin, of every profile there is around, when policy is loaded anywhere. */
static int put_capabilities(struct lx_buf *out, const char *verb, bool own_namespace)
{
	static const char *const denied[] = { "mac_admin", "mac_override", "sys_module", "sys_rawio",
					      "sys_time" };
	int r = 0;

	for (size_t i = own_namespace ? 1 : 0; i < LX_ARRAY_SIZE(denied) && r == 0; i++)
		r = lx_buf_printf(out, "  %s capability %s,\n", verb, denied[i]);
	return r;
}

/* The node's own programs are unconfined: they stop it, look at it and dump it. */
static int put_peers(struct lx_buf *out, const char *name)
{
	return lx_buf_printf(out,
			     "\n  # Among its own processes; the node's may signal, look at and dump them.\n"
			     "  signal peer=\"%s\",\n"
			     "  signal (receive) peer=unconfined,\n"
			     "  ptrace peer=\"%s\",\n"
			     "  ptrace (readby, tracedby) peer=unconfined,\n",
			     name, name);
}

#define PROC     LX_APPARMOR_ROOTS "proc"
#define PROC_SYS PROC "/sys"
#define SYS      LX_APPARMOR_ROOTS "sys"

static int put_proc(struct lx_buf *out, const char *verb)
{
	static const char *const sys[] = { "net", "kernel", "user", "fs", NULL };
	static const char *const kernel[] = { "hostname", "domainname", "shm*", "sem*", "msg*", NULL };
	static const char *const fs[] = { "binfmt_misc", NULL };
	int r = lx_buf_printf(out,
			      "\n  # What speaks for the whole machine.\n"
			      "  %s " PROC "/{kcore,sysrq-trigger} rwklx,\n"
			      "  %s " PROC "/{acpi,bus}/** rwklx,\n",
			      verb, verb);

	if (r == 0)
		r = lx_apparmor_deny_others(out, verb, PROC_SYS, sys, "wklx");
	if (r == 0)
		r = lx_apparmor_deny_others(out, verb, PROC_SYS "/kernel", kernel, "wklx");
	return r == 0 ? lx_apparmor_deny_others(out, verb, PROC_SYS "/fs", fs, "wklx") : r;
}

/* Directories in /sys, and what is not denied in them. */
struct sys_dir {
	const char *dir;
	const char *allowed[5];
};

static int put_sys_dirs(struct lx_buf *out, const char *verb, const struct sys_dir *dirs, size_t n,
			const char *perms)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = lx_apparmor_deny_others(out, verb, dirs[i].dir, dirs[i].allowed, perms);
	return r;
}

static int put_sys(struct lx_buf *out, const char *verb, bool own_namespace)
{
	static const struct sys_dir dirs[] = {
		{ SYS "/class", { "net" } },
		{ SYS "/devices", { "virtual" } },
		{ SYS "/devices/virtual", { "net" } },
		{ SYS "/fs", { "cgroup" } },
	};
	static const struct sys_dir plain = { SYS, { "class", "devices", "fs" } };
	/* Of securityfs what is AppArmor's. */
	static const struct sys_dir with[] = {
		{ SYS, { "class", "devices", "fs", "kernel" } },
		{ SYS "/kernel", { "security" } },
	};
	static const struct sys_dir security = { SYS "/kernel/security", { "apparmor" } };
	int r = lx_buf_printf(out,
			      "  %s " SYS "/kernel/{debug,tracing,config%s}/** rwklx,\n"
			      "  %s " SYS "/firmware/efi/efivars/** rwklx,\n",
			      verb, own_namespace ? "" : ",security", verb);

	if (r == 0)
		r = own_namespace ? put_sys_dirs(out, verb, with, LX_ARRAY_SIZE(with), "wklx")
				  : put_sys_dirs(out, verb, &plain, 1, "wklx");
	if (r == 0 && own_namespace)
		r = put_sys_dirs(out, verb, &security, 1, "rwklx");
	return r == 0 ? put_sys_dirs(out, verb, dirs, LX_ARRAY_SIZE(dirs), "wklx") : r;
}

/*
 * AppArmor's own file system is mounted nowhere, and its paths begin at its root: from the link "policy",
 * which leads to the guest's namespace, ".." leads on to those of others, whose profiles are there to be
 * read. What a guest has at these paths in its own root it loses.
 */
static int put_policy(struct lx_buf *out, const char *verb, const char *own)
{
	const char *const namespaces[] = { own, NULL };
	int r = lx_buf_printf(out,
			      "\n  # Of policy its own alone.\n"
			      "  %s /{profiles,raw_data}/{,**} rwklx,\n"
			      "  %s /namespaces/ rwklx,\n",
			      verb, verb);

	return r == 0 ? lx_apparmor_deny_others(out, verb, "/namespaces", namespaces, "rwklx") : r;
}

static int put_raw(struct lx_buf *out, const char *rules)
{
	if (lx_str_empty(rules))
		return 0;
	return lx_buf_printf(out, "\n  # raw.apparmor\n%s%s", rules, lx_ends_with(rules, "\n") ? "" : "\n");
}

static int put_all(const struct lx_apparmor_input *in, bool nesting, const char *raw, struct lx_buf *out)
{
	const char *verb = in->complain ? "deny" : "audit deny";
	int r = lx_buf_printf(out,
			      "abi <abi/3.0>,\n\n"
			      "# For rules of users.\n"
			      "@{pid}=[1-9]*\n"
			      "@{tid}=[1-9]*\n\n"
			      "profile \"%s\" flags=(attach_disconnected,mediate_deleted%s) {\n",
			      in->name, in->complain ? ",complain" : "");

	if (r == 0)
		r = lx_buf_puts(out, basics);
	if (r == 0)
		r = put_capabilities(out, verb, in->own_namespace != NULL);
	if (r == 0)
		r = put_peers(out, in->name);
	if (r == 0)
		r = lx_apparmor_put_mounts(out, nesting);
	if (r == 0)
		r = put_proc(out, verb);
	if (r == 0)
		r = put_sys(out, verb, in->own_namespace != NULL);
	if (r == 0 && in->own_namespace)
		r = put_policy(out, verb, in->own_namespace);
	if (r == 0)
		r = put_raw(out, raw);
	return r == 0 ? lx_buf_puts(out, "}\n") : r;
}

int lx_apparmor_policy(const struct lx_apparmor_input *in, struct lx_buf *out, struct lx_err *err)
{
	static const char *const keys[] = { "security.nesting", "raw.apparmor" };
	lx_autobuf struct lx_buf text = { 0 };
	bool nesting = false;
	int r = 0;

	for (size_t i = 0; i < LX_ARRAY_SIZE(keys) && r == 0; i++)
		r = lx_config_check(keys[i], lx_config_get(in->config, keys[i]), err);
	if (r < 0)
		return r;
	lx_parse_bool(lx_config_get(in->config, keys[0]), &nesting);
	if (put_all(in, nesting, lx_config_get(in->config, keys[1]), &text) < 0 ||
	    lx_buf_append(out, text.data, text.len) < 0)
		return lx_err_oom(err);
	return 0;
}
