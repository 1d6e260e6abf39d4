/*
 * Whether there are tables is asked by netlink; only a guest that has some costs a run of
 * nft, which prints them in the form it reads. Text rather than JSON: it is what `nft -f` of
 * every version reads back, while the JSON of some versions lacks statements.
 *
 * Names and comments in it are the guest's, and nft prints them as they are: the text is not to
 * be trusted. It is read inside the guest's namespace, where it can set nothing that the guest could
 * not; the one word by which it could reach this machine's files is refused.
 *
 * Ways to fail: no nft on this machine; rules that it does not understand (its first words
 * are the error); it takes longer than NFT_SECONDS.
 */
#include "migration/net_nft.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/net.h"
#include "migration/netlink.h"

#define NFT_SECONDS 20
#define RULES_MAX   (16u << 20)
#define COMPLAINT   300 /* bytes of what nft says on failure */

#define NFT_TYPE(message) (NFNL_SUBSYS_NFTABLES << 8 | (message))

/* ------------------------------------------------------------------ running nft */

static int anonymous_file(const char *content, int *ret, struct lx_err *err)
{
	lx_autoclose int fd = memfd_create("nft", MFD_CLOEXEC);
	size_t len = strlen(content);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot make a file in memory");
	if (lx_write_full(fd, content, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) < 0)
		return lx_err_errno(err, errno ? errno : EIO, "cannot write to memory");
	*ret = lx_move_fd(fd);
	return 0;
}

/* What was written to it. */
static int content_of(int fd, struct lx_buf *out)
{
	off_t size = lseek(fd, 0, SEEK_END);

	if (size < 0 || size > RULES_MAX)
		return size < 0 ? -errno : -EFBIG;
	if (lx_buf_reserve(out, (size_t)size + 1) < 0)
		return -ENOMEM;
	if (pread(fd, out->data, (size_t)size, 0) != size)
		return -EIO;
	out->len = (size_t)size;
	out->data[size] = '\0';
	return 0;
}

/* In the child. */
static _Noreturn void become_nft(int netns, const int fds[3])
{
	static const char *const paths[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft" };
	static char name[] = "nft", file[] = "-f", input[] = "-", locale[] = "LC_ALL=C";
	char *const argv[] = { name, file, input, NULL }, *const env[] = { locale, NULL };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (setns(netns, CLONE_NEWNET) < 0)
		_exit(126);
	for (int i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			_exit(126);
	for (size_t i = 0; i < LX_ARRAY_SIZE(paths); i++)
		execve(paths[i], argv, env);
	_exit(127);
}

/* Its exit status as of wait(2); a negative errno when it does not end. */
static int wait_for(pid_t pid, struct lx_err *err)
{
	lx_autoclose int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	bool late = fd >= 0 && poll(&p, 1, NFT_SECONDS * 1000) == 0;
	int status;

	if (late)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return lx_err_errno(err, errno, "cannot wait for nft");
	return late ? lx_err_errno(err, ETIMEDOUT, "nft did not end within %d s", NFT_SECONDS) : status;
}

/* The first line of its complaint. */
static int complain(int status, int said_fd, struct lx_err *err)
{
	lx_autobuf struct lx_buf said = { 0 };
	int r;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "there is no nft on this machine");
		lx_err_hint(err, "Install nftables.");
		return r;
	}
	if (content_of(said_fd, &said) < 0 || said.len == 0)
		return lx_err_set(err, LX_INTERNAL, "nft ended with status %d", status);
	return lx_err_set(err, LX_INTERNAL, "nft says: %.*s",
			  (int)(strcspn(lx_buf_str(&said), "\n") < COMPLAINT
					? strcspn(lx_buf_str(&said), "\n")
					: COMPLAINT),
			  lx_buf_str(&said));
}

static int run_nft(int netns, const char *input, struct lx_buf *out, struct lx_err *err)
{
	lx_autoclose int in_fd = -1, out_fd = -1, said_fd = -1;
	pid_t pid;
	int r = anonymous_file(input, &in_fd, err);

	if (r == 0)
		r = anonymous_file("", &out_fd, err);
	if (r == 0)
		r = anonymous_file("", &said_fd, err);
	if (r < 0)
		return r;
	pid = fork();
	if (pid < 0)
		return lx_err_errno(err, errno, "cannot start nft");
	if (pid == 0)
		become_nft(netns, (int[]){ in_fd, out_fd, said_fd });
	r = wait_for(pid, err);
	if (r != 0)
		return r < 0 ? r : complain(r, said_fd, err);
	r = content_of(out_fd, out);
	return r < 0 ? lx_err_errno(err, r, "cannot read what nft printed") : 0;
}

/* ------------------------------------------------------------------ asking the kernel */

