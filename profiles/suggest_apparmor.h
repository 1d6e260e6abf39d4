/* From a message of AppArmor's to the rule it asks for; see suggest.h. */
#ifndef LX_PROFILES_SUGGEST_APPARMOR_H
#define LX_PROFILES_SUGGEST_APPARMOR_H

#include "lib/buf.h"
#include "lxmgr/v1/warning.pb-c.h"

/*
 * Appends the rule, without a newline. Rules about one file are to become one: then *ret_perms
 * (room for 16 bytes) has the permissions, and the rule ends before them ("/etc/x "); else it is
 * "" and the rule is whole. *ret_refused (static) says why it will not do, or is NULL; then the
 * text may be of any kind. 0 or -ENOMEM.
 */
#define LX_SUGGEST_PERMS_MAX 16
int lx_suggest_apparmor(const Lxmgr__V1__Denial *d, struct lx_buf *rule, char *ret_perms,
			const char **ret_refused);

/* Adds permissions to those of a rule, each once and in the order that AppArmor writes them. */
void lx_suggest_add_perms(char *perms, const char *more);

#endif
