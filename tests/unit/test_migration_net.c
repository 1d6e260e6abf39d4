/* What is pure in migration/net*: messages and how they are asked for again, turns of knobs, rules. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "migration/net_message.h"
#include "migration/net_nft.h"
#include "migration/net_sysctl.h"
#include "migration/netlink.h"
#include "proto/pb.h"

static struct nl_msg *message(int type, const void *head, size_t len)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, 0);

	assert_non_null(msg);
	assert_int_equal(nlmsg_append(msg, (void *)head, len, NLMSG_ALIGNTO), 0);
	return msg;
}

static ProtobufCBinaryData bytes(struct nl_msg *msg)
{
	return (ProtobufCBinaryData){ nlmsg_hdr(msg)->nlmsg_len, (uint8_t *)nlmsg_hdr(msg) };
}

static struct nl_msg *request(struct nl_msg *msg, int type)
{
	ProtobufCBinaryData data = bytes(msg);
	struct nl_msg *out = NULL;

	assert_int_equal(lx_net_message_request(&data, type, &out, NULL), 0);
	return out;
}

/* ------------------------------------------------------------------ messages */

static void states_of_an_address_stay_behind(void **state)
{
	struct ifaddrmsg m = { .ifa_family = AF_INET6, .ifa_flags = IFA_F_PERMANENT, .ifa_index = 7 };
	lx_automsg struct nl_msg *msg = message(RTM_NEWADDR, &m, sizeof(m)), *out = NULL;
	struct ifa_cacheinfo life = { .ifa_valid = 0 };

	nla_put_u32(msg, IFA_FLAGS, IFA_F_PERMANENT | IFA_F_TENTATIVE | IFA_F_NOPREFIXROUTE);
	nla_put(msg, IFA_CACHEINFO, sizeof(life), &life);
	out = request(msg, RTM_NEWADDR);
	assert_int_equal(((struct ifaddrmsg *)nlmsg_data(nlmsg_hdr(out)))->ifa_index, 7);
	assert_int_equal(nla_get_u32(nlmsg_find_attr(nlmsg_hdr(out), sizeof(m), IFA_FLAGS)),
			 IFA_F_NOPREFIXROUTE);
	memcpy(&life, nla_data(nlmsg_find_attr(nlmsg_hdr(out), sizeof(m), IFA_CACHEINFO)), sizeof(life));
	assert_int_equal(life.ifa_valid, 1);
}

static void an_address_that_another_has_is_not_carried(void **state)
{
	struct ifaddrmsg m = { .ifa_family = AF_INET6 };
	lx_automsg struct nl_msg *msg = message(RTM_NEWADDR, &m, sizeof(m));

	assert_true(lx_net_message_wanted(nlmsg_hdr(msg)));
	nla_put_u32(msg, IFA_FLAGS, IFA_F_DADFAILED | IFA_F_TENTATIVE);
	assert_false(lx_net_message_wanted(nlmsg_hdr(msg)));
}

static bool route_wanted(uint8_t table, uint8_t protocol, unsigned flags, uint8_t family)
{
	struct rtmsg m = {
		.rtm_family = family, .rtm_table = table, .rtm_protocol = protocol, .rtm_flags = flags
	};
	lx_automsg struct nl_msg *msg = message(RTM_NEWROUTE, &m, sizeof(m));

	return lx_net_message_wanted(nlmsg_hdr(msg));
}

static void routes_that_come_by_themselves(void **state)
{
	assert_true(route_wanted(RT_TABLE_MAIN, RTPROT_STATIC, 0, AF_INET));
	assert_true(route_wanted(RT_TABLE_MAIN, RTPROT_KERNEL, 0, AF_INET6));
	assert_true(route_wanted(RT_TABLE_LOCAL, RTPROT_STATIC, 0, AF_INET));
	assert_false(route_wanted(RT_TABLE_LOCAL, RTPROT_KERNEL, 0, AF_INET));
	assert_false(route_wanted(RT_TABLE_MAIN, RTPROT_STATIC, RTM_F_CLONED, AF_INET6));
	assert_false(route_wanted(RT_TABLE_MAIN, RTPROT_STATIC, 0, AF_BRIDGE));
}

