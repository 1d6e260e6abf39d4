/* Frames that guards dropped: their counters are read every few seconds. */
#include <stdlib.h>

#include "agent/denial/denials.h"
#include "agent/instance/cards.h"
#include "agent/loop.h"

#define EVERY_MS 2000u

struct lx_card_watch {
	struct lx_agent *agent;
	struct lx_timer *timer;
};

/* The card as its guest has it. */
static const char *card_name(struct lx_agent *a, const char *instance, const char *host_name)
{
	const struct lx_instance *inst = lx_map_get(&a->instances, instance);

	const Lxmgr__V1__Nic *nic = inst ? lx_cards_find(inst, host_name) : NULL;

	return nic ? nic->name : host_name;
}

static void on_refused(const char *instance, const char *host_name, uint64_t frames, void *arg)
{
	struct lx_card_watch *w = arg;
	const struct lx_denial d = {
		.instance = instance,
		.kind = "network",
		.operation = "send",
		.path = card_name(w->agent, instance, host_name),
		.count = frames,
	};

	lx_denials_note(w->agent, &d);
}

static void on_timer(void *arg)
{
	struct lx_card_watch *w = arg;

	if (w->agent->network && lx_watch_ready(w->agent))
		lx_network_refused(w->agent->network, on_refused, w);
}

int lx_card_watch_open(struct lx_agent *a, struct lx_card_watch **ret, struct lx_err *err)
{
	struct lx_card_watch *w = calloc(1, sizeof(*w));

	*ret = w;
	if (!w)
		return lx_err_oom(err);
	w->agent = a;
	return lx_timer_start(a->loop, EVERY_MS, EVERY_MS, on_timer, w, &w->timer, err);
}

void lx_card_watch_close(struct lx_card_watch *w)
{
	if (!w)
		return;
	lx_timer_stop(w->timer);
	free(w);
}
