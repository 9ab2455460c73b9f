/*
 * start.c - the life of the library in a process: start, slow-path duties, fork, sandbox, exit.
 *
 * The constructor reads the options, finds the topology and starts the core; until then (the
 * loader, other libraries' constructors) requests are served by the core's internal node.  The
 * control thread is not started here unless asked for, but from the first allocation slow path
 * that finds the process multi-threaded or a certain amount handed out, so that shells and
 * small tools never see one.
 */
#include "internal.h"

#include "control.h"
#include "exitstats.h"
#include "modules.h"
#include "options.h"
#include "rundir.h"
#include "stack.h"

#include "../core/cache.h"
#include "../core/hardened.h"
#include "../core/reap.h"
#include "../core/biased.h"
#include "../core/rseq.h"
#include "../core/tell.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/single_threaded.h>
#include <time.h>
#include <unistd.h>

#define LAZY_BYTES ((size_t)8 << 20)

extern char __libc_single_threaded __attribute__((weak));
extern __typeof__(dladdr1) dladdr1 __attribute__((weak));
/* Where this library begins, by the linker. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

bool sn_standing_by;

static _Atomic size_t handed_out;
static _Atomic uint32_t control_tried; /* nothing more to do about the control thread */
static _Atomic uint32_t sandboxed;
static _Atomic uint64_t next_inline_reap_ms;
static struct sn_control_config control_config;

const char *sn_version(void)
{
	return SLABNODE_VERSION;
}

void sn_warn_once(const char *key, const char *message)
{
	static const char *told[32];
	static unsigned int nr_told;
	char line[SN_TELL_MAX];
	int n;

	for (unsigned int i = 0; i < nr_told; i++)
		if (strcmp(told[i], key) == 0)
			return;
	if (nr_told < SN_ARRAY_SIZE(told))
		told[nr_told++] = key;
	n = snprintf(line, sizeof(line), "slabnode: %s\n", message);
	sn_tell(STDERR_FILENO, line, sn_min((size_t)n, sizeof(line) - 1));
}

/* --- ageing ------------------------------------------------------------------------------ */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* The control thread's: milliseconds until the next round. */
static uint64_t reap_round(void)
{
	sn_reap();
	return sn_reap_wanted() ? (uint64_t)sn_options.reap_interval_ms : UINT64_MAX;
}

/* Where there is no control thread, every slow path looks at the (coarse) clock. */
static void reap_without_thread(void)
{
	uint64_t now = now_ms(), due = atomic_load(&next_inline_reap_ms);

	if (now < due || sn_options.reap_interval_ms == 0)
		return;
	if (atomic_compare_exchange_strong(&next_inline_reap_ms, &due,
					   now + (uint64_t)sn_options.reap_interval_ms))
		sn_reap_inline();
}

/* --- duties of the slow path -------------------------------------------------------------- */

static bool multi_threaded(void)
{
	return &__libc_single_threaded != NULL && !__libc_single_threaded;
}

/*
 * The process that the library was started in, or that fork() made.  In the child of a bare clone()
 * no thread may be started: libc ends such a child by ending its only thread, so another one would
 * keep it for ever.
 */
static pid_t process;

static SN_COLD void start_control(void)
{
	uint32_t untried = 0;

	if (!atomic_load(&sandboxed) && getpid() != process)
		return; /* its memory may be its parent's, who will try */
	if (SN_HOTPLUG && atomic_compare_exchange_strong(&control_tried, &untried, 1) &&
	    !atomic_load(&sandboxed))
		sn_control_start();
}

static void slow_hook(size_t bytes)
{
	if (sn_forking()) /* in a handler of another library: no thread is to be started now */
		return;
	if (sn_likely(atomic_load_explicit(&control_tried, memory_order_relaxed))) {
		if (sn_control_socket()[0] == '\0')
			reap_without_thread();
		else if (sn_hardened == 0)
			sn_control_poke(); /* else there are no tables to be emptied */
		return;
	}
	if (multi_threaded() ||
	    atomic_fetch_add_explicit(&handed_out, bytes, memory_order_relaxed) > LAZY_BYTES)
		start_control();
	else
		reap_without_thread();
}

