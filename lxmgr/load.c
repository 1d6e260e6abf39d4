/*
 * From the store into memory, once, at start. On the first start the cluster gets its id,
 * a network and the default profile.
 */
#include "lxmgr/manager.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/default_profile.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "lxmgr/snapshot.h"
#include "proto/pb.h"

struct load {
	struct lx_manager *m;
	struct lx_err *err;
};

static int damaged(struct load *l, const char *what)
{
	int r = lx_err_set(l->err, LX_DATA_LOSS, "the store's %s cannot be read", what);
	lx_err_hint(l->err, "Restore the manager's state directory from a backup.");
	return r;
}

/* What was stored before there were projects is the default one's. */
static int own(char **project)
{
	return lx_str_empty(*project) ? lx_pb_set(project, LX_PROJECT_DEFAULT) : 0;
}

static int load_project(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__Project *pb = lxmgr__v1__project__unpack(NULL, c[0].len, c[0].data);
	if (!pb)
		return damaged(l, "projects");
	return lx_project_put(l->m, pb) < 0 ? lx_err_oom(l->err) : 0;
}

/* It is always there, and has a row only when somebody has changed it. */
static int add_default_project(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	if (lx_project_find(l->m, LX_PROJECT_DEFAULT, NULL))
		return 0;
	Lxmgr__V1__Project *pb = malloc(sizeof(*pb));
	if (!pb)
		return lx_err_oom(l->err);
	lxmgr__v1__project__init(pb);
	if (lx_pb_set(&pb->name, LX_PROJECT_DEFAULT) < 0 ||
	    lx_pb_set(&pb->description, "Its images and networks are shared with all projects") < 0) {
		lx_pb_free(pb);
		return lx_err_oom(l->err);
	}
	return lx_project_put(l->m, pb) < 0 ? lx_err_oom(l->err) : 0;
}

static int load_node(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__Node *pb = lxmgr__v1__node__unpack(NULL, c[0].len, c[0].data);
	if (!pb)
		return damaged(l, "nodes");
	pb->status = LXMGR__V1__NODE_STATUS__NODE_STATUS_OFFLINE;
	lx_pb_set(&pb->status_reason, "not heard from since the manager started");
	return lx_node_add(l->m, pb) ? 0 : lx_err_oom(l->err);
}

static int load_image(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__Image *pb = lxmgr__v1__image__unpack(NULL, c[0].len, c[0].data);
	if (!pb)
		return damaged(l, "images");
	lx_autofree char *key = own(&pb->project) == 0 ? lx_scoped(pb->project, pb->fingerprint) : NULL;
	if (!key || lx_map_set(&l->m->images, key, pb) < 0) {
		lx_pb_free(pb);
		return lx_err_oom(l->err);
	}
	return 0;
}

static int load_alias(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__Image *img = lx_map_get(&l->m->images, c[1].data);
	if (!img)
		return damaged(l, "image aliases");
	/* The key of an alias holds its project's name; the alias begins behind it. */
	const char *colon = strchr(c[0].data, ':');
	if (lx_pb_strv_add(&img->n_aliases, &img->aliases, colon ? colon + 1 : c[0].data) < 0 ||
	    lx_map_set(&l->m->aliases, c[0].data, img) < 0)
		return lx_err_oom(l->err);
	return 0;
}

static int load_profile(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__Profile *pb = lxmgr__v1__profile__unpack(NULL, c[0].len, c[0].data);
	if (!pb)
		return damaged(l, "profiles");
	if (own(&pb->project) < 0 || lx_profile_put(l->m, pb) < 0) {
		lx_pb_free(pb);
		return lx_err_oom(l->err);
	}
	return 0;
}

static int load_network(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__Network *pb = lxmgr__v1__network__unpack(NULL, c[0].len, c[0].data);
	if (!pb)
		return damaged(l, "networks");
	if (own(&pb->project) < 0 || (lx_str_empty(pb->bridge) && lx_pb_set(&pb->bridge, pb->name) < 0) ||
	    lx_map_set(&l->m->networks, pb->bridge, pb) < 0) {
		lx_pb_free(pb);
		return lx_err_oom(l->err);
	}
	return lx_leases_network(l->m, pb->bridge, l->err);
}

/* After the profiles, before what uses them. */
static int add_builtin(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;

	return lx_manager_add_builtin_profiles(l->m, l->err);
}

static int load_instance(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__Instance *pb = lxmgr__v1__instance__unpack(NULL, c[0].len, c[0].data);
	struct lx_err expand_err = LX_ERR_INIT;
	if (!pb)
		return damaged(l, "instances");
	pb->status = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_UNKNOWN;
	if (own(&pb->project) < 0)
		return lx_err_oom(l->err);
	if (lx_inst_expand(l->m, pb, &expand_err) < 0)
		lx_warn("instance cannot be expanded", "instance=%s error=\"%s\"", pb->name, expand_err.msg);
	struct lx_inst *inst = lx_inst_add(l->m, pb);
	return inst ? lx_leases_mark(l->m, inst->pb, l->err) : lx_err_oom(l->err);
}

