/* Who may do what: the table of methods is whole, and the audit log keeps no secrets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/v1/audit.pb-c.h"
#include "lxmgr/v1/stream.pb-c.h"
#include "proto/pb.h"

static const struct lx_service *const services[] = {
	&lx_api_instances,  &lx_api_images,  &lx_api_profiles, &lx_api_networks,   &lx_api_nodes,
	&lx_api_operations, &lx_api_events,  &lx_api_system,   &lx_api_identities, &lx_api_audit,
	&lx_api_warnings,   &lx_api_denials, &lx_api_projects, &lx_api_snapshots,
};

static void rows_are_in_order(void **state)
{
	size_t n;
	const struct lx_access *rows = lx_access_rows(&n);

	for (size_t i = 1; i < n; i++)
		assert_true(strcmp(rows[i - 1].method, rows[i].method) < 0);
}

/* Every method has a row, and every row a method. */
static void table_is_whole(void **state)
{
	size_t n, seen = 0;

	lx_access_rows(&n);
	for (size_t s = 0; s < LX_ARRAY_SIZE(services); s++) {
		for (size_t i = 0; i < services[s]->n_methods; i++, seen++) {
			lx_autofree char *path = lx_asprintf("/%s/%s", services[s]->descriptor->name,
							     services[s]->methods[i].name);
			const struct lx_access *a = lx_access_find(path);

			if (!*a->method)
				fail_msg("%s has no row in lxmgr/auth/methods.c", path);
			assert_string_equal(a->method, path + strlen("/lxmgr.v1."));
		}
	}
	assert_int_equal(seen, n);
}

static void unknown_methods_need_an_admin(void **state)
{
	static const char *const paths[] = { "/lxmgr.v1.InstanceService/Explode",
					     "/lxmgr.v1.AgentService/CreateInstance",
					     "/x",
					     "",
					     "/lxmgr.v1.",
					     "/lxmgr.v1.InstanceService/list" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(paths); i++) {
		assert_int_equal(lx_access_find(paths[i])->role, LX_ROLE_ADMIN);
		assert_true(lx_access_find(paths[i])->changes);
	}
}

/* What a viewer may call changes nothing; what needs no role is what brings a token. */
static void roles_fit(void **state)
{
	size_t n, open = 0;
	const struct lx_access *rows = lx_access_rows(&n);

	for (size_t i = 0; i < n; i++) {
		assert_false(rows[i].role == LX_ROLE_VIEWER && rows[i].changes);
		open += rows[i].role == LX_ROLE_NONE;
	}
	assert_int_equal(open, 2);
	assert_int_equal(lx_access_find("/lxmgr.v1.NodeService/Join")->role, LX_ROLE_NONE);
	assert_int_equal(lx_access_find("/lxmgr.v1.IdentityService/Enrol")->role, LX_ROLE_NONE);
}

static void role_names(void **state)
{
	enum lx_role role;

	for (int i = LX_ROLE_VIEWER; i <= LX_ROLE_ADMIN; i++) {
		assert_int_equal(lx_role_parse(lx_role_name((enum lx_role)i), false, &role), 0);
		assert_int_equal((int)role, i);
	}
	assert_true(lx_role_parse("none", false, &role) < 0);
	assert_int_equal(lx_role_parse("none", true, &role), 0);
	assert_true(lx_role_parse("root", true, &role) < 0);
}

/* ------------------------------------------------------------------ what the log says */

static void describes_a_request(void **state)
{
	Lxmgr__V1__UpdateInstanceRequest req = LXMGR__V1__UPDATE_INSTANCE_REQUEST__INIT;

	req.name = (char *)"web1";
	req.replace_profiles = 1;
	assert_int_equal(lx_pb_map_set(&lxmgr__v1__update_instance_request__set_config_entry__descriptor,
				       &req.n_set_config, &req.set_config, "limits.memory", "1GiB"),
			 0);
	assert_int_equal(lx_pb_map_set(&lxmgr__v1__update_instance_request__set_config_entry__descriptor,
				       &req.n_set_config, &req.set_config, "environment.PASS", "hunter2"),
			 0);
	lx_autofree char *text = lx_audit_describe(&req.base);

	assert_non_null(strstr(text, "name=web1"));
	assert_non_null(strstr(text, "set_config={limits.memory=1GiB environment.PASS=***}"));
	assert_non_null(strstr(text, "replace_profiles=true"));
	assert_null(strstr(text, "hunter2"));
	assert_string_equal(lx_audit_subject(&req.base), "web1");
	lx_pb_map_clear(&req.n_set_config, &req.set_config);
}

