/*
 * Projects in memory, and what is found in them.
 *
 * Each thing that a project owns has its project in its own message; maps and the store's
 * columns have it under a key that no other project's can equal:
 *
 *   instances   NAME, else PROJECT_NAME (lib/qname.h): what nodes call them, too
 *   profiles, images, aliases   NAME, else PROJECT:NAME (lx_scoped): ':' is in none of them
 *   networks    the name of the bridge: NAME, else one made from its number
 *
 * "else" is any project but "default". So what was stored before there were projects is that
 * one's without being touched. Nobody but the functions below turns a name into a key.
 */
#ifndef LX_LXMGR_PROJECT_H
#define LX_LXMGR_PROJECT_H

#include "lib/qname.h"
#include "lxmgr/manager.h"
#include "lxmgr/v1/project.pb-c.h"

#define LX_PROJECT_DEFAULT LX_QNAME_DEFAULT
#define LX_MAX_PROJECTS    1000u

struct lx_project {
	Lxmgr__V1__Project *pb; /* without what is output only */
	bool going;             /* its deletion is being written down: nothing may be made in it */
};

/* NULL is "default", as in what was stored before there were projects. */
bool lx_project_is_default(const char *project);
bool lx_same_project(const char *a, const char *b);
/* Takes pb over, also on failure. 0 or -ENOMEM. */
int lx_project_put(struct lx_manager *m, Lxmgr__V1__Project *pb);
void lx_project_free(void *project);
struct lx_project *lx_project_find(struct lx_manager *m, const char *name, struct lx_err *err);
/* The same for making something in it. */
struct lx_project *lx_project_for_new(struct lx_manager *m, const char *name, struct lx_err *err);
/* A key's value, "" when it has none. */
const char *lx_project_get(const struct lx_project *p, const char *key);
bool lx_project_is_on(const struct lx_project *p, const char *key);

/* The key of a profile, an image or an alias. malloc'ed, NULL when out of memory. */
char *lx_scoped(const char *project, const char *name);

struct lx_inst *lx_inst_find(struct lx_manager *m, const char *project, const char *name, struct lx_err *err);
/* By what nodes call it; NULL: none. */
struct lx_inst *lx_inst_by_key(struct lx_manager *m, const char *key);
bool lx_inst_exists(struct lx_manager *m, const char *project, const char *name);

/* The project's own, or a built-in one. */
Lxmgr__V1__Profile *lx_profile_find(struct lx_manager *m, const char *project, const char *name,
				    struct lx_err *err);
/* Takes pb over on success only. 0 or -ENOMEM. */
int lx_profile_put(struct lx_manager *m, Lxmgr__V1__Profile *pb);
/* Without destroying it; NULL when there is none. */
Lxmgr__V1__Profile *lx_profile_take(struct lx_manager *m, const char *project, const char *name);

/* The project's own, else the one of that name in "default". */
Lxmgr__V1__Network *lx_network_find(struct lx_manager *m, const char *project, const char *name,
				    struct lx_err *err);
/* The project's own alone. */
Lxmgr__V1__Network *lx_network_find_own(struct lx_manager *m, const char *project, const char *name,
					struct lx_err *err);

/* Whether anything looked for in the project would find one of `owner`: itself, or what is shared. */
bool lx_project_uses(const char *project, const char *owner);

/* "web1", or "shop/web1" for one of another project than `project`: for people. Returns buf. */
#define LX_SHOWN_NAME_MAX (LX_QNAME_SCOPE_MAX + LX_NAME_MAX + 2)
const char *lx_inst_shown(const Lxmgr__V1__Instance *pb, const char *project, char buf[LX_SHOWN_NAME_MAX]);
/* By its key, for people of the whole cluster: "web1", "shop/web1". Returns buf. */
const char *lx_key_shown(const char *key, char buf[LX_SHOWN_NAME_MAX]);

#endif
