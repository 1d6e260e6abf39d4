/*
 * An instance's network cards as this machine's networks guard them (agent/network/guard.h): from
 * before its guest's first frame until nothing of it runs here any more.
 *
 * A card is guarded as it was when the instance was started. When its devices change while it runs,
 * the specification has other cards, which are there after a restart, and holds the ones it had
 * (InstanceSpec.held_nics): until the report says that they are gone, the manager gives their
 * addresses to nobody else.
 */
#ifndef LX_AGENT_INSTANCE_CARDS_H
#define LX_AGENT_INSTANCE_CARDS_H

#include "agent/instance/instance.h"

/* Before anything of it runs here, or when nothing of it does any more: with these cards, and no
 * others, it will. A card of a network that is not here is left for its worker to complain of; fails
 * when one would run unguarded. */
int lx_cards_guard(struct lx_instance *inst, struct lx_err *err);
/* It has been running since before this agent, with these cards; none: with which is not known. */
void lx_cards_seen(struct lx_instance *inst, size_t n, char *const *host_names);
/* Guards what it runs with: what cannot be guarded is logged. */
void lx_cards_adopt(struct lx_instance *inst);
/* Host ends were made anew: it has started, rebooted, or was moved here. */
void lx_cards_plugged(struct lx_instance *inst);
/* Options have changed, of cards that are guarded already. */
int lx_cards_update(struct lx_instance *inst, struct lx_err *err);
/* Nothing of it runs here any more. */
void lx_cards_gone(struct lx_instance *inst);
/* InstanceReport.cards_settled. */
bool lx_cards_settled(const struct lx_instance *inst);
/* The card of that host end, of what its specification has or holds. NULL: none. */
const Lxmgr__V1__Nic *lx_cards_find(const struct lx_instance *inst, const char *host_name);

#endif
