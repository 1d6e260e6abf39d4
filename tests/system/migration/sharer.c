/*
 * A process of a guest that shares memory with others, in the ways that a move copies ahead, and notices when
 * one changes it:
 *
 *   sharer FILE MEGABYTES
 *
 * It becomes an orphan and has a mapping of no file, of so many megabytes, that a child of its has as well; a
 * memfd with seals, mapped; one of no whole pages that is written to and not mapped; a System V segment that
 * the child has attached too, and one that nobody has attached. Each page has a version, and what lies in it
 * comes of that; both processes know the versions of the pages that are theirs. All the time it writes to
 * some, itself or through children that end at once, gives some back, and looks at others. It writes into
 * FILE:
 *
 *   <pid> <count> <what is wrong, or "well">
 *
 * Linked statically: the guest has another libc, or none.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_MS   20
#define PAGE      4096ul
#define WORDS     (PAGE / sizeof(uint64_t))
#define SMALL     (1024ul) /* pages */
#define TAIL      100      /* bytes of the last page of what is written */
#define SEALS     (F_SEAL_SHRINK | F_SEAL_GROW)
#define RUN       8   /* pages given back at once */
#define LEFT_FOR  250 /* ticks that what was given back is left alone: to look at a mapping fills it */
#define SILENCE   500 /* ticks until the other process is missed */
#define LOOK_PART 32  /* of the pages, a tick */

enum { MAPPED, RING, WRITTEN, ATTACHED, DETACHED, KINDS };
static const char *const names[KINDS] = { "a mapping", "a mapped memfd", "a memfd that is written to",
					  "an attached segment", "a segment that nobody has attached" };

/* Pages from `first` to `end` are this process's; it knows their versions (0: zeros). */
static struct segment {
	size_t pages, first, end;
	uint32_t *version;
	uint64_t *left; /* tick until which nobody looks at a page */
	char *at;       /* NULL: not mapped */
	int fd, id;     /* -1: none */
} own[KINDS];

static uint64_t tick;

static void check(long r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "sharer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t some(size_t n)
{
	static uint64_t random = 88172645463325252u;

	random ^= random << 13;
	random ^= random >> 7;
	random ^= random << 17;
	return (size_t)(random % n);
}

/* ------------------------------------------------------------------ a page */

static void fill(uint64_t *page, int kind, size_t number, uint32_t version)
{
	uint64_t word = ((uint64_t)kind << 60 | (uint64_t)number << 32 | version) * 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < WORDS; i++)
		page[i] = version ? word + i : 0;
}

/* Bytes of it that are there: the last one of what is written is a part of one. */
static size_t length(int kind, size_t number)
{
	return kind == WRITTEN && number + 1 == own[WRITTEN].pages ? TAIL : PAGE;
}

static void put(int kind, size_t number, uint32_t version)
{
	struct segment *s = &own[kind];
	uint64_t page[WORDS];
	size_t len = length(kind, number);

	fill(page, kind, number, version);
	if (s->at)
		memcpy(s->at + number * PAGE, page, PAGE);
	else
		check(pwrite(s->fd, page, len, (off_t)(number * PAGE)) == (ssize_t)len ? 0 : -1, "pwrite");
}

static int is_as_it_was(int kind, size_t number)
{
	struct segment *s = &own[kind];
	uint64_t page[WORDS], now[WORDS] = { 0 };
	size_t len = length(kind, number);

	fill(page, kind, number, s->version[number]);
	if (s->at)
		return memcmp(s->at + number * PAGE, page, len) == 0;
	return pread(s->fd, now, len, (off_t)(number * PAGE)) == (ssize_t)len && memcmp(now, page, len) == 0;
}

/* ------------------------------------------------------------------ making them */

static void begin(int kind, size_t pages, char *at, int fd, int id)
{
	own[kind] = (struct segment){ .pages = pages, .end = pages, .at = at, .fd = fd, .id = id };
	own[kind].version = calloc(pages, sizeof(*own[kind].version));
	own[kind].left = calloc(pages, sizeof(*own[kind].left));
	check(own[kind].version && own[kind].left ? 0 : -1, "calloc");
	check(at == MAP_FAILED ? -1 : 0, names[kind]);
}

static void make(size_t megabytes)
{
	size_t pages = megabytes << 8;
	int ring = memfd_create("ring", MFD_ALLOW_SEALING), written = memfd_create("written", 0),
	    attached = shmget(IPC_PRIVATE, SMALL * PAGE, 0600),
	    detached = shmget(IPC_PRIVATE, SMALL * PAGE, 0600);

	check(ring, "memfd_create");
	check(written, "memfd_create");
	check(attached, "shmget");
	check(detached, "shmget");
	check(ftruncate(ring, SMALL * PAGE), "ftruncate");
	check(fcntl(ring, F_ADD_SEALS, SEALS), "F_ADD_SEALS");
	check(ftruncate(written, SMALL * PAGE + TAIL), "ftruncate");
	begin(MAPPED, pages,
	      mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), -1, -1);
	begin(RING, SMALL, mmap(NULL, SMALL * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0), ring, -1);
	begin(WRITTEN, SMALL + 1, NULL, written, -1);
	begin(ATTACHED, SMALL, shmat(attached, NULL, 0), -1, attached);
	begin(DETACHED, SMALL, shmat(detached, NULL, 0), -1, detached);
}

