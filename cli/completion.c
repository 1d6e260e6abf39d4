/*
 * Completion: `lxmgr completion bash` prints the script, which asks `lxmgr __complete WORD...`
 * (hidden) what could stand in the place of the last word, one candidate a line.
 *
 * Names come from the manager when it answers at once; a shell must never wait for one.
 */
#include "cli/connection.h"
#include "cli/remotes.h"
#include "cli/snapshot.h"
#include "cli/table.h"
#include "lxmgr/v1/identity.pb-c.h"
#include "lxmgr/v1/image.pb-c.h"
#include "lxmgr/v1/instance.pb-c.h"
#include "lxmgr/v1/network.pb-c.h"
#include "lxmgr/v1/node.pb-c.h"
#include "lxmgr/v1/operation.pb-c.h"
#include "lxmgr/v1/profile.pb-c.h"
#include "lxmgr/v1/project.pb-c.h"

#define MAX_NAME 128

/* packaging/completion/lxmgr.bash, as text. */
__asm__(".section .rodata\n"
	"cli_completion_bash:\n"
	".incbin \"packaging/completion/lxmgr.bash\"\n"
	".byte 0\n"
	".previous\n");
extern const char cli_completion_bash[] __attribute__((visibility("hidden")));

static int completion_run(struct cli *cli, struct lx_err *err)
{
	if (strcmp(cli_operand(cli, 0), "bash") != 0)
		return cli_usage(cli, err, "there is completion for bash only, not for \"%s\"",
				 cli_operand(cli, 0));
	fputs(cli_completion_bash, stdout);
	return 0;
}

/* ------------------------------------------------------------------ candidates */

static void offer(const char *word, const char *candidate)
{
	if (lx_starts_with(candidate, word)) {
		cli_put_safe(stdout, candidate);
		putchar('\n');
	}
}

/* `call` and the loop over what it brings, for each kind of name. Errors mean: nothing to offer. */
#define OFFER(descriptor, request, REQUEST, response, service, items, field)                                 \
	do {                                                                                                 \
		Lxmgr__V1__##request req = LXMGR__V1__##REQUEST##__INIT;                                     \
		cli_autopb Lxmgr__V1__##response *resp = NULL;                                               \
		if (cli_call(cli, service, descriptor, &req, &resp, &err) == 0)                              \
			for (size_t i = 0; i < resp->n_##items; i++)                                         \
				offer(word, resp->items[i]->field);                                          \
	} while (0)

static void offer_images(struct cli *cli, const char *word)
{
	Lxmgr__V1__ListImagesRequest req = LXMGR__V1__LIST_IMAGES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListImagesResponse *resp = NULL;
	struct lx_err err = LX_ERR_INIT;

	if (cli_call(cli, CLI_IMAGES, "List", &req, &resp, &err) < 0)
		return;
	for (size_t i = 0; i < resp->n_images; i++)
		for (size_t a = 0; a < resp->images[i]->n_aliases; a++)
			offer(word, resp->images[i]->aliases[a]);
}

static void offer_snapshots(struct cli *cli, const char *instance, const char *word)
{
	cli_autopb Lxmgr__V1__ListSnapshotsResponse *resp = NULL;
	struct lx_err err = LX_ERR_INIT;

	if (!instance || cli_snapshots_get(cli, instance, &resp, &err) < 0)
		return;
	for (size_t i = 0; i < resp->n_snapshots; i++)
		offer(word, resp->snapshots[i]->name);
}

static void offer_words(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		offer(word, list[i]);
}

static void offer_remote(const char *name, void *arg)
{
	offer(arg, name);
}

/* `first`: the first operand, or NULL. */
static void offer_kind(struct cli *cli, enum cli_kind kind, const char *first, const char *word)
{
	static const char *const formats[] = { "table", "compact", "csv", "json", "yaml" };
	static const char *const roles[] = { "viewer", "operator", "admin" };
	static const char *const live_modes[] = { "required", "preferred", "off" };
	static const char *const templates[] = { "debian/12", "debian/13", "debian/sid", "busybox" };
	struct lx_err err = LX_ERR_INIT;

	switch (kind) {
	case CLI_INSTANCE:
		OFFER("List", ListInstancesRequest, LIST_INSTANCES_REQUEST, ListInstancesResponse,
		      CLI_INSTANCES, instances, name);
		break;
	case CLI_IMAGE:
		offer_images(cli, word);
		break;
	case CLI_PROFILE:
		OFFER("List", ListProfilesRequest, LIST_PROFILES_REQUEST, ListProfilesResponse, CLI_PROFILES,
		      profiles, name);
		break;
	case CLI_NETWORK:
		OFFER("List", ListNetworksRequest, LIST_NETWORKS_REQUEST, ListNetworksResponse, CLI_NETWORKS,
		      networks, name);
		break;
	case CLI_NODE:
		OFFER("List", ListNodesRequest, LIST_NODES_REQUEST, ListNodesResponse, CLI_NODES, nodes,
		      name);
		break;
	case CLI_OPERATION:
		OFFER("List", ListOperationsRequest, LIST_OPERATIONS_REQUEST, ListOperationsResponse,
		      CLI_OPERATIONS, operations, id);
		break;
	case CLI_KEY:
	case CLI_KEY_VALUE:
		OFFER("ListKeys", ListKeysRequest, LIST_KEYS_REQUEST, ListKeysResponse, CLI_PROFILES, keys,
		      name);
		break;
	case CLI_IDENTITY:
		OFFER("List", ListIdentitiesRequest, LIST_IDENTITIES_REQUEST, ListIdentitiesResponse,
		      CLI_IDENTITIES, identities, name);
		break;
	case CLI_REMOTE:
		offer(word, CLI_REMOTE_LOCAL);
		(void)cli_remote_each(offer_remote, (void *)(uintptr_t)word, &err);
		break;
	case CLI_PROJECT:
		OFFER("List", ListProjectsRequest, LIST_PROJECTS_REQUEST, ListProjectsResponse, CLI_PROJECTS,
		      projects, name);
		break;
	case CLI_SNAPSHOT:
		offer_snapshots(cli, first, word);
		break;
	case CLI_ROLE:
		offer_words(word, roles, LX_ARRAY_SIZE(roles));
		break;
	case CLI_TEMPLATE:
		offer_words(word, templates, LX_ARRAY_SIZE(templates));
		break;
	case CLI_FORMAT:
		offer_words(word, formats, LX_ARRAY_SIZE(formats));
		break;
	case CLI_LIVE_MODE:
		offer_words(word, live_modes, LX_ARRAY_SIZE(live_modes));
		break;
	case CLI_LOCAL_PATH: /* the script completes files when nothing is offered */
	case CLI_VERB:
	case CLI_TEXT:
		break;
	}
}

/* The next words of verbs that begin with `name` ("" at the top). */
static void offer_verbs(const char *name, const char *word)
{
	size_t len = strlen(name);
	char last[MAX_NAME] = "";

	for (size_t g = 0; g < cli_n_groups; g++) {
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++) {
			if (v->hidden || strncmp(v->name, name, len) != 0 || (len && v->name[len] != ' '))
				continue;
			const char *next = v->name + len + (len > 0);
			char one[MAX_NAME];
			snprintf(one, sizeof(one), "%.*s", (int)strcspn(next, " "), next);
			if (strcmp(one, last) != 0)
				offer(word, one);
			snprintf(last, sizeof(last), "%s", one);
		}
	}
}

