/*
 * Cleaning archive names, component by component. Nothing is repaired silently: a name
 * that points outside (absolute, "..") says something about who wrote the archive, and
 * the archive is refused.
 */
#include "images/entry_path.h"

#include <string.h>

static int refuse(struct lx_err *err, const char *name, const char *why)
{
	return lx_err_set(err, LX_INVALID_ARGUMENT, "the archive's entry \"%.200s\" is refused: %s", name,
			  why);
}

int lx_entry_path(const char *name, char out[LX_ENTRY_PATH_MAX], struct lx_err *err)
{
	return lx_entry_path_within(name, LX_ENTRY_DEPTH_MAX, out, err);
}

int lx_entry_path_within(const char *name, size_t depth_max, char out[LX_ENTRY_PATH_MAX], struct lx_err *err)
{
	size_t len = 0, depth = 0;

	if (name[0] == '/')
		return refuse(err, name, "its name is absolute");
	for (const char *p = name; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.')
			return refuse(err, name, "its name holds \"..\"");
		if (n > LX_ENTRY_NAME_MAX)
			return refuse(err, name, "a part of its name is longer than 255 bytes");
		if (n > 0 && !(n == 1 && p[0] == '.')) {
			if (++depth > depth_max)
				return refuse(err, name, "it lies too deep in directories");
			/* A slash before all but the first, and the NUL. */
			if (len + (len > 0) + n + 1 > LX_ENTRY_PATH_MAX)
				return refuse(err, name, "its name is too long");
			if (len > 0)
				out[len++] = '/';
			memcpy(out + len, p, n);
			len += n;
		}
		p += n;
		while (*p == '/')
			p++;
	}
	out[len] = '\0';
	return 0;
}
