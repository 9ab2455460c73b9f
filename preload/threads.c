/*
 * threads.c - starting threads: see threads.h.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fd.h"
#include "internal.h"
#include "threads.h"

/* A program with much static TLS needs a larger stack: glibc puts the TLS there. */
#define LARGEST_STACK ((size_t)8 << 20)

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_RUNNING, SLOT_ENDED };

struct slot {
	_Atomic uint32_t state;
	_Atomic int tid;
	const char *name;
	void (*run)(void *arg);
	void *arg;
	bool reachable; /* the starting thread's sn_fd_reachable() */
};

static struct slot slots[SN_MAX_THREADS];

extern const unsigned int __rseq_size __attribute__((weak));

int64_t sn_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool exists(const struct slot *slot)
{
	int tid = atomic_load(&slot->tid);

	return tid > 0 && syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

static struct slot *take_slot(void)
{
	for (unsigned int i = 0; i < SN_MAX_THREADS; i++) {
		struct slot *slot = &slots[i];
		uint32_t state = atomic_load(&slot->state);

		if (state != SLOT_FREE && state != SLOT_ENDED)
			continue;
		if (atomic_compare_exchange_strong(&slot->state, &state, SLOT_TAKEN)) {
			atomic_store(&slot->tid, 0);
			return slot;
		}
	}
	return NULL;
}

static void *enter(void *arg)
{
	struct slot *slot = arg;

	sn_internal_enter();
	sn_fd_inherit(slot->reachable);
	atomic_store(&slot->tid, (int)syscall(SYS_gettid));
	atomic_store(&slot->state, SLOT_RUNNING);
	prctl(PR_SET_NAME, slot->name, 0, 0, 0);
	slot->run(slot->arg);
	atomic_store(&slot->state, SLOT_ENDED);
	return NULL;
}

static int create(struct slot *slot, size_t stack_size)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error = EINVAL;

	if (pthread_attr_init(&attributes) != 0)
		return -ENOMEM;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (; error == EINVAL && stack_size <= LARGEST_STACK; stack_size *= 2) {
		pthread_attr_setstacksize(&attributes, stack_size);
		error = pthread_create(&thread, &attributes, enter, slot);
	}
	pthread_attr_destroy(&attributes);
	return -error;
}

/*
 * libc ends the program when a new thread cannot be registered for restartable sequences as its
 * maker is, and a filter that nobody told us of may have come meanwhile.  Flags that no kernel
 * knows are refused with EINVAL, before anything is done.
 */
static bool can_be_registered(void)
{
#ifdef SYS_rseq
	if (&__rseq_size != NULL && __rseq_size > 0)
		return syscall(SYS_rseq, NULL, 0, ~0, 0) == -1 && errno == EINVAL;
#endif
	return true;
}

int sn_thread_start(const char *name, void (*run)(void *arg), void *arg, size_t stack_size)
{
	struct slot *slot = take_slot();
	sigset_t all, before;
	int saved = errno;
	int error;

	if (!slot)
		return -EAGAIN;
	slot->name = name;
	slot->run = run;
	slot->arg = arg;
	slot->reachable = sn_fd_reachable();
	/* pthread_sigmask leaves glibc's own signals alone; without them setuid() would hang. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	sn_internal_enter();
	error = can_be_registered() ? create(slot, stack_size) : -EPERM;
	sn_internal_leave();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		atomic_store(&slot->state, SLOT_FREE);
	errno = saved;
	return error;
}

bool sn_thread_is_ours(void)
{
	int tid = (int)syscall(SYS_gettid);

	for (unsigned int i = 0; i < SN_MAX_THREADS; i++)
		if (atomic_load(&slots[i].state) == SLOT_RUNNING &&
		    atomic_load(&slots[i].tid) == tid)
			return true;
	return false;
}

static bool any_left(void)
{
	for (unsigned int i = 0; i < SN_MAX_THREADS; i++) {
		uint32_t state = atomic_load(&slots[i].state);

		if (state == SLOT_TAKEN || (state != SLOT_FREE && exists(&slots[i])))
			return true;
	}
	return false;
}

void sn_threads_gone(int64_t timeout_ms)
{
	int64_t end = sn_now_ms() + timeout_ms;
	_Atomic uint32_t never = 0;

	while (any_left() && sn_now_ms() < end)
		sn_futex_wait(&never, 0, 500000);
}

void sn_threads_forget(void)
{
	memset(slots, 0, sizeof(slots));
}
