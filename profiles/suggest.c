/* Suggestions; see the header. Rules are collected by their text, in the order they were seen. */
#include "profiles/suggest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/profiles.h"
#include "profiles/suggest_apparmor.h"
#include "profiles/syscalls.h"
#include "proto/pb.h"

#define APPARMOR     "raw.apparmor"
#define ALLOW        "security.syscalls.allow"
#define DENY         "security.syscalls.deny"
#define PROGRAMS_MAX 256

struct found {
	char *rule; /* that of a file ends before its permissions */
	char perms[LX_SUGGEST_PERMS_MAX];
	const char *key;
	const char *refused;
	uint64_t count;
	char programs[PROGRAMS_MAX];
};

struct collection {
	struct found list[LX_SUGGESTIONS_MAX];
	size_t n;
};

static void note_program(struct found *f, const char *program)
{
	const size_t n = strlen(f->programs), more = strlen(program);
	const char *at = strstr(f->programs, program);

	if (more == 0 || n + more + 3 > sizeof(f->programs))
		return;
	/* A whole one of those there. */
	for (; at; at = strstr(at + 1, program))
		if ((at == f->programs || at[-1] == ' ') && (at[more] == ',' || at[more] == '\0'))
			return;
	snprintf(f->programs + n, sizeof(f->programs) - n, "%s%s", n ? ", " : "", program);
}

/* What is too much for one answer is seen when these have been dealt with. */
static int note(struct collection *c, const char *key, const char *rule, const char *perms,
		const char *refused, const Lxmgr__V1__Denial *d)
{
	struct found *f = c->list;

	while (f < c->list + c->n && (!lx_streq(f->rule, rule) || f->refused != refused || f->key != key))
		f++;
	if (f == c->list + LX_SUGGESTIONS_MAX)
		return 0;
	if (f == c->list + c->n) {
		*f = (struct found){ .rule = strdup(rule), .key = key, .refused = refused };
		if (!f->rule)
			return -ENOMEM;
		c->n++;
	}
	lx_suggest_add_perms(f->perms, perms);
	f->count += d->count;
	note_program(f, d->program);
	return 0;
}

/* ------------------------------------------------------------------ kinds */

static int take_apparmor(struct collection *c, const Lxmgr__V1__Denial *d)
{
	lx_autobuf struct lx_buf rule = { 0 };
	char perms[LX_SUGGEST_PERMS_MAX];
	const char *refused;
	int r = lx_suggest_apparmor(d, &rule, perms, &refused);

	return r == 0 ? note(c, APPARMOR, lx_buf_str(&rule), perms, refused, d) : r;
}

static const char *refuse_syscall(const struct lx_map *config, const char *name)
{
	for (const struct lx_syscall_answer *a = lx_syscalls_unmovable; a->name; a++)
		if (lx_streq(a->name, name))
			return "with it no live move is possible, lxmgr never allows it";
	if (!lx_syscall_exists(name))
		return "there is no name for it";
	if (lx_syscalls_has(lx_config_get(config, DENY), name))
		return "security.syscalls.deny names it: take it out of there";
	if (lx_str_empty(lx_config_get(config, ALLOW)))
		return "lxmgr denies it to every guest (security.syscalls.deny_default)";
	return NULL;
}

static int take_syscall(struct collection *c, const struct lx_map *config, const Lxmgr__V1__Denial *d)
{
	return note(c, ALLOW, d->operation, "", refuse_syscall(config, d->operation), d);
}

/* ------------------------------------------------------------------ the answer */

static char *whole(const struct found *f)
{
	return *f->perms ? lx_asprintf("%s%s,", f->rule, f->perms) : strdup(f->rule);
}

/* A line of its own in what there is, blanks aside. */
static bool has_rule(const char *rules, const char *rule)
{
	size_t n = strlen(rule);

	for (const char *at = rules ? strstr(rules, rule) : NULL; at; at = strstr(at + 1, rule)) {
		const char *before = at;

		while (before > rules && (before[-1] == ' ' || before[-1] == '\t'))
			before--;
		if ((before == rules || before[-1] == '\n') && (at[n] == '\n' || at[n] == '\0'))
			return true;
	}
	return false;
}

static int add(Lxmgr__V1__SuggestResponse *resp, const struct found *f, const struct lx_map *config)
{
	lx_autofree char *text = whole(f);
	Lxmgr__V1__Suggestion *s;

	if (!text)
		return -ENOMEM;
	if (lx_streq(f->key, APPARMOR) ? has_rule(lx_config_get(config, APPARMOR), text)
				       : lx_syscalls_has(lx_config_get(config, ALLOW), text))
		return 0;
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	lxmgr__v1__suggestion__init(s);
	resp->suggestions[resp->n_suggestions++] = s;
	s->count = f->count;
	return lx_pb_set(&s->key, f->key) < 0 || lx_pb_set(&s->value, text) < 0 ||
			       lx_pb_set(&s->refused, f->refused) < 0 ||
			       lx_pb_set(&s->programs, f->programs) < 0
		       ? -ENOMEM
		       : 0;
}

int lx_suggest(const struct lx_suggest_input *in, Lxmgr__V1__SuggestResponse *resp)
{
	lx_autofree struct collection *c = calloc(1, sizeof(*c));
	int r = c ? 0 : -ENOMEM;

	for (size_t i = 0; i < in->n && r == 0; i++) {
		const Lxmgr__V1__Denial *d = in->denials[i];

		if (lx_streq(d->kind, "apparmor"))
			r = take_apparmor(c, d);
		else if (lx_streq(d->kind, "syscall"))
			r = take_syscall(c, in->config, d);
	}
	if (r == 0) {
		Lxmgr__V1__Suggestion **list =
			realloc(resp->suggestions, (resp->n_suggestions + c->n + 1) * sizeof(*list));

		r = list ? 0 : -ENOMEM;
		if (list)
			resp->suggestions = list;
	}
	for (int refused = 0; refused < 2; refused++)
		for (size_t i = 0; c && i < c->n && r == 0; i++)
			if ((c->list[i].refused != NULL) == refused)
				r = add(resp, &c->list[i], in->config);
	for (size_t i = 0; c && i < c->n; i++)
		free(c->list[i].rule);
	return r;
}
