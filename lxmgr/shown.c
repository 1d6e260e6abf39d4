/* Keys of instances in texts become names; see the header. */
#include "lxmgr/shown.h"

#include <string.h>

#include "lxmgr/project.h"

static bool is_key(const char *qname, void *manager)
{
	return lx_inst_by_key(manager, qname) != NULL;
}

void lx_shown_text(struct lx_manager *m, char *text)
{
	/* An empty one of a message is not ours to write to. */
	if (text && *text)
		lx_qname_reword(text, is_key, m, text, strlen(text) + 1);
}

void lx_shown_err(struct lx_err *err, void *manager)
{
	lx_shown_text(manager, err->msg);
	lx_shown_text(manager, err->hint);
}
