/* For tests of migration/tar/: a tree with all kinds of things in it, and comparing it with what came of it.
 */
#ifndef LX_TESTS_TAR_TREE_H
#define LX_TESTS_TAR_TREE_H

#include <sys/stat.h>
#include <time.h>

#define TAR_MIB (1024 * 1024)

/* How exactly times are to come out. */
enum tar_exact { TAR_SECONDS, TAR_NANOSECONDS };

/* tar_setup(), with mounts of our own where that can be had. Each test with a tree unmounts at its end. */
int tar_setup_mounts(void **state);
int tar_unmount(void **state);

/* "tree" below the top. Something else is mounted on "mounted" in it, if it can be. */
int tar_make_tree(void);

/* Its parts. */
void tar_put_text(int dir, const char *name, const char *text);
int tar_put_dir(int dir, const char *name, mode_t mode);
/* Of modification; that of access is 100 s before, and 987654321 ns. */
void tar_set_time(int dir, const char *name, time_t s, long ns);

/* All that is here is there, and nothing else, but for sockets and what is mounted. The number of things. */
unsigned tar_compare(int here, int there, enum tar_exact exact);
void tar_same_content(int a_dir, const char *a, int b_dir, const char *b, off_t size);
ino_t tar_inode(int dir, const char *name);

#endif
