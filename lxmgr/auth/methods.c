/*
 * What each method asks for. A method that is missing here needs an admin; a test looks for
 * those. Readers may not see into guests: consoles, files and images hold their secrets.
 */
#include "lxmgr/auth/auth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define SEES(method, role)                                                                                   \
	{                                                                                                    \
		method, LX_ROLE_##role, false                                                                \
	}
#define DOES(method, role)                                                                                   \
	{                                                                                                    \
		method, LX_ROLE_##role, true                                                                 \
	}

/* By name, for bsearch(). */
static const struct lx_access table[] = {
	SEES("AuditService/List", ADMIN),

	DOES("DenialService/Forget", OPERATOR),
	SEES("DenialService/List", VIEWER),
	SEES("DenialService/Suggest", VIEWER),

	SEES("EventService/Watch", VIEWER),

	DOES("IdentityService/Create", ADMIN),
	DOES("IdentityService/CreateToken", ADMIN),
	DOES("IdentityService/Delete", ADMIN),
	DOES("IdentityService/DeleteToken", ADMIN),
	DOES("IdentityService/Enrol", NONE),
	SEES("IdentityService/Get", ADMIN),
	SEES("IdentityService/List", ADMIN),
	SEES("IdentityService/ListTokens", ADMIN),
	DOES("IdentityService/Update", ADMIN),
	SEES("IdentityService/WhoAmI", VIEWER),

	DOES("ImageService/Build", OPERATOR),
	DOES("ImageService/Delete", OPERATOR),
	SEES("ImageService/Export", OPERATOR),
	DOES("ImageService/Fetch", OPERATOR),
	SEES("ImageService/Get", VIEWER),
	DOES("ImageService/Import", OPERATOR),
	SEES("ImageService/List", VIEWER),
	DOES("ImageService/Update", OPERATOR),

	SEES("InstanceService/CheckMove", OPERATOR),
	SEES("InstanceService/ConsoleLog", OPERATOR),
	DOES("InstanceService/Create", OPERATOR),
	DOES("InstanceService/Delete", OPERATOR),
	DOES("InstanceService/DeleteFile", OPERATOR),
	DOES("InstanceService/Exec", OPERATOR),
	SEES("InstanceService/Explain", VIEWER),
	DOES("InstanceService/Freeze", OPERATOR),
	SEES("InstanceService/Get", VIEWER),
	SEES("InstanceService/List", VIEWER),
	DOES("InstanceService/Move", OPERATOR),
	SEES("InstanceService/PullFile", OPERATOR),
	DOES("InstanceService/PushFile", OPERATOR),
	DOES("InstanceService/Restart", OPERATOR),
	DOES("InstanceService/Start", OPERATOR),
	DOES("InstanceService/Stop", OPERATOR),
	DOES("InstanceService/Unfreeze", OPERATOR),
	DOES("InstanceService/Update", OPERATOR),

	DOES("NetworkService/Create", ADMIN),
	DOES("NetworkService/Delete", ADMIN),
	SEES("NetworkService/Get", VIEWER),
	SEES("NetworkService/List", VIEWER),
	SEES("NetworkService/ListLeases", VIEWER),
	DOES("NetworkService/Update", ADMIN),

	DOES("NodeService/CreateToken", ADMIN),
	DOES("NodeService/Evacuate", ADMIN),
	SEES("NodeService/Get", VIEWER),
	DOES("NodeService/Join", NONE),
	SEES("NodeService/List", VIEWER),
	DOES("NodeService/Remove", ADMIN),
	DOES("NodeService/Restore", ADMIN),
	DOES("NodeService/SetAddress", ADMIN),
	DOES("NodeService/Update", ADMIN),

	DOES("OperationService/Cancel", OPERATOR),
	SEES("OperationService/Get", VIEWER),
	SEES("OperationService/List", VIEWER),
	SEES("OperationService/Watch", VIEWER),

	DOES("ProfileService/Create", OPERATOR),
	DOES("ProfileService/Delete", OPERATOR),
	SEES("ProfileService/Get", VIEWER),
	SEES("ProfileService/List", VIEWER),
	SEES("ProfileService/ListKeys", VIEWER),
	DOES("ProfileService/Rename", OPERATOR),
	DOES("ProfileService/Update", OPERATOR),

	SEES("SystemService/Info", VIEWER),

	DOES("WarningService/Acknowledge", OPERATOR),
	DOES("WarningService/Delete", OPERATOR),
	SEES("WarningService/Get", VIEWER),
	SEES("WarningService/List", VIEWER),
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
	static const struct lx_access unknown = { "", LX_ROLE_ADMIN, true };
	static const struct lx_access reflection = { "", LX_ROLE_VIEWER, false };
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
