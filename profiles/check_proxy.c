/* Checking the addresses of proxy devices. Messages and hints as in check.c. */
#include "profiles/check.h"

#include "profiles/proxy.h"
#include "profiles/value.h"

int lx_check_proxy_address(const struct lx_config_key *key, const char *name, const char *value,
			   struct lx_err *err)
{
	struct lx_proxy_address a;
	const char *fault = lx_proxy_address_read(value, &a);
	struct lx_shown s;

	if (!fault)
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s %s", name, lx_value_show(&s, value), fault);

	lx_err_hint(
		err,
		"Write tcp:ADDRESS:PORT, udp:ADDRESS:PORT (or at most %d ports: 8000-8010), unix:/PATH or "
		"unix:@NAME, like tcp:0.0.0.0:8080 or tcp:[::1]:80.",
		LX_PROXY_PORTS_MAX);
	return r;
}
