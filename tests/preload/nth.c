/*
 * A library preloaded before the allocator: lets the n-th call of one system call fail, and, if
 * asked for, all calls after it. TEST_NTH=CALL:N says which, counted from the first moment on, or
 * CALL:N+, counted from nth_begin() on. Whoever calls libc's function is counted, which in a
 * program without other libraries is the allocator.
 */
#include "check.h"

#include <sys/mman.h>
#include <sys/syscall.h>

extern char **environ;

/* For the program: how many calls have failed so far. */
unsigned long nth_struck;

static struct {
	bool known;
	char call[16];
	unsigned long n;
	bool on;
} wanted;

static unsigned long calls;
static bool begun;

void nth_begin(void);

void nth_begin(void)
{
	begun = true;
}

static void read_wanted(void)
{
	const char *text = environ ? getenv("TEST_NTH") : NULL;
	const char *colon = text ? strchr(text, ':') : NULL;
	char *end;

	if (!environ || wanted.known)
		return;
	wanted.known = true;
	if (!colon || (size_t)(colon - text) >= sizeof(wanted.call))
		return;
	memcpy(wanted.call, text, (size_t)(colon - text));
	wanted.n = strtoul(colon + 1, &end, 10);
	wanted.on = *end == '+';
}

static bool fails(const char *call)
{
	unsigned long n;

	read_wanted();
	if (strcmp(call, wanted.call) != 0 || (wanted.on && !begun))
		return false;
	n = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
	if (n < wanted.n || (n > wanted.n && !wanted.on))
		return false;
	__atomic_add_fetch(&nth_struck, 1, __ATOMIC_RELAXED);
	errno = ENOMEM;
	return true;
}

/* With large offsets this is mmap64, as in the library. */
void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return fails("mmap") ? MAP_FAILED
			     : (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
}

int munmap(void *addr, size_t length)
{
	return fails("munmap") ? -1 : (int)syscall(SYS_munmap, addr, length);
}

int mprotect(void *addr, size_t length, int prot)
{
	return fails("mprotect") ? -1 : (int)syscall(SYS_mprotect, addr, length, prot);
}

int madvise(void *addr, size_t length, int advice)
{
	return fails("madvise") ? -1 : (int)syscall(SYS_madvise, addr, length, advice);
}

void *mremap(void *addr, size_t old_length, size_t length, int flags, ...)
{
	va_list ap;
	void *to;

	va_start(ap, flags);
	to = va_arg(ap, void *);
	va_end(ap);
	return fails("mremap") ? MAP_FAILED
			       : (void *)syscall(SYS_mremap, addr, old_length, length, flags, to);
}
