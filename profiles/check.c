/*
 * Checking instance keys and values. Messages are "limits.memory: "x" is not ...", hints
 * say what is allowed. Values are from outside: length and encoding are looked at first,
 * and only a piece of a long one is repeated in a message.
 */
#include "profiles/check.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/labels.h"
#include "profiles/value.h"

#define KEY_NAME_MAX    255
#define SHOWN_MAX       60 /* bytes of a value that a message repeats */
#define BRIDGE_NAME_MAX 15

/* "NAME: "VALUE" FAULT" */
static int refuse(struct lx_err *err, const char *name, const char *value, const char *fault)
{
	struct lx_shown s;

	return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s %s", name, lx_value_show(&s, value), fault);
}

/* ------------------------------------------------------------------ words and numbers */

/* "true, false or last-state" */
static void join(const char *const *values, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; values[i] && n < size; i++) {
		const char *sep = i == 0 ? "" : values[i + 1] ? ", " : " or ";

		n += (size_t)snprintf(buf + n, size - n, "%s%s", sep, values[i]);
	}
}

int lx_check_enum(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	char allowed[128];

	for (const char *const *v = key->values; *v; v++)
		if (strcmp(*v, value) == 0)
			return 0;
	int r = refuse(err, name, value, "is not one of the values it may have");

	join(key->values, allowed, sizeof(allowed));
	lx_err_hint(err, "It may be %s.", allowed);
	return r;
}

int lx_check_bool(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	bool b;

	if (lx_parse_bool(value, &b) == 0)
		return 0;
	int r = refuse(err, name, value, "is neither true nor false");

	lx_err_hint(err, "Use true or false.");
	return r;
}

int lx_check_autostart(const struct lx_config_key *key, const char *name, const char *value,
		       struct lx_err *err)
{
	bool b;

	return lx_parse_bool(value, &b) == 0 ? 0 : lx_check_enum(key, name, value, err);
}

static int check_range(const struct lx_config_key *key, const char *name, const char *value, int r,
		       uint64_t v, const char *kind, const char *unit, struct lx_err *err)
{
	if (r == -EINVAL)
		r = refuse(err, name, value, kind);
	else if (r < 0 || v < key->min || v > key->max)
		r = refuse(err, name, value, "is out of range");
	else
		return 0;
	lx_err_hint(err, "Allowed: %llu to %llu%s.", (unsigned long long)key->min,
		    (unsigned long long)key->max, unit);
	return r;
}

int lx_check_integer(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	uint64_t v = 0;
	int r = lx_parse_u64(value, &v);

	return check_range(key, name, value, r, v, "is not a whole number", "", err);
}

int lx_check_duration(const struct lx_config_key *key, const char *name, const char *value,
		      struct lx_err *err)
{
	uint64_t v = 0;
	int r = lx_parse_duration(value, &v);

	return check_range(key, name, value, r, v, "is not a time", " seconds (or 90s, 5m, 1h)", err);
}

/* ------------------------------------------------------------------ limits */

int lx_check_memory(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	struct lx_amount a = { 0 };
	char least[LX_SIZE_TEXT_MAX];
	int r = lx_value_amount(value, &a);

	if (r == -EINVAL)
		r = refuse(err, name, value, "is neither a size nor a percentage");
	else if (r < 0 || (!a.percent && (a.bytes < key->min || a.bytes > key->max)))
		r = refuse(err, name, value, "is out of range");
	else
		return 0;
	lx_err_hint(err, "Use a size from %s up (512MiB, 2GB), or 1%% to 100%% of the machine's memory.",
		    lx_format_size(key->min, least, sizeof(least)));
	return r;
}

int lx_check_rate(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	uint64_t rate = 0;
	int r = lx_value_rate(value, &rate);

	if (r == 0 && rate >= key->min && rate <= key->max)
		return 0;
	r = refuse(err, name, value, r == -EINVAL ? "is no rate" : "is out of range");
	lx_err_hint(err, "Use bits a second with their unit, 64kbit to 16Gbit (100Mbit).");
	return r;
}

int lx_check_disk_rate(const struct lx_config_key *key, const char *name, const char *value,
		       struct lx_err *err)
{
	uint64_t rate = 0;
	bool iops;
	int r = lx_value_disk_rate(value, &iops, &rate);

	if (r == 0 && (iops || rate >= key->min))
		return 0;
	r = refuse(err, name, value, r == -EINVAL ? "is no rate" : "is out of range");
	lx_err_hint(err, "Use bytes a second from 64KiB up (20MB), or operations a second (500iops).");
	return r;
}

int lx_check_swap(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	uint64_t v = 0;
	bool b;

	if (lx_parse_bool(value, &b) == 0)
		return 0;
	int r = lx_parse_size(value, &v);

	if (r == -EINVAL)
		r = refuse(err, name, value, "is neither true, false nor a size");
	else if (r < 0 || v > key->max)
		r = refuse(err, name, value, "is out of range");
	else
		return 0;
	lx_err_hint(err, "Use true, false or a size (512MiB, 2GB).");
	return r;
}

