/*
 * Who may do what.
 *
 *   methods.c    what each method of the API asks for: the one table
 *   identity.c   who there is: unix users and groups, client certificates; in memory
 *   gate.c       from a peer to a role, and the decision before a call is looked at
 *   scope.c      which project a call is about, and what its caller may see
 *   describe.c   what a request asks for, in a line, without its secrets
 *   audit.c      the log of calls that change something
 *
 * A role holds for a call's whole life: when identities change, lx_gate_changed() asks again
 * about every open one.
 */
#ifndef LX_LXMGR_AUTH_AUTH_H
#define LX_LXMGR_AUTH_AUTH_H

#include "lxmgr/manager.h"
#include "lxmgr/v1/identity.pb-c.h"

#define LX_MAX_IDENTITIES 10000u

/* The numbers of the wire's Role: who may more has a greater one. */
enum lx_role { LX_ROLE_NONE, LX_ROLE_VIEWER, LX_ROLE_OPERATOR, LX_ROLE_ADMIN };

/* "viewer" ...; "none". */
const char *lx_role_name(enum lx_role role);
/* 0, or -EINVAL for what is none of the names; "none" counts only if `none` is set. */
int lx_role_parse(const char *text, bool none, enum lx_role *ret);

/* ------------------------------------------------------------------ methods.c */

/* Where the role must be held. One that is held in all projects counts anywhere. */
enum lx_where {
	LX_IN_CLUSTER,  /* in all projects */
	LX_IN_PROJECT,  /* in the call's */
	LX_FOR_PROJECT, /* in all projects, for it is done to the machines; the call is about one */
	LX_IN_LISTS,    /* the same, or "*": then anywhere, and the handler leaves out what may not be seen */
	LX_ANYWHERE,    /* in some project */
};

struct lx_access {
	const char *method; /* "InstanceService/Create" */
	enum lx_role role;  /* NONE: the method checks a secret itself */
	bool changes;       /* is in the audit log */
	enum lx_where where;
};

/* By full path. Never NULL: what is not in the table needs an admin and counts as a change. */
const struct lx_access *lx_access_find(const char *path);
/* The rows, for tests. */
const struct lx_access *lx_access_rows(size_t *n);

/* ------------------------------------------------------------------ identity.c */

struct lx_identities {
	struct lx_map by_name;        /* Lxmgr__V1__Identity *, owned */
	struct lx_map by_fingerprint; /* of certificates; borrowed */
	unsigned n_unix;              /* users and groups */
	struct lx_map tokens;         /* secret's hash -> Lxmgr__V1__IdentityToken *, owned */
};

void lx_identities_init(struct lx_identities *ids);
void lx_identities_release(struct lx_identities *ids);
/* Takes pb over, also on failure. Replaces one of the same name. 0 or -ENOMEM. */
int lx_identity_put(struct lx_identities *ids, Lxmgr__V1__Identity *pb);
void lx_identity_drop(struct lx_identities *ids, const char *name);
Lxmgr__V1__Identity *lx_identity_find(const struct lx_identities *ids, const char *name, struct lx_err *err);
/* NULL: nobody. */
const Lxmgr__V1__Identity *lx_identity_of_certificate(const struct lx_identities *ids,
						      const char *fingerprint);
/*
 * A user's own identity comes before those of its groups; of these the one that may most in the
 * project counts. NULL: nobody.
 */
const Lxmgr__V1__Identity *lx_identity_of_user(const struct lx_identities *ids, uid_t uid, gid_t gid,
					       const char *project);
/*
 * What an identity may do: in that project; with NULL in all of them; with "*" in the one where
 * it may most.
 */
enum lx_role lx_identity_role(const Lxmgr__V1__Identity *pb, const char *project);
/* Is the user in the group, by its primary or a supplementary one? `group` by name or id. */
bool lx_user_in_group(uid_t uid, gid_t gid, const char *group);

/* ------------------------------------------------------------------ gate.c */

/*
 * What a peer may do (`project` as for lx_identity_role()), and its identity if it has one of its
 * own (`ret` may be NULL).
 */
enum lx_role lx_gate_role(const struct lx_manager *m, const struct lx_peer *peer, const char *project,
			  const Lxmgr__V1__Identity **ret);
/* Identities have changed: what is open and not allowed any more ends. */
void lx_gate_changed(struct lx_manager *m);

/* ------------------------------------------------------------------ scope.c */

#define LX_PROJECT_HEADER "lxmgr-project"
#define LX_PROJECTS_ALL   "*"

/* The header as the client sent it; "default" without one. Not checked: the gate has done so. */
const char *lx_call_project(const struct lx_call *call);
/* Is it what the method takes, and given once? */
int lx_scope_check(const struct lx_call *call, const struct lx_access *access, struct lx_err *err);

/* What of the cluster a call may see. Valid until identities change. */
struct lx_scope {
	const struct lx_manager *m;
	const struct lx_peer *peer;
	const char *project; /* of the call, or "*" */
	bool all;
	enum lx_role cluster; /* in all projects */
	/* The last project that was asked for, and the answer. */
	const char *asked;
	bool seen;
};

void lx_scope_of(const struct lx_manager *m, const struct lx_call *call, struct lx_scope *ret);
/*
 * Something of that project; "" or NULL: of the cluster itself, for those with a role in all
 * projects. `project` must stay valid as long as the scope.
 */
bool lx_scope_sees(struct lx_scope *s, const char *project);
/* The same, or shared with the call's project: images and networks. */
bool lx_scope_sees_shared(struct lx_scope *s, const char *project);

#endif
