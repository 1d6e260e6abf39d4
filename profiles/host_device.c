/*
 * Devices from outside: see the header. A disk without a source is the root file system, whose
 * options are limits; with one it is a directory of the node or memory, which have none.
 */
#include "profiles/host_device.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/proxy.h"
#include "profiles/root_disk.h"

#define NODE_MODE 0660

static bool has(const struct lx_map *options, const char *key)
{
	return !lx_str_empty(lx_map_get(options, key));
}

/* Numbers and words were checked; what is not given is `fallback`. */
static uint32_t number(const struct lx_map *options, const char *key, int base, uint32_t fallback)
{
	return has(options, key) ? (uint32_t)strtoul(lx_map_get(options, key), NULL, base) : fallback;
}

static bool is_on(const struct lx_map *options, const char *key, bool fallback)
{
	bool on = fallback;

	if (has(options, key))
		(void)lx_parse_bool(lx_map_get(options, key), &on);
	return on;
}

static bool is_node(const char *type)
{
	return lx_streq(type, "unix-char") || lx_streq(type, "unix-block");
}

const char *lx_host_device_path(const struct lx_map *options)
{
	const char *type = lx_map_get(options, "type");

	if (!lx_streq(type, "disk") && !is_node(type))
		return NULL;
	if (has(options, "path"))
		return lx_map_get(options, "path");
	return is_node(type) && has(options, "source") ? lx_map_get(options, "source") : NULL;
}

int lx_host_device_read(const struct lx_map *options, struct lx_host_device *ret)
{
	const char *type = lx_map_get(options, "type"), *source = lx_map_get(options, "source");
	const char *path = lx_host_device_path(options);
	struct lx_host_device d = { .source = lx_str_empty(source) ? NULL : source, .path = path };

	if (!path)
		return 0;
	if (is_node(type)) {
		d.kind = LX_HOST_DEVICE_NODE;
		d.block = lx_streq(type, "unix-block");
		d.optional = !is_on(options, "required", true);
		d.numbered = has(options, "major");
		d.major = number(options, "major", 10, 0);
		d.minor = number(options, "minor", 10, 0);
		d.mode = number(options, "mode", 8, NODE_MODE);
		d.uid = number(options, "uid", 10, 0);
		d.gid = number(options, "gid", 10, 0);
		/* Of its source it would only have the numbers. */
		if (d.numbered)
			d.source = NULL;
	} else if (!d.source) {
		return 0;
	} else if (lx_streq(source, LX_SOURCE_TMPFS)) {
		d.kind = LX_HOST_DEVICE_TMPFS;
		if (has(options, "size"))
			(void)lx_parse_size(lx_map_get(options, "size"), &d.size);
	} else {
		d.kind = LX_HOST_DEVICE_DISK;
		d.readonly = is_on(options, "readonly", false);
		d.recursive = is_on(options, "recursive", false);
		d.optional = is_on(options, "optional", false);
	}
	*ret = d;
	return 1;
}

bool lx_host_device_is_privileged(const struct lx_map *options)
{
	const char *type = lx_map_get(options, "type"), *source = lx_map_get(options, "source");

	return is_node(type) || lx_streq(type, LX_PROXY_TYPE) ||
	       (lx_streq(type, "disk") && !lx_str_empty(source) && !lx_streq(source, LX_SOURCE_TMPFS));
}

/* ------------------------------------------------------------------ paths */

