/* Instances in words: what list, info and config show of them. */
#ifndef LX_CLI_INSTANCE_H
#define LX_CLI_INSTANCE_H

#include "cli/doc.h"
#include "lxmgr/v1/instance.pb-c.h"

const char *cli_instance_status(Lxmgr__V1__InstanceStatus status);
/* All addresses without prefix length, joined by `separator`; with_nic: "10.0.0.7 (eth0)". Needs free(). */
char *cli_instance_addresses(const Lxmgr__V1__Instance *i, bool v6, const char *separator, bool with_nic);
/* The members every JSON or YAML form of an instance has. */
void cli_instance_doc(struct cli_doc *d, json_t *to, const Lxmgr__V1__Instance *i);

/*
 * -c: column names separated by commas, or letters, or configuration keys (with a dot):
 * "ns4", "name,ipv4", "n,user.owner". *ret_full: needs the instances' configuration.
 */
struct cli_list_column {
	const struct cli_list_field *field; /* NULL: a configuration key */
	char *key;                          /* owned */
};
#define CLI_LIST_MAX_COLUMNS 32
int cli_list_columns(const char *text, struct cli_list_column *ret, size_t *ret_n, bool *ret_full,
		     struct lx_err *err);
void cli_list_columns_release(struct cli_list_column *c, size_t n);

#endif
