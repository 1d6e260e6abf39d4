/*
 * Names of system calls, and lists of them in configuration values: names separated by
 * blanks, commas or newlines. "@guest" in a list stands for what a full guest needs
 * (syscalls_guest.c).
 */
#ifndef LX_PROFILES_SYSCALLS_H
#define LX_PROFILES_SYSCALLS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

#define LX_SYSCALL_NAME_MAX 63

/* The group a list may name. */
#define LX_SYSCALLS_GUEST "@guest"

/* The next name of a list. Moves *list; 0 at the end. */
size_t lx_syscalls_next(const char **list, const char **name);
/* Whether the list has this name itself (a group's members do not count). */
bool lx_syscalls_has(const char *list, const char *name);

/* Whether a machine this program knows has the call: x86 (32, x32 and 64 bits), ARM (32 and 64). */
bool lx_syscall_exists(const char *name);
/* The nearest name there is, malloc'ed, or NULL: for "did you mean". */
char *lx_syscall_nearest(const char *name);

/* Members of @guest, NULL at the end. */
extern const char *const lx_syscalls_guest[];

/* What bars a live move: never allowed, whatever else is. NULL at the end. */
struct lx_syscall_answer {
	const char *name;
	int answer; /* errno */
};
extern const struct lx_syscall_answer lx_syscalls_unmovable[];

#endif
