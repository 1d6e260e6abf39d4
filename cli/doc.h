/*
 * Trees for scripts: built as JSON values, printed as JSON or YAML.
 *
 * Building never fails: when memory is out the document remembers it and printing says so.
 * Text that is not UTF-8 (a guest may send anything) has its bad bytes replaced by '?'.
 */
#ifndef LX_CLI_DOC_H
#define LX_CLI_DOC_H

#include <jansson.h>

#include "cli/table.h"
#include "lib/buf.h"

struct cli_doc {
	json_t *root;
	bool oom;
};

#define cli_autodoc __attribute__((cleanup(cli_doc_release)))
void cli_doc_release(struct cli_doc *d);

/* The root: an array or an object. */
json_t *cli_doc_init(struct cli_doc *d, bool array);
/* A new object at the end of an array. */
json_t *cli_doc_add(struct cli_doc *d, json_t *array);
/* New members of an object; `key` NULL appends to an array instead. */
json_t *cli_doc_object(struct cli_doc *d, json_t *to, const char *key);
json_t *cli_doc_array(struct cli_doc *d, json_t *to, const char *key);
void cli_doc_str(struct cli_doc *d, json_t *to, const char *key, const char *value);
void cli_doc_int(struct cli_doc *d, json_t *to, const char *key, uint64_t value);
void cli_doc_bool(struct cli_doc *d, json_t *to, const char *key, bool value);
/* RFC 3339, "" for 0. */
void cli_doc_time(struct cli_doc *d, json_t *to, const char *key, int64_t realtime_ns);
void cli_doc_strv(struct cli_doc *d, json_t *to, const char *key, size_t n, char *const *v);
/* A map<string, string> field, sorted by key. */
void cli_doc_map(struct cli_doc *d, json_t *to, const char *key, size_t n, const void *entries);
/* A map<string, Device> field. */
void cli_doc_devices(struct cli_doc *d, json_t *to, const char *key, size_t n, const void *entries);

/* Prints the root in f's layout (YAML unless JSON is asked for). */
int cli_doc_print(const struct cli_doc *d, const struct cli_format *f, FILE *out, struct lx_err *err);
/* One line of JSON. */
int cli_doc_print_line(const struct cli_doc *d, FILE *out, struct lx_err *err);

/* yaml_write.c: block style, text that could be read as something else in quotes. */
int cli_yaml_write(const json_t *value, struct lx_buf *out);

/*
 * yaml_read.c: one document. Every scalar comes as text, an empty one as "". Anchors,
 * duplicate keys and what is over the limits are refused with line and column.
 */
#define CLI_YAML_MAX_BYTES (1u << 20)
#define CLI_YAML_MAX_DEPTH 16
int cli_yaml_read(const char *text, size_t len, json_t **ret, struct lx_err *err);

#endif
