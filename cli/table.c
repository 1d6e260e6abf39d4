/*
 * Tables: cells as text, laid out by libsmartcols or written as CSV.
 *
 * On a terminal the table layout folds what is too wide and shows several values of a cell
 * below each other; compact has one line a row whatever happens. Away from a terminal
 * nothing is cut.
 */
#include "cli/table.h"

#include <libsmartcols.h>
#include <stdarg.h>

#define BLANK "-" /* what an empty cell of a table shows, so that columns can be counted */

static const char *const layouts[] = {
	[CLI_OUT_TABLE] = "table", [CLI_OUT_COMPACT] = "compact", [CLI_OUT_CSV] = "csv",
	[CLI_OUT_JSON] = "json",   [CLI_OUT_YAML] = "yaml",
};

int cli_format_parse(const char *text, struct cli_format *ret)
{
	size_t len = strcspn(text, ",");

	for (size_t i = 0; i < LX_ARRAY_SIZE(layouts); i++) {
		if (strlen(layouts[i]) != len || strncmp(layouts[i], text, len) != 0)
			continue;
		ret->layout = (enum cli_layout)i;
		ret->header = ret->layout != CLI_OUT_CSV;
		if (!text[len])
			return 0;
		ret->header = strcmp(text + len, ",header") == 0;
		return ret->header || strcmp(text + len, ",noheader") == 0 ? 0 : -EINVAL;
	}
	return -EINVAL;
}

int cli_format(struct cli *cli, enum cli_layout fallback, struct cli_format *ret, struct lx_err *err)
{
	const char *text = cli_opt(cli, "format");

	*ret = (struct cli_format){ fallback, true };
	if (text && cli_format_parse(text, ret) < 0)
		return cli_usage(cli, err, "unknown format \"%s\": it is table, compact, csv, json or yaml",
				 text);
	return 0;
}

/* ------------------------------------------------------------------ filling */

void cli_table_column(struct cli_table *t, const char *heading)
{
	size_t n = t->n_columns + 1;
	const char **headings = t->oom ? NULL : realloc(t->headings, n * sizeof(*headings));
	if (headings)
		t->headings = headings;
	bool *right = headings ? realloc(t->right, n * sizeof(*right)) : NULL;
	if (!right) {
		t->oom = true;
		return;
	}
	t->right = right;
	t->right[n - 1] = heading[0] == '>';
	t->headings[n - 1] = heading + t->right[n - 1];
	t->n_columns = n;
}

void cli_table_init(struct cli_table *t, const char *const *headings)
{
	*t = (struct cli_table){ 0 };
	for (; headings && *headings; headings++)
		cli_table_column(t, *headings);
}

void cli_table_release(struct cli_table *t)
{
	for (size_t i = 0; i < t->n_rows * t->n_columns; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t->headings);
	free(t->right);
	*t = (struct cli_table){ 0 };
}

void cli_table_row(struct cli_table *t)
{
	if (t->oom)
		return;
	char **cells = reallocarray(t->cells, (t->n_rows + 1) * t->n_columns, sizeof(*cells));
	if (!cells) {
		t->oom = true;
		return;
	}
	t->cells = cells;
	for (size_t i = 0; i < t->n_columns; i++)
		t->cells[t->n_rows * t->n_columns + i] = NULL;
	t->n_rows++;
}

void cli_table_set(struct cli_table *t, size_t column, const char *text)
{
	if (t->oom || column >= t->n_columns || !t->n_rows || lx_str_empty(text))
		return;
	char **cell = &t->cells[(t->n_rows - 1) * t->n_columns + column];
	free(*cell);
	*cell = strdup(text);
	if (!*cell)
		t->oom = true;
}

void cli_table_setf(struct cli_table *t, size_t column, const char *fmt, ...)
{
	lx_autofree char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (text)
		cli_table_set(t, column, text);
	else
		t->oom = true;
}

static int compare_rows(const void *a, const void *b, void *column)
{
	const char *x = ((char *const *)a)[*(size_t *)column], *y = ((char *const *)b)[*(size_t *)column];

	return strcmp(x ? x : "", y ? y : "");
}

void cli_table_sort(struct cli_table *t, size_t column)
{
	if (!t->oom && column < t->n_columns && t->n_rows > 1)
		qsort_r(t->cells, t->n_rows, t->n_columns * sizeof(*t->cells), compare_rows, &column);
}

/* ------------------------------------------------------------------ CSV */

static void csv_cell(FILE *out, const char *text)
{
	if (!text)
		return;
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, out);
		return;
	}
	putc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			putc('"', out);
		putc(*text, out);
	}
	putc('"', out);
}

static void csv_row(const struct cli_table *t, const char *const *cells, FILE *out)
{
	for (size_t c = 0; c < t->n_columns; c++) {
		if (c)
			putc(',', out);
		csv_cell(out, cells[c]);
	}
	putc('\n', out);
}

/* ------------------------------------------------------------------ for people */

