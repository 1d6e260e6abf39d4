/*
 * Resolving image names. An exact alias wins over a fingerprint's beginning; an alias
 * that reads like a fingerprint is refused when it is made, so neither hides the other.
 * Ways to fail are those of the header, each with what to type instead.
 */
#include "images/ref.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "images/template.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "proto/pb.h"

static bool all_hex(const char *s)
{
	return s[strspn(s, "0123456789abcdef")] == '\0';
}

bool lx_fingerprint_valid(const char *s)
{
	return strlen(s) == LX_FINGERPRINT_LEN && all_hex(s);
}

bool lx_fingerprint_prefix_valid(const char *s)
{
	size_t n = strlen(s);

	return n >= LX_FINGERPRINT_PREFIX_MIN && n <= LX_FINGERPRINT_LEN && all_hex(s);
}

int lx_alias_check(const char *alias, struct lx_err *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
	size_t n = strlen(alias);
	const char *why = NULL;

	if (n == 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "an image's alias must not be empty");
	if (n > LX_ALIAS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "image alias of %zu characters: at most %d are allowed", n, LX_ALIAS_MAX);
	if (alias[strspn(alias, allowed)])
		why = "only letters, digits and . _ - / are allowed";
	else if (alias[0] == '/' || alias[n - 1] == '/' || strstr(alias, "//"))
		why = "a slash must stand between two names";
	else if (alias[0] == '-')
		why = "it must not begin with a hyphen";
	else if (strstr(alias, ".."))
		why = "it must not hold \"..\"";
	else if (n >= LX_FINGERPRINT_PREFIX_MIN && all_hex(alias))
		why = "it would be taken for a fingerprint";
	if (why)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "invalid image alias \"%s\": %s", alias, why);
	return 0;
}

/* ------------------------------------------------------------------ resolving */

static bool has_alias(const Lxmgr__V1__Image *image, const char *alias)
{
	for (size_t i = 0; i < image->n_aliases; i++)
		if (lx_streq(image->aliases[i], alias))
			return true;
	return false;
}

static const char *nearest_alias(const char *ref, Lxmgr__V1__Image *const *images, size_t n)
{
	size_t total = 0, k = 0;

	for (size_t i = 0; i < n; i++)
		total += images[i]->n_aliases;
	lx_autofree const char **all = calloc(total + 1, sizeof(*all));

	/* Only a hint: without memory there is none. */
	if (!all)
		return NULL;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < images[i]->n_aliases; j++)
			all[k++] = images[i]->aliases[j];
	return lx_nearest(ref, all, k);
}

static int not_found(const char *ref, Lxmgr__V1__Image *const *images, size_t n, struct lx_err *err)
{
	int r = lx_err_set(err, LX_NOT_FOUND, "there is no image \"%s\"", ref);
	const char *near;

	if (lx_template_find(ref))
		lx_err_hint(err, "Build it first: lxmgr image build %s", ref);
	else if ((near = nearest_alias(ref, images, n)))
		lx_err_hint(err, "Did you mean \"%s\"?", near);
	else
		lx_err_hint(err, "See what is there: lxmgr image list");
	return r;
}

int lx_image_resolve(const char *ref, Lxmgr__V1__Image *const *images, size_t n, const Lxmgr__V1__Image **ret,
		     struct lx_err *err)
{
	const Lxmgr__V1__Image *found = NULL;
	size_t len = strlen(ref);

	for (size_t i = 0; i < n; i++) {
		if (has_alias(images[i], ref)) {
			*ret = images[i];
			return 0;
		}
	}
	if (!lx_fingerprint_prefix_valid(ref)) {
		bool shortened = len > 0 && len < LX_FINGERPRINT_PREFIX_MIN && all_hex(ref);

		if (!shortened && !lx_fingerprint_valid(ref)) {
			int r = lx_alias_check(ref, err);

			if (r < 0)
				return r;
		}
		int r = not_found(ref, images, n, err);

		for (size_t i = 0; shortened && i < n; i++)
			if (lx_starts_with(images[i]->fingerprint, ref))
				lx_err_hint(err, "A fingerprint needs at least %d digits: %.*s",
					    LX_FINGERPRINT_PREFIX_MIN, LX_FINGERPRINT_SHORT,
					    images[i]->fingerprint);
		return r;
	}
	for (size_t i = 0; i < n; i++) {
		if (!lx_starts_with(images[i]->fingerprint, ref))
			continue;
		if (found) {
			int r = lx_err_set(err, LX_FAILED_PRECONDITION,
					   "\"%s\" is the beginning of more than one image's fingerprint",
					   ref);

			lx_err_hint(err, "Give more digits: %.*s or %.*s", (int)len + 8, found->fingerprint,
				    (int)len + 8, images[i]->fingerprint);
			return r;
		}
		found = images[i];
	}
	if (!found)
		return not_found(ref, images, n, err);
	*ret = found;
	return 0;
}

/* ------------------------------------------------------------------ filters */

static bool glob(const char *pattern, const char *value)
{
	return fnmatch(pattern, value, 0) == 0;
}

static bool any_alias(const Lxmgr__V1__Image *image, const char *pattern)
{
	for (size_t i = 0; i < image->n_aliases; i++)
		if (glob(pattern, image->aliases[i]))
			return true;
	return false;
}

static bool key_matches(const Lxmgr__V1__Image *image, const char *key, const char *pattern)
{
	const struct {
		const char *name, *value;
	} fields[] = {
		{ "os", image->os },
		{ "release", image->release },
		{ "architecture", image->architecture },
		{ "variant", image->variant },
		{ "description", image->description },
		{ "fingerprint", image->fingerprint },
		{ "source", image->source },
	};

	if (lx_streq(key, "alias"))
		return any_alias(image, pattern);
	for (size_t i = 0; i < LX_ARRAY_SIZE(fields); i++)
		if (lx_streq(key, fields[i].name))
			return glob(pattern, fields[i].value);
	const char *value = lx_pb_map_get(image->n_properties, image->properties, key);

	return value && glob(pattern, value);
}

bool lx_image_matches(const Lxmgr__V1__Image *image, const char *filter)
{
	const char *eq = strchr(filter, '=');

	if (eq) {
		lx_autofree char *key = strndup(filter, (size_t)(eq - filter));

		return key && key_matches(image, key, eq + 1);
	}
	if (strpbrk(filter, "*?["))
		return any_alias(image, filter) || glob(filter, image->fingerprint);
	for (size_t i = 0; i < image->n_aliases; i++)
		if (strstr(image->aliases[i], filter))
			return true;
	return lx_starts_with(image->fingerprint, filter);
}
