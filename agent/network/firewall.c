/*
 * Two questions to nft: which chains are there, and, when one drops by policy, what is in its
 * table. When nft cannot answer there is nothing to report: that it fails is reported by
 * those who set our rules with it.
 */
#include "agent/network/firewall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "agent/network/child.h"
#include "lib/cleanup.h"
#include "lib/str.h"

/* ------------------------------------------------------------------ pure */

/* Names that can go on a command line as they are. */
static bool copy_name(char *out, size_t n, const char *name)
{
	if (lx_str_empty(name) || strlen(name) >= n ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") !=
		    strlen(name) ||
	    name[0] == '-')
		return false;
	snprintf(out, n, "%s", name);
	return true;
}

bool lx_firewall_find(const char *json, struct lx_firewall_chain *out)
{
	json_t *root = json_loads(json, 0, NULL), *item;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(root, "nftables"), i, item)
	{
		json_t *chain = json_object_get(item, "chain");
		const char *family = json_string_value(json_object_get(chain, "family"));
		const char *table = json_string_value(json_object_get(chain, "table"));

		if (!lx_streq(json_string_value(json_object_get(chain, "hook")), "forward") ||
		    !lx_streq(json_string_value(json_object_get(chain, "policy")), "drop") ||
		    (!lx_streq(family, "ip") && !lx_streq(family, "ip6") && !lx_streq(family, "inet")) ||
		    !copy_name(out->table, sizeof(out->table), table) ||
		    !copy_name(out->chain, sizeof(out->chain),
			       json_string_value(json_object_get(chain, "name"))))
			continue;
		snprintf(out->family, sizeof(out->family), "%s", family);
		found = true;
		break;
	}
	json_decref(root);
	return found;
}

bool lx_firewall_mentions(const char *rules, const char *interface)
{
	lx_autofree char *quoted = lx_asprintf("\"%s\"", interface);

	return !quoted || strstr(rules, quoted);
}

/* ------------------------------------------------------------------ asking */

struct look {
	uv_loop_t *loop;
	struct lx_firewall_chain chain;
	lx_firewall_cb cb;
	void *arg;
};

static void answer(struct look *l, const struct lx_firewall_chain *chain, const char *rules)
{
	l->cb(chain, rules, l->arg);
	free(l);
}

static void on_table(const char *out, const struct lx_err *err, void *arg)
{
	struct look *l = arg;

	answer(l, err ? NULL : &l->chain, out);
}

static void on_chains(const char *out, const struct lx_err *err, void *arg)
{
	struct look *l = arg;
	const char *argv[] = { "nft", "list", "table", l->chain.family, l->chain.table, NULL };

	if (err || !lx_firewall_find(out, &l->chain) ||
	    lx_child_run(l->loop, argv, NULL, on_table, l, NULL) < 0)
		answer(l, NULL, NULL);
}

int lx_firewall_look(uv_loop_t *loop, lx_firewall_cb cb, void *arg, struct lx_err *err)
{
	static const char *const argv[] = { "nft", "-j", "list", "chains", NULL };
	struct look *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return lx_err_oom(err);
	l->loop = loop;
	l->cb = cb;
	l->arg = arg;
	r = lx_child_run(loop, argv, NULL, on_chains, l, err);
	if (r < 0)
		free(l);
	return r;
}
