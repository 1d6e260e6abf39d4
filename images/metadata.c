/*
 * Reading metadata.yaml with libyaml's event parser.
 *
 * The happy path: one document, a mapping; the known keys are taken, all others skipped
 * however they look inside. Ways to fail: text that is no YAML (with line and column),
 * a known key twice or with the wrong kind of value, limits passed, an architecture
 * nobody knows. Anchors and aliases are refused where they would matter: in the keys we
 * read; no tree is ever built, so an alias bomb in a skipped part costs nothing.
 */
#include "images/metadata.h"

#include <errno.h>
#include <string.h>

#include <yaml.h>

#include "images/arch.h"
#include "lib/cleanup.h"
#include "lib/str.h"

struct reader {
	yaml_parser_t yaml;
	yaml_event_t event; /* the current one */
	bool have_event;
	struct lx_err *err;
};

static int broken_at(struct reader *r, const yaml_mark_t *at, const char *why)
{
	return lx_err_set(r->err, LX_INVALID_ARGUMENT, "metadata.yaml, line %zu, column %zu: %s",
			  at->line + 1, at->column + 1, why);
}

static int broken(struct reader *r, const char *why)
{
	return broken_at(r, &r->event.start_mark, why);
}

static int next(struct reader *r)
{
	if (r->have_event)
		yaml_event_delete(&r->event);
	r->have_event = false;
	if (yaml_parser_parse(&r->yaml, &r->event)) {
		r->have_event = true;
		return 0;
	}
	if (r->yaml.error == YAML_MEMORY_ERROR)
		return lx_err_oom(r->err);
	return broken_at(r, &r->yaml.problem_mark, r->yaml.problem ? r->yaml.problem : "this is not YAML");
}

/* The current event begins a value of any shape: passes over all of it. */
static int skip(struct reader *r)
{
	int depth = 0;

	for (;;) {
		switch (r->event.type) {
		case YAML_MAPPING_START_EVENT:
		case YAML_SEQUENCE_START_EVENT:
			if (++depth > LX_METADATA_MAX_DEPTH)
				return broken(r, "values are nested too deeply");
			break;
		case YAML_MAPPING_END_EVENT:
		case YAML_SEQUENCE_END_EVENT:
			depth--;
			break;
		default:
			break;
		}
		if (depth == 0)
			return 0;
		int e = next(r);

		if (e < 0)
			return e;
	}
}

/* The current event's text, borrowed until next(). NULL (and *ret_err set) when it is no plain text. */
static const char *text(struct reader *r, int *ret_err)
{
	if (r->event.type != YAML_SCALAR_EVENT) {
		*ret_err = broken(r, "text or a number is expected here");
		return NULL;
	}
	const char *s = (const char *)r->event.data.scalar.value;

	if (strlen(s) != r->event.data.scalar.length) {
		*ret_err = broken(r, "the text holds a NUL");
		return NULL;
	}
	return s;
}

/* ------------------------------------------------------------------ properties */

/* Bytes libyaml hands out are UTF-8 already; requests from people come this way too. */
static bool utf8_printable(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	while (*p) {
		unsigned c = *p++, more;

		if (c < 0x20 ? c != '\n' && c != '\t' : c == 0x7f)
			return false;
		if (c < 0x80)
			continue;
		if (c >= 0xf8 || c < 0xc2)
			return false;
		more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		/* Overlong forms, surrogates and what lies past the last character. */
		if ((c == 0xe0 && *p < 0xa0) || (c == 0xed && *p > 0x9f) || (c == 0xf0 && *p < 0x90) ||
		    (c == 0xf4 && *p > 0x8f) || c > 0xf4)
			return false;
		/* C1 control characters, which terminals obey as well. */
		if (c == 0xc2 && *p < 0xa0)
			return false;
		while (more--)
			if ((*p++ & 0xc0) != 0x80)
				return false;
	}
	return true;
}

