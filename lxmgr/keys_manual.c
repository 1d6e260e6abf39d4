/*
 * The manual page of the configuration keys, from their table: `lxmgrd --keys-manual` (not in
 * its help) prints lxmgr-config(7) in mdoc(7). docs/man/lxmgr-config.7 is its output; a test
 * compares the two.
 */
#include "lxmgr/keys_manual.h"

#include <ctype.h>
#include <stdio.h>

#include "profiles/builtin.h"
#include "profiles/profiles.h"

static const char head[] =
	".\\\" Made by \"lxmgrd --keys-manual\" from the table of keys.\n"
	".Dd $Mdocdate$\n"
	".Dt LXMGR-CONFIG 7\n"
	".Os\n"
	".Sh NAME\n"
	".Nm lxmgr-config\n"
	".Nd configuration keys of instances, profiles and projects\n"
	".Sh DESCRIPTION\n"
	"An instance's configuration is what its profiles say, one over the other, with its own keys and\n"
	"devices on top; an empty value takes back what a profile set.\n"
	".Ql lxmgr config show --expanded\n"
	"shows the result and where each part comes from.\n"
	".Pp\n"
	"Keys are set with\n"
	".Ql lxmgr config set\n"
	"and\n"
	".Ql lxmgr profile set ,\n"
	"or at a launch with\n"
	".Fl c Ar KEY=VALUE .\n"
	"Those of a project are set with\n"
	".Ql lxmgr project set .\n"
	"Behind each stands its type, what it may be and what it is when it is not set.\n"
	"One that acts\n"
	".Em live\n"
	"acts on a running instance at once, the others at its next start.\n";

static const char profiles_head[] =
	".Sh BUILT-IN PROFILES\n"
	"Every cluster has the profile\n"
	".Sy default ,\n"
	"with a root disk and one network card; it can be changed but not deleted.\n"
	"These besides cannot be changed; they go on top of others, as in\n"
	".Ql lxmgr launch debian/12 web1 -p default -p hardened .\n";

/* No character of it is markup. */
static void text(const char *s)
{
	for (; *s; s++) {
		if (*s == '\\')
			fputs("\\e", stdout);
		else if (*s == '-')
			fputs("\\-", stdout);
		else
			putchar(*s);
	}
}

static void put_key(const struct lx_config_key *key)
{
	struct lx_key_range range;
	const char *allowed = lx_config_key_range(key, &range);

	printf(".It Cm ");
	text(key->name);
	printf("\n.Pq ");
	text(key->type);
	if (*allowed) {
		printf(": ");
		text(allowed);
	}
	if (*key->def) {
		printf("; default ");
		text(key->def);
	}
	if (key->required)
		printf("; required");
	printf("; %s\n.br\n", key->scope == LX_KEY_LIVE ? "live" : "restart");
	text(key->help);
	printf(".\n");
}

static void put_keys(size_t subject)
{
	size_t n;
	const struct lx_config_key *keys = lx_config_keys(&n);

	printf(".Sh KEYS OF ");
	for (const char *p = lx_key_subject_names[subject]; *p; p++)
		putchar(toupper((unsigned char)*p));
	printf("\n.Bl -tag -width Ds\n");
	for (size_t i = 0; i < n; i++)
		if (keys[i].subject == subject)
			put_key(&keys[i]);
	printf(".El\n");
}

static void put_profiles(void)
{
	fputs(profiles_head, stdout);
	printf(".Bl -tag -width Ds\n");
	for (size_t i = 0; i < lx_n_builtin_profiles; i++) {
		const struct lx_builtin_profile *p = &lx_builtin_profiles[i];

		printf(".It Sy %s\n", p->name);
		text(p->description);
		printf(".\n.Bd -literal -compact\n");
		for (const struct lx_builtin_key *k = p->config; k->name; k++) {
			text(k->name);
			putchar('=');
			text(k->value);
			putchar('\n');
		}
		printf(".Ed\n");
	}
	printf(".El\n");
}

void lx_keys_manual(void)
{
	fputs(head, stdout);
	for (size_t i = 0; i < lx_n_key_subjects; i++)
		put_keys(i);
	put_profiles();
	fputs(".Sh SEE ALSO\n.Xr lxmgr 1 ,\n.Xr syscalls 2 ,\n.Xr capabilities 7\n", stdout);
}
