/* Classic BPF, socket(7): the last filter counts. */
#include "migration/packet_filter.h"

#include <errno.h>
#include <sys/socket.h>

#include "lib/cleanup.h"

int lx_packet_filter(int fd, struct sock_filter *code, unsigned short n)
{
	const struct sock_fprog prog = { .len = n, .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

int lx_packet_take_nothing(int fd)
{
	struct sock_filter none[] = { BPF_STMT(BPF_RET | BPF_K, 0) };

	return lx_packet_filter(fd, none, LX_ARRAY_SIZE(none));
}
