/* File systems that a node mounts for a guest, and their options; see the header. */
#include "profiles/intercept_mount.h"

#include <errno.h>
#include <linux/mount.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/check.h"
#include "profiles/profiles.h"
#include "profiles/syscalls.h"
#include "profiles/value.h"

#define NUMBER "#" /* the value is decimal or, as the kernel takes it, octal */

_Static_assert(LX_MOUNT_OTHER_FLAGS ==
		       (MS_REMOUNT | MS_BIND | MS_MOVE | MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED),
	       "what makes no new mount");

struct option {
	const char *name;
	const char *values; /* NULL: it has none; NUMBER; or those that it may have, between bars */
};

/*
 * `forced` comes first. ext4: a fault is no reason for the machine to stop, whatever the superblock says
 * of that, which is the guest's. xfs: the kernel mounts each uuid once, so a forged one would keep others
 * from being mounted.
 */
static const struct type {
	const char *name;
	const struct option *allowed;
	const char *forced_name, *forced_value;
} types[] = {
	{ .name = "ext4",
	  .forced_name = "errors",
	  .forced_value = "remount-ro",
	  .allowed =
		  (const struct option[]){
			  { "errors", "|continue|remount-ro|" },
			  { "data", "|journal|ordered|writeback|" },
			  { "commit", NUMBER },
			  { "barrier", NULL },
			  { "nobarrier", NULL },
			  { "acl", NULL },
			  { "noacl", NULL },
			  { "user_xattr", NULL },
			  { "nouser_xattr", NULL },
			  { "discard", NULL },
			  { "nodiscard", NULL },
			  { "delalloc", NULL },
			  { "nodelalloc", NULL },
			  { "auto_da_alloc", NULL },
			  { "noauto_da_alloc", NULL },
			  { "noload", NULL },
			  { "norecovery", NULL },
			  { NULL, NULL },
		  } },
	{ .name = "xfs",
	  .forced_name = "nouuid",
	  .allowed =
		  (const struct option[]){
			  { "nouuid", NULL },
			  { "norecovery", NULL },
			  { "discard", NULL },
			  { "nodiscard", NULL },
			  { "inode32", NULL },
			  { "inode64", NULL },
			  { "largeio", NULL },
			  { "nolargeio", NULL },
			  { "wsync", NULL },
			  { "noquota", NULL },
			  { NULL, NULL },
		  } },
	{ .name = "vfat",
	  .forced_name = "errors",
	  .forced_value = "remount-ro",
	  .allowed =
		  (const struct option[]){
			  { "errors", "|continue|remount-ro|" },
			  { "uid", NUMBER },
			  { "gid", NUMBER },
			  { "umask", NUMBER },
			  { "dmask", NUMBER },
			  { "fmask", NUMBER },
			  { "allow_utime", NUMBER },
			  { "shortname", "|lower|win95|winnt|mixed|" },
			  { "utf8", NULL },
			  { "flush", NULL },
			  { "quiet", NULL },
			  { "showexec", NULL },
			  { "rodir", NULL },
			  { "discard", NULL },
			  { "tz", "|UTC|" },
			  { NULL, NULL },
		  } },
	{ .name = "squashfs", .allowed = (const struct option[]){ { NULL, NULL } } },
};

const char *const lx_mount_types[] = { "ext4", "xfs", "vfat", "squashfs", NULL };
const size_t lx_n_mount_types = LX_ARRAY_SIZE(lx_mount_types) - 1;

static const struct type *find(const char *name)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(types); i++)
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	return NULL;
}

/* ------------------------------------------------------------------ keys */

bool lx_mount_is_allowed(const char *allowed, const char *type)
{
	return find(type) && lx_syscalls_has(allowed, type);
}

int lx_mount_check_keys(const struct lx_map *config, struct lx_err *err)
{
	const char *list = lx_config_get(config, LX_KEY_MOUNT_ALLOWED), *name;
	bool on = false;

	(void)lx_parse_bool(lx_config_get(config, LX_KEY_MOUNT), &on);
	if (!on || lx_syscalls_next(&list, &name) > 0)
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, LX_KEY_MOUNT " needs to know what may be mounted");

	lx_err_hint(err, "Set " LX_KEY_MOUNT_ALLOWED " in the same command or before: ext4,xfs,vfat,squashfs "
			 "or some of them.");
	return r;
}

int lx_check_file_systems(const struct lx_config_key *key, const char *name, const char *value,
			  struct lx_err *err)
{
	const char *found;
	size_t n;

