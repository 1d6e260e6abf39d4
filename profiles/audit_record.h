/*
 * A message of the kernel's audit, as far as it tells of something that was denied: by AppArmor
 * (type 1400) or by a filter of system calls (type 1326). Pure.
 *
 *   audit(1796000931.487:2): apparmor="DENIED" operation="mount" profile="lxmgr-web1" name="/mnt/" ...
 *   audit(1796000931.487:3): auid=4294967295 uid=100000 ... pid=28682 comm="sh" sig=0 arch=c000003e ...
 *
 * Names in it come from guests. The kernel writes one that has a quote, a blank or a control
 * character in hex and without quotes, so that no name can look like another field; here a field
 * counts where it stands first.
 */
#ifndef LX_PROFILES_AUDIT_RECORD_H
#define LX_PROFILES_AUDIT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LX_AUDIT_AVC     1400
#define LX_AUDIT_SECCOMP 1326
/* Bytes that a message may have (the kernel's MAX_AUDIT_MESSAGE_LENGTH). */
#define LX_AUDIT_TEXT_MAX 8970
#define LX_AUDIT_PATH_MAX 1024
#define LX_AUDIT_WORD_MAX 256

struct lx_audit_record {
	bool seccomp;     /* else AppArmor's */
	bool allowed;     /* only told of: complain mode, or a filter's "log" */
	uint64_t time_ms; /* since the epoch */
	uint64_t serial;
	int64_t pid; /* of the process; -1: not said */
	int64_t uid; /* as the machine has it; -1: not said */
	char program[64];
	/* Of AppArmor; "" where it does not say. All texts are UTF-8 without control characters;
	 * `cut`: one was another, or was longer and ends in "...". */
	bool cut;
	char operation[64];
	char profile[LX_AUDIT_WORD_MAX];
	char name[LX_AUDIT_PATH_MAX];
	char mask[64]; /* what of it was denied */
	char peer[LX_AUDIT_WORD_MAX];
	char source[LX_AUDIT_WORD_MAX];
	char fstype[64], flags[128], capability[64], family[32], sock_type[32], signal[32];
	/* Of a system call. */
	uint32_t arch; /* AUDIT_ARCH_... */
	int64_t syscall;
	uint32_t action; /* SECCOMP_RET_... */
};

/*
 * `type` as netlink has it; `text` as it follows there, not terminated. 0; -ENOMSG: it tells of
 * nothing denied; -EBADMSG: it is not as the kernel writes it.
 */
int lx_audit_parse(unsigned type, const char *text, size_t len, struct lx_audit_record *ret);

/*
 * A record of /dev/kmsg, where messages go that no audit daemon takes:
 * "5,1201,24272136505,-;audit: type=1326 audit(...): ...". The same results; what a program has
 * written there is -ENOMSG.
 */
int lx_audit_parse_kmsg(const char *text, size_t len, struct lx_audit_record *ret);

/*
 * The instance whose profile this is ("lxmgr-web1", ":ns:lxmgr-web1//child" ...), as
 * lx_apparmor_name() makes it. False: it is none of this agent's.
 */
bool lx_audit_instance(const char *cgroup_root, const char *profile, char *ret, size_t n);

/* The name of a system call, or "call 12345". Returns buf. */
char *lx_audit_syscall(const struct lx_audit_record *r, char *buf, size_t n);
/* "x86_64" ...; "" for one that is not known. */
const char *lx_audit_arch(uint32_t arch);

#endif
