/*
 * YAML in: what people write into an editor or a pipe.
 *
 * The happy path: libyaml's events become JSON values on a stack. Everything is text, a
 * list or a map; the manager decides what text means. Anchors and aliases are refused (a
 * few lines of them can stand for gigabytes), and so are duplicate keys, because one of
 * two values would be lost silently.
 */
#include "cli/doc.h"

#include <yaml.h>

struct frame {
	json_t *container;
	char *key; /* of a map: read, its value is awaited */
};

struct reader {
	yaml_parser_t parser;
	struct frame stack[CLI_YAML_MAX_DEPTH];
	size_t depth;
	json_t *root;
};

static int complain(const yaml_mark_t *at, struct lx_err *err, const char *what)
{
	return lx_err_set(err, LX_INVALID_ARGUMENT, "line %zu, column %zu: %s", at->line + 1, at->column + 1,
			  what);
}

/* Takes `value`. */
static int place(struct reader *r, const yaml_mark_t *at, json_t *value, struct lx_err *err)
{
	if (!value)
		return lx_err_oom(err);
	if (!r->depth) {
		r->root = value;
		return 0;
	}
	struct frame *f = &r->stack[r->depth - 1];
	int failed;
	if (json_is_array(f->container)) {
		failed = json_array_append_new(f->container, value);
	} else {
		failed = json_object_set_new(f->container, f->key, value);
		free(f->key);
		f->key = NULL;
	}
	return failed ? complain(at, err, "text is not UTF-8") : 0;
}

static int scalar(struct reader *r, const yaml_event_t *e, struct lx_err *err)
{
	const char *text = (const char *)e->data.scalar.value;
	struct frame *f = r->depth ? &r->stack[r->depth - 1] : NULL;
	bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	if (strlen(text) != e->data.scalar.length)
		return complain(&e->start_mark, err, "text must not have NUL bytes");
	if (f && json_is_object(f->container) && !f->key) {
		if (json_object_get(f->container, text))
			return complain(&e->start_mark, err, "this key is there already");
		f->key = strdup(text);
		return f->key ? 0 : lx_err_oom(err);
	}
	if (plain && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0))
		text = "";
	json_t *value = json_string(text);
	return value ? place(r, &e->start_mark, value, err)
		     : complain(&e->start_mark, err, "text is not UTF-8");
}

static int begin(struct reader *r, const yaml_event_t *e, json_t *container, struct lx_err *err)
{
	if (!container)
		return lx_err_oom(err);
	if (r->depth && json_is_object(r->stack[r->depth - 1].container) && !r->stack[r->depth - 1].key) {
		json_decref(container);
		return complain(&e->start_mark, err, "a key must be plain text");
	}
	if (r->depth == CLI_YAML_MAX_DEPTH) {
		json_decref(container);
		return complain(&e->start_mark, err, "nested too deeply");
	}
	int failed = place(r, &e->start_mark, container, err);
	if (failed == 0)
		r->stack[r->depth++] = (struct frame){ container, NULL };
	return failed;
}

/* 1 at the end. */
static int handle(struct reader *r, const yaml_event_t *e, struct lx_err *err)
{
	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return complain(&e->start_mark, err, "references (*name) are not supported");
	case YAML_SCALAR_EVENT:
		return scalar(r, e, err);
	case YAML_SEQUENCE_START_EVENT:
		return begin(r, e, json_array(), err);
	case YAML_MAPPING_START_EVENT:
		return begin(r, e, json_object(), err);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		r->depth--;
		return 0;
	case YAML_DOCUMENT_START_EVENT:
		return r->root ? complain(&e->start_mark, err, "there must be one document only") : 0;
	case YAML_STREAM_END_EVENT:
		return 1;
	default:
		return 0;
	}
}

static int parse(struct reader *r, struct lx_err *err)
{
	int result = 0;

	while (result == 0) {
		yaml_event_t e;
		if (!yaml_parser_parse(&r->parser, &e))
			return complain(&r->parser.problem_mark, err,
					r->parser.problem ? r->parser.problem : "not YAML");
		result = handle(r, &e, err);
		yaml_event_delete(&e);
	}
	return result < 0 ? result : 0;
}

int cli_yaml_read(const char *text, size_t len, json_t **ret, struct lx_err *err)
{
	struct reader r = { .depth = 0 };

	if (len > CLI_YAML_MAX_BYTES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the document is longer than %u bytes",
				  CLI_YAML_MAX_BYTES);
	if (!yaml_parser_initialize(&r.parser))
		return lx_err_oom(err);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
	int result = parse(&r, err);
	for (size_t i = 0; i < r.depth; i++)
		free(r.stack[i].key);
	yaml_parser_delete(&r.parser);
	if (result < 0) {
		json_decref(r.root);
		return result;
	}
	*ret = r.root ? r.root : json_object();
	return *ret ? 0 : lx_err_oom(err);
}
