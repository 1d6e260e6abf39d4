/* Projects, and finding by name in one of them; see project.h. Instances and images have files of their own.
 */
#include "lxmgr/project.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "proto/pb.h"

#define SEPARATOR ':'

bool lx_project_is_default(const char *project)
{
	return lx_str_empty(project) || lx_streq(project, LX_PROJECT_DEFAULT);
}

bool lx_same_project(const char *a, const char *b)
{
	return lx_project_is_default(a) ? lx_project_is_default(b) : lx_streq(a, b);
}

bool lx_project_uses(const char *project, const char *owner)
{
	return lx_project_is_default(owner) || lx_same_project(project, owner);
}

char *lx_scoped(const char *project, const char *name)
{
	return lx_project_is_default(project) ? strdup(name)
					      : lx_asprintf("%s%c%s", project, SEPARATOR, name);
}

/* ------------------------------------------------------------------ projects */

void lx_project_free(void *project)
{
	struct lx_project *p = project;

	if (!p)
		return;
	lx_pb_free(p->pb);
	free(p);
}

int lx_project_put(struct lx_manager *m, Lxmgr__V1__Project *pb)
{
	struct lx_project *p = lx_map_get(&m->projects, pb->name);

	if (p) {
		lx_pb_free(p->pb);
		p->pb = pb;
		return 0;
	}
	p = calloc(1, sizeof(*p));
	if (p)
		p->pb = pb;
	if (p && lx_map_set(&m->projects, pb->name, p) == 0)
		return 0;
	free(p);
	lx_pb_free(pb);
	return -ENOMEM;
}

struct lx_project *lx_project_find(struct lx_manager *m, const char *name, struct lx_err *err)
{
	struct lx_project *p = lx_map_get(&m->projects, lx_str_empty(name) ? LX_PROJECT_DEFAULT : name);

	if (!p) {
		lx_err_set(err, LX_NOT_FOUND, "there is no project %s", name);
		lx_err_hint(err, "lxmgr project list shows the projects there are.");
	}
	return p;
}

struct lx_project *lx_project_for_new(struct lx_manager *m, const char *name, struct lx_err *err)
{
	struct lx_project *p = lx_project_find(m, name, err);

	if (!p || !p->going)
		return p;
	lx_err_set(err, LX_FAILED_PRECONDITION, "project %s is being deleted", name);
	return NULL;
}

const char *lx_project_get(const struct lx_project *p, const char *key)
{
	const char *v = lx_pb_map_get(p->pb->n_config, p->pb->config, key);

	return v ? v : "";
}

bool lx_project_is_on(const struct lx_project *p, const char *key)
{
	bool on;

	return lx_parse_bool(lx_project_get(p, key), &on) == 0 && on;
}

/* ------------------------------------------------------------------ instances */

struct lx_inst *lx_inst_by_key(struct lx_manager *m, const char *key)
{
	return lx_map_get(&m->instances, key);
}

static struct lx_inst *get_instance(struct lx_manager *m, const char *project, const char *name)
{
	char key[LX_QNAME_MAX + 1];

	/* A key with a separator in it would be another project's. */
	return !strchr(name, LX_QNAME_SEPARATOR) && lx_qname_make(project, name, key) ? lx_inst_by_key(m, key)
										      : NULL;
}

bool lx_inst_exists(struct lx_manager *m, const char *project, const char *name)
{
	return get_instance(m, project, name) != NULL;
}

/* " in project shop"; nothing for the default one. */
static const char *in_project(const char *project, char buf[LX_QNAME_SCOPE_MAX + 16])
{
	buf[0] = '\0';
	if (!lx_project_is_default(project))
		snprintf(buf, LX_QNAME_SCOPE_MAX + 16, " in project %s", project);
	return buf;
}

struct lx_inst *lx_inst_find(struct lx_manager *m, const char *project, const char *name, struct lx_err *err)
{
	struct lx_inst *inst = get_instance(m, project, name);
	char where[LX_QNAME_SCOPE_MAX + 16];

	if (!inst) {
		lx_err_set(err, LX_NOT_FOUND, "there is no instance %s%s",
			   lx_str_empty(name) ? "without a name" : name, in_project(project, where));
		lx_err_hint(err, "lxmgr list shows the instances there are.");
	}
	return inst;
}

