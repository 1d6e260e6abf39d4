/* Labels; see the header. */
#include "profiles/labels.h"

#include <errno.h>
#include <string.h>

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool valid(const char *s, const char *inner)
{
	size_t n = strlen(s);

	return n > 0 && n <= LX_LABEL_MAX && s[strspn(s, inner)] == '\0' && strchr(ALNUM, s[0]) &&
	       strchr(ALNUM, s[n - 1]);
}

bool lx_label_key_valid(const char *s)
{
	return valid(s, ALNUM "-_./");
}

bool lx_label_value_valid(const char *s)
{
	return *s == '\0' || valid(s, ALNUM "-_.");
}

static bool copy(char to[LX_LABEL_MAX + 1], const char *from, size_t n)
{
	if (n > LX_LABEL_MAX)
		return false;
	memcpy(to, from, n);
	to[n] = '\0';
	return true;
}

int lx_label_next(const char **list, struct lx_label_wish *ret)
{
	const char *s = *list;
	size_t n = strcspn(s, ","), key = strcspn(s, "=,");

	if (!*s)
		return 0;
	ret->any = key == n;
	if (!copy(ret->key, s, key) || !copy(ret->value, s + key + !ret->any, n - key - !ret->any) ||
	    !lx_label_key_valid(ret->key) || !lx_label_value_valid(ret->value))
		return -EINVAL;
	/* A comma must be followed by something. */
	if (s[n] == ',' && !s[n + 1])
		return -EINVAL;
	*list = s + n + (s[n] == ',');
	return 1;
}
