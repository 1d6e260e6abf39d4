/*
 * Understanding the node's own apt: which mirrors it uses, and how it fetches. Pure: texts
 * in, texts out.
 */
#ifndef LX_IMAGES_APT_SOURCES_H
#define LX_IMAGES_APT_SOURCES_H

#include <stdbool.h>

#include "lib/buf.h"

#define LX_MIRROR_MAX 512

/* The URI of Debian's archive and of its security updates; NULL: not found. Owned. */
struct lx_apt_mirrors {
	char *archive;
	char *security;
};

void lx_apt_mirrors_release(struct lx_apt_mirrors *m);

/*
 * Takes what is still missing in `m` from a sources file, in the one-line form (.list) or
 * in the form of paragraphs (.sources). What is no Debian archive, disabled, malformed or
 * not fetched by http or https is passed over. 0 or -ENOMEM.
 */
int lx_apt_sources_list(const char *text, struct lx_apt_mirrors *m);
int lx_apt_sources_deb822(const char *text, struct lx_apt_mirrors *m);

/* http:// or https://, and nothing that could end the word it is written into. */
bool lx_mirror_valid(const char *uri);

/*
 * Picks from `apt-config dump` what is about reaching the archive (proxies, dates that a
 * mirror may be behind, IP version), as lines for an apt.conf. With `for_guest`, without
 * proxies that only the node itself can reach. 0 or -ENOMEM.
 */
int lx_apt_fetch_settings(const char *dump, bool for_guest, struct lx_buf *out);

#endif
