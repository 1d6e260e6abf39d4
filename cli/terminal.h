/*
 * The local terminal, handed over to a program in an instance and taken back on every way
 * out: return, exit(), and signals that end or stop the process.
 */
#ifndef LX_CLI_TERMINAL_H
#define LX_CLI_TERMINAL_H

#include <stdint.h>

#include "lib/err.h"

/* Raw mode on `fd` until cli_terminal_restore(). */
int cli_terminal_raw(int fd, struct lx_err *err);
void cli_terminal_restore(void);
/* Rows and columns; false when they are not known. */
_Bool cli_terminal_size(int fd, uint32_t *rows, uint32_t *cols);

#endif