/* In any order: it is put in its own. */
static int load_snapshot(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	struct lx_inst *inst = lx_map_get(&l->m->instances_by_uuid, c[0].data);
	Lxmgr__V1__Snapshot *pb = lxmgr__v1__snapshot__unpack(NULL, c[1].len, c[1].data);
	if (!pb || !inst) {
		lx_pb_free(pb);
		return damaged(l, "snapshots");
	}
	return lx_snapshot_put(l->m, inst, pb) < 0 ? lx_err_oom(l->err) : 0;
}

static int load_identity(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__Identity *pb = lxmgr__v1__identity__unpack(NULL, c[0].len, c[0].data);
	if (!pb)
		return damaged(l, "identities");
	return lx_identity_put(l->m->identities, pb) < 0 ? lx_err_oom(l->err) : 0;
}

static int load_identity_token(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	Lxmgr__V1__IdentityToken *pb = lxmgr__v1__identity_token__unpack(NULL, c[1].len, c[1].data);
	if (!pb)
		return damaged(l, "tokens of identities");
	if (lx_map_set(&l->m->identities->tokens, c[0].data, pb) < 0) {
		lx_pb_free(pb);
		return lx_err_oom(l->err);
	}
	return 0;
}

static int load_op(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	return lx_op_load(l->m, c, l->err);
}

static int load_forget(const struct lx_sql_value *c, int n, void *arg)
{
	struct load *l = arg;
	return lx_move_forget_load(l->m, c, l->err);
}

static int take_text(const struct lx_sql_value *c, int n, void *arg)
{
	*(char **)arg = strdup(c[0].data);
	return 0;
}

int lx_manager_meta_get(struct lx_manager *m, const char *key, char **ret, struct lx_err *err)
{
	const struct lx_sql_value arg = { .type = LX_SQL_TEXT, .data = key, .len = strlen(key) };
	*ret = NULL;
	return lx_store_query(m->store, "SELECT value FROM meta WHERE key = ?1", &arg, 1, take_text, ret,
			      err);
}

/* ------------------------------------------------------------------ the first start */

/* Does any route of this machine overlap the /16? Reads /proc/net/route (IPv4, host order hex). */
static bool subnet_in_use(uint32_t base16)
{
	lx_autofclose FILE *f = fopen("/proc/net/route", "re");
	char line[256];

	if (!f || !fgets(line, sizeof(line), f))
		return false;
	while (fgets(line, sizeof(line), f)) {
		/* Interface, destination, gateway, flags, references, use, metric, mask ... */
		char *save = NULL, *column = strtok_r(line, "\t ", &save);
		uint32_t value[8] = { 0 };
		for (size_t i = 0; i < LX_ARRAY_SIZE(value) && column;
		     i++, column = strtok_r(NULL, "\t ", &save))
			value[i] = (uint32_t)strtoul(column, NULL, 16);
		uint32_t mask = ntohl(value[7]) & UINT32_C(0xffff0000);
		if (mask && (ntohl(value[1]) & mask) == (base16 & mask))
			return true;
	}
	return false;
}

static int default_network(struct lx_manager *m, Lxmgr__V1__Network *n)
{
	char v4[32], v6[48];
	uint8_t r[5];

	if (m->opt.network_subnet) {
		/* The bridge takes the first address of the subnet. */
		char host[INET_ADDRSTRLEN];
		const char *slash = strchr(m->opt.network_subnet, '/');
		uint32_t be;
		size_t len = slash ? (size_t)(slash - m->opt.network_subnet) : 0;
		if (!slash || len >= sizeof(host))
			return -1;
		memcpy(host, m->opt.network_subnet, len);
		host[len] = '\0';
		if (inet_pton(AF_INET, host, &be) != 1)
			return -1;
		if (!(ntohl(be) & 0xff))
			be = htonl(ntohl(be) + 1);
		inet_ntop(AF_INET, &be, host, sizeof(host));
		snprintf(v4, sizeof(v4), "%s%s", host, slash);
	} else {
		unsigned second = 88;
		while (second < 128 && subnet_in_use(UINT32_C(10) << 24 | second << 16))
			second++;
		snprintf(v4, sizeof(v4), "10.%u.0.1/16", second);
	}
	/* RFC 4193: a random unique local prefix. */
	if (getrandom(r, sizeof(r), 0) != sizeof(r))
		return -1;
	snprintf(v6, sizeof(v6), "fd%02x:%02x%02x:%02x%02x::1/64", r[0], r[1], r[2], r[3], r[4]);
	const char *config[][2] = {
		{ "ipv4.address", v4 }, { "ipv4.nat", "true" }, { "ipv4.dhcp", "true" },
		{ "ipv6.address", v6 }, { "ipv6.nat", "true" }, { "dns.domain", "lxmgr" }
	};
	for (size_t i = 0; i < LX_ARRAY_SIZE(config); i++)
		if (lx_pb_map_set(&lxmgr__v1__network__config_entry__descriptor, &n->n_config, &n->config,
				  config[i][0], config[i][1]) < 0)
			return -1;
	return lx_pb_set(&n->name, m->opt.network) < 0 || lx_pb_set(&n->bridge, m->opt.network) < 0 ||
			       lx_pb_set(&n->project, LX_PROJECT_DEFAULT) < 0 ||
			       lx_pb_set(&n->description, "Default network") < 0
		       ? -1
		       : 0;
}

