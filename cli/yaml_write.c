/*
 * YAML out of JSON values, in block style.
 *
 * Plain scalars are kept to what every YAML reader takes for text; anything that could be
 * a number, a boolean, a date, null or syntax goes into double quotes. Text with newlines
 * is quoted too ("\n"): shorter to get right than block scalars with their chomping.
 */
#include "cli/doc.h"

#include <ctype.h>

static bool is_word(const char *s)
{
	static const char *const words[] = { "null", "true", "false", "yes", "no", "on", "off", "y", "n" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(words); i++)
		if (strcasecmp(s, words[i]) == 0)
			return true;
	return false;
}

/* Text that starts with a letter, '/' or '_' and has no syntax in it reads as text everywhere. */
static bool is_plain(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '/' && *s != '_')
		return false;
	for (const char *p = s; *p; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f ||
		    strchr("{}[],&*#?|<>=!%@`\"'\\", *p))
			return false;
		if (*p == ':' && (p[1] == ' ' || !p[1]))
			return false;
	}
	return s[strlen(s) - 1] != ' ' && !is_word(s);
}

static int write_text(const char *s, struct lx_buf *out)
{
	if (is_plain(s))
		return lx_buf_puts(out, s);
	int r = lx_buf_puts(out, "\"");
	for (; r == 0 && *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			r = lx_buf_printf(out, "\\%c", c);
		else if (c == '\n')
			r = lx_buf_puts(out, "\\n");
		else if (c == '\t')
			r = lx_buf_puts(out, "\\t");
		else if (c < 0x20 || c == 0x7f)
			r = lx_buf_printf(out, "\\x%02x", c);
		else
			r = lx_buf_append(out, s, 1);
	}
	return r < 0 ? r : lx_buf_puts(out, "\"");
}

static int write_scalar(const json_t *v, struct lx_buf *out)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return write_text(json_string_value(v), out);
	case JSON_INTEGER:
		return lx_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	case JSON_REAL:
		return lx_buf_printf(out, "%g", json_real_value(v));
	case JSON_TRUE:
		return lx_buf_puts(out, "true");
	case JSON_FALSE:
		return lx_buf_puts(out, "false");
	case JSON_OBJECT:
		return lx_buf_puts(out, "{}");
	case JSON_ARRAY:
		return lx_buf_puts(out, "[]");
	case JSON_NULL:
		return lx_buf_puts(out, "null");
	}
	return 0;
}

static int indent_by(struct lx_buf *out, int indent)
{
	return lx_buf_printf(out, "%*s", indent, "");
}

static bool has_children(const json_t *v)
{
	return json_object_size(v) > 0 || json_array_size(v) > 0;
}

/* Writes a value that has children; the first line is not indented when `inside` a list item. */
static int write_block(const json_t *v, struct lx_buf *out, int indent, bool inside)
{
	const char *key;
	json_t *child;
	size_t i;
	int r = 0;

	json_object_foreach((json_t *)v, key, child)
	{
		if (!inside)
			r = indent_by(out, indent);
		inside = false;
		if (r == 0)
			r = write_text(key, out);
		if (r == 0)
			r = lx_buf_puts(out, has_children(child) ? ":\n" : ": ");
		if (r == 0 && has_children(child))
			r = write_block(child, out, json_is_array(child) ? indent : indent + 2, false);
		else if (r == 0 && (r = write_scalar(child, out)) == 0)
			r = lx_buf_puts(out, "\n");
		if (r < 0)
			return r;
	}
	json_array_foreach(v, i, child)
	{
		if (!inside)
			r = indent_by(out, indent);
		inside = false;
		if (r == 0)
			r = lx_buf_puts(out, "- ");
		if (r == 0 && has_children(child))
			r = write_block(child, out, indent + 2, true);
		else if (r == 0 && (r = write_scalar(child, out)) == 0)
			r = lx_buf_puts(out, "\n");
		if (r < 0)
			return r;
	}
	return 0;
}

int cli_yaml_write(const json_t *value, struct lx_buf *out)
{
	if (has_children(value))
		return write_block(value, out, 0, false);
	int r = write_scalar(value, out);
	return r < 0 ? r : lx_buf_puts(out, "\n");
}
