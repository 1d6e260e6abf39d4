/* Which system calls stop, and which are harmless, see the header. */
#include "profiles/intercept.h"

#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/intercept_mount.h"
#include "profiles/profiles.h"

const char *const lx_intercept_names[LX_INTERCEPTS] = {
	[LX_INTERCEPT_MKNOD] = "mknod",
	[LX_INTERCEPT_MOUNT] = "mount",
	[LX_INTERCEPT_SETXATTR] = "setxattr",
	[LX_INTERCEPT_SYSINFO] = "sysinfo",
};

const struct lx_intercepted lx_intercepted_calls[] = {
	/* Character devices but 0:0, which is overlayfs's mark for what is deleted: nobody refuses it. */
	{ "mknod", LX_INTERCEPT_MKNOD, 1, LX_MODE_TYPE, LX_MODE_CHAR, 2 },
	{ "mknodat", LX_INTERCEPT_MKNOD, 2, LX_MODE_TYPE, LX_MODE_CHAR, 3 },
	/* New ones alone. fsopen begins the other way to make one. */
	{ "mount", LX_INTERCEPT_MOUNT, 3, LX_MOUNT_OTHER_FLAGS, 0, -1 },
	{ "fsopen", LX_INTERCEPT_MOUNT, -1, 0, 0, -1 },
	{ "setxattr", LX_INTERCEPT_SETXATTR, -1, 0, 0, -1 },
	{ "lsetxattr", LX_INTERCEPT_SETXATTR, -1, 0, 0, -1 },
	{ "fsetxattr", LX_INTERCEPT_SETXATTR, -1, 0, 0, -1 },
	{ "sysinfo", LX_INTERCEPT_SYSINFO, -1, 0, 0, -1 },
	{ NULL, 0, 0, 0, 0, 0 },
};

/* Numbers of Documentation/admin-guide/devices.txt of the kernel. */
static const struct {
	uint32_t major, minor;
} harmless[] = { { 0, 0 }, { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 }, { 5, 0 } };

unsigned lx_intercept_of_key(const char *key, const char *value)
{
	bool on = false;

	if (!lx_starts_with(key, LX_KEY_INTERCEPT) || !value || lx_parse_bool(value, &on) < 0 || !on)
		return 0;
	for (unsigned i = 0; i < LX_INTERCEPTS; i++)
		if (strcmp(key + strlen(LX_KEY_INTERCEPT), lx_intercept_names[i]) == 0)
			return 1U << i;
	return 0;
}

unsigned lx_intercepts(const struct lx_map *config)
{
	unsigned all = 0;

	for (unsigned i = 0; i < LX_INTERCEPTS; i++) {
		char key[64];

		snprintf(key, sizeof(key), LX_KEY_INTERCEPT "%s", lx_intercept_names[i]);
		all |= lx_intercept_of_key(key, lx_config_get(config, key));
	}
	return all;
}

/* As new_decode_dev() in the kernel's include/linux/kdev_t.h reads it: 12 bits and 20. */
uint32_t lx_intercept_major(uint32_t dev)
{
	return dev >> 8 & 0xfff;
}

uint32_t lx_intercept_minor(uint32_t dev)
{
	return (dev & 0xff) | (dev >> 12 & 0xfff00);
}

bool lx_intercept_device(uint32_t mode, uint32_t dev)
{
	if ((mode & LX_MODE_TYPE) != LX_MODE_CHAR)
		return false;
	for (size_t i = 0; i < LX_ARRAY_SIZE(harmless); i++)
		if (lx_intercept_major(dev) == harmless[i].major &&
		    lx_intercept_minor(dev) == harmless[i].minor)
			return true;
	return false;
}

bool lx_intercept_xattr(const char *name, const void *value, size_t len)
{
	return strcmp(name, LX_INTERCEPT_XATTR "opaque") == 0 && len == 1 && *(const char *)value == 'y';
}
