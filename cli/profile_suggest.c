/*
 * lxmgr profile suggest: rules out of what was kept from an instance.
 *
 * The manager makes them; here they are shown, and with --apply put behind what there is already.
 * Storing them goes the way of every change: they are compiled by a node first.
 */
#include <inttypes.h>

#include "cli/doc.h"
#include "cli/profile.h"
#include "lib/buf.h"
#include "lxmgr/v1/warning.pb-c.h"
#include "proto/pb.h"

typedef Lxmgr__V1__SuggestResponse answer;
typedef Lxmgr__V1__Suggestion suggestion;

static const char *const keys[] = { "raw.apparmor", "security.syscalls.allow" };

/* ------------------------------------------------------------------ showing */

static int print_doc(const answer *a, const struct cli_format *f, struct lx_err *err)
{
	cli_autodoc struct cli_doc d;
	json_t *array = cli_doc_init(&d, true);

	for (size_t i = 0; i < a->n_suggestions; i++) {
		const suggestion *s = a->suggestions[i];
		json_t *to = cli_doc_add(&d, array);

		cli_doc_str(&d, to, "key", s->key);
		cli_doc_str(&d, to, "value", s->value);
		cli_doc_str(&d, to, "refused", s->refused);
		cli_doc_int(&d, to, "count", s->count);
		cli_doc_str(&d, to, "programs", s->programs);
	}
	return cli_doc_print(&d, f, stdout, err);
}

static void print_one(const suggestion *s)
{
	if (*s->refused)
		fputs("# ", stdout);
	cli_put_safe(stdout, s->value);
	printf("  # %" PRIu64 " time%s", s->count, s->count == 1 ? "" : "s");
	if (*s->programs) {
		fputs(" by ", stdout);
		cli_put_safe(stdout, s->programs);
	}
	if (*s->refused) {
		fputs(": ", stdout);
		cli_put_safe(stdout, s->refused);
	}
	putchar('\n');
}

/* As they stand in the keys' values: one a line, comments behind. */
static void print_text(struct cli *cli, const answer *a)
{
	for (size_t k = 0; k < LX_ARRAY_SIZE(keys); k++) {
		bool headed = false;

		for (size_t i = 0; i < a->n_suggestions; i++) {
			if (!lx_streq(a->suggestions[i]->key, keys[k]))
				continue;
			if (!headed)
				printf("# %s\n", keys[k]);
			headed = true;
			print_one(a->suggestions[i]);
		}
	}
	if (!a->n_suggestions)
		cli_note(cli, "Nothing was seen of %s that a rule would change.", cli_operand(cli, 0));
}

/* ------------------------------------------------------------------ applying */

/* What the key is to be: what it is, and the suggestions behind it. NULL: there are none for it. */
static int new_value(const answer *a, const char *key, const char *old, char **ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };
	bool any = false;
	int r = lx_str_empty(old) ? 0 : lx_buf_puts(&text, old);

	for (size_t i = 0; i < a->n_suggestions && r == 0; i++) {
		const suggestion *s = a->suggestions[i];

		if (*s->refused || !lx_streq(s->key, key))
			continue;
		any = true;
		if (text.len > 0 && text.data[text.len - 1] != '\n')
			r = lx_buf_puts(&text, "\n");
		if (r == 0)
			r = lx_buf_puts(&text, s->value);
	}
	*ret = NULL;
	if (r == 0 && any && !(*ret = lx_buf_steal(&text)))
		r = -ENOMEM;
	return r < 0 ? lx_err_oom(err) : 0;
}

static int change_profile(struct cli *cli, Lxmgr__V1__Profile *p, void *arg, struct lx_err *err)
{
	const answer *a = arg;
	int r = 0;

	for (size_t k = 0; k < LX_ARRAY_SIZE(keys) && r == 0; k++) {
		lx_autofree char *value = NULL;

		r = new_value(a, keys[k], lx_pb_map_get(p->n_config, p->config, keys[k]), &value, err);
		if (r == 0 && value &&
		    lx_pb_map_set(&lxmgr__v1__profile__config_entry__descriptor, &p->n_config, &p->config,
				  keys[k], value) < 0)
			r = lx_err_oom(err);
	}
	return r;
}