void sn_sandboxed(void)
{
	if (atomic_exchange(&sandboxed, 1) == 0) {
		sn_control_retire();
		sn_biased_end();
		sn_rseq_forbid_fence();
		sn_tell_barely();
	}
}

/* --- the main thread ----------------------------------------------------------------------- */

/* Its thread pointer: a sandbox that lets memory calls through need not let gettid() through.
 * NULL: another thread started the library. */
static const void *main_thread;

static bool system_says_main_thread(void)
{
	return gettid() == getpid();
}

bool sn_in_main_thread(void)
{
	return main_thread != NULL ? main_thread == __builtin_thread_pointer()
				   : system_says_main_thread();
}

/* --- fork -------------------------------------------------------------------------------- */

/* In a process with one thread there is nobody to wait for; and a signal handler may fork while
 * that thread holds a lock, which it goes on holding in both processes.  One that ends the program
 * (crash reporters fork) holds locks, too, and they mean nothing to it. */
static bool forking_alone;

/*
 * A child that was forked by another thread than the main one ends when that thread returns from
 * its start routine, if libc counts no other thread then: a control thread in it, or in its own
 * children, would keep it for ever.  So such a process has none.
 */
static bool thread_child;
static bool forker_is_thread; /* of the fork under way; all locks are held meanwhile */

static void fork_prepare(void)
{
	forking_alone = sn_ending() || (&__libc_single_threaded != NULL && __libc_single_threaded);
	if (forking_alone)
		return;
	sn_core_fork_prepare();
	forker_is_thread = !sn_in_main_thread();
	if (sn_module != NULL && sn_module->fork_prepare != NULL)
		sn_module->fork_prepare();
}

static void fork_parent(void)
{
	if (forking_alone)
		return;
	if (sn_module != NULL && sn_module->fork_parent != NULL)
		sn_module->fork_parent();
	sn_core_fork_parent();
}

static void fork_child(void)
{
	atomic_store(&handed_out, 0);
	main_thread = __builtin_thread_pointer();
	if (sn_options.control != SN_CONTROL_OFF && !atomic_load(&sandboxed))
		process = getpid();
	if (forking_alone)
		return;
	if (sn_module != NULL && sn_module->fork_child != NULL)
		sn_module->fork_child();
	sn_core_fork_child();
	sn_control_fork_child();
	thread_child |= forker_is_thread;
	atomic_store(&control_tried, sn_options.control == SN_CONTROL_OFF || thread_child);
}

/* What pthread_atfork() calls in glibc. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
			     void *object) __attribute__((weak));
extern void *__dso_handle;

/* pthread_atfork() itself, where it is a part of glibc, would keep programs for other libcs from
 * loading the library. */
static void watch_forks(void)
{
	int (*atfork)(void (*)(void), void (*)(void), void (*)(void));

	if (__register_atfork != NULL) {
		__register_atfork(fork_prepare, fork_parent, fork_child, __dso_handle);
		return;
	}
	*(void **)&atfork = dlsym(RTLD_DEFAULT, "pthread_atfork");
	if (atfork != NULL)
		atfork(fork_prepare, fork_parent, fork_child);
}

/* --- start and end ------------------------------------------------------------------------ */

static const char *default_rundir(void)
{
	static char path[4096];
	const char *runtime = sn_options_secure() ? NULL : getenv("XDG_RUNTIME_DIR");

	if (sn_options.rundir != NULL)
		return sn_options.rundir;
	if (runtime != NULL && runtime[0] == '/')
		snprintf(path, sizeof(path), "%s/slabnode", runtime);
	else if (sn_effective_user() == 0)
		snprintf(path, sizeof(path), "/run/slabnode");
	else
		snprintf(path, sizeof(path), "/tmp/slabnode-%u", (unsigned int)sn_effective_user());
	return path;
}

