/*
 * Checked state machines: named states and a table of allowed moves. A move
 * that the table does not allow is a bug in our code: it is logged and refused
 * (-EPROTO), the state stays, and debug builds (LX_DEBUG) abort.
 */
#ifndef LX_LIB_SM_H
#define LX_LIB_SM_H

#include <stdbool.h>
#include <stdint.h>

struct lx_sm_def {
	const char *name;          /* "instance", "operation" ... */
	const char *const *states; /* state names, index = state */
	unsigned n_states;         /* at most 32 */
	const uint32_t *allowed;   /* allowed[from] = bit set of states it may move to */
};

#define LX_SM_TO(state) (UINT32_C(1) << (state))

bool lx_sm_may(const struct lx_sm_def *def, unsigned from, unsigned to);
/* Moves *state. `subject` names whose state it is, for the log. 0 or -EPROTO. */
int lx_sm_move(const struct lx_sm_def *def, unsigned *state, unsigned to, const char *subject);
const char *lx_sm_name(const struct lx_sm_def *def, unsigned state);

#endif
