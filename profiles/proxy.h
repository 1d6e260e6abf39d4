/*
 * Proxy devices: an address on which connections are taken, on the node or in the guest, and the
 * one that they are passed on to, on the other side. What their options mean. Pure.
 *
 *	tcp:ADDRESS:PORT[-PORT]   udp:ADDRESS:PORT[-PORT]   unix:/PATH   unix:@NAME
 *
 * IPv6 addresses stand in brackets; unix:@NAME is an abstract socket.
 */
#ifndef LX_PROFILES_PROXY_H
#define LX_PROFILES_PROXY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/map.h"

#define LX_PROXY_TYPE "proxy"

/* Ports of one device; each is a listening socket. */
#define LX_PROXY_PORTS_MAX 256
/* Of a unix socket's path (unix(7)), without the zero behind it. */
#define LX_PROXY_PATH_MAX 107

enum lx_proxy_kind { LX_PROXY_TCP, LX_PROXY_UDP, LX_PROXY_UNIX };

struct lx_proxy_address {
	enum lx_proxy_kind kind;
	bool v6;
	struct in_addr ipv4;
	struct in6_addr ipv6;
	uint16_t port; /* the first one */
	uint16_t n_ports;
	const char *path; /* of the text that was read: "/PATH" or "@NAME" */
};

struct lx_proxy {
	struct lx_proxy_address listen, connect;
	bool in_guest;           /* it listens in the guest and connects on the node */
	uint32_t mode, uid, gid; /* of a listening unix:/PATH, as seen where it is */
};

/* NULL, or what is wrong with the address ("has no port"). */
const char *lx_proxy_address_read(const char *text, struct lx_proxy_address *ret);

/* 1 and *ret for a proxy that has passed lx_device_check(); 0: another device. Paths stay the map's. */
int lx_proxy_read(const struct lx_map *options, struct lx_proxy *ret);

/* For lx_device_check(): options that are good each, but not together. */
int lx_proxy_check(const char *name, const struct lx_map *options, struct lx_err *err);
/* For lx_expand(): two of one instance that would listen at the same place. */
int lx_proxies_check(const struct lx_map *devices, struct lx_err *err);

#endif
