/* Taking back addresses from guests that are gone. */
#ifndef LX_AGENT_NETWORK_RELEASE_H
#define LX_AGENT_NETWORK_RELEASE_H

#include "agent/network/config.h"

/*
 * dnsmasq refuses to give an address to its new owner as long as the old one's hour is not
 * over, and only a DHCPRELEASE makes it forget. So the one is sent that the old guest would
 * have sent, had it had the time. `entry` is what dnsmasq was told ("hwaddr,address,name").
 * When it cannot be sent, or dnsmasq does not run (then it remembers nothing), no harm is done.
 */
void lx_release(const struct lx_network_config *config, const char *entry);

/* The packet for `server`, the bridge's address. Returns its length, 0 when it is no entry. Pure. */
#define LX_RELEASE_MAX 300
size_t lx_release_packet(const char *entry, const struct lx_subnet *server,
			 unsigned char out[LX_RELEASE_MAX]);

#endif
