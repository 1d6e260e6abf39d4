/*
 * A token bucket (tc-tbf(8)) as the interface's root, with fq_codel in it where the kernel has that:
 * then one connection's queue does not delay the others'. Set by libnl.
 *
 * Ways to fail: a kernel without sch_tbf.
 */
#include "agent/network/rate.h"

#include <errno.h>

#include <linux/pkt_sched.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/tc.h>

#include "agent/network/nl.h"

/* What libnl takes, and the largest frame that a guest is handed at once (GSO). */
#define RATE_MAX    INT32_MAX
#define FRAME_MAX   65536
#define BUCKET_MS   10
#define QUEUE_MS    50
#define BUCKET_KIND "tbf"

static struct rtnl_qdisc *new_qdisc(int ifindex, uint32_t parent, uint32_t handle, const char *kind)
{
	struct rtnl_qdisc *q = rtnl_qdisc_alloc();

	if (!q)
		return NULL;
	rtnl_tc_set_ifindex(TC_CAST(q), ifindex);
	rtnl_tc_set_parent(TC_CAST(q), parent);
	rtnl_tc_set_handle(TC_CAST(q), handle);
	if (kind && rtnl_tc_set_kind(TC_CAST(q), kind) < 0) {
		rtnl_qdisc_put(q);
		return NULL;
	}
	return q;
}

static int unset(struct nl_sock *route, int ifindex, struct lx_err *err)
{
	struct rtnl_qdisc *q = new_qdisc(ifindex, TC_H_ROOT, 0, NULL);

	if (!q)
		return lx_err_oom(err);
	int nle = rtnl_qdisc_delete(route, q);

	rtnl_qdisc_put(q);
	/* A device that has but its default one has none to delete. */
	if (nle < 0 && !lx_nl_is_absent(nle) && nle != -NLE_INVAL)
		return lx_nl_err(err, nle, "cannot lift the bound on network interface %d", ifindex);
	return 0;
}

static void queue_fairly(struct nl_sock *route, int ifindex)
{
	struct rtnl_qdisc *q = new_qdisc(ifindex, TC_HANDLE(1, 1), TC_HANDLE(2, 0), "fq_codel");

	if (q)
		(void)rtnl_qdisc_add(route, q, NLM_F_CREATE | NLM_F_REPLACE);
	rtnl_qdisc_put(q);
}

int lx_rate_set(struct nl_sock *route, int ifindex, uint64_t rate, struct lx_err *err)
{
	if (rate == 0)
		return unset(route, ifindex, err);
	struct rtnl_qdisc *q = new_qdisc(ifindex, TC_H_ROOT, TC_HANDLE(1, 0), BUCKET_KIND);

	if (!q)
		return lx_err_oom(err);
	if (rate > RATE_MAX)
		rate = RATE_MAX;
	uint64_t bucket = rate * BUCKET_MS / 1000, queue = rate * QUEUE_MS / 1000;

	bucket = bucket < FRAME_MAX ? FRAME_MAX : bucket;
	queue = queue < 2 * FRAME_MAX ? 2 * FRAME_MAX : queue;
	rtnl_qdisc_tbf_set_rate(q, (int)rate, (int)bucket, 0);
	rtnl_qdisc_tbf_set_limit(q, (int)(bucket + queue));
	int nle = rtnl_qdisc_add(route, q, NLM_F_CREATE | NLM_F_REPLACE);

	rtnl_qdisc_put(q);
	if (nle < 0) {
		int r = lx_nl_err(err, nle, "cannot bound the rate of network interface %d", ifindex);

		lx_err_hint(err, "limits.ingress and limits.max need a kernel with the token bucket filter "
				 "(sch_tbf).");
		return r;
	}
	queue_fairly(route, ifindex);
	return 0;
}