/* A key of its own comes instead of its profiles', so what those say goes along. */
static int change_instance(struct cli *cli, const answer *a, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__UpdateInstanceRequest *req =
		cli_pb_new(&lxmgr__v1__update_instance_request__descriptor);
	cli_autopb Lxmgr__V1__Instance *i = NULL;
	int r = req && lx_pb_set(&req->name, cli_operand(cli, 0)) == 0 ? 0 : lx_err_oom(err);

	if (r == 0)
		r = cli_instance_get(cli, cli_operand(cli, 0), &i, err);
	for (size_t k = 0; k < LX_ARRAY_SIZE(keys) && r == 0; k++) {
		lx_autofree char *value = NULL;

		r = new_value(a, keys[k], lx_pb_map_get(i->n_expanded_config, i->expanded_config, keys[k]),
			      &value, err);
		if (r == 0 && value &&
		    lx_pb_map_set(&lxmgr__v1__update_instance_request__set_config_entry__descriptor,
				  &req->n_set_config, &req->set_config, keys[k], value) < 0)
			r = lx_err_oom(err);
	}
	return r == 0 ? cli_instance_update(cli, req, err) : r;
}

static size_t count_good(const answer *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_suggestions; i++)
		n += !*a->suggestions[i]->refused;
	return n;
}

static int apply(struct cli *cli, answer *a, struct lx_err *err)
{
	size_t n = count_good(a);
	int r = 0;

	if (n == 0) {
		cli_note(cli, "There is nothing to add.");
		return 0;
	}
	if (lx_streq(a->of, "profile"))
		r = cli_profile_change(cli, cli_operand(cli, 0), change_profile, a, err);
	else
		r = change_instance(cli, a, err);
	if (r == 0)
		cli_note(cli, "Added %zu to %s %s", n, a->of, cli_operand(cli, 0));
	return r;
}

static int suggest_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__SuggestRequest req = LXMGR__V1__SUGGEST_REQUEST__INIT;
	cli_autopb answer *a = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	req.name = cli->args.operands[0];
	if (cli_opt(cli, "of"))
		req.of = (char *)cli_opt(cli, "of");
	if (r == 0)
		r = cli_call(cli, CLI_DENIALS, "Suggest", &req, &a, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f))
		r = print_doc(a, &f, err);
	else
		print_text(cli, a);
	return r == 0 && cli_flag(cli, "apply") ? apply(cli, a, err) : r;
}

static const struct cli_option options[] = {
	{ "apply", 0, NULL, "add them to the instance or profile", 0 },
	{ "of", 0, "WHAT", "instance or profile, where both have the name", 0 },
	{ "format", 'f', "FORMAT", "json or yaml, for scripts", CLI_FORMAT },
	{ .name = NULL },
};

const struct cli_verb cli_profile_suggest_verbs[] = {
	{ .name = "profile suggest",
	  .operands = "NAME",
	  .summary = "Show rules that would allow what was kept from an instance",
	  .details =
		  "Of an instance, or of all that use a profile: what AppArmor denied (or, with "
		  "security.apparmor=complain, would have) as rules for raw.apparmor, and what a list of "
		  "allowed "
		  "system calls did not have (with security.syscalls.log) as names for it. What is never "
		  "allowed "
		  "stands there as a comment, with the reason. Read them before you add them: what a program "
		  "did need not be what it should.",
	  .examples = "lxmgr config set web1 security.apparmor=complain\nlxmgr restart web1\n"
		      "lxmgr profile suggest web1\nlxmgr profile suggest web1 --apply",
	  .options = options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = suggest_run },
	{ .name = NULL },
};
