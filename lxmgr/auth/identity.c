/*
 * Who there is, in memory. Certificates are found by their fingerprint; of users and groups
 * there are few, and they are looked at one by one, with the machine's own files saying who is
 * in a group now.
 */
#include "lxmgr/auth/auth.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "proto/pb.h"

#define GROUPS_MAX 65536 /* the kernel's NGROUPS_MAX */

static void free_message(void *msg)
{
	lx_pb_free(msg);
}

void lx_identities_init(struct lx_identities *ids)
{
	lx_map_init(&ids->by_name, free_message);
	lx_map_init(&ids->by_fingerprint, NULL);
	lx_map_init(&ids->tokens, free_message);
}

void lx_identities_release(struct lx_identities *ids)
{
	lx_map_release(&ids->by_fingerprint);
	lx_map_release(&ids->by_name);
	lx_map_release(&ids->tokens);
}

static bool is_certificate(const Lxmgr__V1__Identity *pb)
{
	return pb->type == LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_CERTIFICATE;
}

void lx_identity_drop(struct lx_identities *ids, const char *name)
{
	const Lxmgr__V1__Identity *old = lx_map_get(&ids->by_name, name);

	if (!old)
		return;
	if (is_certificate(old))
		lx_map_del(&ids->by_fingerprint, old->subject);
	else
		ids->n_unix--;
	lx_map_del(&ids->by_name, name);
}

int lx_identity_put(struct lx_identities *ids, Lxmgr__V1__Identity *pb)
{
	lx_identity_drop(ids, pb->name);
	if (is_certificate(pb) && lx_map_set(&ids->by_fingerprint, pb->subject, pb) < 0) {
		lx_pb_free(pb);
		return -ENOMEM;
	}
	if (lx_map_set(&ids->by_name, pb->name, pb) < 0) {
		if (is_certificate(pb))
			lx_map_del(&ids->by_fingerprint, pb->subject);
		lx_pb_free(pb);
		return -ENOMEM;
	}
	ids->n_unix += !is_certificate(pb);
	return 0;
}

Lxmgr__V1__Identity *lx_identity_find(const struct lx_identities *ids, const char *name, struct lx_err *err)
{
	Lxmgr__V1__Identity *pb = lx_map_get(&ids->by_name, name);

	if (!pb) {
		lx_err_set(err, LX_NOT_FOUND, "there is no identity %s", name);
		lx_err_hint(err, "lxmgr identity list shows the identities there are.");
	}
	return pb;
}

const Lxmgr__V1__Identity *lx_identity_of_certificate(const struct lx_identities *ids,
						      const char *fingerprint)
{
	return fingerprint ? lx_map_get(&ids->by_fingerprint, fingerprint) : NULL;
}

/* ------------------------------------------------------------------ unix */

/* "alice", or "1000". */
static bool is_user(uid_t uid, const char *name, const char *subject)
{
	uint64_t id;

	return (name && lx_streq(name, subject)) || (lx_parse_u64(subject, &id) == 0 && id == uid);
}

static bool group_id(const char *group, gid_t *ret)
{
	struct group gr, *found = NULL;
	char buf[16384];
	uint64_t id;

	if (getgrnam_r(group, &gr, buf, sizeof(buf), &found) == 0 && found) {
		*ret = found->gr_gid;
		return true;
	}
	if (lx_parse_u64(group, &id) < 0 || id > UINT32_MAX)
		return false;
	*ret = (gid_t)id;
	return true;
}

struct groups {
	gid_t *ids; /* malloc'ed */
	int n;
};

/* All groups of a user: the one its process has, and those the machine's files say. */
static struct groups groups_of(const char *name, gid_t gid)
{
	struct groups g = { .n = 64 };

	for (;;) {
		int room = g.n;
		gid_t *grown = reallocarray(g.ids, (size_t)room, sizeof(*grown));

		if (!grown) {
			free(g.ids);
			return (struct groups){ 0 };
		}
		g.ids = grown;
		if (!name) {
			g.ids[0] = gid;
			g.n = 1;
			return g;
		}
		if (getgrouplist(name, gid, g.ids, &g.n) >= 0)
			return g;
		if (g.n <= room)
			g.n = room * 2;
		if (g.n > GROUPS_MAX) {
			g.n = room;
			return g;
		}
	}
}

static bool has_group(const struct groups *g, const char *group)
{
	gid_t wanted;

	if (!group_id(group, &wanted))
		return false;
	for (int i = 0; i < g->n; i++)
		if (g->ids[i] == wanted)
			return true;
	return false;
}

/* The name of a user; NULL when the machine does not know it. `buf` keeps it. */
static const char *user_name(uid_t uid, char *buf, size_t n)
{
	struct passwd pw, *found = NULL;

	return getpwuid_r(uid, &pw, buf, n, &found) == 0 && found ? found->pw_name : NULL;
}

bool lx_user_in_group(uid_t uid, gid_t gid, const char *group)
{
	char buf[16384];
	struct groups g = groups_of(user_name(uid, buf, sizeof(buf)), gid);
	bool in = has_group(&g, group);

	free(g.ids);
	return in;
}

enum lx_role lx_identity_role(const Lxmgr__V1__Identity *pb, const char *project)
{
	Lxmgr__V1__Role best = pb->role;

	for (size_t i = 0; project && i < pb->n_projects; i++) {
		const Lxmgr__V1__ProjectRole *r = pb->projects[i];

		if (r->role > best && (lx_streq(project, LX_PROJECTS_ALL) || lx_streq(project, r->project)))
			best = r->role;
	}
	return (enum lx_role)best;
}

const Lxmgr__V1__Identity *lx_identity_of_user(const struct lx_identities *ids, uid_t uid, gid_t gid,
					       const char *project)
{
	const Lxmgr__V1__Identity *best = NULL;
	char buf[16384];

	if (!ids->n_unix)
		return NULL;
	const char *name = user_name(uid, buf, sizeof(buf));
	struct groups g = groups_of(name, gid);

	for (struct lx_map_entry *e = lx_map_first(&ids->by_name); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Identity *pb = lx_map_value(e);

		if (pb->type == LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_USER &&
		    is_user(uid, name, pb->subject)) {
			best = pb;
			break;
		}
		if (pb->type == LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_GROUP && has_group(&g, pb->subject) &&
		    (!best || lx_identity_role(pb, project) > lx_identity_role(best, project)))
			best = pb;
	}
	free(g.ids);
	return best;
}