struct sync {
	bool done;
	struct lx_err *err;
};

static void on_sync(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct sync *s = arg;
	s->done = true;
	*s->err = *err;
}

static int first_start(struct lx_manager *m, struct lx_err *err)
{
	Lxmgr__V1__Network *n = calloc(1, sizeof(*n));
	Lxmgr__V1__Profile *p = calloc(1, sizeof(*p));
	struct lx_txn *txn = lx_txn_new(NULL);
	struct lx_err result = LX_ERR_INIT;
	struct sync sync = { false, &result };
	uint8_t *nb = NULL, *pbuf = NULL;
	size_t nlen, plen;
	int r;

	if (!n || !p || !txn || lx_uuid(m->cluster_id) < 0) {
		free(n);
		free(p);
		lx_txn_free(txn);
		return lx_err_oom(err);
	}
	lxmgr__v1__network__init(n);
	n->vxlan_id = lx_network_pick_vxlan_id(m);
	lxmgr__v1__profile__init(p);
	if (default_network(m, n) < 0) {
		lx_txn_free(txn);
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "\"%s\" is not an IPv4 subnet",
			       m->opt.network_subnet ? m->opt.network_subnet : "");
		lx_err_hint(err, "Give --network-subnet like 10.88.0.0/16.");
		goto out;
	}
	if (lx_default_profile(LX_PROJECT_DEFAULT, m->opt.network, p) < 0 ||
	    !(nb = lx_pb_pack(&n->base, &nlen)) || !(pbuf = lx_pb_pack(&p->base, &plen))) {
		lx_txn_free(txn);
		r = lx_err_oom(err);
		goto out;
	}
	lx_txn_exec(txn, "INSERT INTO meta (key, value) VALUES ('cluster_id', ?1)");
	lx_txn_text(txn, m->cluster_id);
	lx_txn_exec(txn, "INSERT INTO networks (name, spec) VALUES (?1, ?2)");
	lx_txn_text(txn, n->name);
	lx_txn_blob(txn, nb, nlen);
	lx_txn_exec(txn, "INSERT INTO profiles (name, spec) VALUES (?1, ?2)");
	lx_txn_text(txn, p->name);
	lx_txn_blob(txn, pbuf, plen);
	r = lx_store_submit(m->store, txn, on_sync, &sync, err);
	while (r == 0 && !sync.done)
		uv_run(m->loop, UV_RUN_ONCE);
	if (r == 0 && result.code != LX_OK) {
		*err = result;
		r = lx_code_errno(result.code);
	}
out:
	free(nb);
	free(pbuf);
	lx_pb_free(n);
	lx_pb_free(p);
	return r;
}

int lx_manager_load(struct lx_manager *m, struct lx_err *err)
{
	static const struct {
		const char *sql;
		lx_store_row row;
	} tables[] = {
		{ "SELECT spec FROM projects ORDER BY name", load_project },
		{ "SELECT 1", add_default_project },
		{ "SELECT spec FROM networks ORDER BY name", load_network },
		{ "SELECT spec FROM profiles ORDER BY name", load_profile },
		{ "SELECT 1", add_builtin },
		{ "SELECT spec FROM images ORDER BY fingerprint", load_image },
		{ "SELECT alias, fingerprint FROM image_aliases ORDER BY alias", load_alias },
		{ "SELECT spec FROM nodes ORDER BY name", load_node },
		{ "SELECT spec FROM instances ORDER BY name", load_instance },
		{ "SELECT instance, spec FROM snapshots", load_snapshot },
		{ "SELECT spec FROM identities ORDER BY name", load_identity },
		{ "SELECT secret_hash, spec FROM identity_tokens", load_identity_token },
		/* Those under way, and the last thousand that ended. */
		{ "SELECT kind, args, spec FROM (SELECT * FROM operations ORDER BY ended, updated_at DESC "
		  "LIMIT 1000)"
		  " ORDER BY updated_at",
		  load_op },
		{ "SELECT operation, id, instance, name, first, second, awaited FROM move_forgets",
		  load_forget },
	};
	struct load l = { m, err };
	lx_autofree char *id = NULL;
	int r;

	if ((r = lx_manager_meta_get(m, "cluster_id", &id, err)) < 0)
		return r;
	if (id)
		snprintf(m->cluster_id, sizeof(m->cluster_id), "%s", id);
	else if ((r = first_start(m, err)) < 0)
		return r;
	for (size_t i = 0; i < LX_ARRAY_SIZE(tables); i++)
		if ((r = lx_store_query(m->store, tables[i].sql, NULL, 0, tables[i].row, &l, err)) < 0)
			return r;
	return 0;
}