/* The table that a message of a dump is about; NULL: of none, or CRIU's. */
static const char *table_of(struct nlmsghdr *h, int type, int attr)
{
	struct nlattr *a =
		h->nlmsg_type == NFT_TYPE(type) ? nlmsg_find_attr(h, sizeof(struct nfgenmsg), attr) : NULL;

	if (!a || nla_len(a) < 1 || nla_get_string(a)[nla_len(a) - 1] != '\0' ||
	    lx_starts_with(nla_get_string(a), LX_CRIU_TABLE_PREFIX))
		return NULL;
	return nla_get_string(a);
}

int lx_nft_dump(struct nl_sock *sock, int message, lx_netlink_fn fn, void *arg, struct lx_err *err)
{
	struct nfgenmsg all = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 };
	struct lx_err why = LX_ERR_INIT;
	int r = lx_netlink_dump(sock, NFT_TYPE(message), &all, sizeof(all), fn, arg, &why);

	if (r == -EINVAL || r == -EOPNOTSUPP || r == -EPROTONOSUPPORT)
		return 0;
	if (r < 0 && err)
		*err = why;
	return r;
}

/* ------------------------------------------------------------------ the guest's tables */

/* Tables begin and end at the left edge; nothing else does. */
void lx_nft_drop_tables(char *rules, const char *prefix)
{
	char *to = rules, *end;
	bool dropping = false;

	for (char *line = rules; *line; line = end) {
		size_t len = strcspn(line, "\n");
		char name[128];

		end = line + len + (line[len] == '\n');
		if (sscanf(line, "table %*s %127s", name) == 1)
			dropping = lx_starts_with(name, prefix);
		if (!dropping) {
			memmove(to, line, (size_t)(end - line));
			to += end - line;
		}
		if (line[0] == '}')
			dropping = false;
	}
	*to = '\0';
}

static int refuse_include(const char *rules, struct lx_err *err)
{
	int r;

	if (!strstr(rules, "include"))
		return 0;
	r = lx_err_set(err, LX_FAILED_PRECONDITION,
		       "a name or comment in the guest's packet filter contains the word include");
	lx_err_hint(err, "Name it otherwise: nft would take the word for a command.");
	return r;
}

static int see_table(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	if (table_of(h, NFT_MSG_NEWTABLE, NFTA_TABLE_NAME))
		*(bool *)arg = true;
	return 0;
}

int lx_net_nft_save(int netns, char **ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf rules = { 0 };
	lx_autosock struct nl_sock *sock = NULL;
	bool found = false;
	int r = lx_netlink_open(netns, NETLINK_NETFILTER, &sock, err);

	if (r == 0)
		r = lx_nft_dump(sock, NFT_MSG_GETTABLE, see_table, &found, err);
	if (r == 0 && found) {
		r = run_nft(netns, "list ruleset\n", &rules, err);
		if (r == 0 && rules.len > 0)
			lx_nft_drop_tables((char *)rules.data, LX_CRIU_TABLE_PREFIX);
		if (r == 0)
			r = refuse_include(lx_buf_str(&rules), err);
	}
	if (r < 0) {
		lx_err_wrap(err, "cannot read the guest's packet filter");
		return r;
	}
	*ret = strdup(lx_buf_str(&rules));
	return *ret ? 0 : lx_err_oom(err);
}

int lx_net_nft_load(int netns, const char *rules, struct lx_err *err)
{
	lx_autobuf struct lx_buf out = { 0 };
	int r = refuse_include(rules, err);

	if (r == 0)
		r = run_nft(netns, rules, &out, err);
	if (r < 0)
		lx_err_wrap(err, "cannot set the guest's packet filter");
	return r;
}

/* ------------------------------------------------------------------ what nft cannot carry */

struct xt {
	bool found;
	char *table;
	size_t n;
};

static bool is_xt(struct nlattr *expr)
{
	struct nlattr *name = nla_find(nla_data(expr), nla_len(expr), NFTA_EXPR_NAME);

	return name && (nla_strcmp(name, "match") == 0 || nla_strcmp(name, "target") == 0);
}

static int look_at_rule(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	const char *table = table_of(h, NFT_MSG_NEWRULE, NFTA_RULE_TABLE);
	struct nlattr *exprs =
		table ? nlmsg_find_attr(h, sizeof(struct nfgenmsg), NFTA_RULE_EXPRESSIONS) : NULL;
	struct nlattr *e;
	struct xt *x = arg;
	int left;

	if (!exprs || x->found)
		return 0;
	nla_for_each_nested(e, exprs, left)
	{
		if (!is_xt(e))
			continue;
		x->found = true;
		snprintf(x->table, x->n, "%s", table);
		break;
	}
	return 0;
}

int lx_net_nft_has_xt(int netns, bool *ret, char *table, size_t n, struct lx_err *err)
{
	lx_autosock struct nl_sock *sock = NULL;
	struct xt x = { .table = table, .n = n };
	int r = lx_netlink_open(netns, NETLINK_NETFILTER, &sock, err);

	if (r == 0)
		r = lx_nft_dump(sock, NFT_MSG_GETRULE, look_at_rule, &x, err);
	if (r == 0)
		*ret = x.found;
	return r;
}
