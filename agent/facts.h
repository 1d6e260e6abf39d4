/*
 * What this machine is and can do (NodeFacts): for people (`lxmgr node show`), for the
 * scheduler, and for saying beforehand why something will not work here.
 */
#ifndef LX_AGENT_FACTS_H
#define LX_AGENT_FACTS_H

#include <stdbool.h>

#include <uv.h>

#include "agent/cgroup.h"
#include "lib/err.h"
#include "lxmgr/v1/node.pb-c.h"

struct lx_facts;

struct lx_facts_options {
	const char *state_dir;   /* whose disk counts */
	const char *libexec_dir; /* where a CRIU of ours may be */
	const struct lx_cgroups *cgroups;
	/* Something that takes time to find out is known now, or free space has changed. */
	void (*changed)(void *arg);
	void *arg;
};

/* Probes the kernel in a child process; early, while there is one thread. Options are borrowed. */
int lx_facts_open(uv_loop_t *loop, const struct lx_facts_options *opt, struct lx_facts **ret,
		  struct lx_err *err);
void lx_facts_close(struct lx_facts *f);

/* With the present free memory and disk. Borrowed until the next call. */
const Lxmgr__V1__NodeFacts *lx_facts_get(struct lx_facts *f);

/* What lxcfs does: "yes", or why it does not serve; `broken`: it should, and that is to be warned of. */
void lx_facts_lxcfs(struct lx_facts *f, const char *value, bool broken);

/* facts_probe.c: calls `fact` with "overlay" and "yes", or why not ... Uses a child process. */
int lx_facts_probe(const char *state_dir, void (*fact)(const char *name, const char *value, void *arg),
		   void *arg, struct lx_err *err);

/* facts_criu.c: blocks; for a thread. Empty texts where there is nothing to tell. */
struct lx_facts_criu {
	char version[32];
	char check[160];      /* "yes", or what `criu check` complains about */
	char soft_dirty[160]; /* the same for memory tracking */
};
void lx_facts_ask_criu(const char *libexec_dir, struct lx_facts_criu *ret);

#endif
