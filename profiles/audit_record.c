/*
 * Reading audit messages; see the header. One pass over "key=value" words. Ways to fail: no
 * "audit(TIME:SERIAL): " in front, a quote that does not end; what is merely unknown is skipped.
 */
#include "profiles/audit_record.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/apparmor.h"
#include "profiles/value.h"

#define NUMBER_MAX 24 /* bytes of one, with its terminator */

struct span {
	const char *at;
	size_t n;
};

/* ------------------------------------------------------------------ words */

static bool is(struct span s, const char *word)
{
	return s.n == strlen(word) && memcmp(s.at, word, s.n) == 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	/* The kernel's are upper case. */
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_hex(struct span s)
{
	if (s.n == 0 || s.n % 2)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (hex_digit(s.at[i]) < 0)
			return false;
	return true;
}

/* What a message on the wire and a terminal take as it is. False: something had to be replaced. */
static bool make_plain(char *text)
{
	bool utf8 = lx_value_utf8(text), plain = utf8;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c != 0x7f && (c < 0x80 || utf8))
			continue;
		*text = '?';
		plain = false;
	}
	return plain;
}

/* Whether it is there as it was. */
static bool put_text(struct span s, bool hex, char *out, size_t room)
{
	static const char dots[] = "...";
	size_t n = hex ? s.n / 2 : s.n;
	bool fits = n < room;

	if (!fits)
		n = room - sizeof(dots);
	for (size_t i = 0; i < n; i++) {
		char c = hex ? (char)(hex_digit(s.at[2 * i]) << 4 | hex_digit(s.at[2 * i + 1])) : s.at[i];

		/* A name holds none; what does would end early. */
		out[i] = c ? c : '?';
	}
	memcpy(out + n, dots, fits ? 0 : sizeof(dots));
	if (fits)
		out[n] = '\0';
	return make_plain(out) && fits;
}

static bool put_number(struct span s, int base, int64_t *ret)
{
	char text[NUMBER_MAX], *end;

	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.at, s.n);
	text[s.n] = '\0';
	errno = 0;
	long long number = strtoll(text, &end, base);

	if (end == text || *end != '\0' || errno != 0)
		return false;
	*ret = number;
	return true;
}

/* The next "key=value"; words without "=" are passed over. 1, 0 at the end, -EBADMSG. */
static int next_field(struct span *rest, struct span *key, struct span *value, bool *quoted)
{
	const char *p = rest->at, *end = rest->at + rest->n;

	for (;;) {
		while (p < end && *p == ' ')
			p++;
		const char *begin = p;

		while (p < end && *p != ' ' && *p != '=')
			p++;
		if (p == end)
			return 0;
		if (*p == ' ')
			continue;
		*key = (struct span){ begin, (size_t)(p - begin) };
		break;
	}
	p++;
	*quoted = p < end && *p == '"';
	const char *stop =
		*quoted ? memchr(p + 1, '"', (size_t)(end - p - 1)) : memchr(p, ' ', (size_t)(end - p));

	if (*quoted && !stop)
		return -EBADMSG;
	if (!stop)
		stop = end;
	p += *quoted;
	*value = (struct span){ p, (size_t)(stop - p) };
	p = stop + *quoted;
	*rest = (struct span){ p, (size_t)(end - p) };
	return 1;
}

/* ------------------------------------------------------------------ fields */

/* What is text in a record: quoted, or in hex when it must be. */
struct text_field {
	const char *key;
	char *to;
	size_t room;
};

static void take_text(const struct text_field *fields, size_t n, struct span key, struct span value,
		      bool quoted, bool *cut)
{
	for (size_t i = 0; i < n; i++) {
		if (!is(key, fields[i].key))
			continue;
		if (fields[i].to[0] == '\0' && !is(value, "(null)") && value.n > 0 &&
		    !put_text(value, !quoted && is_hex(value), fields[i].to, fields[i].room))
			*cut = true;
		return;
	}
}

#define TEXT(key, member)                                                                                    \
	{                                                                                                    \
		key, r->member, sizeof(r->member)                                                            \
	}

