/*
 * Looking for Debian's archive among the sources of a node. An entry is taken for it when
 * its type is deb, a suite is a release of Debian's, "main" is a component, and the path
 * of the URI ends as Debian's mirrors do; one that is signed with somebody else's key is
 * not. That leaves out the third parties who reuse Debian's names for their own archives.
 */
#include "images/apt_sources.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define BLANKS " \t\r"

struct entry {
	bool deb, disabled;
	bool main;
	bool release, security; /* a suite of either kind is named */
	bool foreign_key;
	char uri[LX_MIRROR_MAX];
};

void lx_apt_mirrors_release(struct lx_apt_mirrors *m)
{
	free(m->archive);
	free(m->security);
	m->archive = m->security = NULL;
}

bool lx_mirror_valid(const char *uri)
{
	const char *host = lx_starts_with(uri, "http://")    ? uri + 7
			   : lx_starts_with(uri, "https://") ? uri + 8
							     : NULL;

	if (!host || !*host || *host == '/' || strlen(uri) >= LX_MIRROR_MAX)
		return false;
	return uri[strspn(uri, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			       ":/.-_~%+@,=")] == '\0';
}

static bool is_release(const char *s, size_t n)
{
	static const char *const names[] = { "stretch", "buster",    "bullseye",    "bookworm", "trixie",
					     "forky",   "duke",      "sid",         "unstable", "testing",
					     "stable",  "oldstable", "oldoldstable" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == n && memcmp(names[i], s, n) == 0)
			return true;
	return false;
}

static void take_suite(struct entry *e, const char *suite)
{
	const char *dash = strchr(suite, '-'), *slash = strchr(suite, '/');

	if (is_release(suite, strlen(suite)))
		e->release = true;
	else if (dash && lx_streq(dash, "-security") && is_release(suite, (size_t)(dash - suite)))
		e->security = true;
	/* As it was written until Debian 10. */
	else if (slash && lx_streq(slash, "/updates") && is_release(suite, (size_t)(slash - suite)))
		e->security = true;
}

static void take_uri(struct entry *e, const char *uri)
{
	size_t n = strlen(uri);

	if (*e->uri || !lx_mirror_valid(uri))
		return;
	while (n > 0 && uri[n - 1] == '/')
		n--;
	memcpy(e->uri, uri, n);
	e->uri[n] = '\0';
}

static void take_key(struct entry *e, const char *key)
{
	if (!strstr(key, "debian-archive"))
		e->foreign_key = true;
}

static int keep(char **slot, const char *uri)
{
	if (*slot)
		return 0;
	*slot = strdup(uri);
	return *slot ? 0 : -ENOMEM;
}

/* The entry is complete: does it tell us something? */
static int finish(const struct entry *e, struct lx_apt_mirrors *m)
{
	int r = 0;

	if (!e->deb || e->disabled || !e->main || e->foreign_key || !*e->uri)
		return 0;
	if (e->release && lx_ends_with(e->uri, "/debian"))
		r = keep(&m->archive, e->uri);
	if (r == 0 && e->security &&
	    (lx_ends_with(e->uri, "/debian-security") || strstr(e->uri, "security.debian.org")))
		r = keep(&m->security, e->uri);
	return r;
}

/* ------------------------------------------------------------------ one-line form */

/* "deb [signed-by=... arch=...] URI SUITE COMPONENT..." */
static int list_line(char *line, struct lx_apt_mirrors *m)
{
	struct entry e = { 0 };
	char *at = NULL;
	bool in_options = false;
	int position = 0;

	line[strcspn(line, "#")] = '\0';
	for (char *word = strtok_r(line, BLANKS, &at); word; word = strtok_r(NULL, BLANKS, &at)) {
		if (position == 1 && *word == '[') {
			in_options = true;
			word++;
		}
		if (in_options) {
			in_options = !lx_ends_with(word, "]");
			if (lx_starts_with(word, "signed-by="))
				take_key(&e, word);
			continue;
		}
		if (position == 0)
			e.deb = lx_streq(word, "deb");
		else if (position == 1)
			take_uri(&e, word);
		else if (position == 2)
			take_suite(&e, word);
		else if (lx_streq(word, "main"))
			e.main = true;
		position++;
	}
	return finish(&e, m);
}

