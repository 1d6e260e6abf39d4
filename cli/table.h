/*
 * Rows and columns for people (aligned, coloured, as wide as the terminal) and for
 * scripts (CSV, RFC 4180).
 *
 * Filling never fails: when memory is out the table remembers it and printing says so.
 */
#ifndef LX_CLI_TABLE_H
#define LX_CLI_TABLE_H

#include "cli/cli.h"

enum cli_layout { CLI_OUT_TABLE, CLI_OUT_COMPACT, CLI_OUT_CSV, CLI_OUT_JSON, CLI_OUT_YAML };

struct cli_format {
	enum cli_layout layout;
	bool header;
};

/* The option every listing has. */
#define CLI_FORMAT_OPTION                                                                                    \
	{                                                                                                    \
		"format", 'f', "FORMAT",                                                                     \
			"table (default), compact, csv, json or yaml; \",header\" and \",noheader\" "        \
			"after it show or hide the headings",                                                \
			CLI_FORMAT                                                                           \
	}
/* Reads --format; `fallback` without it. Usage error for an unknown one. */
int cli_format(struct cli *cli, enum cli_layout fallback, struct cli_format *ret, struct lx_err *err);
/* "csv,header"; 0 or -EINVAL. */
int cli_format_parse(const char *text, struct cli_format *ret);
static inline bool cli_is_document(const struct cli_format *f)
{
	return f->layout == CLI_OUT_JSON || f->layout == CLI_OUT_YAML;
}

struct cli_table {
	size_t n_columns, n_rows;
	const char **headings; /* borrowed */
	bool *right;           /* aligned to the right: numbers */
	char **cells;          /* n_rows * n_columns, owned; NULL is empty */
	bool oom;
};

/* Headings end with NULL; one that begins with '>' is aligned to the right. */
void cli_table_init(struct cli_table *t, const char *const *headings);
void cli_table_column(struct cli_table *t, const char *heading);
void cli_table_release(struct cli_table *t);
/* Begins a row; columns must not be added after the first. */
void cli_table_row(struct cli_table *t);
/* Sets a cell of the last row. Several values are separated by newlines. */
void cli_table_set(struct cli_table *t, size_t column, const char *text);
void cli_table_setf(struct cli_table *t, size_t column, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Orders the rows by a column's text. */
void cli_table_sort(struct cli_table *t, size_t column);
int cli_table_print(struct cli_table *t, const struct cli_format *f, FILE *out, struct lx_err *err);

#define cli_autotable __attribute__((cleanup(cli_table_release)))

#endif
