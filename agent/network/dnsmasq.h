/*
 * One dnsmasq: a process that outlives the agent, kept running.
 *
 *              spawn               exits with 0
 *   +-> DOWN ----------> STARTING ---------------> UP ---> (dies) ---+
 *   |    ^                  | fails                | no longer       |
 *   |    |                  v                      v as wanted       |
 *   |    +-- (later) --- WAITING <-----------------|-----------------+
 *   |                                              v
 *   +----------------- (gone) ----------------- STOPPING (SIGTERM, then SIGKILL)
 *
 * It is started in the background mode of its own: the program we spawn exits when the
 * daemon is ready, or says why it is not. The daemon is then found by its pid file and
 * watched through a pidfd, just as one that an earlier agent left behind: there is only one
 * way in. It is ours when its command line names our pid file; it is as wanted when that
 * command line is the one we would start, and its program was not replaced by an upgrade.
 */
#ifndef LX_AGENT_NETWORK_DNSMASQ_H
#define LX_AGENT_NETWORK_DNSMASQ_H

#include <stdbool.h>

#include <uv.h>

#include "agent/network/config.h"
#include "lib/err.h"

struct lx_dnsmasq;

/* `err` is NULL when it is as it was asked for. */
typedef void (*lx_dnsmasq_cb)(const struct lx_err *err, void *arg);

/* `dir` is the network's run directory. Both are copied; nothing is started. */
int lx_dnsmasq_create(uv_loop_t *loop, const char *network, const char *dir, struct lx_dnsmasq **ret,
		      struct lx_err *err);

/*
 * Has it run with this configuration (adopting, starting or replacing it), or with NULL not at
 * all. Returns 1 when that is so already: then the callback will not fire. One call at a time.
 */
int lx_dnsmasq_ensure(struct lx_dnsmasq *d, const struct lx_network_config *config, lx_dnsmasq_cb cb,
		      void *arg, struct lx_err *err);

/* Has it read its files again; nothing when it does not run. */
void lx_dnsmasq_reload(struct lx_dnsmasq *d);

/*
 * Stops watching and frees; the process stays as it is. A callback still owed fires no more.
 * `cb` (may be NULL) fires when all is closed. NULL is fine (and cb is not called).
 */
void lx_dnsmasq_free(struct lx_dnsmasq *d, void (*cb)(void *arg), void *arg);

#endif
