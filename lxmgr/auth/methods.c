/*
 * What each method asks for, and where. A method that is missing here needs an admin; a test looks
 * for those. Readers may not see into guests: consoles, files and images hold their secrets.
 */
#include "lxmgr/auth/auth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define SEES(method, role, where)                                                                            \
	{                                                                                                    \
		method, LX_ROLE_##role, false, LX_##where                                                    \
	}
#define DOES(method, role, where)                                                                            \
	{                                                                                                    \
		method, LX_ROLE_##role, true, LX_##where                                                     \
	}

/* By name, for bsearch(). */
static const struct lx_access table[] = {
	SEES("AuditService/List", ADMIN, ANYWHERE),

	DOES("DenialService/Forget", OPERATOR, IN_PROJECT),
	SEES("DenialService/List", VIEWER, IN_PROJECT),
	SEES("DenialService/Suggest", VIEWER, IN_PROJECT),

	SEES("EventService/Watch", VIEWER, IN_LISTS),

	DOES("IdentityService/Create", ADMIN, IN_CLUSTER),
	DOES("IdentityService/CreateToken", ADMIN, IN_CLUSTER),
	DOES("IdentityService/Delete", ADMIN, IN_CLUSTER),
	DOES("IdentityService/DeleteToken", ADMIN, IN_CLUSTER),
	DOES("IdentityService/Enrol", NONE, IN_CLUSTER),
	SEES("IdentityService/Get", ADMIN, IN_CLUSTER),
	SEES("IdentityService/List", ADMIN, IN_CLUSTER),
	SEES("IdentityService/ListTokens", ADMIN, IN_CLUSTER),
	DOES("IdentityService/Update", ADMIN, IN_CLUSTER),
	SEES("IdentityService/WhoAmI", VIEWER, ANYWHERE),

	DOES("ImageService/Build", OPERATOR, IN_PROJECT),
	DOES("ImageService/Delete", OPERATOR, IN_PROJECT),
	SEES("ImageService/Export", OPERATOR, IN_PROJECT),
	DOES("ImageService/Fetch", OPERATOR, IN_PROJECT),
	SEES("ImageService/Get", VIEWER, IN_PROJECT),
	DOES("ImageService/Import", OPERATOR, IN_PROJECT),
	SEES("ImageService/List", VIEWER, IN_LISTS),
	DOES("ImageService/Update", OPERATOR, IN_PROJECT),

	SEES("InstanceService/CheckMove", OPERATOR, IN_PROJECT),
	SEES("InstanceService/ConsoleLog", OPERATOR, IN_PROJECT),
	DOES("InstanceService/Create", OPERATOR, IN_PROJECT),
	DOES("InstanceService/Delete", OPERATOR, IN_PROJECT),
	DOES("InstanceService/DeleteFile", OPERATOR, IN_PROJECT),
	DOES("InstanceService/Exec", OPERATOR, IN_PROJECT),
	SEES("InstanceService/Explain", VIEWER, IN_PROJECT),
	DOES("InstanceService/Freeze", OPERATOR, IN_PROJECT),
	SEES("InstanceService/Get", VIEWER, IN_PROJECT),
	SEES("InstanceService/List", VIEWER, IN_LISTS),
	DOES("InstanceService/Move", OPERATOR, IN_PROJECT),
	SEES("InstanceService/PullFile", OPERATOR, IN_PROJECT),
	DOES("InstanceService/PushFile", OPERATOR, IN_PROJECT),
	DOES("InstanceService/Restart", OPERATOR, IN_PROJECT),
	DOES("InstanceService/Start", OPERATOR, IN_PROJECT),
	DOES("InstanceService/Stop", OPERATOR, IN_PROJECT),
	DOES("InstanceService/Unfreeze", OPERATOR, IN_PROJECT),
	DOES("InstanceService/Update", OPERATOR, IN_PROJECT),

	DOES("NetworkService/Create", ADMIN, FOR_PROJECT),
	DOES("NetworkService/Delete", ADMIN, FOR_PROJECT),
	SEES("NetworkService/Get", VIEWER, IN_PROJECT),
	SEES("NetworkService/List", VIEWER, IN_LISTS),
	SEES("NetworkService/ListLeases", VIEWER, IN_PROJECT),
	DOES("NetworkService/Update", ADMIN, FOR_PROJECT),

	DOES("NodeService/CreateToken", ADMIN, IN_CLUSTER),
	DOES("NodeService/Evacuate", ADMIN, IN_CLUSTER),
	SEES("NodeService/Get", VIEWER, IN_CLUSTER),
	DOES("NodeService/Join", NONE, IN_CLUSTER),
	SEES("NodeService/List", VIEWER, IN_CLUSTER),
	DOES("NodeService/Remove", ADMIN, IN_CLUSTER),
	DOES("NodeService/Restore", ADMIN, IN_CLUSTER),
	DOES("NodeService/SetAddress", ADMIN, IN_CLUSTER),
	DOES("NodeService/Update", ADMIN, IN_CLUSTER),

	DOES("OperationService/Cancel", OPERATOR, IN_PROJECT),
	SEES("OperationService/Get", VIEWER, IN_PROJECT),
	SEES("OperationService/List", VIEWER, IN_LISTS),
	SEES("OperationService/Watch", VIEWER, IN_PROJECT),

	DOES("ProfileService/Create", OPERATOR, IN_PROJECT),
	DOES("ProfileService/Delete", OPERATOR, IN_PROJECT),
	SEES("ProfileService/Get", VIEWER, IN_PROJECT),
	SEES("ProfileService/List", VIEWER, IN_LISTS),
	SEES("ProfileService/ListKeys", VIEWER, ANYWHERE),
	DOES("ProfileService/Rename", OPERATOR, IN_PROJECT),
	DOES("ProfileService/Update", OPERATOR, IN_PROJECT),

	DOES("ProjectService/Create", ADMIN, IN_CLUSTER),
	DOES("ProjectService/Delete", ADMIN, IN_CLUSTER),
	SEES("ProjectService/Get", VIEWER, ANYWHERE),
	SEES("ProjectService/List", VIEWER, ANYWHERE),
	DOES("ProjectService/Rename", ADMIN, IN_CLUSTER),
	DOES("ProjectService/Update", ADMIN, IN_CLUSTER),

	DOES("SnapshotService/Create", OPERATOR, IN_PROJECT),
	DOES("SnapshotService/Delete", OPERATOR, IN_PROJECT),
	SEES("SnapshotService/Get", VIEWER, IN_PROJECT),
	SEES("SnapshotService/List", VIEWER, IN_PROJECT),
	DOES("SnapshotService/Rename", OPERATOR, IN_PROJECT),
	DOES("SnapshotService/Restore", OPERATOR, IN_PROJECT),

	SEES("SystemService/Info", VIEWER, ANYWHERE),

	DOES("WarningService/Acknowledge", OPERATOR, IN_PROJECT),
	DOES("WarningService/Delete", OPERATOR, IN_PROJECT),
	SEES("WarningService/Get", VIEWER, IN_PROJECT),
	SEES("WarningService/List", VIEWER, IN_LISTS),
};

