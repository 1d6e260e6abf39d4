/*
 * What was kept from this machine's instances, on its way to the manager.
 *
 *   audit.c      what the kernel says of denied system calls and of AppArmor
 *   attribute.c  whose it was
 *   cgroups.c    processes killed for want of memory, forks beyond the limit
 *   cards.c      frames that a network's guard dropped
 *   denials.c    all of these counted together, and sent once a second
 *
 * A guest can cause as many denials as it likes. So what is alike is counted in one entry, there
 * is room for LX_DENIALS_OF_ONE entries of an instance and LX_DENIALS_OF_ALL together between two
 * sends, what finds none is counted as omitted, and messages beyond LX_AUDIT_A_SECOND are not
 * looked at. Nothing is written to disk here: what a manager that is away does not hear of stays
 * counted until it is back, and is lost with the agent.
 */
#ifndef LX_AGENT_DENIAL_DENIALS_H
#define LX_AGENT_DENIAL_DENIALS_H

#include "agent/agent.h"
#include "profiles/audit_record.h"

#define LX_DENIALS_OF_ONE 32u
#define LX_DENIALS_OF_ALL 1024u
#define LX_AUDIT_A_SECOND 2000u

struct lx_instance;

/* NULL and "" are alike. */
struct lx_denial {
	const char *instance; /* "": the node's */
	const char *kind;     /* "apparmor", "syscall", "network", "memory", "processes", "start" */
	const char *operation, *path, *mask, *program;
	bool allowed;
	uint64_t count;
	const char *const *details; /* key, value (NULL: none), ... NULL; or NULL */
};

int lx_denials_open(struct lx_agent *a, struct lx_err *err);
void lx_denials_close(struct lx_agent *a);
/* Copied. Without memory it is left out. */
void lx_denials_note(struct lx_agent *a, const struct lx_denial *d);
/* Somebody began to watch, or can take more. */
void lx_denials_wake(struct lx_agent *a);
/* More were left out that nothing is known of. */
void lx_denials_omit(struct lx_agent *a, const char *instance, uint64_t count);

/* ------------------------------------------------------------------ audit.c, attribute.c */

struct lx_audit;
/* No source, no denials of these two kinds: *ret is NULL then, and the log says why. */
int lx_audit_open(struct lx_agent *a, struct lx_audit **ret, struct lx_err *err);
void lx_audit_close(struct lx_audit *audit);

enum lx_audit_of { LX_AUDIT_OF_NOBODY, LX_AUDIT_OF_NODE, LX_AUDIT_OF_INSTANCE };

/*
 * Whose record it is. By the name of its profile; by its user, who is the instance's own and
 * nobody else's; of a privileged instance by the cgroup of its process, if that is the process
 * that it was. NOBODY: a profile of the machine's own programs. `ret` has LX_NAME_MAX + 1 bytes.
 */
enum lx_audit_of lx_audit_attribute(struct lx_agent *a, const struct lx_audit_record *r, char *ret);

/* ------------------------------------------------------------------ cgroups.c, cards.c */

/* Compares an instance's counters with those of the last look, while it runs. `processes`: it has now. */
void lx_denials_look(struct lx_instance *inst, uint32_t processes);

struct lx_card_watch;
int lx_card_watch_open(struct lx_agent *a, struct lx_card_watch **ret, struct lx_err *err);
void lx_card_watch_close(struct lx_card_watch *w);

#endif