static int parse_apparmor(struct span rest, struct lx_audit_record *r)
{
	char verdict[16] = "", denied[64] = "", namespace[8] = "";
	const struct text_field fields[] = {
		TEXT("operation", operation),
		TEXT("profile", profile),
		TEXT("name", name),
		TEXT("requested_mask", mask),
		TEXT("peer", peer),
		TEXT("srcname", source),
		TEXT("fstype", fstype),
		TEXT("flags", flags),
		TEXT("capname", capability),
		TEXT("family", family),
		TEXT("sock_type", sock_type),
		TEXT("signal", signal),
		TEXT("comm", program),
		{ "apparmor", verdict, sizeof(verdict) },
		{ "denied_mask", denied, sizeof(denied) },
		{ "namespace", namespace, sizeof(namespace) },
	};
	struct span key, value;
	bool quoted;
	int more;

	while ((more = next_field(&rest, &key, &value, &quoted)) > 0) {
		if (is(key, "pid") && r->pid < 0)
			(void)put_number(value, 10, &r->pid);
		else if (is(key, "fsuid") && r->uid < 0)
			(void)put_number(value, 10, &r->uid);
		else
			take_text(fields, LX_ARRAY_SIZE(fields), key, value, quoted, &r->cut);
	}
	if (more < 0)
		return more;
	r->allowed = lx_streq(verdict, "ALLOWED");
	if (!r->allowed && !lx_streq(verdict, "DENIED"))
		return -ENOMSG;
	/* What a namespace of somebody else's calls as an instance is called is not the instance's. */
	if (*namespace)
		r->profile[0] = '\0';
	if (*denied)
		memcpy(r->mask, denied, sizeof(denied));
	return 0;
}

static int parse_seccomp(struct span rest, struct lx_audit_record *r)
{
	const struct text_field fields[] = { TEXT("comm", program) };
	struct span key, value;
	int64_t number;
	bool quoted;
	int more;

	r->syscall = -1;
	while ((more = next_field(&rest, &key, &value, &quoted)) > 0) {
		if (is(key, "pid") && r->pid < 0)
			(void)put_number(value, 10, &r->pid);
		else if (is(key, "uid") && r->uid < 0)
			(void)put_number(value, 10, &r->uid);
		else if (is(key, "syscall") && r->syscall < 0)
			(void)put_number(value, 10, &r->syscall);
		else if (is(key, "arch") && r->arch == 0 && put_number(value, 16, &number))
			r->arch = (uint32_t)number;
		else if (is(key, "code") && r->action == 0 && put_number(value, 16, &number))
			r->action = (uint32_t)number & SECCOMP_RET_ACTION_FULL;
		else
			take_text(fields, LX_ARRAY_SIZE(fields), key, value, quoted, &r->cut);
	}
	r->allowed = r->action == SECCOMP_RET_LOG;
	return more < 0 || r->syscall < 0 || r->arch == 0 ? -EBADMSG : 0;
}

/* ------------------------------------------------------------------ messages */

/* "audit(1796000931.487:2): ", moving past it. */
static int parse_head(struct span *text, struct lx_audit_record *r)
{
	static const char head[] = "audit(";
	const size_t n = sizeof(head) - 1;
	const char *stop, *dot, *colon;
	int64_t seconds, ms, serial;

	if (text->n < n || memcmp(text->at, head, n) != 0 || !(stop = memchr(text->at, ')', text->n)))
		return -EBADMSG;
	const char *p = text->at + n;

	dot = memchr(p, '.', (size_t)(stop - p));
	colon = dot ? memchr(dot, ':', (size_t)(stop - dot)) : NULL;
	if (!colon || !put_number((struct span){ p, (size_t)(dot - p) }, 10, &seconds) ||
	    !put_number((struct span){ dot + 1, (size_t)(colon - dot - 1) }, 10, &ms) ||
	    !put_number((struct span){ colon + 1, (size_t)(stop - colon - 1) }, 10, &serial) || seconds < 0 ||
	    seconds > INT64_MAX / 1000000 || ms < 0 || ms > 999 || serial < 0)
		return -EBADMSG;
	r->time_ms = (uint64_t)seconds * 1000 + (uint64_t)ms;
	r->serial = (uint64_t)serial;
	stop++;
	if (stop < text->at + text->n && *stop == ':')
		stop++;
	*text = (struct span){ stop, text->n - (size_t)(stop - text->at) };
	return 0;
}

