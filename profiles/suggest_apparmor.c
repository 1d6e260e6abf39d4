/*
 * Rules out of AppArmor's messages. apparmor.d(5) has what they look like; what is refused here
 * is what profiles/apparmor.c denies.
 */
#include "profiles/suggest_apparmor.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/str.h"
#include "proto/pb.h"

static const char *detail(const Lxmgr__V1__Denial *d, const char *key)
{
	const char *value = lx_pb_map_get(d->n_details, d->details, key);

	return value ? value : "";
}

static bool is_among(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (lx_streq(word, *words))
			return true;
	return false;
}

/* Below it, or itself. */
static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* ------------------------------------------------------------------ what stays denied */

#define MACHINE "it speaks for the whole machine, lxmgr never allows it"

static bool is_machine_knob(const char *path)
{
	static const char *const allowed[] = { "/proc/sys/net",
					       "/proc/sys/user",
					       "/proc/sys/fs/binfmt_misc",
					       "/proc/sys/kernel/hostname",
					       "/proc/sys/kernel/domainname",
					       NULL };
	static const char *const begins[] = { "/proc/sys/kernel/shm", "/proc/sys/kernel/sem",
					      "/proc/sys/kernel/msg", NULL };
	static const char *const sysfs[] = { "/sys/class/net", "/sys/devices/virtual/net", "/sys/fs/cgroup",
					     NULL };

	for (const char *const *p = allowed; *p; p++)
		if (is_below(path, *p))
			return false;
	for (const char *const *p = begins; *p; p++)
		if (lx_starts_with(path, *p))
			return false;
	for (const char *const *p = sysfs; *p; p++)
		if (is_below(path, *p))
			return false;
	return is_below(path, "/proc/sys") || is_below(path, "/sys");
}

static const char *refuse_file(const char *path, const char *perms)
{
	static const char *const closed[] = { "/proc/kcore",
					      "/proc/sysrq-trigger",
					      "/proc/acpi",
					      "/proc/bus",
					      "/sys/kernel/debug",
					      "/sys/kernel/tracing",
					      "/sys/kernel/config",
					      "/sys/kernel/security",
					      "/sys/firmware/efi/efivars",
					      NULL };

	for (const char *const *p = closed; *p; p++)
		if (is_below(path, *p))
			return MACHINE;
	return strpbrk(perms, "wklx") && is_machine_knob(path) ? MACHINE : NULL;
}

/* The paths of rules count only while proc and sysfs are where they belong. */
static const char *refuse_mount(const char *fstype, const char *source, const char *flags)
{
	static const char *const closed[] = { "proc",     "sysfs",     "securityfs", "debugfs",  "tracefs",
					      "configfs", "efivarfs",  "cgroup",     "devtmpfs", "pstore",
					      "bpf",      "selinuxfs", NULL };

	if (is_among(fstype, closed))
		return "of this file system the guest would have a copy that no rule knows, lxmgr never "
		       "allows it";
	if ((strstr(flags, "bind") || strstr(flags, "move")) &&
	    (is_below(source, "/proc") || is_below(source, "/sys")))
		return "rules about /proc and /sys would not hold at another place, lxmgr never allows it";
	return NULL;
}

/* ------------------------------------------------------------------ paths */

static bool is_special(char c)
{
	return strchr("*?[]{}^,\"\\@", c) != NULL;
}

static size_t digits(const char *p)
{
	size_t n = 0;

	while (isdigit((unsigned char)p[n]))
		n++;
	return n;
}

