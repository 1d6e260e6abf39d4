/* sys/queue.h under one roof, plus the safe iteration glibc's copy lacks. */
#ifndef LX_LIB_LIST_H
#define LX_LIB_LIST_H

#include <sys/queue.h>

#ifndef TAILQ_FOREACH_SAFE
#define TAILQ_FOREACH_SAFE(var, head, field, tvar)                                                           \
	for ((var) = TAILQ_FIRST(head); (var) && ((tvar) = TAILQ_NEXT(var, field), 1); (var) = (tvar))
#endif

#endif
