/* An instance's own files as something that can be carried (migration/tree.h). */
#ifndef LX_WORKER_OWN_TREE_H
#define LX_WORKER_OWN_TREE_H

#include "agent/worker/instance/job.h"
#include "agent/worker/instance/spec.h"
#include "migration/tree.h"

#define LX_OWN_TREE_NONE ((struct lx_tree_source){ .upper = -1, .lower = -1, .index = -1 })

/* The upper directory of its overlay, and what is behind names that are not in it. Closed by the caller, also
 * on failure. */
int lx_own_tree_open(const struct lx_job *job, const lx_spec *spec, struct lx_tree_source *ret,
		     struct lx_err *err);
void lx_own_tree_close(struct lx_tree_source *source);

#endif