/* In quotes; a process's or thread's number below /proc as any of them. */
static int put_path(struct lx_buf *out, const char *path)
{
	static const char proc[] = "/proc/", task[] = "/task/";
	int r = lx_buf_puts(out, "\"");
	const char *at = path, *end;

	if (r == 0 && lx_starts_with(path, proc)) {
		at += sizeof(proc) - 1;
		end = at + digits(at);
		if (end > at && (*end == '/' || *end == '\0')) {
			r = lx_buf_puts(out, "/proc/@{pid}");
			at = end;
			if (r == 0 && lx_starts_with(at, task)) {
				end = at + sizeof(task) - 1 + digits(at + sizeof(task) - 1);
				if (end > at + sizeof(task) - 1 && (*end == '/' || *end == '\0')) {
					r = lx_buf_puts(out, "/task/@{tid}");
					at = end;
				}
			}
		} else {
			at = path;
		}
	}
	for (; *at && r == 0; at++)
		r = is_special(*at) ? lx_buf_printf(out, "\\%c", *at) : lx_buf_append(out, at, 1);
	return r == 0 ? lx_buf_puts(out, "\"") : r;
}

/* ------------------------------------------------------------------ kinds of rules */

void lx_suggest_add_perms(char *perms, const char *more)
{
	static const char order[] = "rwmkl";
	char both[LX_SUGGEST_PERMS_MAX] = "";
	size_t n = 0;

	for (const char *p = order; *p; p++)
		if (strchr(perms, *p) || strchr(more, *p))
			both[n++] = *p;
	if (strstr(perms, "ix") || strchr(more, 'x')) {
		both[n++] = 'i';
		both[n++] = 'x';
	}
	both[n] = '\0';
	memcpy(perms, both, n + 1);
}

/* A message's letters: creating, deleting and appending are writing to a rule. */
static int put_file(const Lxmgr__V1__Denial *d, struct lx_buf *out, char *perms, const char **refused)
{
	char asked[LX_SUGGEST_PERMS_MAX] = "";
	size_t n = 0;

	for (const char *p = d->mask; *p && n + 1 < sizeof(asked); p++)
		asked[n++] = strchr("acd", *p) ? 'w' : *p;
	asked[n] = '\0';
	perms[0] = '\0';
	lx_suggest_add_perms(perms, asked);
	*refused = *perms == '\0' ? "the message does not say what was to be done with the file"
				  : refuse_file(d->path, perms);
	int r = put_path(out, d->path);

	return r == 0 ? lx_buf_puts(out, " ") : r;
}

static int put_capability(const Lxmgr__V1__Denial *d, struct lx_buf *out, const char **refused)
{
	static const char *const never[] = { "mac_admin", "mac_override", "sys_module",
					     "sys_rawio", "sys_time",     NULL };
	const char *name = detail(d, "capability");

	if (is_among(name, never))
		*refused = MACHINE;
	return lx_buf_printf(out, "capability %s,", name);
}

/* "send receive" as "(send, receive)". */
static int put_words(struct lx_buf *out, const char *words)
{
	int r = lx_buf_puts(out, "(");
	bool first = true;

	while (*words && r == 0) {
		size_t n = strcspn(words, " ,");

		if (n > 0) {
			r = lx_buf_printf(out, "%s%.*s", first ? "" : ", ", (int)n, words);
			first = false;
		}
		words += n;
		words += strspn(words, " ,");
	}
	return r == 0 ? lx_buf_puts(out, ")") : r;
}

static int put_unix(const Lxmgr__V1__Denial *d, struct lx_buf *out)
{
	int r = lx_buf_puts(out, "unix ");

	if (r == 0 && *d->mask)
		r = put_words(out, d->mask);
	if (r == 0 && *detail(d, "sock_type"))
		r = lx_buf_printf(out, " type=%s", detail(d, "sock_type"));
	return r == 0 ? lx_buf_puts(out, ",") : r;
}

static int put_network(const Lxmgr__V1__Denial *d, struct lx_buf *out)
{
	const char *type = detail(d, "sock_type");

	return lx_buf_printf(out, "network %s%s%s,", detail(d, "family"), *type ? " " : "", type);
}

