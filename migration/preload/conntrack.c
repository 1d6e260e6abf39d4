/*
 * Loaded into CRIU (pages.c): its dumps of tracked connections. For one the kernel walks a table that
 * all network namespaces share, whoever's the entries are: some 10 ms. A namespace that has none is
 * asked nothing: the request becomes one for an acknowledgement, which CRIU takes as an end
 * (criu/libnetlink.c). Where the kernel does not say how many there are, all goes by unchanged.
 */
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT "/proc/sys/net/netfilter/nf_conntrack_count" /* of the caller's namespace */

static bool has_none(void)
{
	char text[2] = "";
	int fd = open(COUNT, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (fd >= 0)
		close(fd);
	return n == 2 && text[0] == '0' && text[1] == '\n';
}

static bool is_conntrack_dump(int fd, const struct nlmsghdr *h)
{
	int protocol = -1;
	socklen_t len = sizeof(protocol);

	return (h->nlmsg_type == (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET) ||
		h->nlmsg_type == (NFNL_SUBSYS_CTNETLINK_EXP << 8 | IPCTNL_MSG_EXP_GET)) &&
	       (h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == NETLINK_NETFILTER;
}

/* As libc's. */
__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	const struct sockaddr *to = msg->msg_name;
	struct nlmsghdr h;

	if (to && msg->msg_namelen >= sizeof(struct sockaddr_nl) && to->sa_family == AF_NETLINK &&
	    msg->msg_iovlen == 1 && msg->msg_iov->iov_len >= sizeof(h)) {
		memcpy(&h, msg->msg_iov->iov_base, sizeof(h));
		if (is_conntrack_dump(fd, &h) && has_none()) {
			struct iovec iov = { .iov_base = &h, .iov_len = sizeof(h) };
			struct msghdr instead = *msg;

			h.nlmsg_len = sizeof(h);
			h.nlmsg_type = NLMSG_NOOP;
			h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
			instead.msg_iov = &iov;
			return syscall(SYS_sendmsg, fd, &instead, flags);
		}
	}
	return syscall(SYS_sendmsg, fd, msg, flags);
}
