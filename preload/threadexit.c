/*
 * threadexit.c - a program whose main thread leaves by pthread_exit().
 *
 * Such a process ends with its last thread, and libc counts the control thread as one: it would
 * never end.  So the control thread retires before the main thread leaves.
 */
#include "internal.h"

#include "control.h"

#include <dlfcn.h>
#include <pthread.h>

SN_EXPORT void pthread_exit(void *value)
{
	void (*next)(void *value);

	if (sn_in_main_thread())
		sn_control_retire();
	*(void **)&next = dlsym(RTLD_NEXT, "pthread_exit");
	next(value);
	__builtin_unreachable();
}