static void a_route_keeps_its_age_and_loses_its_states(void **state)
{
	struct rtmsg m = { .rtm_family = AF_INET6, .rtm_flags = RTNH_F_DEAD | RTNH_F_ONLINK };
	struct rta_cacheinfo age = { .rta_expires = 300 * 100 };
	lx_automsg struct nl_msg *msg = message(RTM_NEWROUTE, &m, sizeof(m)), *out = NULL;

	nla_put(msg, RTA_CACHEINFO, sizeof(age), &age);
	nla_put_u32(msg, RTA_NH_ID, 3);
	assert_int_equal(lx_net_message_rank(nlmsg_hdr(msg)), 0);
	nla_put_u32(msg, RTA_GATEWAY, 1);
	assert_int_equal(lx_net_message_rank(nlmsg_hdr(msg)), 1);
	out = request(msg, RTM_NEWROUTE);
	assert_int_equal(((struct rtmsg *)nlmsg_data(nlmsg_hdr(out)))->rtm_flags, RTNH_F_ONLINK);
	assert_int_equal(nla_get_u32(nlmsg_find_attr(nlmsg_hdr(out), sizeof(m), RTA_EXPIRES)), 301);
	assert_null(nlmsg_find_attr(nlmsg_hdr(out), sizeof(m), RTA_CACHEINFO));
	assert_null(nlmsg_find_attr(nlmsg_hdr(out), sizeof(m), RTA_NH_ID));
}

static void the_first_rule_has_its_priority_said(void **state)
{
	struct fib_rule_hdr m = { .family = AF_INET };
	lx_automsg struct nl_msg *msg = message(RTM_NEWRULE, &m, sizeof(m)), *out = NULL;

	out = request(msg, RTM_NEWRULE);
	assert_int_equal(nla_get_u32(nlmsg_find_attr(nlmsg_hdr(out), sizeof(m), FRA_PRIORITY)), 0);
}

static void learned_neighbours_are_not_permanent_ones(void **state)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };
	struct ndmsg m = { .ndm_family = AF_INET, .ndm_state = NUD_REACHABLE };
	lx_automsg struct nl_msg *learned = message(RTM_NEWNEIGH, &m, sizeof(m)), *set = NULL, *out = NULL;

	assert_false(lx_net_message_wanted(nlmsg_hdr(learned)));
	assert_false(lx_net_message_learned(nlmsg_hdr(learned)));
	nla_put(learned, NDA_LLADDR, sizeof(mac), mac);
	assert_true(lx_net_message_learned(nlmsg_hdr(learned)));
	out = request(learned, RTM_NEWNEIGH);
	assert_int_equal(((struct ndmsg *)nlmsg_data(nlmsg_hdr(out)))->ndm_state, NUD_STALE);
	m.ndm_state = NUD_PERMANENT;
	set = message(RTM_NEWNEIGH, &m, sizeof(m));
	assert_true(lx_net_message_wanted(nlmsg_hdr(set)));
	nla_put(set, NDA_LLADDR, sizeof(mac), mac);
	assert_false(lx_net_message_learned(nlmsg_hdr(set)));
	for (unsigned state_ = NUD_INCOMPLETE; state_ < NUD_PERMANENT; state_ <<= 1) {
		((struct ndmsg *)nlmsg_data(nlmsg_hdr(set)))->ndm_state = (uint16_t)state_;
		assert_int_equal(lx_net_message_learned(nlmsg_hdr(set)),
				 state_ != NUD_INCOMPLETE && state_ != NUD_FAILED && state_ != NUD_NOARP);
	}
}

static void malformed_messages(void **state)
{
	struct rtmsg m = { .rtm_family = AF_INET };
	lx_automsg struct nl_msg *msg = message(RTM_NEWROUTE, &m, sizeof(m));
	ProtobufCBinaryData whole = bytes(msg), data = whole;
	struct lx_err err = LX_ERR_INIT;
	struct nl_msg *out = NULL;

	assert_int_equal(lx_net_message_request(&data, RTM_NEWADDR, &out, &err), -EINVAL);
	for (data.len = 0; data.len < whole.len; data.len++)
		assert_int_equal(lx_net_message_request(&data, RTM_NEWROUTE, &out, &err), -EINVAL);
	nlmsg_hdr(msg)->nlmsg_len = sizeof(struct nlmsghdr) + 1;
	data = bytes(msg);
	assert_int_equal(lx_net_message_request(&data, RTM_NEWROUTE, &out, &err), -EINVAL);
	assert_null(out);
}

/* ------------------------------------------------------------------ knobs */

static enum lx_sysctl_turn turn(const char *name)
{
	const char *link;
	size_t len;

	return lx_net_sysctl_turn(name, &link, &len);
}

