/*
 * Who may call. On the unix socket the kernel says who it is: root, the manager's own user
 * and members of the socket's group. Over TLS the certificate's OU says it: "admin" may
 * everything; without a certificate only a machine with a token may ask to join.
 */
#include "lxmgr/manager.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/str.h"

#define GROUPS_MAX 256

static bool in_group(uid_t uid, gid_t gid, gid_t wanted)
{
	struct passwd pw, *found = NULL;
	char buf[4096];
	gid_t groups[GROUPS_MAX];
	int n = GROUPS_MAX;

	if (gid == wanted)
		return true;
	if (getpwuid_r(uid, &pw, buf, sizeof(buf), &found) != 0 || !found)
		return false;
	if (getgrouplist(pw.pw_name, gid, groups, &n) < 0)
		return false;
	for (int i = 0; i < n; i++)
		if (groups[i] == wanted)
			return true;
	return false;
}

static bool unix_allowed(const struct lx_manager *m, const struct lx_peer *peer)
{
	struct group gr, *found = NULL;
	char buf[4096];

	if (peer->uid == 0 || peer->uid == geteuid())
		return true;
	return m->opt.socket_group && getgrnam_r(m->opt.socket_group, &gr, buf, sizeof(buf), &found) == 0 &&
	       found && in_group(peer->uid, peer->gid, found->gr_gid);
}

int lx_gate(struct lx_call *call, void *manager, struct lx_err *err)
{
	const struct lx_manager *m = manager;
	const struct lx_peer *peer = lx_call_peer(call);
	const char *method = lx_call_method(call);
	int r;

	if (peer->kind == LX_PEER_UNIX) {
		if (unix_allowed(m, peer))
			return 0;
		r = lx_err_set(err, LX_PERMISSION_DENIED, "user %u may not use this cluster",
			       (unsigned)peer->uid);
		lx_err_hint(err, "Ask an administrator to add you to the group %s, or use root.",
			    m->opt.socket_group ? m->opt.socket_group : "of the socket");
		return r;
	}
	if (peer->common_name && lx_streq(peer->org_unit, "admin"))
		return 0;
	if (lx_streq(method, "/lxmgr.v1.NodeService/Join"))
		return 0; /* its token is checked there */
	if (!peer->common_name) {
		r = lx_err_set(err, LX_UNAUTHENTICATED, "%s needs a client certificate", method);
		lx_err_hint(err, "A machine that wants to join uses lxagentd --join TOKEN.");
		return r;
	}
	return lx_err_set(err, LX_PERMISSION_DENIED, "certificate %s (%s) may not call %s", peer->common_name,
			  peer->org_unit ? peer->org_unit : "no role", method);
}

void lx_gate_user(const struct lx_peer *peer, char *buf, size_t n)
{
	if (peer->kind == LX_PEER_UNIX && peer->uid == 0)
		snprintf(buf, n, "root");
	else if (peer->kind == LX_PEER_UNIX)
		snprintf(buf, n, "uid %u", (unsigned)peer->uid);
	else
		snprintf(buf, n, "certificate %s", peer->common_name ? peer->common_name : "(none)");
}
