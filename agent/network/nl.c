/* The few things every user of libnl here needs: a socket, errors, addresses. */
#include "agent/network/nl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <netlink/errno.h>

int lx_nl_open(int protocol, struct nl_sock **ret, struct lx_err *err)
{
	struct nl_sock *sock = nl_socket_alloc();

	if (!sock)
		return lx_err_oom(err);
	int nle = nl_connect(sock, protocol);

	if (nle < 0) {
		nl_socket_free(sock);
		return lx_nl_err(err, nle, "cannot open a netlink socket");
	}
	*ret = sock;
	return 0;
}

int lx_nl_err(struct lx_err *err, int nle, const char *fmt, ...)
{
	bool forbidden = nle == -NLE_PERM || nle == -NLE_NOACCESS;
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	int r = lx_err_set(err, forbidden ? LX_PERMISSION_DENIED : LX_INTERNAL, "%s: %s", what,
			   nl_geterror(nle));

	if (forbidden)
		lx_err_hint(err, "Networks need CAP_NET_ADMIN: run the agent as root.");
	return r;
}

bool lx_nl_is_absent(int nle)
{
	return nle == -NLE_OBJ_NOTFOUND || nle == -NLE_NODEV;
}

bool lx_nl_subnet(struct nl_addr *addr, struct lx_subnet *out)
{
	int family = addr ? nl_addr_get_family(addr) : AF_UNSPEC;

	if (family != AF_INET && family != AF_INET6)
		return false;
	*out = (struct lx_subnet){ .family = family, .prefix = nl_addr_get_prefixlen(addr) };
	/* A default route's address has no bytes. */
	if (nl_addr_get_len(addr) == lx_subnet_bytes(family))
		memcpy(out->addr, nl_addr_get_binary_addr(addr), lx_subnet_bytes(family));
	return true;
}