static void turns_of_knobs(void **state)
{
	const char *link = NULL;
	size_t len = 0;

	assert_int_equal(turn("ipv4/ip_forward"), LX_SYSCTL_SPREADS);
	assert_int_equal(turn("ipv6/conf/all/forwarding"), LX_SYSCTL_SPREADS);
	assert_int_equal(turn("ipv6/conf/all/accept_ra"), LX_SYSCTL_NAMESPACE);
	assert_int_equal(turn("core/somaxconn"), LX_SYSCTL_NAMESPACE);
	assert_int_equal(turn("ipv4/neigh/default/gc_thresh1"), LX_SYSCTL_DEFAULT);
	assert_int_equal(turn("ipv6/conf/eth0/addr_gen_mode"), LX_SYSCTL_NEVER);
	assert_int_equal(lx_net_sysctl_turn("ipv6/conf/eth0.7/mtu", &link, &len), LX_SYSCTL_LINK);
	assert_int_equal(len, 6);
	assert_memory_equal(link, "eth0.7", 6);
	assert_int_equal(turn("ipv4/neigh/lo/ucast_solicit"), LX_SYSCTL_LINK);
}

static void knobs_elsewhere_are_refused(void **state)
{
	static const char *const bad[] = {
		"",      "/etc/passwd", "../kernel/core_pattern", "ipv4/../../kernel/x", "ipv4//x",
		"ipv4/", "ipv4/.x"
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(turn(bad[i]), LX_SYSCTL_NEVER);
}

static void add(Lxmgr__V1__GuestNetwork *net, const char *name, const char *value)
{
	assert_int_equal(lx_pb_map_set(&lxmgr__v1__guest_network__sysctls_entry__descriptor, &net->n_sysctls,
				       &net->sysctls, name, value),
			 0);
}

/* What is left of a guest with these values beside those of a new namespace. */
static size_t left(const char *spread, const char *link, const char *own)
{
	Lxmgr__V1__GuestNetwork fresh = LXMGR__V1__GUEST_NETWORK__INIT, net = LXMGR__V1__GUEST_NETWORK__INIT;
	size_t n;

	add(&fresh, "ipv6/conf/all/forwarding", "0");
	add(&fresh, "ipv6/conf/default/accept_ra", "1");
	add(&fresh, "core/somaxconn", "4096");
	add(&net, "ipv6/conf/all/forwarding", spread);
	add(&net, "ipv6/conf/default/accept_ra", "1");
	add(&net, "ipv6/conf/eth0/accept_ra", link);
	add(&net, "core/somaxconn", own);
	assert_int_equal(lx_net_sysctl_prune(&net, &fresh), 0);
	n = net.n_sysctls;
	lx_pb_map_clear(&net.n_sysctls, &net.sysctls);
	lx_pb_map_clear(&fresh.n_sysctls, &fresh.sysctls);
	return n;
}

static void knobs_of_a_new_namespace_are_not_set(void **state)
{
	assert_int_equal(left("0", "1", "4096"), 0);
	assert_int_equal(left("0", "1", "99"), 1);
	assert_int_equal(left("0", "0", "4096"), 1);
	assert_int_equal(left("1", "1", "4096"), 2); /* and the interface's, which it would change */
}

/* ------------------------------------------------------------------ packet filter */

static void tables_are_dropped(void **state)
{
	char rules[] = "table inet a {\n\tchain c {\n\t}\n}\ntable inet CRIU-7 {\n\tchain d {\n\t}\n}\n"
		       "table ip CRIU-x {\n}\ntable ip b {\n\tcomment \"table inet CRIU-7\"\n}\n";

	lx_nft_drop_tables(rules, LX_CRIU_TABLE_PREFIX);
	assert_string_equal(rules, "table inet a {\n\tchain c {\n\t}\n}\n"
				   "table ip b {\n\tcomment \"table inet CRIU-7\"\n}\n");
	lx_nft_drop_tables(rules, "");
	assert_string_equal(rules, "");
	lx_nft_drop_tables(rules, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_of_an_address_stay_behind),
		cmocka_unit_test(an_address_that_another_has_is_not_carried),
		cmocka_unit_test(routes_that_come_by_themselves),
		cmocka_unit_test(a_route_keeps_its_age_and_loses_its_states),
		cmocka_unit_test(the_first_rule_has_its_priority_said),
		cmocka_unit_test(learned_neighbours_are_not_permanent_ones),
		cmocka_unit_test(malformed_messages),
		cmocka_unit_test(turns_of_knobs),
		cmocka_unit_test(knobs_elsewhere_are_refused),
		cmocka_unit_test(knobs_of_a_new_namespace_are_not_set),
		cmocka_unit_test(tables_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
