/* What the tests of profiles/ share: cmocka's preamble and maps made from literals. */
#ifndef LX_TESTS_TEST_PROFILES_H
#define LX_TESTS_TEST_PROFILES_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/profiles.h"

#define lx_automap __attribute__((cleanup(lx_map_release)))

/* A map of "key", "value" pairs, borrowed; ends with NULL. */
__attribute__((sentinel, unused)) static struct lx_map map_of(const char *key, ...)
{
	struct lx_map m;
	va_list ap;

	lx_map_init(&m, NULL);
	va_start(ap, key);
	for (; key; key = va_arg(ap, const char *))
		assert_int_equal(lx_map_set(&m, key, (void *)(uintptr_t)va_arg(ap, const char *)), 0);
	va_end(ap);
	return m;
}

#define EMPTY_MAP map_of(NULL, NULL)

#endif
