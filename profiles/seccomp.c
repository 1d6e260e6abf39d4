/*
 * The system calls a guest may make, as liblxc reads them (format 2).
 *
 * Without security.syscalls.allow it is a list of what is refused: what no guest needs
 * (security.syscalls.deny_default), what the user adds, and, always, what would bar a live
 * move. With it, it is a list of what there is: all else is answered as if the kernel did not
 * have it, which programs are prepared for. What is denied by name is denied either way.
 *
 * ENOSYS where programs have another way and look for it (io_uring), EPERM where there is
 * none to look for.
 *
 * What the node does in the guest's place (intercept.h) stops in the kernel until it has answered. Who
 * enters a guest later has a filter of its own for that, because liblxc takes only one from an
 * instance (agent/worker/instance/intercept_attach.c).
 *
 * liblxc loads it for the machine's own calls and for those of its 32-bit programs alike, and
 * has no way to leave the latter out: security.syscalls.deny_compat is a filter beside this one
 * (agent/worker/instance/compat.c).
 */
#include "profiles/profiles.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/apparmor.h"
#include "profiles/intercept.h"
#include "profiles/privileged.h"
#include "profiles/syscalls.h"

#define DENY         "security.syscalls.deny"
#define DENY_DEFAULT "security.syscalls.deny_default"
#define ALLOW        "security.syscalls.allow"

static const struct lx_syscall_answer denied_default[] = {
	/* The machine's kernel is not the guest's to change. */
	{ "kexec_load", ENOSYS },
	{ "kexec_file_load", ENOSYS },
	{ "init_module", ENOSYS },
	{ "finit_module", ENOSYS },
	{ "delete_module", ENOSYS },
	/* A file handle names any file of the file system below, not just the guest's. */
	{ "open_by_handle_at", ENOSYS },
	{ NULL, 0 },
};

/*
 * With a profile of its own: mounts made by descriptors. AppArmor is not asked about them by kernels before
 * 6.7, and refuses what has no path of its own by later ones. Programs go on with mount(2).
 */
static const struct lx_syscall_answer unseen[] = {
	{ "fsopen", ENOSYS },
	{ "move_mount", ENOSYS },
	{ NULL, 0 },
};
#define TREE_CLONE 1 /* OPEN_TREE_CLONE of open_tree(2), whose flags are its third argument */

struct policy {
	const char *deny, *allow;
	bool deny_default, privileged, profiled;
	unsigned intercepts;
};

static int read_keys(const struct lx_map *config, struct policy *p, struct lx_err *err)
{
	static const char *const names[] = { DENY, DENY_DEFAULT, ALLOW };

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		int r = lx_config_check(names[i], lx_config_get(config, names[i]), err);

		if (r < 0)
			return r;
	}
	p->deny = lx_config_get(config, DENY);
	p->allow = lx_config_get(config, ALLOW);
	lx_parse_bool(lx_config_get(config, DENY_DEFAULT), &p->deny_default);
	p->privileged = lx_is_privileged(config);
	enum lx_apparmor_mode mode = lx_apparmor_mode(config);

	/* A privileged one mounts nothing, in whatever way. */
	p->profiled = !p->privileged && mode != LX_APPARMOR_UNCONFINED && mode != LX_APPARMOR_NAMED;
	return 0;
}

static bool is_among(const struct lx_syscall_answer *list, const char *name)
{
	while (list->name && strcmp(list->name, name) != 0)
		list++;
	return list->name;
}

/* ------------------------------------------------------------------ what stops */

static bool stops(const struct policy *p, const struct lx_intercepted *c)
{
	return p->intercepts & 1U << c->what && !lx_syscalls_has(p->deny, c->name) &&
	       !(p->profiled && is_among(unseen, c->name));
}

/* The value, then the mask. */
static int put_stop(const struct lx_intercepted *c, struct lx_buf *out)
{
	int r = lx_buf_printf(out, "%s notify", c->name);

	if (r == 0 && c->arg >= 0)
		r = lx_buf_printf(out, " [%d,%u,SCMP_CMP_MASKED_EQ,%u]", c->arg, c->value, c->mask);
	if (r == 0 && c->arg >= 0 && c->some >= 0)
		r = lx_buf_printf(out, "[%d,0,SCMP_CMP_NE]", c->some);
	return r == 0 ? lx_buf_puts(out, "\n") : r;
}

static int put_intercepted(const struct policy *p, struct lx_buf *out)
{
	int r = 0;

	for (const struct lx_intercepted *c = lx_intercepted_calls; c->name && r == 0; c++)
		if (stops(p, c))
			r = put_stop(c, out);
	return r;
}

/* ------------------------------------------------------------------ what is refused */

/* What the user denies is written once, with the user's answer; and what `but` has is left to it. */
static int put_answers(const struct policy *p, const struct lx_syscall_answer *list,
		       const struct lx_syscall_answer *but, struct lx_buf *out)
{
	int r = 0;

	for (; list->name && r == 0; list++)
		if (!lx_syscalls_has(p->deny, list->name) && !(but && is_among(but, list->name)))
			r = lx_buf_printf(out, "%s errno %d\n", list->name, list->answer);
	return r;
}

static int put_denied(const struct policy *p, struct lx_buf *out)
{
	const char *list = p->deny, *name;
	size_t n;
	int r = 0;

	while (r == 0 && (n = lx_syscalls_next(&list, &name)) > 0)
		r = lx_buf_printf(out, "%.*s errno %d\n", (int)n, name, EPERM);
	return r;
}

