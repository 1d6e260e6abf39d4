/* Asking a person to change a text. */
#ifndef LX_CLI_EDITOR_H
#define LX_CLI_EDITOR_H

#include "cli/doc.h"

/* Runs $VISUAL, $EDITOR or vi on a file until it is left. */
int cli_editor_run(const char *path, struct lx_err *err);

/* Reads a file to be parsed as YAML, "-" for stdin. */
int cli_read_document(const char *path, struct lx_buf *text, struct lx_err *err);

/*
 * Shows `d` as YAML in the editor and hands what comes back to `apply`. When stdin is no
 * terminal the YAML is read from there instead. What `apply` refuses can be corrected in
 * the editor; an unchanged text is not applied.
 */
int cli_edit(struct cli *cli, const struct cli_doc *d, const char *heading,
	     int (*apply)(struct cli *cli, const json_t *doc, void *arg, struct lx_err *err), void *arg,
	     struct lx_err *err);

#endif
