/*
 * Texts that come from nodes, for people. A node calls an instance by its key (project.h), and so do
 * its errors; people have its name, and know which project they are in.
 */
#ifndef LX_LXMGR_SHOWN_H
#define LX_LXMGR_SHOWN_H

#include "lib/err.h"

struct lx_manager;

/* Message and hint of an error. `manager` is void * for channels (lx_channel_options.reword). */
void lx_shown_err(struct lx_err *err, void *manager);
/* A text of a message, in place; NULL is fine. */
void lx_shown_text(struct lx_manager *m, char *text);

#endif
