/*
 * Who may call. On the unix socket the kernel says who it is: root and the manager's own user
 * may everything; another user has the role of its own identity, else of those of its groups,
 * else, in the socket's group, the one that --socket-role gives. Over TLS a client certificate is
 * looked up by its fingerprint: one that was signed by our CA and has no identity was revoked.
 * Without a certificate only a machine or a client with a token may ask for one.
 */
#include "lxmgr/auth/auth.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/str.h"

static enum lx_role unix_role(const struct lx_manager *m, const struct lx_peer *peer,
			      const Lxmgr__V1__Identity **ret)
{
	if (peer->uid == 0 || peer->uid == geteuid())
		return LX_ROLE_ADMIN;
	*ret = lx_identity_of_user(m->identities, peer->uid, peer->gid);
	if (*ret)
		return (enum lx_role)(*ret)->role;
	if (m->opt.socket_group && lx_user_in_group(peer->uid, peer->gid, m->opt.socket_group))
		return (enum lx_role)m->opt.socket_role;
	return LX_ROLE_NONE;
}

enum lx_role lx_gate_role(const struct lx_manager *m, const struct lx_peer *peer,
			  const Lxmgr__V1__Identity **ret)
{
	const Lxmgr__V1__Identity *own = NULL;

	if (!ret)
		ret = &own;
	*ret = NULL;
	if (peer->kind == LX_PEER_UNIX)
		return unix_role(m, peer, ret);
	*ret = lx_identity_of_certificate(m->identities, peer->fingerprint);
	return *ret ? (enum lx_role)(*ret)->role : LX_ROLE_NONE;
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

int lx_gate(struct lx_call *call, void *manager, struct lx_err *err)
{
	const struct lx_manager *m = manager;
	const struct lx_peer *peer = lx_call_peer(call);
	const char *method = lx_call_method(call);
	const struct lx_access *access = lx_access_find(method);
	const Lxmgr__V1__Identity *identity;
	char user[128];

	if (access->role == LX_ROLE_NONE)
		return 0; /* its token is checked there */
	enum lx_role role = lx_gate_role(m, peer, &identity);

	if (role >= access->role)
		return 0;
	if (role == LX_ROLE_NONE && !identity)
		return refuse_stranger(m, peer, method, err);
	lx_gate_user(m, peer, user, sizeof(user));
	int r = lx_err_set(err, LX_PERMISSION_DENIED, "%s may not call %s: it needs the role %s, and has %s",
			   user, method + 1, lx_role_name(access->role), lx_role_name(role));
	lx_err_hint(err, "An administrator can change that: lxmgr identity set-role NAME %s",
		    lx_role_name(access->role));
	return r;
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
	lx_gate_role(m, peer, &identity);
	if (identity && peer->kind == LX_PEER_UNIX)
		snprintf(buf, n, "%s (uid %u)", identity->name, (unsigned)peer->uid);
	else if (identity)
		snprintf(buf, n, "%s", identity->name);
	else if (peer->kind == LX_PEER_UNIX)
		snprintf(buf, n, "uid %u", (unsigned)peer->uid);
	else
		snprintf(buf, n, "certificate %s", peer->common_name ? peer->common_name : "(none)");
}