const char *lx_inst_shown(const Lxmgr__V1__Instance *pb, const char *project, char buf[LX_SHOWN_NAME_MAX])
{
	if (lx_same_project(pb->project, project))
		snprintf(buf, LX_SHOWN_NAME_MAX, "%s", pb->name);
	else
		snprintf(buf, LX_SHOWN_NAME_MAX, "%s/%s", pb->project, pb->name);
	return buf;
}

const char *lx_key_shown(const char *key, char buf[LX_SHOWN_NAME_MAX])
{
	char project[LX_QNAME_SCOPE_MAX + 1];

	if (lx_project_is_default(lx_qname_scope(key, project)))
		snprintf(buf, LX_SHOWN_NAME_MAX, "%s", key);
	else
		snprintf(buf, LX_SHOWN_NAME_MAX, "%s/%s", project, lx_qname_leaf(key));
	return buf;
}

/* ------------------------------------------------------------------ profiles */

static Lxmgr__V1__Profile *own_profile(struct lx_manager *m, const char *project, const char *name)
{
	lx_autofree char *key = strchr(name, SEPARATOR) ? NULL : lx_scoped(project, name);

	return key ? lx_map_get(&m->profiles, key) : NULL;
}

Lxmgr__V1__Profile *lx_profile_find(struct lx_manager *m, const char *project, const char *name,
				    struct lx_err *err)
{
	Lxmgr__V1__Profile *p = own_profile(m, project, name), *shared;
	char where[LX_QNAME_SCOPE_MAX + 16];

	if (p)
		return p;
	shared = own_profile(m, LX_PROJECT_DEFAULT, name);
	if (shared && shared->builtin)
		return shared;
	lx_err_set(err, LX_NOT_FOUND, "there is no profile %s%s", name, in_project(project, where));
	lx_err_hint(err, "lxmgr profile list shows the profiles there are.");
	return NULL;
}

int lx_profile_put(struct lx_manager *m, Lxmgr__V1__Profile *pb)
{
	lx_autofree char *key = lx_scoped(pb->project, pb->name);

	return key ? lx_map_set(&m->profiles, key, pb) : -ENOMEM;
}

Lxmgr__V1__Profile *lx_profile_take(struct lx_manager *m, const char *project, const char *name)
{
	lx_autofree char *key = lx_scoped(project, name);

	return key ? lx_map_take(&m->profiles, key) : NULL;
}

/* ------------------------------------------------------------------ networks */

/* There are few (MAX_NETWORKS). */
static Lxmgr__V1__Network *own_network(struct lx_manager *m, const char *project, const char *name)
{
	for (struct lx_map_entry *e = lx_map_first(&m->networks); e; e = lx_map_next(e)) {
		Lxmgr__V1__Network *n = lx_map_value(e);

		if (lx_streq(n->name, name) && lx_same_project(n->project, project))
			return n;
	}
	return NULL;
}

static Lxmgr__V1__Network *no_network(const char *project, const char *name, struct lx_err *err)
{
	char where[LX_QNAME_SCOPE_MAX + 16];

	lx_err_set(err, LX_NOT_FOUND, "there is no network %s%s", *name ? name : "without a name",
		   in_project(project, where));
	lx_err_hint(err, "lxmgr network list shows the networks there are.");
	return NULL;
}

Lxmgr__V1__Network *lx_network_find_own(struct lx_manager *m, const char *project, const char *name,
					struct lx_err *err)
{
	Lxmgr__V1__Network *n = own_network(m, project, name);

	if (n)
		return n;
	no_network(project, name, err);
	if (own_network(m, LX_PROJECT_DEFAULT, name))
		lx_err_hint(err, "The network of that name is shared: it belongs to project %s.",
			    LX_PROJECT_DEFAULT);
	return NULL;
}

Lxmgr__V1__Network *lx_network_find(struct lx_manager *m, const char *project, const char *name,
				    struct lx_err *err)
{
	Lxmgr__V1__Network *n = own_network(m, project, name);

	if (!n && !lx_project_is_default(project))
		n = own_network(m, LX_PROJECT_DEFAULT, name);
	return n ? n : no_network(project, name, err);
}