int lx_check_cpus(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	struct lx_cpus cpus;
	int r = lx_value_cpus(value, &cpus);

	if (r == 0)
		return 0;
	r = refuse(err, name, value,
		   r == -ERANGE ? "is out of range" : "is neither a number of CPUs nor a set of them");
	lx_err_hint(err,
		    "Use how many (1 to %d), or which: 0,2-3 (each below %d, at most %d characters; "
		    "2-2 for just CPU 2).",
		    LX_CPUS_MAX, LX_CPUS_MAX, LX_CPU_SET_TEXT_MAX);
	return r;
}

int lx_check_allowance(const struct lx_config_key *key, const char *name, const char *value,
		       struct lx_err *err)
{
	struct lx_allowance a;
	int r = lx_value_allowance(value, &a);

	if (r == 0)
		return 0;
	r = refuse(err, name, value,
		   r == -ERANGE ? "is out of range" : "is neither a percentage nor a time per period");
	lx_err_hint(err, "Use 1%% to 100%%, or a time of at least 1ms per period of 1ms to 1000ms: "
			 "25ms/100ms.");
	return r;
}

int lx_check_rlimit(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	bool bounded = key->max < INT64_MAX; /* the kernel refuses more, and so "unlimited" */
	struct lx_rlimit v;
	int r = lx_value_rlimit(value, &v);

	if (r == 0 && v.soft > key->max && (bounded || v.soft != LX_RLIMIT_UNLIMITED))
		r = -EDOM;
	if (r == 0 && v.hard > key->max && (bounded || v.hard != LX_RLIMIT_UNLIMITED))
		r = -EDOM;
	if (r == 0)
		return 0;
	r = refuse(err, name, value,
		   r == -EINVAL ? "is not a limit"
		   : r == -EDOM ? "is out of range"
				: "has a soft limit above the hard one");
	lx_err_hint(err, "Use a number, or soft:hard, of 0 to %llu%s.", (unsigned long long)key->max,
		    bounded ? "" : " or unlimited");
	return r;
}

/* ------------------------------------------------------------------ text */

int lx_check_text(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	return 0;
}

int lx_check_environment(const struct lx_config_key *key, const char *name, const char *value,
			 struct lx_err *err)
{
	const char *variable = name + strlen("environment.");
	bool good = !isdigit((unsigned char)variable[0]);

	for (const char *p = variable; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '_')
			good = false;
	if (!good) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT,
				   "%s: \"%s\" is not a name for an environment variable", name, variable);

		lx_err_hint(err, "It may have letters, digits and \"_\", and no digit first.");
		return r;
	}
	if (!lx_value_one_line(value))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "%s: the value has a newline or another control character", name);
	return 0;
}

int lx_check_labels(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	const char *rest = value;
	struct lx_label_wish wish;
	int r;

	do
		r = lx_label_next(&rest, &wish);
	while (r > 0);
	if (r == 0)
		return 0;
	r = refuse(err, name, value, "is no list of labels");
	lx_err_hint(err, "Write KEY=VALUE or KEY, separated by commas: disk=ssd,gpu. lxmgr node show NODE "
			 "shows a node's labels.");
	return r;
}

/* ------------------------------------------------------------------ networks */

int lx_check_name(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	int r = lx_name_check("network", value, err);

	if (r < 0)
		return r;
	if (strlen(value) > BRIDGE_NAME_MAX) {
		r = refuse(err, name, value, "is too long for a network");
		lx_err_hint(err, "It is also the name of the bridge: at most %d characters.",
			    BRIDGE_NAME_MAX);
	}
	return r;
}

int lx_check_names(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	for (size_t i = 0; key->values && key->values[i]; i++)
		if (strcmp(value, key->values[i]) == 0)
			return 0;
	for (const char *p = value;; p++) {
		size_t n = strcspn(p, ",");
		char one[BRIDGE_NAME_MAX + 2];

		snprintf(one, sizeof(one), "%.*s", (int)(n < sizeof(one) ? n : sizeof(one)), p);
		int r = lx_check_name(key, name, one, err);

		if (r < 0)
			return r;
		p += n;
		if (!*p)
			return 0;
	}
}

int lx_check_ifname(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	if (lx_value_ifname(value))
		return 0;
	int r = refuse(err, name, value, "cannot be the name of a network interface");

	lx_err_hint(err, "Use 1 to 15 letters, digits, \"-\", \"_\" or \".\", like eth0.");
	return r;
}

