/*
 * An instance's network cards as this machine's networks guard them (agent/network/guard.h): from
 * before its guest's first frame until nothing of it runs here any more.
 */
#ifndef LX_AGENT_INSTANCE_CARDS_H
#define LX_AGENT_INSTANCE_CARDS_H

#include "agent/instance/instance.h"

/* Before anything of it runs here. A card of a network that is not here is left for its worker
 * to complain of; fails when one would run unguarded. */
int lx_cards_guard(struct lx_instance *inst, struct lx_err *err);
/* It has been running since before this agent: what cannot be guarded is logged. */
void lx_cards_adopt(struct lx_instance *inst);
/* Host ends were made anew: it has started, rebooted, or was moved here. */
void lx_cards_plugged(struct lx_instance *inst);
/* Options have changed, of cards that are guarded already. */
int lx_cards_update(struct lx_instance *inst, struct lx_err *err);
/* Nothing of it runs here any more. */
void lx_cards_gone(struct lx_instance *inst);

#endif