int lx_audit_parse(unsigned type, const char *text, size_t len, struct lx_audit_record *ret)
{
	struct span rest = { text, len };

	*ret = (struct lx_audit_record){ .seccomp = type == LX_AUDIT_SECCOMP, .pid = -1, .uid = -1 };
	if (type != LX_AUDIT_AVC && type != LX_AUDIT_SECCOMP)
		return -ENOMSG;
	while (rest.n > 0 && (rest.at[rest.n - 1] == '\0' || rest.at[rest.n - 1] == '\n'))
		rest.n--;
	if (rest.n > LX_AUDIT_TEXT_MAX)
		return -EBADMSG;
	int r = parse_head(&rest, ret);

	if (r < 0)
		return r;
	return type == LX_AUDIT_SECCOMP ? parse_seccomp(rest, ret) : parse_apparmor(rest, ret);
}

int lx_audit_parse_kmsg(const char *text, size_t len, struct lx_audit_record *ret)
{
	static const char mark[] = "audit: type=";
	const char *body = memchr(text, ';', len), *comma = memchr(text, ',', len);
	int64_t priority, type;

	/* Of what programs write the kernel makes another facility than its own, 0. */
	if (!body || !comma || comma > body ||
	    !put_number((struct span){ text, (size_t)(comma - text) }, 10, &priority) || priority < 0 ||
	    priority > 7)
		return -ENOMSG;
	struct span rest = { body + 1, len - (size_t)(body + 1 - text) };
	/* Below the first line is a dictionary. */
	const char *line = memchr(rest.at, '\n', rest.n);

	if (line)
		rest.n = (size_t)(line - rest.at);
	if (rest.n < sizeof(mark) - 1 || memcmp(rest.at, mark, sizeof(mark) - 1) != 0)
		return -ENOMSG;
	rest.at += sizeof(mark) - 1;
	rest.n -= sizeof(mark) - 1;
	const char *blank = memchr(rest.at, ' ', rest.n);

	if (!blank || !put_number((struct span){ rest.at, (size_t)(blank - rest.at) }, 10, &type) ||
	    type < 0 || type > UINT16_MAX)
		return -ENOMSG;
	return lx_audit_parse((unsigned)type, blank + 1, rest.n - (size_t)(blank + 1 - rest.at), ret);
}

/* ------------------------------------------------------------------ what it is about */

bool lx_audit_instance(const char *cgroup_root, const char *profile, char *ret, size_t n)
{
	char prefix[LX_APPARMOR_NAME_MAX];

	/* ":namespace:profile" is in a namespace, and none of ours are. */
	if (*profile == ':')
		return false;
	lx_apparmor_name(cgroup_root, "", prefix);
	if (!lx_starts_with(profile, prefix))
		return false;
	const char *name = profile + strlen(prefix), *end = strstr(name, "//");
	size_t len = end ? (size_t)(end - name) : strlen(name);

	if (len == 0 || len >= n)
		return false;
	memcpy(ret, name, len);
	ret[len] = '\0';
	return true;
}

/* seccomp's names of machines are audit's, but for one that audit does not tell apart. */
static uint32_t seccomp_arch(const struct lx_audit_record *r)
{
	return r->arch == SCMP_ARCH_X86_64 && r->syscall & 0x40000000 ? SCMP_ARCH_X32 : r->arch;
}

char *lx_audit_syscall(const struct lx_audit_record *r, char *buf, size_t n)
{
	char *name = r->syscall > INT32_MAX
			     ? NULL
			     : seccomp_syscall_resolve_num_arch(seccomp_arch(r), (int)r->syscall);

	if (name)
		snprintf(buf, n, "%s", name);
	else
		snprintf(buf, n, "call %lld", (long long)r->syscall);
	free(name);
	return buf;
}

const char *lx_audit_arch(uint32_t arch)
{
	static const struct {
		uint32_t arch;
		const char *name;
	} names[] = {
		{ SCMP_ARCH_X86_64, "x86_64" },
		{ SCMP_ARCH_X86, "x86" },
		{ SCMP_ARCH_AARCH64, "aarch64" },
		{ SCMP_ARCH_ARM, "arm" },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++)
		if (names[i].arch == arch)
			return names[i].name;
	return "";
}
