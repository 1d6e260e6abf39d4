/*
 * Another program's firewall can drop what our rules let through: the kernel asks every
 * table, and one refusal counts (Docker sets the policy of iptables' FORWARD chain to DROP).
 * Nothing of theirs is changed; the network's status says what to do.
 */
#ifndef LX_AGENT_NETWORK_FIREWALL_H
#define LX_AGENT_NETWORK_FIREWALL_H

#include <stdbool.h>

#include <uv.h>

#include "lib/err.h"

#define LX_FIREWALL_NAME_MAX 64

struct lx_firewall_chain {
	char family[8]; /* "ip", "ip6", "inet" */
	char table[LX_FIREWALL_NAME_MAX];
	char chain[LX_FIREWALL_NAME_MAX];
};

/*
 * The first chain that drops forwarded packets by policy, out of `nft -j list chains`; false
 * when there is none. Pure.
 */
bool lx_firewall_find(const char *json, struct lx_firewall_chain *out);

/*
 * Looks at the machine. `chain` is NULL when nothing drops; else `rules` is the text of its
 * table, to see which bridges have been let through.
 */
typedef void (*lx_firewall_cb)(const struct lx_firewall_chain *chain, const char *rules, void *arg);
int lx_firewall_look(uv_loop_t *loop, lx_firewall_cb cb, void *arg, struct lx_err *err);

/* Whether a rule of that text names the interface. Pure. */
bool lx_firewall_mentions(const char *rules, const char *interface);

#endif
