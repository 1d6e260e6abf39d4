/*
 * Rules that would let an instance do what was kept from it: one for what was seen one or more
 * times, for raw.apparmor or security.syscalls.allow. Pure.
 *
 * They are the smallest that are sensible: the file itself with the permissions that were asked
 * for, a process id as "any". What lxmgr's own rules deny, no rule of a user's brings back
 * (AppArmor: deny comes before allow): such a rule is there with the reason why it is refused.
 */
#ifndef LX_PROFILES_SUGGEST_H
#define LX_PROFILES_SUGGEST_H

#include "lib/map.h"
#include "lxmgr/v1/warning.pb-c.h"

/* Of one instance, or of all that use a profile. */
struct lx_suggest_input {
	const struct lx_map *config; /* expanded (of a profile: its own) */
	size_t n;
	Lxmgr__V1__Denial *const *denials;
};

#define LX_SUGGESTIONS_MAX 512

/*
 * Appends to resp->suggestions, those for one rule together, what is refused last. What there is
 * a rule for already is left out. 0, -ENOMEM.
 */
int lx_suggest(const struct lx_suggest_input *in, Lxmgr__V1__SuggestResponse *resp);

#endif
