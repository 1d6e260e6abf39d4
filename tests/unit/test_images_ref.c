/* What people may call images, and which image they mean. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "images/arch.h"
#include "images/ref.h"
#include "images/template.h"

#define FP_A "aaaaaaaa11111111aaaaaaaa11111111aaaaaaaa11111111aaaaaaaa11111111"
#define FP_B "aaaaaaaa22222222aaaaaaaa22222222aaaaaaaa22222222aaaaaaaa22222222"
#define FP_C "cccccccc11111111cccccccc11111111cccccccc11111111cccccccc11111111"

/* protobuf-c has no const strings; nobody writes to these. */
#define S(text) ((char *)(uintptr_t)(text))

static char *aliases_a[2], *aliases_b[1];
static Lxmgr__V1__Image__PropertiesEntry serial = LXMGR__V1__IMAGE__PROPERTIES_ENTRY__INIT;
static Lxmgr__V1__Image__PropertiesEntry *properties[] = { &serial };
static Lxmgr__V1__Image a = LXMGR__V1__IMAGE__INIT, b = LXMGR__V1__IMAGE__INIT, c = LXMGR__V1__IMAGE__INIT;
static Lxmgr__V1__Image *const images[] = { &a, &b, &c };

static int setup(void **state)
{
	aliases_a[0] = S("debian/12");
	aliases_a[1] = S("stable");
	aliases_b[0] = S("busybox");
	a.fingerprint = S(FP_A);
	a.aliases = aliases_a;
	a.n_aliases = 2;
	a.os = S("Debian");
	a.release = S("bookworm");
	serial.key = S("serial");
	serial.value = S("20260131");
	a.properties = properties;
	a.n_properties = 1;
	b.fingerprint = S(FP_B);
	b.aliases = aliases_b;
	b.n_aliases = 1;
	b.os = S("BusyBox");
	c.fingerprint = S(FP_C);
	return 0;
}

static const Lxmgr__V1__Image *resolve(const char *ref, struct lx_err *err)
{
	const Lxmgr__V1__Image *found = NULL;

	*err = LX_ERR_INIT;
	int r = lx_image_resolve(ref, images, 3, &found, err);

	assert_true(r == 0 ? found && err->code == LX_OK : r < 0 && err->code != LX_OK && err->msg[0]);
	return r == 0 ? found : NULL;
}

static void resolves(void **state)
{
	struct lx_err err;

	assert_ptr_equal(resolve("debian/12", &err), &a);
	assert_ptr_equal(resolve("busybox", &err), &b);
	assert_ptr_equal(resolve(FP_C, &err), &c);
	assert_ptr_equal(resolve("cccccccc", &err), &c);
	assert_ptr_equal(resolve("aaaaaaaa2", &err), &b);
}

static void says_what_is_wrong(void **state)
{
	struct lx_err err;

	assert_null(resolve("aaaaaaaa", &err));
	assert_int_equal(err.code, LX_FAILED_PRECONDITION);
	assert_non_null(strstr(err.hint, "aaaaaaaa1"));
	assert_null(resolve("debain/12", &err));
	assert_int_equal(err.code, LX_NOT_FOUND);
	assert_non_null(strstr(err.hint, "\"debian/12\""));
	assert_null(resolve("debian/13", &err));
	assert_non_null(strstr(err.hint, "lxmgr image build debian/13"));
	assert_null(resolve("cccc", &err));
	assert_int_equal(err.code, LX_NOT_FOUND);
	assert_non_null(strstr(err.hint, "at least 8"));
	assert_null(resolve("0123456789", &err));
	assert_int_equal(err.code, LX_NOT_FOUND);
	assert_null(resolve("", &err));
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	assert_null(resolve("../x", &err));
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	/* Too long for a prefix, and no alias either. */
	assert_null(resolve(FP_C "0", &err));
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
}

static void checks_aliases(void **state)
{
	static const char *const good[] = { "a", "debian/12", "my_image-1.2", "A/b/c", "decade", "web" };
	static const char *const bad[] = { "",   "/a", "a/",   "a//b",     "a b",      "a..b",
					   "..", "-a", "a\nb", "\xc3\xa4", "deadbeef", "0123456789abcdef",
					   "a:b" };
	char longest[LX_ALIAS_MAX + 2];
	struct lx_err err = LX_ERR_INIT;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_int_equal(lx_alias_check(good[i], &err), 0);
	assert_int_equal(err.code, LX_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(lx_alias_check(bad[i], &err), -EINVAL);
		assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	}
	memset(longest, 'x', sizeof(longest));
	longest[LX_ALIAS_MAX + 1] = '\0';
	assert_int_equal(lx_alias_check(longest, NULL), -EINVAL);
	longest[LX_ALIAS_MAX] = '\0';
	assert_int_equal(lx_alias_check(longest, NULL), 0);
}

static void tells_fingerprints(void **state)
{
	assert_true(lx_fingerprint_valid(FP_A));
	assert_false(lx_fingerprint_valid("aaaaaaaa"));
	assert_false(lx_fingerprint_valid("A" FP_A));
	assert_true(lx_fingerprint_prefix_valid("aaaaaaaa"));
	assert_false(lx_fingerprint_prefix_valid("aaaaaaa"));
	assert_false(lx_fingerprint_prefix_valid("aaaaaaag"));
	assert_false(lx_fingerprint_prefix_valid("AAAAAAAA"));
}

static void filters(void **state)
{
	assert_true(lx_image_matches(&a, "os=Debian"));
	assert_false(lx_image_matches(&b, "os=Debian"));
	assert_true(lx_image_matches(&a, "release=book*"));
	assert_true(lx_image_matches(&a, "serial=2026*"));
	assert_false(lx_image_matches(&b, "serial=*"));
	assert_false(lx_image_matches(&a, "colour=red"));
	assert_true(lx_image_matches(&a, "alias=stable"));
	assert_true(lx_image_matches(&a, "debian"));
	assert_true(lx_image_matches(&a, "debian/*"));
	assert_false(lx_image_matches(&b, "debian*"));
	assert_true(lx_image_matches(&c, "cccc"));
	assert_false(lx_image_matches(&c, "1111"));
	assert_true(lx_image_matches(&c, ""));
}

static void knows_templates(void **state)
{
	size_t n = 0;
	const struct lx_template *all = lx_templates(&n);

	assert_true(n >= 4);
	for (size_t i = 0; i < n; i++) {
		assert_ptr_equal(lx_template_find(all[i].name), &all[i]);
		assert_int_equal(lx_alias_check(all[i].name, NULL), 0);
		assert_non_null(strstr(LX_TEMPLATE_NAMES, all[i].name));
	}
	assert_null(lx_template_find("debian"));
}

static void knows_architectures(void **state)
{
	assert_string_equal(lx_arch_canonical("amd64"), "x86_64");
	assert_string_equal(lx_arch_canonical("arm64"), "aarch64");
	assert_null(lx_arch_canonical("pdp11"));
	assert_true(lx_arch_runs("x86_64", "x86_64"));
	assert_true(lx_arch_runs("x86_64", "i686"));
	assert_false(lx_arch_runs("i686", "x86_64"));
	assert_false(lx_arch_runs("x86_64", "aarch64"));
	assert_string_equal(lx_arch_canonical(lx_arch_host()), lx_arch_host());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolves),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(checks_aliases),
		cmocka_unit_test(tells_fingerprints),
		cmocka_unit_test(filters),
		cmocka_unit_test(knows_templates),
		cmocka_unit_test(knows_architectures),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