/* Two pages of what both have are for what they say to each other. */
static void divide(int first)
{
	for (int kind = MAPPED; kind <= ATTACHED; kind += ATTACHED - MAPPED) {
		struct segment *s = &own[kind];

		s->first = first ? 2 : s->pages / 2;
		s->end = first ? s->pages / 2 : s->pages;
	}
	for (int kind = 0; kind < KINDS && !first; kind++)
		if (kind != MAPPED && kind != ATTACHED)
			own[kind].end = 0;
	for (int kind = 0; kind < KINDS; kind++)
		for (size_t i = own[kind].first; i < own[kind].end; i++)
			put(kind, i, own[kind].version[i] = 1);
}

/* ------------------------------------------------------------------ again and again */

static void write_some(int kind, size_t n)
{
	struct segment *s = &own[kind];

	for (size_t i = 0; i < n && s->end > s->first; i++) {
		size_t number = s->first + some(s->end - s->first);

		if (s->left[number] < tick)
			put(kind, number, ++s->version[number]);
	}
}

/* A child writes, and has ended when anybody looks. */
static void let_write(int kind)
{
	struct segment *s = &own[kind];
	size_t number = s->first + some(s->end - s->first);
	int status = -1;

	if (s->left[number] >= tick)
		return;
	s->version[number]++;
	pid_t pid = fork();

	check(pid, "fork");
	if (pid == 0) {
		put(kind, number, s->version[number]);
		_exit(0);
	}
	check(waitpid(pid, &status, 0), "waitpid");
	check(status == 0 ? 0 : -1, "a child");
}

static void give_back(int kind)
{
	struct segment *s = &own[kind];
	size_t number = s->first + some(s->end - s->first - RUN);

	if (s->fd < 0)
		check(madvise(s->at + number * PAGE, RUN * PAGE, MADV_REMOVE), "MADV_REMOVE");
	else
		check(fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(number * PAGE),
				RUN * PAGE),
		      "PUNCH_HOLE");
	for (size_t i = number; i < number + RUN; i++) {
		s->version[i] = 0;
		s->left[i] = s->at ? tick + LEFT_FOR : 0;
	}
}

/* What one says comes back from the other. */
static const char *converse(int first)
{
	static uint64_t heard[KINDS];

	for (int kind = MAPPED; kind <= ATTACHED; kind += ATTACHED - MAPPED) {
		volatile uint64_t *asked = (volatile uint64_t *)(void *)own[kind].at,
				  *said = (volatile uint64_t *)(void *)(own[kind].at + PAGE);

		if (!first) {
			*said = *asked;
		} else if (*said == *asked) {
			*asked = tick;
			heard[kind] = tick;
		} else if (tick - heard[kind] > SILENCE) {
			return "what one process says to the other";
		}
	}
	return NULL;
}

static const char *look_at(int kind)
{
	struct segment *s = &own[kind];
	size_t n = s->pages / LOOK_PART + 1, from = tick % LOOK_PART * n;

	for (size_t i = from; i < from + n && i < s->end; i++)
		if (i >= s->first && s->left[i] < tick && !is_as_it_was(kind, i))
			return names[kind];
	return NULL;
}

static const char *look_at_detached(void)
{
	const char *wrong = NULL;

	own[DETACHED].at = shmat(own[DETACHED].id, NULL, 0);
	check(own[DETACHED].at == (void *)-1 ? -1 : 0, "shmat");
	for (size_t i = 0; i < SMALL && !wrong; i++)
		wrong = is_as_it_was(DETACHED, i) ? NULL : names[DETACHED];
	check(shmdt(own[DETACHED].at), "shmdt");
	return wrong;
}

static const char *look(int first)
{
	const char *wrong = converse(first);

	for (int kind = 0; kind < DETACHED && !wrong; kind++)
		wrong = look_at(kind);
	if (!wrong && first && tick % 64 == 0)
		wrong = look_at_detached();
	if (!wrong && first && fcntl(own[RING].fd, F_GET_SEALS) != SEALS)
		wrong = "seals";
	return wrong;
}

static void change(void)
{
	write_some(MAPPED, 8);
	write_some(RING, 2);
	write_some(WRITTEN, 2);
	write_some(ATTACHED, 2);
	let_write((int)(tick % DETACHED));
	give_back(MAPPED);
	give_back((int)(RING + tick % 2));
}

/* ------------------------------------------------------------------ both processes */

__attribute__((noreturn)) static void accompany(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	check(shmdt(own[DETACHED].at), "shmdt");
	divide(0);
	for (tick = 1;; tick++) {
		const char *wrong = look(0);

		if (wrong)
			exit(1);
		write_some(MAPPED, 4);
		write_some(ATTACHED, 1);
		usleep(TICK_MS * 1000);
	}
}

static void tell(const char *path, const char *what)
{
	char text[256], fresh[4096];
	int n = snprintf(text, sizeof(text), "%d %llu %s\n", (int)getpid(), (unsigned long long)tick, what);

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, (size_t)n) != n || rename(fresh, path) < 0)
		exit(1);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *wrong = NULL;

	if (argc != 3)
		return 2;
	if (fork() != 0)
		return 0;
	setsid();
	make(strtoul(argv[2], NULL, 10));
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd <= 2; fd++)
		check(dup2(null, fd), "dup2");
	close(null);
	pid_t other = fork();

	check(other, "fork");
	if (other == 0)
		accompany();
	divide(1);
	check(shmdt(own[DETACHED].at), "shmdt");
	own[DETACHED].end = 0; /* is not written to any more */
	for (tick = 1;; tick++) {
		if (!wrong)
			wrong = look(1);
		if (!wrong && waitpid(other, NULL, WNOHANG) != 0)
			wrong = "what the other process has";
		change();
		tell(argv[1], wrong ? wrong : "well");
		usleep(TICK_MS * 1000);
	}
}