static void offer_options(const struct cli_option *table, const char *word)
{
	char text[MAX_NAME];

	for (const struct cli_option *o = table; o && o->name; o++) {
		snprintf(text, sizeof(text), "--%s", o->name);
		offer(word, text);
	}
}

static const struct cli_option *find_option(const struct cli_option *table, const char *word)
{
	for (const struct cli_option *o = table; o && o->name; o++) {
		bool is_long = strncmp(word, "--", 2) == 0 && strcmp(word + 2, o->name) == 0;
		if (is_long || (word[0] == '-' && word[1] && word[1] == o->letter && !word[2]))
			return o;
	}
	return NULL;
}

static const struct cli_option *option_of(const struct cli_verb *v, const char *word)
{
	const struct cli_option *o = v ? find_option(v->options, word) : NULL;

	return o ? o : find_option(cli_global_options, word);
}

static enum cli_kind kind_of(const struct cli_verb *v, int operand)
{
	int last = 0;

	for (int i = 0; i < CLI_KINDS && v->kinds[i]; i++)
		last = i;
	return v->kinds[operand < last ? operand : last];
}

/* Where the words before the last one lead. */
struct place {
	char name[MAX_NAME]; /* of the verb so far */
	const struct cli_verb *verb;
	int operands;
	const char *first;                /* of them, or NULL */
	bool dashes;                      /* "--" was seen */
	const struct cli_option *awaited; /* the last word is its value */
};

static void walk(struct place *p, int n, char **words)
{
	for (int i = 0; i < n; i++) {
		const char *word = words[i];
		if (p->awaited) {
			p->awaited = NULL;
		} else if (!p->dashes && strcmp(word, "--") == 0) {
			p->dashes = true;
		} else if (!p->dashes && word[0] == '-' && word[1]) {
			const struct cli_option *o = option_of(p->verb, word);
			p->awaited = o && o->value ? o : NULL;
		} else if (p->verb) {
			if (p->operands++ == 0)
				p->first = word;
		} else {
			size_t len = strlen(p->name);
			snprintf(p->name + len, sizeof(p->name) - len, "%s%s", len ? " " : "", word);
			p->verb = cli_verb_find(p->name);
		}
	}
}

static int complete_run(struct cli *cli, struct lx_err *err)
{
	int n = cli->args.n_operands - 1;
	const char *word = cli_operand(cli, n);
	struct place p = { 0 };

	walk(&p, n, cli->args.operands);
	if (p.awaited) {
		offer_kind(cli, p.awaited->kind, p.first, word);
	} else if (!p.dashes && word[0] == '-') {
		offer_options(p.verb ? p.verb->options : NULL, word);
		offer_options(cli_global_options, word);
	} else if (!p.verb) {
		offer_verbs(p.name, word);
	} else if (kind_of(p.verb, p.operands) == CLI_VERB) {
		offer_verbs("", word);
	} else if (p.verb->max == CLI_MANY || p.operands < p.verb->max) {
		offer_kind(cli, kind_of(p.verb, p.operands), p.first, word);
	}
	return 0;
}

const struct cli_verb cli_completion_verbs[] = {
	{ .name = "completion",
	  .operands = "bash",
	  .summary = "Print the script that completes lxmgr's words in a shell",
	  .examples = "lxmgr completion bash > /etc/bash_completion.d/lxmgr\nsource <(lxmgr completion bash)",
	  .min = 1,
	  .max = 1,
	  .run = completion_run },
	{ .name = "__complete",
	  .summary = "Print candidates for the last of some words",
	  .operands = "-- WORD...",
	  .min = 1,
	  .max = CLI_MANY,
	  .hidden = true,
	  .run = complete_run },
	{ .name = "__manpage", .summary = "Print the manual page", .hidden = true, .run = cli_manpage },
	{ .name = NULL },
};
