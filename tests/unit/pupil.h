/* A process with some memory that does to it what a letter says: for those who watch it. */
#ifndef LX_TESTS_UNIT_PUPIL_H
#define LX_TESTS_UNIT_PUPIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migration/page_image.h"
#include "migration/page_runs.h"

#define PAGES 256u
#define BYTES (PAGES * LX_PAGE_SIZE)

/* What the process is to do next: a letter over a pipe, answered by one. */
struct pupil {
	pid_t pid;
	int to, from;
	uint8_t *memory;
};

static struct pupil start(void (*act)(uint8_t *memory, char letter))
{
	struct pupil p = { 0 };
	int down[2], up[2];

	assert_int_equal(pipe(down) | pipe(up), 0);
	p.memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(p.memory != MAP_FAILED);
	p.pid = fork();
	if (p.pid == 0) {
		char letter = 0;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		memset(p.memory, 1, BYTES);
		while (write(up[1], &letter, 1) == 1 && read(down[0], &letter, 1) == 1)
			act(p.memory, letter);
		_exit(0);
	}
	assert_true(p.pid > 0);
	close(down[0]);
	close(up[1]);
	p.to = down[1];
	p.from = up[0];
	assert_int_equal(read(p.from, &(char){ 0 }, 1), 1);
	return p;
}

static void tell(const struct pupil *p, char letter)
{
	assert_int_equal(write(p->to, &letter, 1), 1);
	assert_int_equal(read(p->from, &(char){ 0 }, 1), 1);
}

/* It must end by itself, unhurt. */
static void end(struct pupil *p)
{
	int status = -1;

	close(p->to);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	assert_int_equal(status, 0);
	close(p->from);
	munmap(p->memory, BYTES);
}

/* Pages of the pupil's memory that are in the set. */
static uint64_t within(const struct lx_page_runs *s, const struct pupil *p, uint64_t first, uint64_t n)
{
	struct lx_page_runs there = { 0 }, common = { 0 };
	uint64_t start = (uintptr_t)p->memory + first * LX_PAGE_SIZE;

	assert_int_equal(lx_page_runs_append(&there, start, start + n * LX_PAGE_SIZE), 0);
	assert_int_equal(lx_page_runs_common(s, &there, &common), 0);
	uint64_t pages = lx_page_runs_bytes(&common) / LX_PAGE_SIZE;

	lx_page_runs_release(&there);
	lx_page_runs_release(&common);
	return pages;
}

static void touch(uint8_t *memory, char letter)
{
	void *moved;

	switch (letter) {
	case 'w': /* three pages */
		for (size_t i = 10; i < 13; i++)
			memory[i * LX_PAGE_SIZE]++;
		break;
	case 'p': /* a page that may not be read afterwards */
		memory[20 * LX_PAGE_SIZE]++;
		mprotect(memory + 20 * LX_PAGE_SIZE, LX_PAGE_SIZE, PROT_NONE);
		break;
	case 'r': /* another mapping where this one was */
		if (mmap(memory, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			 0) == memory)
			memset(memory, 2, BYTES);
		break;
	case 'm': /* another one moved to where it was */
		moved = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(moved, 3, BYTES);
		(void)mremap(moved, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, memory);
		break;
	default:
		break;
	}
}

#endif
