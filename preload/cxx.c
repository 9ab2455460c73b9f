/*
 * cxx.c - operator new and delete, in all their forms, without linking a C++ runtime.
 *
 * Success needs nothing of C++.  A failed operator new is handed to the next definition of the
 * same operator, the C++ runtime's own: it calls malloc again, runs the new-handler as the
 * standard wants, and throws its own std::bad_alloc.
 */
#include "internal.h"

#include "../core/alloc.h"

#include <dlfcn.h>
#include <stdlib.h>

/* The next definition after this library, or the end of the program. */
static SN_COLD void *next_definition(const char *name)
{
	void *next = dlsym(RTLD_NEXT, name);

	if (next == NULL)
		sn_fatal("operator new failed, and there is no C++ runtime to throw bad_alloc",
			 NULL);
	return next;
}

#define NEW(symbol)                                                                                \
	SN_EXPORT void *symbol(size_t size);                                                       \
	SN_EXPORT void *symbol(size_t size)                                                        \
	{                                                                                          \
		void *p = sn_malloc(size);                                                         \
                                                                                                   \
		if (sn_likely(p != NULL))                                                          \
			return p;                                                                  \
		return ((void *(*)(size_t))next_definition(#symbol))(size);                        \
	}

#define NEW_NOTHROW(symbol)                                                                        \
	SN_EXPORT void *symbol(size_t size, const void *nothrow);                                  \
	SN_EXPORT void *symbol(size_t size, const void *nothrow)                                   \
	{                                                                                          \
		void *p = sn_malloc(size);                                                         \
                                                                                                   \
		if (sn_likely(p != NULL))                                                          \
			return p;                                                                  \
		return ((void *(*)(size_t, const void *))next_definition(#symbol))(size, nothrow); \
	}

#define NEW_ALIGNED(symbol)                                                                        \
	SN_EXPORT void *symbol(size_t size, size_t align);                                         \
	SN_EXPORT void *symbol(size_t size, size_t align)                                          \
	{                                                                                          \
		void *p = size > PTRDIFF_MAX ? NULL : sn_memalign(align, size);                    \
                                                                                                   \
		if (sn_likely(p != NULL))                                                          \
			return p;                                                                  \
		return ((void *(*)(size_t, size_t))next_definition(#symbol))(size, align);         \
	}

#define NEW_ALIGNED_NOTHROW(symbol)                                                                \
	SN_EXPORT void *symbol(size_t size, size_t align, const void *nothrow);                    \
	SN_EXPORT void *symbol(size_t size, size_t align, const void *nothrow)                     \
	{                                                                                          \
		void *p = size > PTRDIFF_MAX ? NULL : sn_memalign(align, size);                    \
                                                                                                   \
		if (sn_likely(p != NULL))                                                          \
			return p;                                                                  \
		return ((void *(*)(size_t, size_t, const void *))next_definition(#symbol))(        \
			size, align, nothrow);                                                     \
	}

#define DELETE(symbol, ...)                                                                        \
	SN_EXPORT void symbol(void *p, ##__VA_ARGS__);                                             \
	SN_EXPORT void symbol(void *p, ##__VA_ARGS__)                                              \
	{                                                                                          \
		sn_free(p);                                                                        \
	}

#pragma GCC diagnostic ignored "-Wunused-parameter"

NEW(_Znwm)						/* operator new(size) */
NEW(_Znam)						/* operator new[](size) */
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)			/* new(size, nothrow) */
NEW_NOTHROW(_ZnamRKSt9nothrow_t)			/* new[](size, nothrow) */
NEW_ALIGNED(_ZnwmSt11align_val_t)			/* new(size, align) */
NEW_ALIGNED(_ZnamSt11align_val_t)			/* new[](size, align) */
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t) /* new(size, align, nothrow) */
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t) /* new[](size, align, nothrow) */

DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE(_ZdlPvm, size_t size)
DELETE(_ZdaPvm, size_t size)
DELETE(_ZdlPvRKSt9nothrow_t, const void *nothrow)
DELETE(_ZdaPvRKSt9nothrow_t, const void *nothrow)
DELETE(_ZdlPvSt11align_val_t, size_t align)
DELETE(_ZdaPvSt11align_val_t, size_t align)
DELETE(_ZdlPvmSt11align_val_t, size_t size, size_t align)
DELETE(_ZdaPvmSt11align_val_t, size_t size, size_t align)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, size_t align, const void *nothrow)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, size_t align, const void *nothrow)