static void hides_secrets(void **state)
{
	Lxmgr__V1__JoinRequest join = LXMGR__V1__JOIN_REQUEST__INIT;
	Lxmgr__V1__ExecStart exec = LXMGR__V1__EXEC_START__INIT;
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)"id" };

	join.name = (char *)"node2";
	join.secret = (char *)"0123456789abcdef";
	join.csr_pem = (char *)"-----BEGIN";
	lx_autofree char *text = lx_audit_describe(&join.base);

	assert_null(strstr(text, "0123456789"));
	assert_null(strstr(text, "BEGIN"));
	assert_non_null(strstr(text, "secret=***"));

	exec.instance = (char *)"web1";
	exec.command = argv;
	exec.n_command = 3;
	assert_int_equal(lx_pb_map_set(&lxmgr__v1__exec_start__environment_entry__descriptor,
				       &exec.n_environment, &exec.environment, "TOKEN", "hunter2"),
			 0);
	lx_autofree char *run = lx_audit_describe(&exec.base);

	assert_null(strstr(run, "hunter2"));
	assert_non_null(strstr(run, "[sh -c id]"));
	assert_string_equal(lx_audit_subject(&exec.base), "web1");
	lx_pb_map_clear(&exec.n_environment, &exec.environment);
}

/* However much is asked for, and whatever bytes it has: bounded, printable, whole characters. */
static void description_is_bounded(void **state)
{
	Lxmgr__V1__Profile p = LXMGR__V1__PROFILE__INIT;
	char long_text[4000], many[64];

	for (size_t i = 0; i + 1 < sizeof(long_text); i += 2)
		memcpy(long_text + i, "\xc3\xa4", 2);
	long_text[sizeof(long_text) - 2] = '\0';
	p.name = (char *)"p\n\x1b[31m";
	p.description = long_text;
	for (int i = 0; i < 200; i++) {
		snprintf(many, sizeof(many), "limits.kernel.%d", i);
		assert_int_equal(lx_pb_map_set(&lxmgr__v1__profile__config_entry__descriptor, &p.n_config,
					       &p.config, many, "x\xc3\xa4"),
				 0);
	}
	lx_autofree char *text = lx_audit_describe(&p.base);

	assert_true(strlen(text) <= LX_AUDIT_REQUEST_MAX);
	assert_true(lx_ends_with(text, "..."));
	for (const char *c = text; *c; c++)
		assert_true((unsigned char)*c >= 0x20);
	lx_pb_map_clear(&p.n_config, &p.config);
}

static void empty_requests(void **state)
{
	Lxmgr__V1__ListAuditRequest req = LXMGR__V1__LIST_AUDIT_REQUEST__INIT;
	lx_autofree char *text = lx_audit_describe(&req.base);

	assert_string_equal(text, "");
	assert_string_equal(lx_audit_subject(&req.base), "");
	assert_string_equal(lx_audit_subject(NULL), "");
}

/* ------------------------------------------------------------------ identities */

static Lxmgr__V1__Identity *identity(const char *name, Lxmgr__V1__IdentityType type, const char *subject,
				     Lxmgr__V1__Role role)
{
	Lxmgr__V1__Identity *pb = calloc(1, sizeof(*pb));

	lxmgr__v1__identity__init(pb);
	assert_int_equal(lx_pb_set(&pb->name, name), 0);
	assert_int_equal(lx_pb_set(&pb->subject, subject), 0);
	pb->type = type;
	pb->role = role;
	return pb;
}

#define USER  LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_USER
#define GROUP LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_GROUP
#define CERT  LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_CERTIFICATE

static void certificates_are_found(void **state)
{
	struct lx_identities ids = { 0 };

	lx_identities_init(&ids);
	assert_int_equal(lx_identity_put(&ids, identity("a", CERT, "f1", LXMGR__V1__ROLE__ROLE_VIEWER)), 0);
	assert_string_equal(lx_identity_of_certificate(&ids, "f1")->name, "a");
	assert_null(lx_identity_of_certificate(&ids, "f2"));
	assert_null(lx_identity_of_certificate(&ids, NULL));
	/* Changed in its place. */
	assert_int_equal(lx_identity_put(&ids, identity("a", CERT, "f1", LXMGR__V1__ROLE__ROLE_ADMIN)), 0);
	assert_int_equal(lx_identity_of_certificate(&ids, "f1")->role, LXMGR__V1__ROLE__ROLE_ADMIN);
	lx_identity_drop(&ids, "a");
	lx_identity_drop(&ids, "a");
	assert_null(lx_identity_of_certificate(&ids, "f1"));
	lx_identities_release(&ids);
}

