/*
 * tell.c - see tell.h.
 */
#include "tell.h"

#include <time.h>
#include <unistd.h>

static const int raised[] = {SIGPIPE, SIGXFSZ};
static _Atomic bool barely;

void sn_tell_barely(void)
{
	atomic_store(&barely, true);
}

void sn_tell_begin(struct sn_tell *tell)
{
	int saved = errno;
	sigset_t off;

	tell->bare = atomic_load(&barely);
	if (tell->bare)
		return;
	sigemptyset(&off);
	for (size_t i = 0; i < SN_ARRAY_SIZE(raised); i++)
		sigaddset(&off, raised[i]);
	pthread_sigmask(SIG_BLOCK, &off, &tell->mask);
	sigemptyset(&tell->pending);
	/* Only what the program blocks can be pending, and a filter may mind the call. */
	for (size_t i = 0; i < SN_ARRAY_SIZE(raised); i++)
		if (sigismember(&tell->mask, raised[i])) {
			sigpending(&tell->pending);
			break;
		}
	errno = saved;
}

/* What was pending before is the program's, and stays. */
void sn_tell_end(const struct sn_tell *tell, bool unheard)
{
	static const struct timespec at_once;
	int saved = errno;

	if (tell->bare)
		return;
	for (size_t i = 0; i < SN_ARRAY_SIZE(raised) && unheard; i++) {
		sigset_t one;

		if (sigismember(&tell->pending, raised[i]))
			continue;
		sigemptyset(&one);
		sigaddset(&one, raised[i]);
		sigtimedwait(&one, NULL, &at_once);
	}
	pthread_sigmask(SIG_SETMASK, &tell->mask, NULL);
	errno = saved;
}

static void make_line(char *line, size_t size)
{
	for (size_t i = 0; i < size - 1; i++) {
		unsigned char *at = (unsigned char *)line + i;

		/* The C1 controls, in UTF-8 the two bytes c2 80 to c2 9f. */
		if (at[0] < ' ' || at[0] == 0x7f)
			at[0] = '?';
		else if (at[0] == 0xc2 && i + 1 < size - 1 && at[1] >= 0x80 && at[1] <= 0x9f)
			at[0] = at[1] = '?';
	}
	line[size - 1] = '\n';
}

bool sn_tell(int descriptor, char *line, size_t size)
{
	struct sn_tell tell;
	bool told;

	make_line(line, size);
	sn_tell_begin(&tell);
	told = write(descriptor, line, size) >= 0;
	sn_tell_end(&tell, !told);
	return told;
}