int lx_apt_sources_list(const char *text, struct lx_apt_mirrors *m)
{
	lx_autofree char *copy = strdup(text);
	char *at = NULL;

	if (!copy)
		return -ENOMEM;
	for (char *line = strtok_r(copy, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
		int r = list_line(line, m);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ paragraphs */

static void deb822_word(struct entry *e, const char *field, const char *word)
{
	if (strcasecmp(field, "Types") == 0)
		e->deb |= lx_streq(word, "deb");
	else if (strcasecmp(field, "URIs") == 0)
		take_uri(e, word);
	else if (strcasecmp(field, "Suites") == 0)
		take_suite(e, word);
	else if (strcasecmp(field, "Components") == 0)
		e->main |= lx_streq(word, "main");
	else if (strcasecmp(field, "Enabled") == 0)
		e->disabled |= strcasecmp(word, "no") == 0 || strcasecmp(word, "false") == 0;
}

static void deb822_words(struct entry *e, const char *field, char *words)
{
	char *at = NULL;

	/* A key may also stand there itself, over many lines; we could not tell whose. */
	if (strcasecmp(field, "Signed-By") == 0)
		return take_key(e, words);
	for (char *word = strtok_r(words, BLANKS, &at); word; word = strtok_r(NULL, BLANKS, &at))
		deb822_word(e, field, word);
}

static void deb822_line(struct entry *e, char *line, char field[32])
{
	char *words = line;

	if (*line == '#')
		return;
	/* A line that begins with a blank continues the field before it. */
	if (*line != ' ' && *line != '\t') {
		char *colon = strchr(line, ':');

		field[0] = '\0';
		if (!colon || colon - line >= 32)
			return;
		memcpy(field, line, (size_t)(colon - line));
		field[colon - line] = '\0';
		words = colon + 1;
	} else if (strcasecmp(field, "Signed-By") == 0) {
		return;
	}
	deb822_words(e, field, words);
}

int lx_apt_sources_deb822(const char *text, struct lx_apt_mirrors *m)
{
	lx_autofree char *copy = strdup(text);
	struct entry e = { 0 };
	char field[32] = "";

	if (!copy)
		return -ENOMEM;
	/* Not strtok: empty lines end paragraphs. */
	for (char *line = copy, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (line[strspn(line, BLANKS)]) {
			deb822_line(&e, line, field);
			continue;
		}
		int r = finish(&e, m);

		if (r < 0)
			return r;
		e = (struct entry){ 0 };
		field[0] = '\0';
	}
	return finish(&e, m);
}

/* ------------------------------------------------------------------ fetching */

static bool is_fetch_setting(const char *key, size_t n, bool *proxy)
{
	static const char *const exact[] = { "Acquire::Check-Valid-Until", "Acquire::Check-Date",
					     "Acquire::ForceIPv4", "Acquire::ForceIPv6", "Acquire::Retries" };
	static const char *const proxies[] = { "Acquire::http::Proxy", "Acquire::https::Proxy" };

	*proxy = false;
	for (size_t i = 0; i < LX_ARRAY_SIZE(exact); i++)
		if (strlen(exact[i]) == n && strncmp(key, exact[i], n) == 0)
			return true;
	/* Also Proxy::<host>. */
	for (size_t i = 0; i < LX_ARRAY_SIZE(proxies); i++)
		if (n >= strlen(proxies[i]) && lx_starts_with(key, proxies[i]))
			*proxy = true;
	return *proxy;
}

int lx_apt_fetch_settings(const char *dump, bool for_guest, struct lx_buf *out)
{
	for (const char *line = dump; *line;) {
		size_t n = strcspn(line, "\n");
		size_t key = strcspn(line, " \n");
		bool proxy;
		int r = 0;

		/* Key "value"; and nothing for empty values, which only name a family. */
		if (n > key + 4 && line[n - 1] == ';' && is_fetch_setting(line, key, &proxy)) {
			lx_autofree char *copy = strndup(line, n);

			if (!copy)
				return -ENOMEM;
			bool local = strstr(copy, "//127.") || strstr(copy, "//localhost") ||
				     strstr(copy, "//[::1]");

			if (!proxy || !for_guest || !local)
				r = lx_buf_printf(out, "%s\n", copy);
		}
		if (r < 0)
			return r;
		line += n + (line[n] == '\n');
	}
	return 0;
}
