/*
 * The table of verbs and finding one in it.
 *
 * A verb is known by its full name, words separated by single blanks ("config device
 * add"). An alias replaces the last word: with aliases "ls" the verb "image list" also
 * answers to "image ls".
 */
#include "cli/cli.h"

#define MAX_NAMES 512 /* names to suggest from; checked by a test */

const struct cli_group cli_groups[] = {
	{ "Instances", NULL, cli_launch_verbs },
	{ "Instances", NULL, cli_list_verbs },
	{ "Instances", NULL, cli_info_verbs },
	{ "Instances", NULL, cli_power_verbs },
	{ "Instances", NULL, cli_move_verbs },
	{ "Instances", NULL, cli_delete_verbs },
	{ "Snapshots of an instance", "snapshot", cli_snapshot_verbs },
	{ "Inside an instance", NULL, cli_exec_verbs },
	{ "Files in an instance", "file", cli_file_verbs },
	{ "Configuration of an instance", "config", cli_config_verbs },
	{ "Devices of an instance", "config", cli_config_device_verbs },
	{ "Profiles", "profile", cli_profile_verbs },
	{ "Profiles of an instance", "profile", cli_profile_assign_verbs },
	{ "Rules for a profile", "profile", cli_profile_suggest_verbs },
	{ "Devices of a profile", "profile", cli_profile_device_verbs },
	{ "Images", "image", cli_image_verbs },
	{ "Aliases and properties of images", "image", cli_image_edit_verbs },
	{ "Networks", "network", cli_network_verbs },
	{ "Projects", "project", cli_project_verbs },
	{ "Nodes of the cluster", "node", cli_node_verbs },
	{ "Emptying a node", "node", cli_node_evacuate_verbs },
	{ "Operations", "operation", cli_operation_verbs },
	{ "Who may use the cluster", "identity", cli_identity_verbs },
	{ "Tokens to enrol with", "identity", cli_identity_token_verbs },
	{ "Clusters elsewhere", "remote", cli_remote_verbs },
	{ "Warnings", "warning", cli_warning_verbs },
	{ "The cluster", NULL, cli_audit_verbs },
	{ "The cluster", NULL, cli_event_verbs },
	{ "The cluster", NULL, cli_version_verbs },
	{ "A cluster of one, to try things out", "dev", cli_dev_verbs },
	{ "This command", NULL, cli_help_verbs },
	{ "This command", NULL, cli_completion_verbs },
};
const size_t cli_n_groups = LX_ARRAY_SIZE(cli_groups);

const struct cli_option cli_global_options[] = {
	{ "socket", 0, "PATH", "the manager's socket (LXMGR_SOCKET; " CLI_DEFAULT_SOCKET ")",
	  CLI_LOCAL_PATH },
	{ "remote", 0, "NAME", "a cluster elsewhere, see lxmgr remote; or HOST:PORT (LXMGR_REMOTE)",
	  CLI_REMOTE },
	{ "project", 0, "NAME", "what the command is about (LXMGR_PROJECT; lxmgr project switch)",
	  CLI_PROJECT },
	{ "cert", 0, "FILE", "own certificate for --remote HOST:PORT (LXMGR_CERT)", CLI_LOCAL_PATH },
	{ "key", 0, "FILE", "its key (LXMGR_KEY)", CLI_LOCAL_PATH },
	{ "ca", 0, "FILE", "the cluster's CA certificate (LXMGR_CA)", CLI_LOCAL_PATH },
	{ "quiet", 'q', NULL, "no progress, no remarks", 0 },
	{ "debug", 'v', NULL, "say what happens on the connection", 0 },
	{ "help", 'h', NULL, "show this help", 0 },
	{ "version", 0, NULL, "show the version of this command", 0 },
	{ .name = NULL },
};

/* Whether `word` is one of a comma-separated list. */
static bool in_list(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
		if (strcspn(p, ",") == len && strncmp(p, word, len) == 0)
			return true;
	return false;
}

static bool answers_to(const struct cli_verb *v, const char *name)
{
	if (strcmp(v->name, name) == 0)
		return true;
	const char *last = strrchr(v->name, ' ');
	size_t stem = last ? (size_t)(last + 1 - v->name) : 0;
	return strncmp(v->name, name, stem) == 0 && in_list(v->aliases, name + stem);
}

const struct cli_verb *cli_verb_find(const char *name)
{
	for (size_t g = 0; g < cli_n_groups; g++)
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++)
			if (answers_to(v, name))
				return v;
	return NULL;
}

bool cli_is_noun(const char *name)
{
	size_t len = strlen(name);

	for (size_t g = 0; len && g < cli_n_groups; g++)
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++)
			if (strncmp(v->name, name, len) == 0 && v->name[len] == ' ')
				return true;
	return false;
}

int cli_verb_unknown(struct cli *cli, const char *name, struct lx_err *err)
{
	const char *names[MAX_NAMES], *last = strrchr(name, ' ');
	lx_autofree char *noun = strndup(name, last ? (size_t)(last - name) : 0);
	size_t n = 0;

	if (!noun)
		return lx_err_oom(err);
	for (size_t g = 0; g < cli_n_groups; g++) {
		if (cli_groups[g].noun && n < MAX_NAMES)
			names[n++] = cli_groups[g].noun;
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++)
			if (!v->hidden && n < MAX_NAMES)
				names[n++] = v->name;
	}
	const char *nearest = lx_nearest(name, names, n);
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "unknown command \"%s\"", name);
	if (nearest)
		lx_err_hint(err, "Did you mean \"lxmgr %s\"? See lxmgr --help", nearest);
	else if (cli_is_noun(noun))
		lx_err_hint(err, "See lxmgr %s --help", noun);
	else
		lx_err_hint(err, "See lxmgr --help");
	cli->misused = true;
	return r;
}
