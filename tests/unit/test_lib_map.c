/* The string map: ownership, order, and running out of memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/map.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LX_TEST_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LX_TEST_SANITIZED
#endif
#endif

static int destroyed;

static void count_and_free(void *value)
{
	destroyed++;
	free(value);
}

static void empty_map_is_zero(void **state)
{
	struct lx_map m = { 0 };

	assert_int_equal(lx_map_count(&m), 0);
	assert_null(lx_map_get(&m, "a"));
	assert_false(lx_map_has(&m, "a"));
	assert_false(lx_map_del(&m, "a"));
	assert_null(lx_map_take(&m, "a"));
	assert_null(lx_map_first(&m));
	lx_map_release(&m);
	lx_map_release(NULL);
}

static void copies_keys(void **state)
{
	struct lx_map m = { 0 };
	char key[] = "web1";
	int v = 0;

	assert_int_equal(lx_map_set(&m, key, &v), 0);
	key[0] = 'x';
	assert_ptr_equal(lx_map_get(&m, "web1"), &v);
	assert_null(lx_map_get(&m, "xeb1"));
	assert_int_equal(lx_map_set(&m, "", &v), 0);
	assert_true(lx_map_has(&m, ""));
	lx_map_release(&m);
}

static void holds_null_values(void **state)
{
	struct lx_map m;

	lx_map_init(&m, free);
	assert_int_equal(lx_map_set(&m, "a", NULL), 0);
	assert_true(lx_map_has(&m, "a"));
	assert_null(lx_map_get(&m, "a"));
	lx_map_release(&m);
}

static void destroys_each_value_once(void **state)
{
	struct lx_map m;

	destroyed = 0;
	lx_map_init(&m, count_and_free);
	for (const char *const *k = (const char *const[]){ "a", "b", "c", NULL }; *k; k++)
		assert_int_equal(lx_map_set(&m, *k, malloc(1)), 0);
	assert_int_equal(lx_map_set(&m, "a", malloc(1)), 0); /* replaces */
	assert_int_equal(destroyed, 1);
	void *same = lx_map_get(&m, "a");

	assert_int_equal(lx_map_set(&m, "a", same), 0); /* itself: not destroyed */
	assert_int_equal(destroyed, 1);
	free(lx_map_take(&m, "b"));
	assert_int_equal(destroyed, 1);
	assert_true(lx_map_del(&m, "a"));
	assert_int_equal(destroyed, 2);
	lx_map_release(&m);
	assert_int_equal(destroyed, 3);
	assert_int_equal(lx_map_count(&m), 0);
}

static void iterates_in_insertion_order(void **state)
{
	struct lx_map m = { 0 };
	char key[16];
	int v[1000], i;

	for (i = 0; i < 1000; i++) {
		v[i] = i;
		snprintf(key, sizeof(key), "k%d", i * 7919 % 1000);
		assert_int_equal(lx_map_set(&m, key, &v[i]), 0);
	}
	assert_int_equal(lx_map_set(&m, "k0", &v[0]), 0); /* replacing keeps the place */
	i = 0;
	for (struct lx_map_entry *e = lx_map_first(&m); e; e = lx_map_next(e), i++) {
		snprintf(key, sizeof(key), "k%d", i * 7919 % 1000);
		assert_string_equal(lx_map_key(e), key);
		assert_ptr_equal(lx_map_value(e), &v[i]);
	}
	assert_int_equal(i, 1000);
	lx_map_release(&m);
}

static void compares_strings(void **state)
{
	struct lx_map a, b;

	lx_map_init(&a, NULL);
	lx_map_init(&b, NULL);
	assert_true(lx_map_same_strings(&a, &b));
	lx_map_set(&a, "x", (void *)"1");
	lx_map_set(&a, "y", (void *)"2");
	assert_false(lx_map_same_strings(&a, &b));
	lx_map_set(&b, "y", (void *)"2");
	lx_map_set(&b, "x", (void *)"1");
	assert_true(lx_map_same_strings(&a, &b));
	lx_map_set(&b, "x", (void *)"3");
	assert_false(lx_map_same_strings(&a, &b));
	lx_map_del(&b, "x");
	lx_map_set(&b, "z", (void *)"1");
	assert_false(lx_map_same_strings(&a, &b)); /* as many, but others */
	lx_map_release(&a);
	lx_map_release(&b);
}

static void deletes_while_iterating(void **state)
{
	struct lx_map m = { 0 };
	char key[16];
	int seen = 0;

	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "%d", i);
		assert_int_equal(lx_map_set(&m, key, &seen), 0);
	}
	for (struct lx_map_entry *e = lx_map_first(&m), *next; e; e = next) {
		next = lx_map_next(e);
		if (seen++ % 2 == 0) {
			snprintf(key, sizeof(key), "%s", lx_map_key(e));
			assert_true(lx_map_del(&m, key));
		}
	}
	assert_int_equal(seen, 100);
	assert_int_equal(lx_map_count(&m), 50);
	assert_false(lx_map_has(&m, "0"));
	assert_true(lx_map_has(&m, "1"));
	lx_map_release(&m);
}

/* In a child whose address space is capped: every refusal must leave the map whole. */
static int fill_until_refused(void)
{
	struct lx_map m = { 0 };
	struct rlimit cap = { 64 << 20, 64 << 20 };
	char key[600];
	size_t n = 0;
	int refused = 0;

	memset(key, 'k', sizeof(key));
	setrlimit(RLIMIT_AS, &cap);
	for (size_t i = 0; i < 1000000 && refused < 50; i++) {
		snprintf(key + 500, 20, "%zu", i);
		int r = lx_map_set(&m, key, &m);

		if (r == 0)
			n++;
		else if (r == -ENOMEM && !lx_map_has(&m, key))
			refused++;
		else
			return 1;
	}
	if (refused < 50 || lx_map_count(&m) != n)
		return 2;
	for (struct lx_map_entry *e = lx_map_first(&m); e; e = lx_map_next(e), n--)
		if (lx_map_get(&m, lx_map_key(e)) != &m)
			return 3;
	lx_map_release(&m);
	return n == 0 ? 0 : 4;
}

static void out_of_memory_is_an_error(void **state)
{
#ifdef LX_TEST_SANITIZED
	print_message("skipped: a sanitizer needs more address space than the cap of this test\n");
	skip();
#endif
	pid_t pid = fork();

	if (pid == 0)
		_exit(fill_until_refused());
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_map_is_zero),
		cmocka_unit_test(copies_keys),
		cmocka_unit_test(holds_null_values),
		cmocka_unit_test(destroys_each_value_once),
		cmocka_unit_test(iterates_in_insertion_order),
		cmocka_unit_test(deletes_while_iterating),
		cmocka_unit_test(compares_strings),
		cmocka_unit_test(out_of_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