	while ((n = lx_syscalls_next(&value, &found)) > 0) {
		lx_autofree char *text = strndup(found, n);
		struct lx_shown s;

		if (!text)
			return lx_err_oom(err);
		if (find(text))
			continue;
		const char *nearest = lx_nearest(text, lx_mount_types, lx_n_mount_types);
		int r = lx_err_set(err, LX_INVALID_ARGUMENT,
				   "%s: %s is no file system that a node mounts for a guest", name,
				   lx_value_show(&s, text));

		lx_err_hint(err,
			    "%s%s%sThere are ext4 (for ext2 and ext3 as well), xfs, vfat and squashfs, "
			    "separated by blanks or commas. What is in memory a guest mounts by itself.",
			    nearest ? "Did you mean " : "", nearest ? nearest : "", nearest ? "? " : "");
		return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ flags and options */

/* What each flag is called in fsconfig(2), or as an attribute. */
static const struct {
	uint64_t flag, attribute;
	const char *option;
} flags_known[] = {
	{ MS_RDONLY, MOUNT_ATTR_RDONLY, "ro" },
	{ MS_SYNCHRONOUS, 0, "sync" },
	{ MS_DIRSYNC, 0, "dirsync" },
	{ MS_LAZYTIME, 0, "lazytime" },
	{ MS_NOEXEC, MOUNT_ATTR_NOEXEC, NULL },
	{ MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, NULL },
	{ MS_NOATIME, MOUNT_ATTR_NOATIME, NULL },
	{ MS_STRICTATIME, MOUNT_ATTR_STRICTATIME, NULL },
	/* These two it has in any case, and relatime is the default. */
	{ MS_NOSUID, 0, NULL },
	{ MS_NODEV, 0, NULL },
	{ MS_RELATIME, 0, NULL },
	{ MS_SILENT, 0, NULL },
};

/* Programs of another age say so in the upper half (mount(2)). */
#define OLD_MAGIC 0xc0ed0000u
#define OLD_MASK  0xffff0000u

static int add(struct lx_mount_plan *p, const char *name, const char *value)
{
	if (p->n_options == LX_MOUNT_OPTIONS_MAX)
		return -EPERM;
	p->options[p->n_options].name = name;
	p->options[p->n_options++].value = value;
	return 0;
}

static int read_flags(uint64_t flags, struct lx_mount_plan *p)
{
	int r = 0;

	if ((flags & OLD_MASK) == OLD_MAGIC)
		flags &= ~(uint64_t)OLD_MASK;
	p->attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	for (size_t i = 0; i < LX_ARRAY_SIZE(flags_known) && r == 0; i++) {
		if (!(flags & flags_known[i].flag))
			continue;
		flags &= ~flags_known[i].flag;
		p->attributes |= flags_known[i].attribute;
		if (flags_known[i].option)
			r = add(p, flags_known[i].option, NULL);
	}
	/* One rule for access times: as the kernel, which lets the last of them win. */
	if (p->attributes & MOUNT_ATTR_STRICTATIME)
		p->attributes &= ~(uint64_t)MOUNT_ATTR_NOATIME;
	return flags ? -EPERM : r;
}

static bool takes(const struct option *o, const char *value)
{
	if (!o->values || !value)
		return !o->values && !value;
	size_t n = strlen(value);

	if (n == 0 || strchr(value, '|'))
		return false;
	if (strcmp(o->values, NUMBER) == 0)
		return n <= 10 && strspn(value, "0123456789") == n;
	for (const char *p = o->values; (p = strstr(p, value)) != NULL; p++)
		if (p[-1] == '|' && p[n] == '|')
			return true;
	return false;
}

static int read_option(const struct type *t, const char *text, char *value, struct lx_mount_plan *p)
{
	for (const struct option *o = t->allowed; o->name; o++)
		if (strcmp(o->name, text) == 0 && takes(o, value))
			return add(p, o->name, value);
	return -EPERM;
}

int lx_mount_plan(const char *type, uint64_t flags, char *data, struct lx_mount_plan *ret,
		  const char **ret_fault)
{
	const struct type *t = find(type);
	char *next = data, *text;
	int r;

	*ret = (struct lx_mount_plan){ 0 };
	*ret_fault = "type";
	if (!t)
		return -EPERM;
	*ret_fault = "flags";
	r = read_flags(flags, ret);
	if (r == 0 && t->forced_name)
		r = add(ret, t->forced_name, t->forced_value);
	while (r == 0 && (text = strsep(&next, ",")) != NULL) {
		if (!*text)
			continue;
		char *value = strchr(text, '=');

		if (value)
			*value++ = '\0';
		*ret_fault = text;
		r = read_option(t, text, value, ret);
	}
	return r;
}
