/*
 * deepbind.c - libraries that a program opens with RTLD_DEEPBIND.
 *
 * Such a library finds its symbols in itself and in what it depends on before it looks anywhere
 * else, so its malloc() and free() would be libc's, while what it calls, and what calls it, uses
 * ours: the first object that goes from one to the other ends the program.  PHP opens all its
 * extensions like that.  So the flag is dropped; names that the library shares with the program
 * are then the program's, as without the flag.
 *
 * libc looks at who calls dlopen(), for the search paths and the namespace.  That stays the
 * program, since the call is the last thing done here and leaves nothing on the stack: the
 * compiler makes it a jump.
 */
#include "internal.h"

#include <dlfcn.h>

typedef void *open_fn(const char *file, int mode);

static open_fn *next_dlopen(void)
{
	static open_fn *next;
	open_fn *found = __atomic_load_n(&next, __ATOMIC_RELAXED);

	if (sn_unlikely(!found)) {
		*(void **)&found = dlsym(RTLD_NEXT, "dlopen");
		__atomic_store_n(&next, found, __ATOMIC_RELAXED);
	}
	return found;
}

SN_EXPORT void *dlopen(const char *file, int mode)
{
	return next_dlopen()(file, mode & ~RTLD_DEEPBIND);
}
