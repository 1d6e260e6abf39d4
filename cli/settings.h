/*
 * What people type for configuration and devices, and documents they edit, turned into
 * maps: key -> text, and device name -> struct lx_map * of its options.
 */
#ifndef LX_CLI_SETTINGS_H
#define LX_CLI_SETTINGS_H

#include <jansson.h>

#include "cli/cli.h"
#include "lib/map.h"
#include "lxmgr/v1/instance.pb-c.h"

#define cli_automap __attribute__((cleanup(lx_map_release)))

/* Maps that own text, and maps that own maps of options. */
void cli_map_init(struct lx_map *m);
void cli_devices_init(struct lx_map *m);

/* Sets a copy of `value`. 0 or -ENOMEM. */
int cli_map_put(struct lx_map *m, const char *key, const char *value);
/* "KEY=VALUE" into a map; the value may be empty and may have more '='. */
int cli_pair(struct cli *cli, const char *text, struct lx_map *to, struct lx_err *err);
/* Operands from the i-th on: "KEY=VALUE..." or, when there are just two, "KEY VALUE". */
int cli_pairs(struct cli *cli, int i, struct lx_map *to, struct lx_err *err);
/* "NAME,KEY=VALUE,...": adds to the device's options, or makes it. */
int cli_device(struct cli *cli, const char *text, struct lx_map *devices, struct lx_err *err);
/* The options of a device, made when it is not there; NULL when memory is out. */
struct lx_map *cli_device_options(struct lx_map *devices, const char *name);

/* Members of a document. An absent one is empty; anything but text (or maps of text) is refused. */
int cli_doc_read_text(const json_t *doc, const char *key, char **ret, struct lx_err *err);
int cli_doc_read_map(const json_t *doc, const char *key, struct lx_map *to, struct lx_err *err);
int cli_doc_read_devices(const json_t *doc, const char *key, struct lx_map *to, struct lx_err *err);
/* Refuses members that are not in the NULL-terminated list. */
int cli_doc_check_keys(const json_t *doc, const char *const *known, struct lx_err *err);

#endif
