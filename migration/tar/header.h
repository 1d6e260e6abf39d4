/*
 * The block of 512 bytes in front of each entry of a tar archive, and what can be in its fields.
 * Source: POSIX.1-2017, pax, "ustar Interchange Format"; "Basic Tar Format" of the GNU tar manual
 * for what its older formats have in place of `prefix`.
 */
#ifndef LX_MIGRATION_TAR_HEADER_H
#define LX_MIGRATION_TAR_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LX_TARBALL_BLOCK 512

enum lx_tarball_type {
	LX_TARBALL_FILE_V7 = '\0',
	LX_TARBALL_FILE = '0',
	LX_TARBALL_HARD_LINK = '1',
	LX_TARBALL_SYMLINK = '2',
	LX_TARBALL_CHAR = '3',
	LX_TARBALL_BLOCK_DEVICE = '4',
	LX_TARBALL_DIR = '5',
	LX_TARBALL_FIFO = '6',
	LX_TARBALL_CONTIGUOUS = '7',
	/* Say something about the entry behind them, or about all that follow. */
	LX_TARBALL_PAX = 'x',
	LX_TARBALL_PAX_GLOBAL = 'g',
	LX_TARBALL_LONG_NAME = 'L',
	LX_TARBALL_LONG_LINK = 'K',
	/* GNU's own. */
	LX_TARBALL_DUMPDIR = 'D',
	LX_TARBALL_SPARSE = 'S',
	LX_TARBALL_LABEL = 'V',
};

/* Text is NUL-terminated unless it fills its field; numbers: lx_tarball_number(). */
struct lx_tarball_header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type; /* enum lx_tarball_type */
	char link[100];
	char magic[8]; /* with the version: LX_TARBALL_USTAR, or "ustar  " of GNU's */
	char uname[32];
	char gname[32];
	char major[8];
	char minor[8];
	union {
		char prefix[155]; /* of POSIX: what stands before the name and a slash */
		struct {
			char unused[41];
			char pieces[4][2]
				   [12]; /* of GNU's: where a piece of a sparse file is, and its length */
			char extended;   /* more pieces follow in a block of their own */
			char size[12];   /* of the file with its holes */
		} sparse;
	};
	char rest[12];
};
_Static_assert(sizeof(struct lx_tarball_header) == LX_TARBALL_BLOCK, "a block");

/* What follows a header of type LX_TARBALL_SPARSE whose four pieces are not all. */
struct lx_tarball_more_pieces {
	char pieces[21][2][12];
	char extended;
	char rest[7];
};
_Static_assert(sizeof(struct lx_tarball_more_pieces) == LX_TARBALL_BLOCK, "a block");

#define LX_TARBALL_USTAR "ustar\00000"

bool lx_tarball_is_zero(const struct lx_tarball_header *h);
/* Does the checksum fit? Those of bytes taken as signed, of very old archives, do. */
bool lx_tarball_is_header(const struct lx_tarball_header *h);
/* Sets the checksum, when all else is there. */
void lx_tarball_seal(struct lx_tarball_header *h);

/*
 * A number from its field of n bytes: octal digits between spaces, a NUL ends them; or, where the first
 * byte has its highest bit set, a binary one, the highest byte first, of two's complement (GNU's, for
 * what is too large or negative). An empty field is 0. 0, -EINVAL or -ERANGE.
 */
int lx_tarball_number(const char *field, size_t n, int64_t *ret);
/* Whether a field of n bytes can hold it as octal digits, and doing so. */
bool lx_tarball_fits(uint64_t value, size_t n);
void lx_tarball_put_number(char *field, size_t n, uint64_t value);

/* Bytes between the end of `size` bytes and the next block. */
size_t lx_tarball_padding(uint64_t size);

#endif
