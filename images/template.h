/* The images this project can make itself: `lxmgr image build TEMPLATE`. Pure. */
#ifndef LX_IMAGES_TEMPLATE_H
#define LX_IMAGES_TEMPLATE_H

#include <stddef.h>

enum lx_template_kind { LX_TEMPLATE_DEBIAN, LX_TEMPLATE_BUSYBOX };

struct lx_template {
	const char *name; /* "debian/12": also the alias the image gets */
	enum lx_template_kind kind;
	const char *os;      /* "Debian" */
	const char *release; /* "bookworm": the suite's name at the mirror */
	const char *title;   /* "Debian 12 (bookworm)" */
};

const struct lx_template *lx_templates(size_t *n);
/* NULL when there is no such template. */
const struct lx_template *lx_template_find(const char *name);
/* "debian/12, debian/13, ...", for hints. */
#define LX_TEMPLATE_NAMES "debian/12, debian/13, debian/sid, busybox"

#endif