int lx_check_hwaddr(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	size_t n = strlen(value);
	bool good = n == 17, zero = true;

	for (size_t i = 0; good && i < n; i++) {
		if (i % 3 == 2)
			good = value[i] == ':';
		else
			good = isxdigit((unsigned char)value[i]);
		if (i % 3 != 2 && value[i] != '0')
			zero = false;
	}
	/* The lowest bit of the first byte marks a group address. */
	if (good && !zero && !strchr("13579bBdDfF", value[1]))
		return 0;
	int r = refuse(err, name, value, "is not a MAC address a card can have");

	lx_err_hint(err, "It looks like 00:16:3e:12:34:56, and its second digit is even.");
	return r;
}

int lx_check_ipv4(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	struct in_addr a;

	if (strcmp(value, "none") == 0)
		return 0;
	if (inet_pton(AF_INET, value, &a) == 1) {
		unsigned first = ntohl(a.s_addr) >> 24;

		if (first > 0 && first < 224 && first != 127)
			return 0;
	}
	int r = refuse(err, name, value, "is not an IPv4 address a machine can have");

	lx_err_hint(err, "Use an address without prefix length, like 10.88.0.7, or none.");
	return r;
}

int lx_check_ipv6(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	struct in6_addr a;

	if (strcmp(value, "none") == 0)
		return 0;
	if (inet_pton(AF_INET6, value, &a) == 1 && !IN6_IS_ADDR_MULTICAST(&a) && !IN6_IS_ADDR_LOOPBACK(&a) &&
	    !IN6_IS_ADDR_UNSPECIFIED(&a) && !IN6_IS_ADDR_LINKLOCAL(&a) && !IN6_IS_ADDR_V4MAPPED(&a))
		return 0;
	int r = refuse(err, name, value, "is not an IPv6 address a machine can have");

	lx_err_hint(err, "Use an address without prefix length, like fd42::7, or none. A link-local one is "
			 "there anyway.");
	return r;
}

/* ------------------------------------------------------------------ keys */

int lx_check_value(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	if (!value[0])
		return 0;
	if (strnlen(value, LX_CONFIG_MAX_VALUE + 1) > LX_CONFIG_MAX_VALUE)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: the value is longer than %d bytes", name,
				  LX_CONFIG_MAX_VALUE);
	if (!lx_value_utf8(value))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: the value is not UTF-8 text", name);
	return key->check(key, name, value, err);
}

/* What other systems have as keys of an instance, and stands at a device here. NULL: nothing. */
static const char *option_of_device(const char *name)
{
	static const struct {
		const char *key, *option;
	} moved[] = {
		{ "limits.network.ingress", "eth0 limits.ingress" },
		{ "limits.network.egress", "eth0 limits.egress" },
		{ "limits.network.max", "eth0 limits.max" },
		{ "limits.network.priority", "eth0 limits.priority" },
		{ "limits.disk.read", "root limits.read" },
		{ "limits.disk.write", "root limits.write" },
		{ "limits.disk.max", "root limits.max" },
		{ "limits.disk.size", "root size" },
		{ "limits.disk", "root size" },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(moved); i++)
		if (strcmp(moved[i].key, name) == 0)
			return moved[i].option;
	return NULL;
}

static int unknown_key(enum lx_key_subject subject, const char *name, struct lx_err *err)
{
	struct lx_shown s;
	size_t n, m = 0;
	const struct lx_config_key *keys = lx_config_keys(&n);
	const char *names[128];
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "there is no configuration key %s%s",
			   lx_value_show(&s, name), subject == LX_KEY_PROJECT ? " of projects" : "");

	for (size_t i = 0; i < n && m < LX_ARRAY_SIZE(names); i++)
		if (keys[i].subject == subject)
			names[m++] = keys[i].name;
	const char *nearest = lx_nearest(name, names, m),
		   *option = subject == LX_KEY_INSTANCE ? option_of_device(name) : NULL;

	if (option)
		lx_err_hint(err,
			    "It is an option of a device: lxmgr config device set INSTANCE %s=VALUE, or "
			    "override instead of set when a profile brings the device.",
			    option);
	else if (nearest)
		lx_err_hint(err, "Did you mean %s?", nearest);
	else
		lx_err_hint(err, "lxmgr config keys lists those there are; your own start with \"user.\".");
	return r;
}

static int check_key(enum lx_key_subject subject, const char *name, const char *value, struct lx_err *err)
{
	if (strnlen(name, KEY_NAME_MAX + 1) > KEY_NAME_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a configuration key is longer than %d bytes",
				  KEY_NAME_MAX);
	if (!lx_value_utf8(name) || !lx_value_one_line(name))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a configuration key is not printable text");
	const struct lx_config_key *key = lx_config_key_find(subject, name);

	return key ? lx_check_value(key, name, value, err) : unknown_key(subject, name, err);
}

int lx_config_check(const char *name, const char *value, struct lx_err *err)
{
	return check_key(LX_KEY_INSTANCE, name, value, err);
}

int lx_project_config_check(const char *name, const char *value, struct lx_err *err)
{
	return check_key(LX_KEY_PROJECT, name, value, err);
}
