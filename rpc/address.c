/* Splitting addresses; see address.h. */
#include <stdio.h>
#include <string.h>

#include "lib/str.h"
#include "rpc/address.h"

static int bad(const char *text, const char *why, struct lx_err *err)
{
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "address \"%s\": %s", text, why);

	lx_err_hint(err, "Write it as host:port, 192.0.2.7:8440 or [2001:db8::7]:8440.");
	return r;
}

int lx_address_parse(const char *text, struct lx_address *ret, struct lx_err *err)
{
	const char *colon = strrchr(text, ':');
	const char *host = text;
	size_t len = colon ? (size_t)(colon - text) : 0;
	uint64_t port;

	if (!colon)
		return bad(text, "the port is missing", err);
	if (*text == '[') {
		if (len < 3 || colon[-1] != ']')
			return bad(text, "the bracket is not closed before the port", err);
		host++;
		len -= 2;
	} else if (memchr(text, ':', len)) {
		return bad(text, "an IPv6 address needs brackets", err);
	}
	if (len == 0)
		return bad(text, "the host is missing", err);
	if (len >= sizeof(ret->host))
		return bad(text, "the host is too long", err);
	if (strlen(colon + 1) > 5 || lx_parse_u64(colon + 1, &port) < 0 || port > UINT16_MAX)
		return bad(text, "the port is not a number up to 65535", err);
	memcpy(ret->host, host, len);
	ret->host[len] = '\0';
	ret->port = (uint16_t)port;
	snprintf(ret->service, sizeof(ret->service), "%u", ret->port);
	return 0;
}
