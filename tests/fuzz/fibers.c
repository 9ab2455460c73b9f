/*
 * fibers.c - see fibers.h.
 *
 * The address sanitizer is told of each change of stacks.
 */
#include "fibers.h"
#include "fuzz.h"

#include <errno.h>
#include <ucontext.h>

#include <sanitizer/common_interface_defs.h>

#include "lock.h"
#include "spawn.h"
#include "threads.h"

#define FIBERS	   12
#define STACK_SIZE ((size_t)256 << 10)
#define FIRST_TIME 1000000

struct fiber {
	ucontext_t context;
	void (*run)(void *arg);
	void *arg;
	bool alive;
	uint64_t stopped; /* when: by `turns` */
	_Alignas(16) char stack[STACK_SIZE];
};

static struct fiber fibers[FIBERS];
static struct fiber *current;
static ucontext_t outside;
static const void *outside_stack;
static size_t outside_size;
static uint64_t turns;
static int64_t now = FIRST_TIME;

_Atomic uintptr_t sn_fork_owner;

static void leave(struct fiber *fiber)
{
	void *fake = NULL;

	/* A fiber that ends leaves nothing behind on its stack. */
	__sanitizer_start_switch_fiber(fiber->alive ? &fake : NULL, outside_stack, outside_size);
	swapcontext(&fiber->context, &outside);
	__sanitizer_finish_switch_fiber(fake, &outside_stack, &outside_size);
}

static void enter(void)
{
	struct fiber *fiber = current;

	__sanitizer_finish_switch_fiber(NULL, &outside_stack, &outside_size);
	fiber->run(fiber->arg);
	fiber->alive = false;
	leave(fiber);
}

bool fibers_step(void)
{
	struct fiber *next = NULL;
	void *fake;

	FUZZ_CHECK(current == NULL);
	for (unsigned int i = 0; i < FIBERS; i++)
		if (fibers[i].alive && (next == NULL || fibers[i].stopped < next->stopped))
			next = &fibers[i];
	if (next == NULL)
		return false;
	current = next;
	next->stopped = ++turns;
	__sanitizer_start_switch_fiber(&fake, next->stack, sizeof(next->stack));
	swapcontext(&outside, &next->context);
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
	current = NULL;
	return true;
}

unsigned int fibers_alive(void)
{
	unsigned int alive = 0;

	for (unsigned int i = 0; i < FIBERS; i++)
		alive += fibers[i].alive;
	return alive;
}

void fibers_advance(int64_t ms)
{
	now += ms;
}

void fibers_reset(void)
{
	FUZZ_CHECK(fibers_alive() == 0);
	now = FIRST_TIME;
	turns = 0;
}

void fibers_wait(int64_t ms)
{
	now += ms;
	if (current != NULL)
		leave(current);
}

/* --- what the control plane calls ----------------------------------------------------------- */

int sn_thread_start(const char *name, void (*run)(void *arg), void *arg, size_t stack_size)
{
	(void)name;
	FUZZ_CHECK(stack_size <= STACK_SIZE);
	for (unsigned int i = 0; i < FIBERS; i++) {
		struct fiber *fiber = &fibers[i];

		if (fiber->alive)
			continue;
		getcontext(&fiber->context);
		fiber->context.uc_stack.ss_sp = fiber->stack;
		fiber->context.uc_stack.ss_size = sizeof(fiber->stack);
		makecontext(&fiber->context, enter, 0);
		fiber->run = run;
		fiber->arg = arg;
		fiber->stopped = ++turns;
		fiber->alive = true;
		return 0;
	}
	return -EAGAIN;
}

int sn_spawn(const char *name, void (*run)(void *arg), void *arg, size_t stack_size)
{
	return sn_thread_start(name, run, arg, stack_size);
}

int64_t sn_now_ms(void)
{
	return now;
}

/* Fibers change only where they wait, so a lock that is held is held for ever. */
void sn_lock_wait(struct sn_lock *lock)
{
	(void)lock;
	FUZZ_CHECK(!"a lock is free whenever somebody waits");
}

void sn_lock_wake(struct sn_lock *lock)
{
	(void)lock;
}

int sn_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
	(void)word, (void)expected;
	fibers_wait(timeout_ns < 0 ? 1 : timeout_ns / 1000000 + 1);
	return 0;
}

void sn_futex_wake(_Atomic uint32_t *word, int how_many)
{
	(void)word, (void)how_many;
}
