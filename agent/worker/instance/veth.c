/*
 * Deleting a veth with one rtnetlink request. A library for that would be loaded into
 * every monitor's memory; the request is forty bytes.
 */
#include "agent/worker/instance/veth.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* 0, -ENODEV, or -EEXIST when it is something else. */
static int check_kind(const char *name)
{
	lx_autoclose int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq req = { .ifr_data = (void *)&info };

	if (fd < 0)
		return -errno;
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (ioctl(fd, SIOCETHTOOL, &req) < 0)
		return errno == EOPNOTSUPP ? -EEXIST : -errno;
	return strcmp(info.driver, "veth") == 0 ? 0 : -EEXIST;
}

static int delete_link(unsigned index)
{
	lx_autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} request = {
		.head = { .nlmsg_len = sizeof(request),
			  .nlmsg_type = RTM_DELLINK,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.link = { .ifi_family = AF_UNSPEC, .ifi_index = (int)index },
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[256]; /* the kernel may add an explanation */
	} answer;

	if (fd < 0)
		return -errno;
	if (send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	ssize_t n = recv(fd, &answer, sizeof(answer), 0);

	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(answer.head) + sizeof(answer.error.error) ||
	    answer.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.error.error;
}

int lx_veth_delete(const char *name, struct lx_err *err)
{
	unsigned index = *name ? if_nametoindex(name) : 0;

	if (index == 0)
		return 0;
	int r = check_kind(name);

	if (r == 0)
		r = delete_link(index);
	/* The kernel removes it by itself once the last process of the guest is gone. */
	if (r == 0 || r == -ENODEV)
		return 0;
	if (r == -EEXIST) {
		lx_err_set(
			err, LX_FAILED_PRECONDITION,
			"the network interface %s of this node is no container's, though one is to have it",
			name);
		lx_err_hint(err, "Rename that interface, or give the instance's card another host_name.");
		return -EEXIST;
	}
	return lx_err_errno(err, r, "cannot remove the network interface %s", name);
}