/* Colour by meaning: states are the same words in every table. */
static const char *state_colour(const char *text)
{
	static const struct {
		const char *word, *colour;
	} words[] = {
		{ "RUNNING", "green" }, { "ONLINE", "green" },   { "SUCCESS", "green" },
		{ "ERROR", "red" },     { "OFFLINE", "red" },    { "FAILURE", "red" },
		{ "FROZEN", "blue" },   { "UNKNOWN", "yellow" }, { "STARTING", "cyan" },
		{ "STOPPING", "cyan" }, { "CREATING", "cyan" },  { "DELETING", "cyan" },
		{ "FREEZING", "cyan" }, { "PENDING", "cyan" },   { "CANCELLED", "yellow" },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(words); i++)
		if (strcmp(words[i].word, text) == 0)
			return words[i].colour;
	return NULL;
}

/* One line: several values become "a, b". */
static void join_lines(char *text)
{
	for (char *p = text; (p = strchr(p, '\n'));)
		*p = ',';
}

/* Bytes of the longest cell of a column; 0 when cells have several lines. */
static size_t longest(const struct cli_table *t, size_t column)
{
	size_t max = 0;

	for (size_t i = column; i < t->n_rows * t->n_columns; i += t->n_columns) {
		size_t len = t->cells[i] ? strlen(t->cells[i]) : 0;
		if (len && memchr(t->cells[i], '\n', len))
			return 0;
		max = len > max ? len : max;
	}
	return max;
}

/* Several values of a cell go below each other; when the terminal is too narrow, the widest column is folded.
 */
static int add_columns(struct libscols_table *tb, const struct cli_table *t, bool compact)
{
	size_t widest = 0;

	for (size_t c = 1; c < t->n_columns; c++)
		if (longest(t, c) > longest(t, widest))
			widest = c;
	for (size_t c = 0; c < t->n_columns; c++) {
		bool lines = !compact && !longest(t, c);
		int flags = (t->right[c] ? SCOLS_FL_RIGHT : 0) |
			    (lines || (!compact && c == widest) ? SCOLS_FL_WRAP : 0);
		struct libscols_column *cl = scols_table_new_column(tb, t->headings[c], 0, flags);
		if (!cl)
			return -ENOMEM;
		if (lines) {
			scols_column_set_wrapfunc(cl, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL);
			scols_column_set_safechars(cl, "\n");
		}
	}
	return 0;
}

static int add_row(struct libscols_table *tb, const struct cli_table *t, size_t row, bool compact)
{
	struct libscols_line *ln = scols_table_new_line(tb, NULL);

	if (!ln)
		return -ENOMEM;
	for (size_t c = 0; c < t->n_columns; c++) {
		char *text = t->cells[row * t->n_columns + c];
		if (text && compact)
			join_lines(text);
		if (scols_line_set_data(ln, c, text ? text : BLANK) < 0)
			return -ENOMEM;
		const char *colour = text ? state_colour(text) : NULL;
		if (colour)
			scols_cell_set_color(scols_line_get_cell(ln, c), colour);
	}
	return 0;
}

static void print_headings(const struct cli_table *t, FILE *out)
{
	for (size_t c = 0; c < t->n_columns; c++)
		fprintf(out, "%s%s", c ? "  " : "", t->headings[c]);
	putc('\n', out);
}

static int print_aligned(struct cli_table *t, const struct cli_format *f, FILE *out)
{
	bool compact = f->layout == CLI_OUT_COMPACT, tty = isatty(fileno(out));
	struct libscols_table *tb = scols_new_table();
	int r = tb ? 0 : -ENOMEM;

	if (r == 0) {
		scols_table_set_stream(tb, out);
		scols_table_enable_colors(tb, cli_colours(fileno(out)));
		scols_table_enable_noheadings(tb, !f->header);
		scols_table_enable_nowrap(tb, compact);
		scols_table_set_column_separator(tb, compact ? " " : "  ");
		scols_table_set_termforce(tb, tty && !compact ? SCOLS_TERMFORCE_AUTO : SCOLS_TERMFORCE_NEVER);
		r = add_columns(tb, t, compact);
	}
	for (size_t i = 0; r == 0 && i < t->n_rows; i++)
		r = add_row(tb, t, i, compact);
	if (r == 0 && t->n_rows)
		r = scols_print_table(tb);
	else if (r == 0 && f->header) /* libsmartcols prints nothing of a table without rows */
		print_headings(t, out);
	scols_unref_table(tb);
	return r;
}

int cli_table_print(struct cli_table *t, const struct cli_format *f, FILE *out, struct lx_err *err)
{
	if (t->oom)
		return lx_err_oom(err);
	if (f->layout == CLI_OUT_CSV) {
		if (f->header)
			csv_row(t, t->headings, out);
		for (size_t i = 0; i < t->n_rows; i++)
			csv_row(t, (const char *const *)t->cells + i * t->n_columns, out);
		return 0;
	}
	int r = print_aligned(t, f, out);
	return r < 0 ? lx_err_errno(err, r, "cannot lay out the table") : 0;
}
