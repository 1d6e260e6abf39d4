/*
 * Looking through passwd and group texts, line by line and field by field. A malformed line
 * is no entry. Nothing here can fail but the search itself.
 */
#include "agent/worker/instance/guest_user.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/str.h"

#define FIELDS_MAX 8
#define ID_MAX     UINT64_C(4294967294) /* the one above means "no change" */

struct span {
	const char *at;
	size_t n;
};

static bool span_is(struct span s, struct span t)
{
	return s.n == t.n && memcmp(s.at, t.at, s.n) == 0;
}

static bool span_id(struct span s, uint32_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 10)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.at[i] < '0' || s.at[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.at[i] - '0');
	}
	*ret = (uint32_t)v;
	return v <= ID_MAX;
}

static void span_copy(struct span s, char *out, size_t max, const char *otherwise)
{
	if (s.n == 0 || s.n >= max)
		snprintf(out, max, "%s", otherwise);
	else
		snprintf(out, max, "%.*s", (int)s.n, s.at);
}

/* Splits the line at *text at colons and moves on to the next. False at the end. */
static bool next_entry(const char **text, struct span fields[FIELDS_MAX], size_t *n)
{
	const char *p = *text;

	if (!*p)
		return false;
	for (*n = 0;;) {
		size_t len = strcspn(p, ":\n");

		if (*n < FIELDS_MAX)
			fields[(*n)++] = (struct span){ p, len };
		p += len;
		if (*p != ':')
			break;
		p++;
	}
	*text = p + (*p == '\n');
	return true;
}

/* name:password:uid:gid:gecos:home:shell */
static bool find_user(const char *passwd, struct span who, struct lx_guest_user *ret)
{
	struct span f[FIELDS_MAX];
	uint32_t wanted = 0, uid, gid;
	bool by_id = span_id(who, &wanted);
	size_t n;

	while (next_entry(&passwd, f, &n)) {
		if (n < 7 || f[0].n == 0 || !span_id(f[2], &uid) || !span_id(f[3], &gid))
			continue;
		if (!span_is(f[0], who) && !(by_id && uid == wanted))
			continue;
		ret->uid = uid;
		ret->gid = gid;
		span_copy(f[0], ret->name, sizeof(ret->name), "");
		span_copy(f[5], ret->home, sizeof(ret->home), "/");
		span_copy(f[6], ret->shell, sizeof(ret->shell), "/bin/sh");
		return true;
	}
	return false;
}

/* name:password:gid:member,member */
static bool find_group(const char *group, struct span who, gid_t *ret)
{
	struct span f[FIELDS_MAX];
	uint32_t gid;
	size_t n;

	while (next_entry(&group, f, &n))
		if (n >= 3 && span_is(f[0], who) && span_id(f[2], &gid)) {
			*ret = gid;
			return true;
		}
	return span_id(who, ret);
}

static bool is_member(struct span list, const char *name)
{
	const char *end = list.at + list.n;
	struct span who = { name, strlen(name) };

	for (const char *p = list.at; p < end;) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		struct span one = { p, (size_t)((comma ? comma : end) - p) };

		if (span_is(one, who))
			return true;
		p += one.n + 1;
	}
	return false;
}

static void collect_groups(const char *group, struct lx_guest_user *u)
{
	struct span f[FIELDS_MAX];
	uint32_t gid;
	size_t n;

	while (next_entry(&group, f, &n) && u->n_groups < LX_GUEST_GROUPS_MAX)
		if (n >= 4 && span_id(f[2], &gid) && gid != u->gid && is_member(f[3], u->name))
			u->groups[u->n_groups++] = gid;
}

int lx_guest_user_find(const char *passwd, const char *group, const char *who, struct lx_guest_user *ret,
		       struct lx_err *err)
{
	const char *colon = strchr(who, ':');
	struct span user = { who, colon ? (size_t)(colon - who) : strlen(who) };
	uint32_t id;

	if (user.n == 0)
		user = (struct span){ "0", 1 };
	*ret = (struct lx_guest_user){ .home = "/", .shell = "/bin/sh" };
	if (!find_user(passwd, user, ret)) {
		if (!span_id(user, &id))
			return lx_err_set(err, LX_INVALID_ARGUMENT, "there is no user \"%.*s\" in the guest",
					  (int)user.n, user.at);
		ret->uid = ret->gid = id;
		snprintf(ret->name, sizeof(ret->name), "%u", id);
	}
	if (!colon) {
		collect_groups(group, ret);
		return 0;
	}
	if (!find_group(group, (struct span){ colon + 1, strlen(colon + 1) }, &ret->gid))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "there is no group \"%s\" in the guest",
				  colon + 1);
	return 0;
}
