/* The checked state machine: a table lookup, and a loud refusal of what is not in it. */
#include "lib/sm.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/log.h"

bool lx_sm_may(const struct lx_sm_def *def, unsigned from, unsigned to)
{
	return from < def->n_states && to < def->n_states && (def->allowed[from] & LX_SM_TO(to));
}

int lx_sm_move(const struct lx_sm_def *def, unsigned *state, unsigned to, const char *subject)
{
	if (lx_sm_may(def, *state, to)) {
		lx_debug("state", "machine=%s subject=%s from=%s to=%s", def->name, subject,
			 lx_sm_name(def, *state), lx_sm_name(def, to));
		*state = to;
		return 0;
	}
	/* The one exception to "libraries only debug": this is a bug and must not go unseen. */
	lx_error("refused a state change that must not happen, this is a bug",
		 "machine=%s subject=%s from=%s to=%s", def->name, subject, lx_sm_name(def, *state),
		 lx_sm_name(def, to));
#ifdef LX_DEBUG
	abort();
#endif
	return -EPROTO;
}

const char *lx_sm_name(const struct lx_sm_def *def, unsigned state)
{
	return state < def->n_states ? def->states[state] : "?";
}
