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

/*
 * Each form is a fast path without a stack frame, and a function for all else.  `sized` is the size
 * to ask the fast path for.
 */
#define NEW_FORM(symbol, sized, allocate, parameters, arguments, types)                            \
	static SN_NOINLINE void *symbol##_slow parameters                                          \
	{                                                                                          \
		void *p = allocate;                                                                \
                                                                                                   \
		if (sn_likely(p != NULL))                                                          \
			return p;                                                                  \
		return ((void *(*)types)next_definition(#symbol))arguments;                        \
	}                                                                                          \
	SN_EXPORT void *symbol parameters;                                                         \
	SN_EXPORT void *symbol parameters                                                          \
	{                                                                                          \
		void *p = sn_malloc_quick(sized);                                                  \
                                                                                                   \
		return sn_likely(p != NULL) ? p : symbol##_slow arguments;                         \
	}

#define NEW(symbol) NEW_FORM(symbol, size, sn_malloc(size), (size_t size), (size), (size_t))

#define NEW_NOTHROW(symbol)                                                                        \
	NEW_FORM(symbol, size, sn_malloc(size), (size_t size, const void *nothrow),                \
		 (size, nothrow), (size_t, const void *))

#define ALIGNED_QUICK                                                                              \
	(sn_unlikely(align > SN_PAGE_SIZE || size > SN_CLASS_MAX) ? SIZE_MAX                       \
								  : sn_aligned_size(align, size))
#define ALIGNED (size > PTRDIFF_MAX ? NULL : sn_memalign(align, size))

#define NEW_ALIGNED(symbol)                                                                        \
	NEW_FORM(symbol, ALIGNED_QUICK, ALIGNED, (size_t size, size_t align), (size, align),       \
		 (size_t, size_t))

#define NEW_ALIGNED_NOTHROW(symbol)                                                                \
	NEW_FORM(symbol, ALIGNED_QUICK, ALIGNED, (size_t size, size_t align, const void *nothrow), \
		 (size, align, nothrow), (size_t, size_t, const void *))

#define DELETE(symbol, release, ...)                                                               \
	SN_EXPORT void symbol(void *p, ##__VA_ARGS__);                                             \
	SN_EXPORT void symbol(void *p, ##__VA_ARGS__)                                              \
	{                                                                                          \
		release;                                                                           \
	}

NEW(_Znwm)						/* operator new(size) */
NEW(_Znam)						/* operator new[](size) */
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)			/* new(size, nothrow) */
NEW_NOTHROW(_ZnamRKSt9nothrow_t)			/* new[](size, nothrow) */
NEW_ALIGNED(_ZnwmSt11align_val_t)			/* new(size, align) */
NEW_ALIGNED(_ZnamSt11align_val_t)			/* new[](size, align) */
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t) /* new(size, align, nothrow) */
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t) /* new[](size, align, nothrow) */

DELETE(_ZdlPv, sn_free(p))
DELETE(_ZdaPv, sn_free(p))
DELETE(_ZdlPvm, sn_free_new("delete", p, size, 0), size_t size)
DELETE(_ZdaPvm, sn_free_new("delete", p, size, 0), size_t size)
DELETE(_ZdlPvRKSt9nothrow_t, sn_free(p), const void *nothrow)
DELETE(_ZdaPvRKSt9nothrow_t, sn_free(p), const void *nothrow)
DELETE(_ZdlPvSt11align_val_t, sn_free_aligned(p, align), size_t align)
DELETE(_ZdaPvSt11align_val_t, sn_free_aligned(p, align), size_t align)
DELETE(_ZdlPvmSt11align_val_t, sn_free_new("delete", p, size, align), size_t size, size_t align)
DELETE(_ZdaPvmSt11align_val_t, sn_free_new("delete", p, size, align), size_t size, size_t align)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, sn_free_aligned(p, align), size_t align,
       const void *nothrow)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, sn_free_aligned(p, align), size_t align,
       const void *nothrow)
