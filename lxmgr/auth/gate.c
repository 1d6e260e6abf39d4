/*
 * Who may call. On the unix socket the kernel says who it is: root and the manager's own user
 * may everything; another user has the role of its own identity, else of those of its groups,
 * else, in the socket's group, the one that --socket-role gives. Over TLS a client certificate is
 * looked up by its fingerprint: one that was signed by our CA and has no identity was revoked.
 * Without a certificate only a machine or a client with a token may ask for one.
 *
 * Then: is the role that the method needs held where it must be? A role in all projects counts in
 * each of them, one in a project there alone.
 */
#include "lxmgr/auth/auth.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/str.h"
#include "lxmgr/project.h"

static enum lx_role unix_role(const struct lx_manager *m, const struct lx_peer *peer, const char *project,
			      const Lxmgr__V1__Identity **ret)
{
	if (peer->uid == 0 || peer->uid == geteuid())
		return LX_ROLE_ADMIN;
	*ret = lx_identity_of_user(m->identities, peer->uid, peer->gid, project);
	if (*ret)
		return lx_identity_role(*ret, project);
	if (m->opt.socket_group && lx_user_in_group(peer->uid, peer->gid, m->opt.socket_group))
		return (enum lx_role)m->opt.socket_role;
	return LX_ROLE_NONE;
}

enum lx_role lx_gate_role(const struct lx_manager *m, const struct lx_peer *peer, const char *project,
			  const Lxmgr__V1__Identity **ret)
{
	const Lxmgr__V1__Identity *own = NULL;

	if (!ret)
		ret = &own;
	*ret = NULL;
	if (peer->kind == LX_PEER_UNIX)
		return unix_role(m, peer, project, ret);
	*ret = lx_identity_of_certificate(m->identities, peer->fingerprint);
	return *ret ? lx_identity_role(*ret, project) : LX_ROLE_NONE;
}

/* Nobody we know. */
static int refuse_stranger(const struct lx_manager *m, const struct lx_peer *peer, const char *method,
			   struct lx_err *err)
{
	int r;

	if (peer->kind == LX_PEER_UNIX) {
		r = lx_err_set(err, LX_PERMISSION_DENIED, "user %u may not use this cluster",
			       (unsigned)peer->uid);
		lx_err_hint(
			err,
			"Ask an administrator for an identity (lxmgr identity create NAME --user USER) or "
			"to be added to the group %s.",
			m->opt.socket_group ? m->opt.socket_group : "of the socket");
		return r;
	}
	if (!peer->common_name) {
		r = lx_err_set(err, LX_UNAUTHENTICATED, "%s needs a client certificate", method);
		lx_err_hint(err, "A client enrols with lxmgr remote add NAME TOKEN, a machine joins with "
				 "lxagentd --join TOKEN.");
		return r;
	}
	if (lx_streq(peer->org_unit, "agent") || lx_streq(peer->org_unit, "manager"))
		return lx_err_set(err, LX_PERMISSION_DENIED, "certificate %s (%s) may not call %s",
				  peer->common_name, peer->org_unit, method);
	r = lx_err_set(err, LX_UNAUTHENTICATED,
		       "certificate %s (%.12s) is not, or no longer, of this cluster", peer->common_name,
		       peer->fingerprint ? peer->fingerprint : "");
	lx_err_hint(err, "Ask an administrator for a new token (lxmgr identity token NAME) and enrol again.");
	return r;
}

/* One we know, who may not do this here. Whether there is such a project is not said. */
static int refuse(const struct lx_manager *m, const struct lx_call *call, const struct lx_access *access,
		  const char *project, enum lx_role has, struct lx_err *err)
{
	const char *needs = lx_role_name(access->role), *method = lx_call_method(call) + 1;
	char user[128];
	int r;

	lx_gate_user(m, lx_call_peer(call), user, sizeof(user));
	if (!project) {
		r = lx_err_set(err, LX_PERMISSION_DENIED,
			       "%s may not call %s: it needs the role %s, and has %s", user, method, needs,
			       lx_role_name(has));
		lx_err_hint(err, "An administrator can change that: lxmgr identity set-role NAME %s", needs);
		return r;
	}
	r = lx_err_set(err, LX_PERMISSION_DENIED,
		       "%s may not call %s in project %s: it needs the role %s, and has %s", user, method,
		       project, needs, lx_role_name(has));
	lx_err_hint(err,
		    "Name another project (--project), or have an administrator change that: lxmgr "
		    "identity set-role NAME %s --project %s",
		    needs, project);
	return r;
}

int lx_gate(struct lx_call *call, void *manager, struct lx_err *err)
{
	struct lx_manager *m = manager;
	const struct lx_peer *peer = lx_call_peer(call);
	const struct lx_access *access = lx_access_find(lx_call_method(call));
	const char *project = lx_call_project(call);
	const Lxmgr__V1__Identity *identity;
	int r;

	if (access->role == LX_ROLE_NONE)
		return 0; /* its token is checked there */
	/* Nobody we know hears nothing else. */
	if (lx_gate_role(m, peer, LX_PROJECTS_ALL, &identity) == LX_ROLE_NONE && !identity)
		return refuse_stranger(m, peer, lx_call_method(call), err);
	if ((r = lx_scope_check(call, access, err)) < 0)
		return r;
	bool cluster = access->where == LX_IN_CLUSTER || access->where == LX_FOR_PROJECT;
	const char *held = cluster ? NULL : access->where == LX_ANYWHERE ? LX_PROJECTS_ALL : project;
	enum lx_role role = lx_gate_role(m, peer, held, NULL);

	if (role < access->role)
		return refuse(m, call, access, held, role, err);
	if (access->where == LX_IN_CLUSTER || access->where == LX_ANYWHERE ||
	    lx_streq(project, LX_PROJECTS_ALL) || lx_map_has(&m->projects, project))
		return 0;
	(void)lx_project_find(m, project, err);
	return lx_code_errno(err->code);
}

void lx_gate_changed(struct lx_manager *m)
{
	if (m->server)
		lx_server_recheck(m->server);
}

void lx_gate_user(const struct lx_manager *m, const struct lx_peer *peer, char *buf, size_t n)
{
	const Lxmgr__V1__Identity *identity;

	if (peer->kind == LX_PEER_UNIX && peer->uid == 0) {
		snprintf(buf, n, "root");
		return;
	}
	lx_gate_role(m, peer, LX_PROJECTS_ALL, &identity);
	if (identity && peer->kind == LX_PEER_UNIX)
		snprintf(buf, n, "%s (uid %u)", identity->name, (unsigned)peer->uid);
	else if (identity)
		snprintf(buf, n, "%s", identity->name);
	else if (peer->kind == LX_PEER_UNIX)
		snprintf(buf, n, "uid %u", (unsigned)peer->uid);
	else
		snprintf(buf, n, "certificate %s", peer->common_name ? peer->common_name : "(none)");
}
