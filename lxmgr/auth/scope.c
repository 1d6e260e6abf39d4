/*
 * Which project a call is about. It travels in the call's metadata, so no request can forget it,
 * and it is known before anything of the request is looked at.
 */
#include "lib/str.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/project.h"

const char *lx_call_project(const struct lx_call *call)
{
	const char *given = lx_call_metadata(call, LX_PROJECT_HEADER);

	return lx_str_empty(given) ? LX_PROJECT_DEFAULT : given;
}

int lx_scope_check(const struct lx_call *call, const struct lx_access *access, struct lx_err *err)
{
	const char *project = lx_call_project(call);

	if (lx_call_metadata_count(call, LX_PROJECT_HEADER) > 1) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "the call names its project twice");

		lx_err_hint(err,
			    "Send " LX_PROJECT_HEADER " once, or not at all for \"" LX_PROJECT_DEFAULT "\".");
		return r;
	}
	if (access->where == LX_IN_CLUSTER || access->where == LX_ANYWHERE)
		return 0; /* it has nothing to do with projects, or names one itself */
	if (!lx_streq(project, LX_PROJECTS_ALL))
		return lx_name_check("project", project, err);
	if (access->where == LX_IN_LISTS)
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "%s is about one project, not all of them",
			   lx_call_method(call) + 1);

	lx_err_hint(err, "Name it: --project NAME.");
	return r;
}

void lx_scope_of(const struct lx_manager *m, const struct lx_call *call, struct lx_scope *ret)
{
	*ret = (struct lx_scope){ .m = m, .peer = lx_call_peer(call), .project = lx_call_project(call) };
	ret->all = lx_streq(ret->project, LX_PROJECTS_ALL);
	ret->cluster = lx_gate_role(m, ret->peer, NULL, NULL);
}

bool lx_scope_sees(struct lx_scope *s, const char *project)
{
	if (lx_str_empty(project))
		return s->cluster != LX_ROLE_NONE;
	if (!s->all)
		return lx_streq(s->project, project);
	if (s->cluster != LX_ROLE_NONE)
		return true;
	if (!s->asked || !lx_streq(s->asked, project)) {
		s->asked = project;
		s->seen = lx_gate_role(s->m, s->peer, project, NULL) != LX_ROLE_NONE;
	}
	return s->seen;
}

bool lx_scope_sees_shared(struct lx_scope *s, const char *project)
{
	return lx_project_is_default(project) || lx_scope_sees(s, project);
}