/* Signals and tracing: with its own processes it may already; others are not its own. */
static int put_peer(const Lxmgr__V1__Denial *d, const char *what, struct lx_buf *out, const char **refused)
{
	const char *peer = detail(d, "peer"), *profile = detail(d, "profile");
	int r = lx_buf_printf(out, "%s ", what);
	size_t n = strlen(profile);

	/* A profile of its own below its own is part of it. */
	if (n == 0 || strncmp(peer, profile, n) != 0 || strncmp(peer + n, "//", 2) != 0)
		*refused = "the other process is none of the instance's, lxmgr never allows it";
	if (r == 0 && *d->mask)
		r = put_words(out, d->mask);
	if (r == 0 && lx_streq(what, "signal") && *detail(d, "signal"))
		r = lx_buf_printf(out, " set=(%s)", detail(d, "signal"));
	if (r == 0 && *peer)
		r = lx_buf_puts(out, " peer=");
	if (r == 0 && *peer)
		r = put_path(out, peer);
	return r == 0 ? lx_buf_puts(out, ",") : r;
}

static int put_mount(const Lxmgr__V1__Denial *d, struct lx_buf *out, const char **refused)
{
	const char *fstype = detail(d, "fstype"), *source = detail(d, "source"), *flags = detail(d, "flags");
	int r = lx_buf_puts(out, "mount");

	*refused = refuse_mount(fstype, source, flags);
	if (r == 0 && *fstype)
		r = lx_buf_printf(out, " fstype=%s", fstype);
	if (r == 0 && *flags)
		r = lx_buf_puts(out, " options=");
	if (r == 0 && *flags)
		r = put_words(out, flags);
	/* What a new file system is made of need not be a path, and matters to its driver alone. */
	if (r == 0 && *source == '/')
		r = lx_buf_puts(out, " ");
	if (r == 0 && *source == '/')
		r = put_path(out, source);
	if (r == 0)
		r = lx_buf_puts(out, " -> ");
	if (r == 0)
		r = put_path(out, d->path);
	return r == 0 ? lx_buf_puts(out, ",") : r;
}

static int put_on_path(const char *what, const Lxmgr__V1__Denial *d, struct lx_buf *out)
{
	int r = lx_buf_printf(out, "%s ", what);

	if (r == 0)
		r = put_path(out, d->path);
	return r == 0 ? lx_buf_puts(out, ",") : r;
}

/* ------------------------------------------------------------------ */

/* Words of the kernel's own: a rule is made of them as they are. */
static bool is_plain(const Lxmgr__V1__Denial *d)
{
	static const char *const keys[] = { "capability", "family", "sock_type", "fstype",
					    "flags",      "signal", NULL };

	for (const char *const *key = keys; *key; key++)
		for (const char *p = detail(d, *key); *p; p++)
			if (!isalnum((unsigned char)*p) && !strchr("_-., ", *p))
				return false;
	for (const char *p = d->mask; *p; p++)
		if (!isalpha((unsigned char)*p) && *p != ' ' && *p != '_' && *p != ',')
			return false;
	return true;
}

int lx_suggest_apparmor(const Lxmgr__V1__Denial *d, struct lx_buf *rule, char *ret_perms,
			const char **ret_refused)
{
	const char *op = d->operation;

	*ret_refused = NULL;
	ret_perms[0] = '\0';
	if (*detail(d, "cut") || !is_plain(d)) {
		*ret_refused = "a name in it is too long, or has characters that a rule cannot have";
		return lx_buf_printf(rule, "%s %s", op, d->path);
	}
	if (*detail(d, "capability"))
		return put_capability(d, rule, ret_refused);
	if (lx_streq(op, "signal") || lx_streq(op, "ptrace"))
		return put_peer(d, op, rule, ret_refused);
	if (lx_streq(op, "mount") && *d->path == '/')
		return put_mount(d, rule, ret_refused);
	if (lx_streq(op, "umount") && *d->path == '/')
		return put_on_path("umount", d, rule);
	if (lx_streq(op, "pivotroot") && *d->path == '/')
		return put_on_path("pivot_root", d, rule);
	if (lx_streq(detail(d, "family"), "unix"))
		return put_unix(d, rule);
	if (*detail(d, "family"))
		return put_network(d, rule);
	if (*d->path == '/')
		return put_file(d, rule, ret_perms, ret_refused);
	*ret_refused = "the message does not say enough for a rule";
	return lx_buf_printf(rule, "%s %s", op, d->path);
}