const struct lx_access *lx_access_rows(size_t *n)
{
	*n = LX_ARRAY_SIZE(table);
	return table;
}

static int compare(const void *key, const void *row)
{
	return strcmp(key, ((const struct lx_access *)row)->method);
}

const struct lx_access *lx_access_find(const char *path)
{
	static const struct lx_access unknown = { "", LX_ROLE_ADMIN, true, LX_IN_CLUSTER };
	static const struct lx_access reflection = { "", LX_ROLE_VIEWER, false, LX_ANYWHERE };
	static const char package[] = "/lxmgr.v1.";
	const struct lx_access *row = NULL;

	if (lx_starts_with(path, "/grpc.reflection."))
		return &reflection;
	if (lx_starts_with(path, package))
		row = bsearch(path + strlen(package), table, LX_ARRAY_SIZE(table), sizeof(*table), compare);
	return row ? row : &unknown;
}

/* ------------------------------------------------------------------ roles */

static const char *const roles[] = {
	[LX_ROLE_NONE] = "none",
	[LX_ROLE_VIEWER] = "viewer",
	[LX_ROLE_OPERATOR] = "operator",
	[LX_ROLE_ADMIN] = "admin",
};

const char *lx_role_name(enum lx_role role)
{
	return (size_t)role < LX_ARRAY_SIZE(roles) ? roles[role] : "none";
}

int lx_role_parse(const char *text, bool none, enum lx_role *ret)
{
	for (size_t i = none ? LX_ROLE_NONE : LX_ROLE_VIEWER; i < LX_ARRAY_SIZE(roles); i++) {
		if (!lx_streq(text, roles[i]))
			continue;
		*ret = (enum lx_role)i;
		return 0;
	}
	return -EINVAL;
}
