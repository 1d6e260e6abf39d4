/* Numbers and checksums of headers. Pure. */
#include "migration/tar/header.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool lx_tarball_is_zero(const struct lx_tarball_header *h)
{
	const char *p = (const char *)h;

	return p[0] == '\0' && memcmp(p, p + 1, sizeof(*h) - 1) == 0;
}

/* The checksum's own field counts as spaces. */
static void sums(const struct lx_tarball_header *h, int64_t *ret_unsigned, int64_t *ret_signed)
{
	const char *p = (const char *)h;
	size_t from = offsetof(struct lx_tarball_header, checksum), to = from + sizeof(h->checksum);

	*ret_unsigned = *ret_signed = (int64_t)sizeof(h->checksum) * ' ';
	for (size_t i = 0; i < sizeof(*h); i++) {
		if (i == from)
			i = to;
		*ret_unsigned += (unsigned char)p[i];
		*ret_signed += (signed char)p[i];
	}
}

bool lx_tarball_is_header(const struct lx_tarball_header *h)
{
	int64_t said, as_unsigned, as_signed;

	sums(h, &as_unsigned, &as_signed);
	return lx_tarball_number(h->checksum, sizeof(h->checksum), &said) == 0 &&
	       (said == as_unsigned || said == as_signed);
}

void lx_tarball_seal(struct lx_tarball_header *h)
{
	int64_t sum, unused;

	sums(h, &sum, &unused);
	snprintf(h->checksum, sizeof(h->checksum), "%06o", (unsigned)sum);
	h->checksum[7] = ' ';
}

static int binary(const unsigned char *field, size_t n, int64_t *ret)
{
	bool negative = field[0] & 0x40;
	/* Without the bit that says it is one. */
	uint64_t value = negative ? ~UINT64_C(0) << 7 | (field[0] & 0x7f) : field[0] & 0x7f;

	for (size_t i = 1; i < n; i++) {
		/* What is shifted out must be copies of the sign. */
		if ((int64_t)value >> 55 != (negative ? -1 : 0))
			return -ERANGE;
		value = value << 8 | field[i];
	}
	*ret = (int64_t)value;
	return 0;
}

int lx_tarball_number(const char *field, size_t n, int64_t *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	if (field[0] & 0x80)
		return binary((const unsigned char *)field, n, ret);
	while (i < n && field[i] == ' ')
		i++;
	for (; i < n && field[i] >= '0' && field[i] <= '7'; i++) {
		if (value > INT64_MAX >> 3)
			return -ERANGE;
		value = value << 3 | (uint64_t)(field[i] - '0');
	}
	if (i < n && field[i] != ' ' && field[i] != '\0')
		return -EINVAL;
	*ret = (int64_t)value;
	return 0;
}

bool lx_tarball_fits(uint64_t value, size_t n)
{
	unsigned bits = 3 * (unsigned)(n - 1);

	return bits >= 64 || value >> bits == 0;
}

void lx_tarball_put_number(char *field, size_t n, uint64_t value)
{
	field[--n] = '\0';
	while (n > 0) {
		field[--n] = (char)('0' + (value & 7));
		value >>= 3;
	}
}

size_t lx_tarball_padding(uint64_t size)
{
	return (LX_TARBALL_BLOCK - size % LX_TARBALL_BLOCK) % LX_TARBALL_BLOCK;
}
