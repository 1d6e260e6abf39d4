/*
 * For tests of migration/tree*.c: a sender wired straight to a receiver, on real directories,
 * ways to make trees, and a comparison of both, entry by entry.
 */
#ifndef LX_TEST_TREE_FIXTURE_H
#define LX_TEST_TREE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cmocka.h>

#include "migration/tree.h"

#define OWNER 100000u
#define MIB   (1024u * 1024)

/* A POSIX access control list that names user 1 of the instance (acl(5), as the kernel has it). */
#define ACL_SIZE 44
extern const uint8_t acl[ACL_SIZE];

struct pair {
	char top[64];
	int from, to;
	struct lx_tree_sender *sender;
	struct lx_tree_receiver *receiver;
	unsigned entries, in_place, links, removed; /* frames of the last pass */
	uint64_t bytes;
	/* called once, at the first entry below the top */
	void (*meanwhile)(struct pair *p);
	bool spoil; /* change a byte on the way */
	struct lx_err err;
};

/* Directories of its own, below `where`; begin(): in memory, connected. */
void make_top(struct pair *p, const char *where);
void begin_in(struct pair *p, const char *where);
void connect_pair(struct pair *p, int lower, int index);
void begin(struct pair *p);
void end(struct pair *p);
/* What tests that failed have left: for the group's teardown. */
int remove_tops(void **state);
/* 0 or what a side said, in p->err. pass(): must be 0. */
int try_pass(struct pair *p, bool last);
void pass(struct pair *p, bool last);
/* Skips without it. */
void needs_root(void);
/* Fails the test unless both trees are the same. */
void same(struct pair *p);

/* All relative to `dir`. */
int open_at(int dir, const char *path);
void put(int dir, const char *path, const void *data, size_t len);
void put_text(int dir, const char *path, const char *text);
void put_at(int dir, const char *path, uint64_t offset, const char *text);
void put_noise(int dir, const char *path, size_t len);
void make_dir(int dir, const char *path);
void set_attr(int dir, const char *path, const char *name, const void *value, size_t len);
ssize_t get_attr(int dir, const char *path, const char *name, char buf[256]);
bool has_attr(int dir, const char *path, const char *name);
struct stat stat_of(int dir, const char *path);
bool exists(int dir, const char *path);
char *text_of(int dir, const char *path, char buf[256]);

#endif
