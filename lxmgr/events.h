/* Those who watch events. */
#ifndef LX_LXMGR_EVENTS_H
#define LX_LXMGR_EVENTS_H

#include "lib/cleanup.h"
#include "lib/list.h"
#include "lxmgr/v1/event.pb-c.h"

struct lx_subscriber {
	TAILQ_ENTRY(lx_subscriber) link;
	size_t n_types;
	char **types; /* empty: all */
	/* Must not remove other subscribers. The event is borrowed. */
	void (*send)(struct lx_subscriber *s, const Lxmgr__V1__Event *e);
};

#endif
