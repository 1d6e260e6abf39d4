/* What a packet socket takes: changing that is one call, binding it or making it promiscuous is not. */
#ifndef LX_MIGRATION_PACKET_FILTER_H
#define LX_MIGRATION_PACKET_FILTER_H

#include <linux/filter.h>

int lx_packet_filter(int fd, struct sock_filter *code, unsigned short n);
int lx_packet_take_nothing(int fd);

#endif
