/* Images: what the verbs share. */
#ifndef LX_CLI_IMAGE_H
#define LX_CLI_IMAGE_H

#include "cli/doc.h"
#include "lxmgr/v1/image.pb-c.h"

#define CLI_FINGERPRINT_SHORT 12 /* digits shown */

/* --alias: all of them, appended to a repeated field. */
int cli_image_aliases(struct cli *cli, size_t *n, char ***aliases, struct lx_err *err);

/* image_transfer.c */
int cli_image_import(struct cli *cli, struct lx_err *err);
int cli_image_export(struct cli *cli, struct lx_err *err);
extern const struct cli_option cli_image_import_options[], cli_image_export_options[];

#endif
