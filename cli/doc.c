/* Documents: see doc.h. */
#include "cli/doc.h"

#include "lib/clock.h"
#include "proto/pb.h"

void cli_doc_release(struct cli_doc *d)
{
	json_decref(d->root);
	d->root = NULL;
}

json_t *cli_doc_init(struct cli_doc *d, bool array)
{
	d->root = array ? json_array() : json_object();
	d->oom = !d->root;
	return d->root;
}

/* Takes `value`; returns it as long as it lives in the tree. */
static json_t *put(struct cli_doc *d, json_t *to, const char *key, json_t *value)
{
	int r = !value || !to ? -1
		: key         ? json_object_set_new(to, key, value)
			      : json_array_append_new(to, value);

	if (r == 0)
		return value;
	if (value && !to)
		json_decref(value);
	d->oom = true;
	return NULL;
}

json_t *cli_doc_add(struct cli_doc *d, json_t *array)
{
	return put(d, array, NULL, json_object());
}

json_t *cli_doc_object(struct cli_doc *d, json_t *to, const char *key)
{
	return put(d, to, key, json_object());
}

json_t *cli_doc_array(struct cli_doc *d, json_t *to, const char *key)
{
	return put(d, to, key, json_array());
}

/* Jansson takes valid UTF-8 only. What is not becomes '?', byte by byte. */
static json_t *repaired(const char *text)
{
	lx_autofree char *copy = strdup(text);

	if (!copy)
		return NULL;
	for (unsigned char *p = (unsigned char *)copy; *p;) {
		size_t len = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : *p >= 0xc2 ? 2 : 0;
		json_t *one = len && strnlen((char *)p, len) == len ? json_stringn((char *)p, len) : NULL;
		if (one) {
			json_decref(one);
			p += len;
		} else {
			*p++ = '?';
		}
	}
	return json_string(copy);
}

static json_t *text_value(const char *text)
{
	json_t *v = json_string(text);

	return v ? v : repaired(text);
}

void cli_doc_str(struct cli_doc *d, json_t *to, const char *key, const char *value)
{
	put(d, to, key, text_value(value ? value : ""));
}

void cli_doc_int(struct cli_doc *d, json_t *to, const char *key, uint64_t value)
{
	put(d, to, key, json_integer((json_int_t)value));
}

void cli_doc_bool(struct cli_doc *d, json_t *to, const char *key, bool value)
{
	put(d, to, key, json_boolean(value));
}

void cli_doc_time(struct cli_doc *d, json_t *to, const char *key, int64_t realtime_ns)
{
	char text[LX_TIME_TEXT];

	cli_doc_str(d, to, key, realtime_ns ? lx_time_rfc3339((uint64_t)realtime_ns, text) : "");
}

void cli_doc_strv(struct cli_doc *d, json_t *to, const char *key, size_t n, char *const *v)
{
	json_t *array = cli_doc_array(d, to, key);

	for (size_t i = 0; i < n; i++)
		cli_doc_str(d, array, NULL, v[i]);
}

/* Entries of maps have their key in the same place whatever the value is. */
static int by_key(const void *a, const void *b)
{
	const struct lx_pb_entry *x = *(struct lx_pb_entry *const *)a, *y = *(struct lx_pb_entry *const *)b;

	return strcmp(x->key, y->key);
}

/* A sorted copy of the array of entries; NULL when memory is out or there is nothing. */
static void *sorted(struct cli_doc *d, size_t n, const void *entries)
{
	void **copy = n ? malloc(n * sizeof(*copy)) : NULL;

	if (n && !copy)
		d->oom = true;
	if (copy) {
		memcpy(copy, entries, n * sizeof(*copy));
		qsort(copy, n, sizeof(*copy), by_key);
	}
	return copy;
}

void cli_doc_map(struct cli_doc *d, json_t *to, const char *key, size_t n, const void *entries)
{
	json_t *object = cli_doc_object(d, to, key);
	lx_autofree struct lx_pb_entry **e = sorted(d, n, entries);

	for (size_t i = 0; e && i < n; i++)
		cli_doc_str(d, object, e[i]->key, e[i]->value);
}

void cli_doc_devices(struct cli_doc *d, json_t *to, const char *key, size_t n, const void *entries)
{
	json_t *object = cli_doc_object(d, to, key);
	lx_autofree struct lx_pb_device_entry **e = sorted(d, n, entries);

	for (size_t i = 0; e && i < n; i++)
		cli_doc_map(d, object, e[i]->key, e[i]->value ? e[i]->value->n_options : 0,
			    e[i]->value ? e[i]->value->options : NULL);
}

int cli_doc_print(const struct cli_doc *d, const struct cli_format *f, FILE *out, struct lx_err *err)
{
	if (d->oom)
		return lx_err_oom(err);
	if (f->layout == CLI_OUT_JSON) {
		if (json_dumpf(d->root, out, JSON_INDENT(2)) < 0)
			return lx_err_set(err, LX_INTERNAL, "cannot write JSON");
		putc('\n', out);
		return 0;
	}
	lx_autobuf struct lx_buf text = { 0 };
	if (cli_yaml_write(d->root, &text) < 0)
		return lx_err_oom(err);
	fwrite(text.data, 1, text.len, out);
	return 0;
}

int cli_doc_print_line(const struct cli_doc *d, FILE *out, struct lx_err *err)
{
	if (d->oom)
		return lx_err_oom(err);
	if (json_dumpf(d->root, out, JSON_COMPACT) < 0)
		return lx_err_set(err, LX_INTERNAL, "cannot write JSON");
	putc('\n', out);
	return 0;
}
