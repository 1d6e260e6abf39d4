/*
 * Scope-bound ownership (gcc/clang cleanup attribute).
 *
 *   lx_autofree char *s = NULL;      free() at the end of the scope
 *   lx_autoclose int fd = -1;        close() unless negative
 *   lx_autofclose, lx_autoclosedir   same for FILE*, DIR*
 *   return lx_move_ptr(s);           hand the pointer out, leave NULL behind
 *   return lx_move_fd(fd);           hand the descriptor out, leave -1 behind
 */
#ifndef LX_LIB_CLEANUP_H
#define LX_LIB_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void lx_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void lx_cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void lx_cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void lx_cleanup_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define lx_autofree     __attribute__((cleanup(lx_cleanup_free)))
#define lx_autoclose    __attribute__((cleanup(lx_cleanup_close)))
#define lx_autofclose   __attribute__((cleanup(lx_cleanup_fclose)))
#define lx_autoclosedir __attribute__((cleanup(lx_cleanup_closedir)))

#define lx_move_ptr(p)                                                                                       \
	({                                                                                                   \
		__auto_type lx_p_ = (p);                                                                     \
		(p) = NULL;                                                                                  \
		lx_p_;                                                                                       \
	})
#define lx_move_fd(fd)                                                                                       \
	({                                                                                                   \
		int lx_fd_ = (fd);                                                                           \
		(fd) = -1;                                                                                   \
		lx_fd_;                                                                                      \
	})

#define LX_ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define lx_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