static int put_userns_denied(const struct policy *p, struct lx_buf *out)
{
	int r = 0;

	for (const char *const *name = lx_privileged_userns_calls; *name && r == 0; name++)
		if (!lx_syscalls_has(p->deny, *name))
			r = lx_buf_printf(out, "%s errno %d [0,%d,SCMP_CMP_MASKED_EQ,%d]\n", *name, EPERM,
					  CLONE_NEWUSER, CLONE_NEWUSER);
	return r;
}

static int put_deny_list(const struct policy *p, struct lx_buf *out)
{
	int r = p->deny_default
			? put_answers(p, denied_default, p->privileged ? lx_privileged_syscalls : NULL, out)
			: 0;

	if (r == 0)
		r = put_answers(p, lx_syscalls_unmovable, NULL, out);
	if (r == 0 && p->privileged)
		r = put_answers(p, lx_privileged_syscalls, NULL, out);
	if (r == 0 && p->privileged)
		r = put_userns_denied(p, out);
	/* A forced unmount can hang other users of a network file system. The value, then the mask. */
	if (r == 0 && p->deny_default && !lx_syscalls_has(p->deny, "umount2"))
		r = lx_buf_printf(out, "umount2 errno %d [1,%d,SCMP_CMP_MASKED_EQ,%d]\n", EACCES, MNT_FORCE,
				  MNT_FORCE);
	if (r == 0 && p->profiled)
		r = put_answers(p, unseen, NULL, out);
	if (r == 0 && p->profiled && !lx_syscalls_has(p->deny, "open_tree"))
		r = lx_buf_printf(out, "open_tree errno %d [2,%d,SCMP_CMP_MASKED_EQ,%d]\n", ENOSYS,
				  TREE_CLONE, TREE_CLONE);
	if (r == 0)
		r = put_intercepted(p, out);
	return r == 0 ? put_denied(p, out) : r;
}

/* ------------------------------------------------------------------ what is allowed */

static int put_allowed_name(const struct policy *p, const char *name, struct lx_buf *out)
{
	if (lx_syscalls_has(p->deny, name))
		return 0;
	/* All of them: a rule for some of a call's arguments is lost beside one for the call. */
	for (const struct lx_intercepted *c = lx_intercepted_calls; c->name; c++)
		if (strcmp(c->name, name) == 0 && stops(p, c))
			return lx_buf_printf(out, "%s notify\n", name);
	/* As above: without MNT_FORCE. */
	if (p->deny_default && strcmp(name, "umount2") == 0)
		return lx_buf_printf(out, "umount2 allow [1,0,SCMP_CMP_MASKED_EQ,%d]\n", MNT_FORCE);
	if ((p->privileged && is_among(lx_privileged_syscalls, name)) ||
	    (p->profiled && is_among(unseen, name)))
		return 0;
	if (p->profiled && strcmp(name, "open_tree") == 0)
		return lx_buf_printf(out, "open_tree allow [2,0,SCMP_CMP_MASKED_EQ,%d]\n", TREE_CLONE);
	for (const char *const *c = lx_privileged_userns_calls; p->privileged && *c; c++)
		if (strcmp(*c, name) == 0)
			return lx_buf_printf(out, "%s allow [0,0,SCMP_CMP_MASKED_EQ,%d]\n", name,
					     CLONE_NEWUSER);
	return lx_buf_printf(out, "%s allow\n", name);
}

static int put_guest(const struct policy *p, struct lx_buf *out)
{
	int r = put_allowed_name(p, "umount2", out);

	for (size_t i = 0; lx_syscalls_guest[i] && r == 0; i++)
		r = put_allowed_name(p, lx_syscalls_guest[i], out);
	return r;
}

static int put_allow_list(const struct policy *p, struct lx_buf *out)
{
	bool guest = lx_syscalls_has(p->allow, LX_SYSCALLS_GUEST);
	const char *list = p->allow, *found;
	size_t n;
	int r = guest ? put_guest(p, out) : 0;

	while (r == 0 && (n = lx_syscalls_next(&list, &found)) > 0) {
		char name[LX_SYSCALL_NAME_MAX + 1];

		snprintf(name, sizeof(name), "%.*s", (int)n, found);
		if (strcmp(name, LX_SYSCALLS_GUEST) != 0)
			r = put_allowed_name(p, name, out);
	}
	return r == 0 ? put_denied(p, out) : r;
}

static int write_policy(const struct lx_map *config, bool stop, struct lx_buf *out, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };
	struct policy p = { .deny_default = true };
	int r = read_keys(config, &p, err);

	if (r < 0)
		return r;
	p.intercepts = stop ? lx_intercepts(config) : 0;
	bool allow = !lx_str_empty(p.allow);

	r = allow ? lx_buf_printf(&text, "2\nallowlist errno %d\n[all]\n", ENOSYS)
		  : lx_buf_puts(&text, "2\ndenylist\n[all]\n");
	if (r == 0)
		r = allow ? put_allow_list(&p, &text) : put_deny_list(&p, &text);
	if (r == 0)
		r = lx_buf_append(out, text.data, text.len);
	return r < 0 ? lx_err_oom(err) : 0;
}

int lx_seccomp_policy(const struct lx_map *config, struct lx_buf *out, struct lx_err *err)
{
	return write_policy(config, true, out, err);
}

int lx_seccomp_policy_inside(const struct lx_map *config, struct lx_buf *out, struct lx_err *err)
{
	return write_policy(config, false, out, err);
}
