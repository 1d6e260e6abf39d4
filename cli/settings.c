/* Configuration and devices as typed: see settings.h. */
#include "cli/settings.h"

#include "proto/pb.h"

void cli_map_init(struct lx_map *m)
{
	lx_map_init(m, free);
}

void cli_devices_init(struct lx_map *m)
{
	lx_map_init(m, lx_pb_options_free);
}

int cli_map_put(struct lx_map *m, const char *key, const char *value)
{
	char *copy = strdup(value);

	if (copy && lx_map_set(m, key, copy) == 0)
		return 0;
	free(copy);
	return -ENOMEM;
}

int cli_pair(struct cli *cli, const char *text, struct lx_map *to, struct lx_err *err)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text)
		return cli_usage(cli, err, "\"%s\" is not KEY=VALUE", text);
	lx_autofree char *key = strndup(text, (size_t)(equals - text));
	return key && cli_map_put(to, key, equals + 1) == 0 ? 0 : lx_err_oom(err);
}

int cli_pairs(struct cli *cli, int i, struct lx_map *to, struct lx_err *err)
{
	const char *key = cli_operand(cli, i), *value = cli_operand(cli, i + 1);
	int r = 0;

	if (cli->args.n_operands == i + 2 && !strchr(key, '='))
		return cli_map_put(to, key, value) == 0 ? 0 : lx_err_oom(err);
	for (; r == 0 && i < cli->args.n_operands; i++)
		r = cli_pair(cli, cli_operand(cli, i), to, err);
	return r;
}

struct lx_map *cli_device_options(struct lx_map *devices, const char *name)
{
	struct lx_map *options = lx_map_get(devices, name);

	if (options)
		return options;
	options = calloc(1, sizeof(*options));
	if (!options)
		return NULL;
	cli_map_init(options);
	if (lx_map_set(devices, name, options) == 0)
		return options;
	lx_pb_options_free(options);
	return NULL;
}

int cli_device(struct cli *cli, const char *text, struct lx_map *devices, struct lx_err *err)
{
	lx_autofree char *copy = strdup(text);
	char *rest = copy, *part;

	if (!copy)
		return lx_err_oom(err);
	const char *name = strsep(&rest, ",");
	if (!*name || strchr(name, '=') || !rest)
		return cli_usage(cli, err, "\"%s\" is not NAME,KEY=VALUE,...", text);
	struct lx_map *options = cli_device_options(devices, name);
	int r = options ? 0 : lx_err_oom(err);
	while (r == 0 && (part = strsep(&rest, ",")))
		r = cli_pair(cli, part, options, err);
	return r;
}

/* ------------------------------------------------------------------ documents */

int cli_doc_read_text(const json_t *doc, const char *key, char **ret, struct lx_err *err)
{
	const json_t *v = json_object_get(doc, key);

	if (v && !json_is_string(v))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s must be text", key);
	*ret = strdup(v ? json_string_value(v) : "");
	return *ret ? 0 : lx_err_oom(err);
}

static int read_map(const json_t *v, const char *name, struct lx_map *to, struct lx_err *err)
{
	const char *k;
	json_t *text;

	/* "config:" with nothing below it reads as empty text. */
	if (!v || (json_is_string(v) && !json_string_length(v)))
		return 0;
	if (!json_is_object(v))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s must be a map of keys and values", name);
	json_object_foreach((json_t *)v, k, text)
	{
		if (!json_is_string(text))
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: the value of %s must be text", name,
					  k);
		if (cli_map_put(to, k, json_string_value(text)) < 0)
			return lx_err_oom(err);
	}
	return 0;
}

int cli_doc_read_map(const json_t *doc, const char *key, struct lx_map *to, struct lx_err *err)
{
	return read_map(json_object_get(doc, key), key, to, err);
}

int cli_doc_read_devices(const json_t *doc, const char *key, struct lx_map *to, struct lx_err *err)
{
	const json_t *v = json_object_get(doc, key);
	const char *name;
	json_t *device;
	int r = 0;

	if (!v || (json_is_string(v) && !json_string_length(v)))
		return 0;
	if (!json_is_object(v))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s must be a map of names and options", key);
	json_object_foreach((json_t *)v, name, device)
	{
		struct lx_map *options = cli_device_options(to, name);
		r = options ? read_map(device, name, options, err) : lx_err_oom(err);
		if (r < 0)
			break;
	}
	return r;
}

int cli_doc_check_keys(const json_t *doc, const char *const *known, struct lx_err *err)
{
	const char *key;
	json_t *value;
	size_t n = 0;

	if (!json_is_object(doc))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the document must be a map (\"key: value\" lines)");
	while (known[n])
		n++;
	json_object_foreach((json_t *)doc, key, value)
	{
		size_t i = 0;
		while (i < n && strcmp(known[i], key) != 0)
			i++;
		if (i < n)
			continue;
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "unknown key \"%s\"", key);
		const char *nearest = lx_nearest(key, known, n);
		if (nearest)
			lx_err_hint(err, "Did you mean \"%s\"?", nearest);
		return r;
	}
	return 0;
}
