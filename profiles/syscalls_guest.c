/*
 * "@guest": the system calls of a whole Debian guest, systemd and the usual services in it, on
 * 64 and 32 bits. What is not here: loading modules and kernels, other people's memory and
 * registers (ptrace, process_vm_*), kernel keyrings, tracing and profiling, swap, quotas, the
 * clock, raw I/O, file handles, and what bars a live move.
 */
#include "profiles/syscalls.h"

#include <errno.h>
#include <stddef.h>

/* clang-format off */
const char *const lx_syscalls_guest[] = {
	/* processes and threads */
	"arch_prctl", "capget", "capset", "clone", "clone3", "execve", "execveat", "exit", "exit_group",
	"fork", "get_robust_list", "get_thread_area", "getcpu", "getpgid", "getpgrp", "getpid",
	"getpriority", "getppid", "getrlimit", "getrusage", "getsid", "gettid", "kill", "membarrier",
	"modify_ldt", "personality", "pidfd_open", "pidfd_send_signal", "prctl", "prlimit64",
	"process_madvise", "process_mrelease", "restart_syscall", "rseq", "sched_get_priority_max",
	"sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
	"sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
	"sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
	"seccomp", "set_robust_list", "set_thread_area", "set_tid_address", "setpgid", "setpriority",
	"setrlimit", "setsid", "sysinfo", "tgkill", "times", "tkill", "ugetrlimit", "umask", "uname",
	"vfork", "wait4", "waitid", "waitpid", "ioprio_get", "ioprio_set", "nice",
	/* users */
	"getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
	"getgroups32", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32",
	"setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups",
	"setgroups32", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid",
	"setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
	/* signals */
	"alarm", "getitimer", "pause", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
	"rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
	"rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "setitimer", "sigaction", "sigaltstack",
	"signal", "signalfd", "signalfd4", "sigpending", "sigprocmask", "sigreturn", "sigsuspend",
	/* time */
	"adjtimex", "clock_adjtime", "clock_getres", "clock_getres_time64", "clock_gettime",
	"clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "gettimeofday", "nanosleep",
	"time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
	"timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime",
	"timerfd_gettime64", "timerfd_settime", "timerfd_settime64",
	/* memory */
	"brk", "get_mempolicy", "madvise", "mbind", "memfd_create", "mincore", "mlock", "mlock2",
	"mlockall", "mmap", "mmap2", "mprotect", "mremap", "msync", "munlock", "munlockall", "munmap",
	"pkey_alloc", "pkey_free", "pkey_mprotect", "remap_file_pages", "set_mempolicy",
	"set_mempolicy_home_node",
	/* files */
	"_llseek", "access", "chdir", "chmod", "chown", "chown32", "close", "close_range",
	"copy_file_range", "creat", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64",
	"fadvise64_64", "arm_fadvise64_64", "fallocate", "fanotify_init", "fanotify_mark", "fchdir",
	"fchmod", "fchmodat", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync",
	"fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat", "fstat64",
	"fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futimesat",
	"getcwd", "getdents", "getdents64", "getxattr", "inotify_add_watch", "inotify_init",
	"inotify_init1", "inotify_rm_watch", "ioctl", "lchown", "lchown32", "lgetxattr", "link",
	"linkat", "listxattr", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64",
	"mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat", "oldfstat",
	"oldlstat", "oldstat", "open", "openat", "openat2", "readahead", "readdir", "readlink",
	"readlinkat", "removexattr", "rename", "renameat", "renameat2", "rmdir", "setxattr", "stat",
	"stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
	"arm_sync_file_range", "syncfs", "truncate", "truncate64", "unlink",
	"unlinkat", "utime", "utimensat", "utimensat_time64", "utimes",
	/* reading, writing, waiting */
	"_newselect", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait",
	"epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "futex",
	"futex_time64", "futex_waitv", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
	"io_pgetevents_time64", "io_setup", "io_submit", "pipe", "pipe2", "poll", "ppoll",
	"ppoll_time64", "pread64", "preadv", "preadv2", "pselect6", "pselect6_time64", "pwrite64",
	"pwritev", "pwritev2", "read", "readv", "select", "sendfile", "sendfile64", "splice", "tee",
	"vmsplice", "write", "writev",
	/* sockets and System V IPC */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "ipc",
	"listen", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
	"mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl",
	"msgget", "msgrcv", "msgsnd", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg",
	"semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send", "sendmmsg", "sendmsg",
	"sendto", "setsockopt", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "socket",
	"socketcall", "socketpair",
	/* the guest itself: its mounts, names, namespaces, its end */
	"chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount",
	"open_tree", "pivot_root", "reboot", "setdomainname", "sethostname", "setns", "umount",
	"unshare", "vhangup",
	/* what confines further, and the random numbers */
	"getrandom", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
	/* 32 bits on ARM */
	"breakpoint", "cacheflush", "set_tls", "get_tls", "usr26", "usr32",
	NULL,
};

const struct lx_syscall_answer lx_syscalls_unmovable[] = {
	/* Rings and loaded programs cannot be dumped; memory that the kernel itself does not map even less. */
	{ "io_uring_setup", ENOSYS },
	{ "io_uring_enter", ENOSYS },
	{ "io_uring_register", ENOSYS },
	{ "memfd_secret", ENOSYS },
	{ "bpf", EPERM },
	{ NULL, 0 },
};
/* clang-format on */
