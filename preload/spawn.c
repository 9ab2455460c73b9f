/*
 * spawn.c - see spawn.h.
 *
 * One request at a time: the control thread posts it and waits for the answer, which takes as long
 * as a pthread_create().
 */
#include <limits.h>

#include "spawn.h"
#include "threads.h"

#define SPAWN_STACK ((size_t)64 << 10)

enum word { IDLE, POSTED, DONE, ENDED };

static _Atomic uint32_t running; /* there is a spawner */
static _Atomic uint32_t word;	 /* enum word; a futex.  Who may write it follows from its value */
static struct {
	const char *name;
	void (*run)(void *arg);
	void *arg;
	size_t stack_size;
	int error;
} request;

static void set_word(uint32_t value)
{
	atomic_store(&word, value);
	sn_futex_wake(&word, INT_MAX);
}

static void serve(void *arg)
{
	uint32_t now;

	(void)arg;
	while ((now = atomic_load(&word)) != ENDED) {
		if (now != POSTED) {
			sn_futex_wait(&word, now, -1);
			continue;
		}
		request.error =
			sn_thread_start(request.name, request.run, request.arg, request.stack_size);
		set_word(DONE);
	}
}

void sn_spawn_begin(void)
{
	uint32_t none = 0;

	if (!atomic_compare_exchange_strong(&running, &none, 1))
		return;
	atomic_store(&word, IDLE);
	if (sn_thread_start("slabnode-spawn", serve, NULL, SPAWN_STACK) != 0)
		atomic_store(&running, 0);
}

int sn_spawn(const char *name, void (*run)(void *arg), void *arg, size_t stack_size)
{
	int error;

	if (!atomic_load(&running))
		return sn_thread_start(name, run, arg, stack_size);
	request.name = name;
	request.run = run;
	request.arg = arg;
	request.stack_size = stack_size;
	set_word(POSTED);
	while (atomic_load(&word) != DONE)
		sn_futex_wait(&word, POSTED, -1);
	error = request.error;
	atomic_store(&word, IDLE);
	return error;
}

void sn_spawn_end(void)
{
	if (atomic_exchange(&running, 0))
		set_word(ENDED);
}

void sn_spawn_forget(void)
{
	atomic_store(&running, 0);
	atomic_store(&word, IDLE);
}
