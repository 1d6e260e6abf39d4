/*
 * The built-in profiles in memory. They come from this version's table and are not stored, so
 * that an upgraded cluster has them, too. A profile of the same name that somebody made before
 * there was a built-in one stays theirs. They are in the default project, and found in all.
 */
#include "profiles/builtin.h"

#include <stdlib.h>

#include "lib/log.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

static Lxmgr__V1__Profile *make(const struct lx_builtin_profile *from)
{
	Lxmgr__V1__Profile *p = malloc(sizeof(*p));

	if (!p)
		return NULL;
	lxmgr__v1__profile__init(p);
	p->builtin = true;
	p->revision = 1;
	int r = lx_pb_set(&p->name, from->name);

	if (r == 0)
		r = lx_pb_set(&p->project, LX_PROJECT_DEFAULT);
	if (r == 0)
		r = lx_pb_set(&p->description, from->description);
	for (const struct lx_builtin_key *k = from->config; k->name && r == 0; k++)
		r = lx_pb_map_set(&lxmgr__v1__profile__config_entry__descriptor, &p->n_config, &p->config,
				  k->name, k->value);
	if (r == 0)
		return p;
	lx_pb_free(p);
	return NULL;
}

int lx_manager_add_builtin_profiles(struct lx_manager *m, struct lx_err *err)
{
	for (size_t i = 0; i < lx_n_builtin_profiles; i++) {
		const struct lx_builtin_profile *from = &lx_builtin_profiles[i];

		if (lx_profile_find(m, LX_PROJECT_DEFAULT, from->name, NULL)) {
			lx_warn("a profile hides a built-in one", "profile=%s", from->name);
			continue;
		}
		Lxmgr__V1__Profile *p = make(from);

		if (!p || lx_profile_put(m, p) < 0) {
			lx_pb_free(p);
			return lx_err_oom(err);
		}
	}
	return 0;
}
