/* The table of templates. A new Debian release is one line here. */
#include "images/template.h"

#include "lib/cleanup.h"
#include "lib/str.h"

static const struct lx_template templates[] = {
	{ "debian/12", LX_TEMPLATE_DEBIAN, "Debian", "bookworm", "Debian 12 (bookworm)" },
	{ "debian/13", LX_TEMPLATE_DEBIAN, "Debian", "trixie", "Debian 13 (trixie)" },
	{ "debian/sid", LX_TEMPLATE_DEBIAN, "Debian", "sid", "Debian unstable (sid)" },
	{ "busybox", LX_TEMPLATE_BUSYBOX, "BusyBox", "busybox", "BusyBox" },
};

const struct lx_template *lx_templates(size_t *n)
{
	*n = LX_ARRAY_SIZE(templates);
	return templates;
}

const struct lx_template *lx_template_find(const char *name)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(templates); i++)
		if (lx_streq(templates[i].name, name))
			return &templates[i];
	return NULL;
}