const char *lx_device_path_fault(const char *path)
{
	if (path[0] != '/')
		return "is not an absolute path";
	if (strnlen(path, LX_DEVICE_PATH_MAX + 1) > LX_DEVICE_PATH_MAX)
		return "is too long";
	for (const char *p = path; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return "has a control character";
	if (!path[1])
		return NULL;
	for (const char *part = path; part;) {
		const char *next = strchr(++part, '/');
		size_t n = next ? (size_t)(next - part) : strlen(part);

		if (n == 0 || (n <= 2 && strncmp(part, "..", n) == 0))
			return "has a part that is empty, \".\" or \"..\"";
		part = next;
	}
	return NULL;
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

bool lx_device_path_is_taken(const char *path)
{
	/* The kernel's views, and what every guest's /dev has. */
	static const char *const trees[] = { "/proc",      "/sys",        "/dev/pts",     "/dev/ptmx",
					     "/dev/fd",    "/dev/mqueue", "/dev/null",    "/dev/zero",
					     "/dev/full",  "/dev/random", "/dev/urandom", "/dev/tty",
					     "/dev/stdin", "/dev/stdout", "/dev/stderr",  "/dev/console" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(trees); i++)
		if (is_below(path, trees[i]))
			return true;
	/* Names of liblxc's and ours. */
	return lx_streq(path, "/dev") || lx_starts_with(path, "/dev/.lx");
}

/* ------------------------------------------------------------------ together */

/* The first of these options that is given; NULL: none. */
static const char *first_of(const struct lx_map *options, const char *const *keys)
{
	while (*keys && !has(options, *keys))
		keys++;
	return *keys;
}

static int refuse_option(const char *name, const char *option, const char *whose, const char *hint,
			 struct lx_err *err)
{
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: %s is not for %s", name, option, whose);

	lx_err_hint(err, "%s", hint);
	return r;
}

/* A disk in memory may be smaller. */
static int check_root_size(const char *name, const char *size, struct lx_err *err)
{
	uint64_t bytes = 0;

	if (lx_str_empty(size) || (lx_parse_size(size, &bytes) == 0 && bytes >= LX_ROOT_SIZE_MIN))
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: a root disk of %s is too small", name, size);

	lx_err_hint(err, "Give it 16MiB at least: what the guest writes while it boots needs as much.");
	return r;
}

int lx_host_device_check_disk(const char *name, const struct lx_map *options, struct lx_err *err)
{
	static const char *const of_sources[] = { "source", "readonly", "optional", "recursive", NULL };
	static const char *const of_root[] = { "limits.max", "limits.read", "limits.write", NULL };
	static const char *const of_paths[] = { "readonly", "optional", "recursive", NULL };
	bool root = lx_streq(lx_map_get(options, "path"), "/");
	const char *wrong = first_of(options, root ? of_sources : of_root);
	int r;

	if (wrong && root)
		return refuse_option(name, wrong, "the root file system, which is the image",
				     "Give the disk another path in the guest, like path=/srv.", err);
	if (wrong)
		return refuse_option(name, wrong, "a disk beside the root file system",
				     "Limits are set on the disk with path=/, and hold for all it has.", err);
	if (root)
		return check_root_size(name, lx_map_get(options, "size"), err);
	if (!has(options, "source")) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: a disk at %s needs the option source",
			       name, (const char *)lx_map_get(options, "path"));
		lx_err_hint(err, "Name a directory or file of the node (source=/srv/data), or memory: "
				 "source=" LX_SOURCE_TMPFS " size=64MiB.");
		return r;
	}
	bool memory = lx_streq(lx_map_get(options, "source"), LX_SOURCE_TMPFS);

	if (memory && (wrong = first_of(options, of_paths)))
		return refuse_option(name, wrong, "a disk in memory",
				     "It is empty at each start, and has a size.", err);
	if (!memory && has(options, "size"))
		return refuse_option(name, "size", "a directory of the node",
				     "Only the root disk and source=" LX_SOURCE_TMPFS " have a size.", err);
	return 0;
}

int lx_host_device_check_node(const char *name, const struct lx_map *options, struct lx_err *err)
{
	const char *path = lx_host_device_path(options);
	bool major = has(options, "major"), minor = has(options, "minor");
	int r;

	if (major != minor) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: %s is given without %s", name,
			       major ? "major" : "minor", major ? "minor" : "major");
		lx_err_hint(err, "Give both numbers, or none and a source they are taken from.");
	} else if (!path || (!major && !has(options, "source"))) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: it does not say which device it is",
			       name);
		lx_err_hint(err,
			    "Name one of the node's (source=/dev/ttyUSB0), or give path, major and minor.");
	} else if (lx_device_path_is_taken(path) || lx_streq(path, "/")) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: %s is a place every guest has anyway",
			       name, path);
		lx_err_hint(err, "Give it another place in the guest: path=/dev/NAME.");
	} else {
		return 0;
	}
	return r;
}

int lx_host_devices_check_places(const struct lx_map *devices, struct lx_err *err)
{
	for (struct lx_map_entry *a = lx_map_first(devices); a; a = lx_map_next(a)) {
		const char *outer = lx_host_device_path(lx_map_value(a));

		if (!outer || lx_streq(outer, "/"))
			continue;
		for (struct lx_map_entry *b = lx_map_first(devices); b; b = lx_map_next(b)) {
			const char *inner = lx_host_device_path(lx_map_value(b));

			if (a == b || !inner || !is_below(inner, outer))
				continue;
			int r = lx_err_set(err, LX_INVALID_ARGUMENT,
					   "device %s (%s) would lie inside device %s (%s)", lx_map_key(b),
					   inner, lx_map_key(a), outer);

			lx_err_hint(err, "Give them places beside each other.");
			return r;
		}
	}
	return 0;
}
