/*
 * Fuzzing what the kernel's audit says, names of guests' files in it: the first byte is the source
 * (netlink's two types, /dev/kmsg). What is read is plain text in its bounds, and rules made of it
 * are whole lines in which nothing of it stands outside of quotes.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "profiles/audit_record.h"
#include "profiles/suggest_apparmor.h"
#include "profiles/value.h"
#include "proto/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t room)
{
	assert(strnlen(text, room) < room && lx_value_utf8(text));
	for (; *text; text++)
		assert((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void detail(Lxmgr__V1__Denial *d, const char *key, const char *value)
{
	if (*value)
		(void)lx_pb_map_set(&lxmgr__v1__denial__details_entry__descriptor, &d->n_details, &d->details,
				    key, value);
}

/* One line; quotes are closed, and outside of them are no characters that end or begin a rule. */
static void check_rule(const char *rule)
{
	bool quoted = false;

	for (const char *p = rule; *p; p++) {
		if (quoted && *p == '\\' && p[1])
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else
			assert(*p != '\n' && (quoted || !strchr("{}#@", *p)));
	}
	assert(!quoted);
}

static void suggest(const struct lx_audit_record *r)
{
	lx_autobuf struct lx_buf rule = { 0 };
	char perms[LX_SUGGEST_PERMS_MAX];
	const char *refused;
	Lxmgr__V1__Denial d = LXMGR__V1__DENIAL__INIT;

	d.operation = (char *)(uintptr_t)r->operation;
	d.path = (char *)(uintptr_t)r->name;
	d.mask = (char *)(uintptr_t)r->mask;
	detail(&d, "capability", r->capability);
	detail(&d, "family", r->family);
	detail(&d, "sock_type", r->sock_type);
	detail(&d, "peer", r->peer);
	detail(&d, "profile", r->profile);
	detail(&d, "fstype", r->fstype);
	detail(&d, "source", r->source);
	detail(&d, "flags", r->flags);
	detail(&d, "signal", r->signal);
	detail(&d, "cut", r->cut ? "true" : "");
	assert(lx_suggest_apparmor(&d, &rule, perms, &refused) == 0);
	assert(strlen(perms) < sizeof(perms));
	if (!refused)
		check_rule(lx_buf_str(&rule));
	lx_pb_map_clear(&d.n_details, &d.details);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lx_audit_record r;
	char instance[64], call[64];
	const char *text = (const char *)data + 1;
	int ok;

	if (size == 0)
		return 0;
	if (data[0] == 'k')
		ok = lx_audit_parse_kmsg(text, size - 1, &r);
	else
		ok = lx_audit_parse(data[0] == 's' ? LX_AUDIT_SECCOMP : LX_AUDIT_AVC, text, size - 1, &r);
	if (ok < 0)
		return 0;
	check_text(r.program, sizeof(r.program));
	check_text(r.operation, sizeof(r.operation));
	check_text(r.profile, sizeof(r.profile));
	check_text(r.name, sizeof(r.name));
	check_text(r.mask, sizeof(r.mask));
	check_text(r.peer, sizeof(r.peer));
	check_text(r.source, sizeof(r.source));
	if (r.seccomp)
		(void)lx_audit_syscall(&r, call, sizeof(call));
	(void)lx_audit_instance("lxmgr", r.profile, instance, sizeof(instance));
	suggest(&r);
	return 0;
}