/* Ids that no machine has names for. */
static void users_come_before_groups(void **state)
{
	struct lx_identities ids = { 0 };

	lx_identities_init(&ids);
	assert_null(lx_identity_of_user(&ids, 4000001, 4000002, NULL));
	assert_int_equal(lx_identity_put(&ids, identity("g", GROUP, "4000002", LXMGR__V1__ROLE__ROLE_VIEWER)),
			 0);
	assert_int_equal(lx_identity_put(&ids, identity("h", GROUP, "4000003", LXMGR__V1__ROLE__ROLE_ADMIN)),
			 0);
	assert_string_equal(lx_identity_of_user(&ids, 4000001, 4000002, NULL)->name, "g");
	assert_null(lx_identity_of_user(&ids, 4000001, 4000004, NULL));
	assert_int_equal(
		lx_identity_put(&ids, identity("j", GROUP, "4000002", LXMGR__V1__ROLE__ROLE_OPERATOR)), 0);
	assert_string_equal(lx_identity_of_user(&ids, 4000001, 4000002, NULL)->name, "j");
	assert_int_equal(lx_identity_put(&ids, identity("u", USER, "4000001", LXMGR__V1__ROLE__ROLE_VIEWER)),
			 0);
	assert_string_equal(lx_identity_of_user(&ids, 4000001, 4000002, NULL)->name, "u");
	assert_null(lx_identity_of_user(&ids, 4000005, 4000006, NULL));
	lx_identity_drop(&ids, "u");
	lx_identity_drop(&ids, "j");
	assert_string_equal(lx_identity_of_user(&ids, 4000001, 4000002, NULL)->name, "g");
	lx_identities_release(&ids);
}

/* A role in all projects, and more in one of them. */
static void roles_in_projects(void **state)
{
	Lxmgr__V1__ProjectRole shop = LXMGR__V1__PROJECT_ROLE__INIT, bank = shop, *both[] = { &shop, &bank };
	Lxmgr__V1__Identity pb = LXMGR__V1__IDENTITY__INIT;

	shop.project = (char *)(uintptr_t) "shop";
	shop.role = LXMGR__V1__ROLE__ROLE_OPERATOR;
	bank.project = (char *)(uintptr_t) "bank";
	bank.role = LXMGR__V1__ROLE__ROLE_VIEWER;
	pb.n_projects = 2;
	pb.projects = both;
	assert_int_equal(lx_identity_role(&pb, NULL), LX_ROLE_NONE);
	assert_int_equal(lx_identity_role(&pb, "shop"), LX_ROLE_OPERATOR);
	assert_int_equal(lx_identity_role(&pb, "bank"), LX_ROLE_VIEWER);
	assert_int_equal(lx_identity_role(&pb, "shops"), LX_ROLE_NONE);
	assert_int_equal(lx_identity_role(&pb, "default"), LX_ROLE_NONE);
	assert_int_equal(lx_identity_role(&pb, LX_PROJECTS_ALL), LX_ROLE_OPERATOR);
	/* The greater one counts. */
	pb.role = LXMGR__V1__ROLE__ROLE_VIEWER;
	assert_int_equal(lx_identity_role(&pb, NULL), LX_ROLE_VIEWER);
	assert_int_equal(lx_identity_role(&pb, "shop"), LX_ROLE_OPERATOR);
	assert_int_equal(lx_identity_role(&pb, "default"), LX_ROLE_VIEWER);
	pb.role = LXMGR__V1__ROLE__ROLE_ADMIN;
	assert_int_equal(lx_identity_role(&pb, "bank"), LX_ROLE_ADMIN);
}

/* What is done to machines is for roles in all projects; what shows them as well. */
static void methods_of_the_cluster(void **state)
{
	size_t n;
	const struct lx_access *rows = lx_access_rows(&n);

	for (size_t i = 0; i < n; i++) {
		bool cluster = lx_starts_with(rows[i].method, "NodeService/") ||
			       (lx_starts_with(rows[i].method, "IdentityService/") &&
				!lx_ends_with(rows[i].method, "WhoAmI")) ||
			       (lx_starts_with(rows[i].method, "ProjectService/") && rows[i].changes);
		bool machines = lx_starts_with(rows[i].method, "NetworkService/") && rows[i].changes;

		assert_int_equal(rows[i].where == LX_IN_CLUSTER, cluster);
		assert_int_equal(rows[i].where == LX_FOR_PROJECT, machines);
		if (rows[i].where == LX_IN_LISTS)
			assert_false(rows[i].changes);
	}
	assert_int_equal(lx_access_find("/lxmgr.v1.X/Y")->where, LX_IN_CLUSTER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_in_order),
		cmocka_unit_test(table_is_whole),
		cmocka_unit_test(unknown_methods_need_an_admin),
		cmocka_unit_test(roles_fit),
		cmocka_unit_test(role_names),
		cmocka_unit_test(describes_a_request),
		cmocka_unit_test(hides_secrets),
		cmocka_unit_test(description_is_bounded),
		cmocka_unit_test(empty_requests),
		cmocka_unit_test(certificates_are_found),
		cmocka_unit_test(users_come_before_groups),
		cmocka_unit_test(roles_in_projects),
		cmocka_unit_test(methods_of_the_cluster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