static void configure_control(void)
{
	control_config = (struct sn_control_config){
		.rundir = default_rundir(),
		.command = program_invocation_short_name,
		.topology_source = sn_topology.source,
		.simulated = sn_topology.simulated,
		.verbose = sn_options.verbose > 0,
		.default_policy = (enum sn_policy)sn_options.policy,
		.reap_interval_ms = sn_options.reap_interval_ms,
		.option = sn_options_row,
		.fault = sn_module == NULL ? NULL : sn_module->fault,
		.look = sn_topology_look,
		.move_process = sn_module == NULL ? NULL : sn_module->move_process,
	};
	sn_control_reap = sn_options.reap_interval_ms == 0 ? NULL : reap_round;
	sn_control_configure(&control_config);
}

/* What the kernel gave the process will do where it gives no more. */
static uint64_t random_seed(void)
{
	const uint64_t *given = (const uint64_t *)getauxval(AT_RANDOM);
	int saved = errno;
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
		seed = (given == NULL ? 0 : given[0] ^ given[1]) ^ now_ms();
	errno = saved;
	return seed;
}

static void start_core(void)
{
	struct sn_core_config config = {
		.hardened = (unsigned int)sn_options.hardened,
		.sample = sn_options.hardened > 2 ? 1 : (uint64_t)sn_options.sample,
		.locked = sn_options.fastpath_locked != 0,
		.locked_reason = "SLABNODE_FASTPATH=locked",
	};

	if (config.sample > 0)
		sn_stack_start();
	if (config.hardened > 1)
		config.seed = random_seed();
	sn_count_cpus(&config);
	sn_alien_enabled = sn_options.alien_off == 0;
	if (config.locked && config.nr_cpus == 0)
		config.nr_cpus = 8;
	config.cpu_node = sn_topology_cpu_nodes(config.nr_cpus);
	sn_core_start(&config);
}

/* A program at a fixed address that takes malloc's has a symbol for it that is no definition: the
 * address of its own stub, which leads to ours. */
static bool serves_malloc(void)
{
	const ElfW(Sym) *symbol = NULL;
	Dl_info used;

	return &dladdr1 == NULL ||
	       dladdr1(dlsym(RTLD_DEFAULT, "malloc"), &used, (void **)&symbol, RTLD_DL_SYMENT) ==
		       0 ||
	       used.dli_fbase == &__ehdr_start || (symbol != NULL && symbol->st_shndx == SHN_UNDEF);
}

/*
 * Where the process has another malloc than ours, what we open would allocate by that, and it may
 * not be ready before main: GNU Common Lisp's is not.  There is nothing to place either, so such a
 * process has one node, and neither module nor thread of ours.
 */
static void stand_by(void)
{
	sn_standing_by = true;
	if (sn_options.verbose > 0)
		sn_warn_once("stand-by", "the program has a malloc of its own, which is used");
	sn_options.topology = NULL;
	sn_options.offline = NULL;
	sn_options.control = SN_CONTROL_OFF;
	sn_options.hardened = 0;
	sn_options.sample = 0;
}

__attribute__((constructor(101))) void sn_start(void)
{
	if (sn_core_started())
		return;
	sn_core_early();
	process = getpid();
	if (system_says_main_thread())
		main_thread = __builtin_thread_pointer();
	sn_sandbox_prepare();
	sn_options_read();
	if (!serves_malloc())
		stand_by();
	sn_exit_stats_prepare();
	sn_topology_start();
	start_core();
	configure_control();
	/* May allocate; by now that works. */
	watch_forks();
	atomic_store(&next_inline_reap_ms, now_ms() + (uint64_t)sn_options.reap_interval_ms);
	if (!SN_HOTPLUG || sn_options_secure())
		sn_options.control = SN_CONTROL_OFF;
	atomic_store(&control_tried, sn_options.control == SN_CONTROL_OFF);
	sn_slow_hook = slow_hook;
	if (SN_HOTPLUG && sn_options.reap_interval_ms != 0)
		sn_ageing_hook = sn_control_poke;
	if (sn_options.control == SN_CONTROL_ON)
		start_control();
}

__attribute__((destructor(101))) static void at_exit(void)
{
	sn_exit_stats();
	sn_control_at_exit();
}
