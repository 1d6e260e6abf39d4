/*
 * In lxmgr: becoming lxmgr-remote, with the same arguments. It lies in the directory of the other
 * programs that people do not call: beside this one's in a build tree, where it was installed, or
 * where LXMGR_LIBEXEC says. Only fails, and only when it is in none of these.
 */
#include "cli/remote.h"

#include "lib/fs.h"
#include "lib/str.h"

#define PROGRAM "lxmgr-remote"

static void become(struct cli *cli, const char *dir)
{
	lx_autofree char *path = dir ? lx_path_join(dir, PROGRAM) : NULL;

	if (path && cli->argv)
		execv(path, cli->argv);
}

static char *beside_this_program(void)
{
	lx_autofree char *self = realpath("/proc/self/exe", NULL);

	for (int up = 0; self && up < 2; up++) {
		char *slash = strrchr(self, '/');

		if (!slash)
			return NULL;
		*slash = '\0';
	}
	return self ? lx_path_join(self, "libexec") : NULL;
}

int cli_remote_begin(struct cli *cli, struct lx_err *err)
{
	const char *named = getenv("LXMGR_LIBEXEC");

	if (!lx_str_empty(named)) {
		become(cli, named);
	} else {
		lx_autofree char *dir = beside_this_program();

		become(cli, dir);
		become(cli, LX_LIBEXECDIR);
	}
	int r = lx_err_set(err, LX_NOT_FOUND, "cannot start %s from %s, which talks to managers elsewhere",
			   PROGRAM, lx_str_empty(named) ? LX_LIBEXECDIR : named);

	lx_err_hint(err,
		    "It is installed with lxmgr; LXMGR_LIBEXEC names its directory when it lies elsewhere.");
	return r;
}

/* lxmgr-remote begins anew with the same arguments, and does it. */
int cli_remote_enrol(struct cli *cli, const struct lx_token *token, struct cli_remote *remote,
		     Lxmgr__V1__Identity **ret, struct lx_err *err)
{
	return cli_remote_begin(cli, err);
}