int lx_property_check(const char *key, const char *value, struct lx_err *err)
{
	if (!*key || strlen(key) > LX_METADATA_MAX_KEY || strpbrk(key, "\n\t=") || !utf8_printable(key))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "invalid image property name \"%.60s\": it must be 1 to %d printable "
				  "characters without \"=\"",
				  key, LX_METADATA_MAX_KEY);
	if (strlen(value) > LX_METADATA_MAX_VALUE)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "image property \"%s\": its value is longer than %d bytes", key,
				  LX_METADATA_MAX_VALUE);
	if (!utf8_printable(value))
		return lx_err_set(
			err, LX_INVALID_ARGUMENT,
			"image property \"%s\": its value is not UTF-8 text without control characters", key);
	return 0;
}

const char *lx_metadata_get(const struct lx_metadata *m, const char *key)
{
	const char *value = lx_map_get(&m->properties, key);

	return value ? value : "";
}

int lx_metadata_set(struct lx_metadata *m, const char *key, const char *value)
{
	char *copy = strdup(value);

	m->properties.free_value = free;
	if (!copy || lx_map_set(&m->properties, key, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

static int parse_property(struct reader *r, const char *key, struct lx_metadata *m)
{
	int e = 0;
	const char *value = text(r, &e);

	if (!value)
		return e;
	/* An empty plain scalar, ~ and null mean the same: nothing. */
	if (r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	    (lx_streq(value, "~") || lx_streq(value, "null")))
		value = "";
	e = lx_property_check(key, value, r->err);
	if (e < 0)
		return e;
	if (lx_map_has(&m->properties, key))
		return broken(r, "this property is there twice");
	if (lx_map_count(&m->properties) >= LX_METADATA_MAX_PROPERTIES)
		return broken(r, "there are too many properties");
	return lx_metadata_set(m, key, value) < 0 ? lx_err_oom(r->err) : 0;
}

static int parse_properties(struct reader *r, struct lx_metadata *m)
{
	/* "properties:" with nothing after it. */
	if (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.length == 0)
		return 0;
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return broken(r, "properties must be a mapping of names to values");
	for (;;) {
		int e = next(r);

		if (e < 0)
			return e;
		if (r->event.type == YAML_MAPPING_END_EVENT)
			return 0;
		const char *key = text(r, &e);

		if (!key)
			return e;
		lx_autofree char *copy = strdup(key);

		if (!copy)
			return lx_err_oom(r->err);
		e = next(r);
		if (e == 0)
			e = parse_property(r, copy, m);
		if (e < 0)
			return e;
	}
}

/* ------------------------------------------------------------------ the document */

enum field { ARCHITECTURE, CREATION, EXPIRY, PROPERTIES, OTHER };

static enum field which_field(const char *key)
{
	static const char *const names[] = { "architecture", "creation_date", "expiry_date", "properties" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++)
		if (lx_streq(key, names[i]))
			return (enum field)i;
	return OTHER;
}

static int parse_architecture(struct reader *r, struct lx_metadata *m)
{
	int e = 0;
	const char *name = text(r, &e);

	if (!name)
		return e;
	const char *canonical = lx_arch_canonical(name);

	if (!canonical)
		return broken(r, "this architecture is not known");
	m->architecture = strdup(canonical);
	return m->architecture ? 0 : lx_err_oom(r->err);
}

static int parse_date(struct reader *r, int64_t *ret)
{
	int e = 0;
	const char *s = text(r, &e);
	int64_t v = 0;

	if (!s)
		return e;
	/* Within what nanoseconds in 64 bits can say. */
	if (lx_parse_i64(s, &v) < 0 || v < 0 || v > INT64_MAX / 1000000000)
		return broken(r, "a date must be given in seconds since 1970");
	*ret = v;
	return 0;
}

static int parse_field(struct reader *r, enum field field, struct lx_metadata *m)
{
	switch (field) {
	case ARCHITECTURE:
		return parse_architecture(r, m);
	case CREATION:
		return parse_date(r, &m->creation_date);
	case EXPIRY:
		return parse_date(r, &m->expiry_date);
	case PROPERTIES:
		return parse_properties(r, m);
	case OTHER:
		break;
	}
	return skip(r);
}

static int parse_mapping(struct reader *r, struct lx_metadata *m)
{
	unsigned seen = 0;

	for (;;) {
		int e = next(r);

		if (e < 0)
			return e;
		if (r->event.type == YAML_MAPPING_END_EVENT)
			break;
		const char *key = text(r, &e);

		if (!key)
			return e;
		enum field field = which_field(key);

		if (field != OTHER && (seen & (1U << field)))
			return broken(r, "this key is there twice");
		seen |= 1U << field;
		e = next(r);
		if (e == 0)
			e = parse_field(r, field, m);
		if (e < 0)
			return e;
	}
	if (!m->architecture)
		return lx_err_set(r->err, LX_INVALID_ARGUMENT, "metadata.yaml does not say the architecture");
	return 0;
}

static int parse_document(struct reader *r, struct lx_metadata *m)
{
	int e = next(r); /* the stream begins */

	if (e == 0)
		e = next(r); /* the document begins, or there is none */
	if (e < 0)
		return e;
	if (r->event.type != YAML_DOCUMENT_START_EVENT)
		return lx_err_set(r->err, LX_INVALID_ARGUMENT, "metadata.yaml is empty");
	e = next(r);
	if (e < 0)
		return e;
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return broken(r, "keys and values are expected");
	return parse_mapping(r, m);
}

int lx_metadata_parse(const void *in, size_t len, struct lx_metadata *ret, struct lx_err *err)
{
	struct reader r = { .err = err };

	*ret = (struct lx_metadata){ 0 };
	lx_map_init(&ret->properties, free);
	if (len > LX_METADATA_MAX_BYTES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "metadata.yaml is larger than %d bytes",
				  LX_METADATA_MAX_BYTES);
	if (!yaml_parser_initialize(&r.yaml))
		return lx_err_oom(err);
	yaml_parser_set_input_string(&r.yaml, in, len);
	int e = parse_document(&r, ret);

	if (r.have_event)
		yaml_event_delete(&r.event);
	yaml_parser_delete(&r.yaml);
	return e;
}

void lx_metadata_release(struct lx_metadata *m)
{
	if (!m)
		return;
	free(m->architecture);
	m->architecture = NULL;
	lx_map_release(&m->properties);
}

/* ------------------------------------------------------------------ writing */

/* A double-quoted scalar says everything that a property may hold. */
static int put_quoted(struct lx_buf *out, const char *s)
{
	int e = lx_buf_puts(out, "\"");

	for (; e == 0 && *s; s++) {
		if (*s == '"' || *s == '\\')
			e = lx_buf_printf(out, "\\%c", *s);
		else if (*s == '\n')
			e = lx_buf_puts(out, "\\n");
		else if (*s == '\t')
			e = lx_buf_puts(out, "\\t");
		else
			e = lx_buf_append(out, s, 1);
	}
	return e < 0 ? e : lx_buf_puts(out, "\"");
}

int lx_metadata_format(const struct lx_metadata *m, struct lx_buf *out)
{
	int e = lx_buf_printf(out, "architecture: %s\ncreation_date: %lld\n", m->architecture,
			      (long long)m->creation_date);

	if (e == 0 && m->expiry_date)
		e = lx_buf_printf(out, "expiry_date: %lld\n", (long long)m->expiry_date);
	if (e == 0 && lx_map_count(&m->properties) > 0)
		e = lx_buf_puts(out, "properties:\n");
	for (struct lx_map_entry *p = lx_map_first(&m->properties); e == 0 && p; p = lx_map_next(p)) {
		e = lx_buf_puts(out, "  ");
		if (e == 0)
			e = put_quoted(out, lx_map_key(p));
		if (e == 0)
			e = lx_buf_puts(out, ": ");
		if (e == 0)
			e = put_quoted(out, lx_map_value(p));
		if (e == 0)
			e = lx_buf_puts(out, "\n");
	}
	return e;
}
