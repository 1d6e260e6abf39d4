/*
 * Checking the options of devices from outside: paths of the node and of the guest, sizes, and the
 * permission bits of device nodes. Messages and hints as in check.c.
 */
#include "profiles/check.h"

#include <errno.h>
#include <string.h>

#include "lib/str.h"
#include "profiles/host_device.h"
#include "profiles/value.h"

#define MODE_MAX 0777

static int refuse(struct lx_err *err, const char *name, const char *value, const char *fault)
{
	struct lx_shown s;

	return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s %s", name, lx_value_show(&s, value), fault);
}

int lx_check_guest_path(const struct lx_config_key *key, const char *name, const char *value,
			struct lx_err *err)
{
	const char *fault = lx_device_path_fault(value);

	if (!fault && lx_device_path_is_taken(value)) {
		int r = refuse(err, name, value, "is a place every guest has anyway");

		lx_err_hint(err,
			    "Not /proc, /sys and what is in them, nor what is in every /dev; choose a place "
			    "like /srv/data or /dev/NAME.");
		return r;
	}
	if (!fault)
		return 0;
	int r = refuse(err, name, value, fault);

	lx_err_hint(err, "Write the path in the guest from its root on, in at most %d bytes: /srv/data.",
		    LX_DEVICE_PATH_MAX);
	return r;
}

int lx_check_host_path(const struct lx_config_key *key, const char *name, const char *value,
		       struct lx_err *err)
{
	const char *fault = lx_device_path_fault(value);

	if (!fault)
		return 0;
	int r = refuse(err, name, value, fault);

	lx_err_hint(err, "Write the path on the node from its root on, in at most %d bytes%s.",
		    LX_DEVICE_PATH_MAX,
		    key->subject == LX_KEY_DISK ? ": /srv/data; or " LX_SOURCE_TMPFS : ": /dev/ttyUSB0");
	return r;
}

int lx_check_disk_source(const struct lx_config_key *key, const char *name, const char *value,
			 struct lx_err *err)
{
	return lx_streq(value, LX_SOURCE_TMPFS) ? 0 : lx_check_host_path(key, name, value, err);
}

int lx_check_size(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	char least[LX_SIZE_TEXT_MAX];
	uint64_t v = 0;
	int r = lx_parse_size(value, &v);

	if (r == 0 && v >= key->min && v <= key->max)
		return 0;
	r = refuse(err, name, value, r == -EINVAL ? "is not a size" : "is out of range");
	lx_err_hint(err, "Use a size from %s up (64MiB, 2GB).",
		    lx_format_size(key->min, least, sizeof(least)));
	return r;
}

int lx_check_mode(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	size_t n = strlen(value);

	/* 660, 0660 */
	if (strspn(value, "01234567") == n && (n == 3 || (n == 4 && value[0] == '0')))
		return 0;
	int r = refuse(err, name, value, "is not a file's permissions");

	lx_err_hint(err, "Use three octal digits, 000 to %03o: 660.", MODE_MAX);
	return r;
}
