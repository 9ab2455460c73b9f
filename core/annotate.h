/*
 * annotate.h - what a lock guards and who has to hold it, in words that clang checks.
 *
 * SN_GUARDED_BY(&lock)	a field or variable is read and written only while the lock is held.  Of a
 *			field it is any lock of that name: whose, clang does not ask.  Taking its
 *			address is free, so sn_counter_read() and its kin, which statistics use
 *			without the lock, stay what they are.
 * SN_REQUIRES(&lock)	the caller holds the lock: of this object, when a parameter leads to it.
 * SN_EXCLUDES(&lock)	the caller does not hold it; the function will take it, or waits for others.
 * SN_ACQUIRE, SN_TRY_ACQUIRE, SN_RELEASE	what the function does to the lock.
 * SN_ACQUIRED_AFTER, SN_ACQUIRED_BEFORE	its place in the lock order, see lock.h.
 * SN_NO_THREAD_SAFETY	clang cannot follow the function, or its caller is the only thread; the
 * reason stands beside it.
 *
 * For other compilers, and for clangs that do not know a struct's fields in its attributes (before
 * 19), all of them are empty: meson.build defines SN_THREAD_SAFETY.
 */
#ifndef SLABNODE_ANNOTATE_H
#define SLABNODE_ANNOTATE_H

#ifdef SN_THREAD_SAFETY
#define SN_ANNOTATE(attribute) __attribute__((attribute))
#else
#define SN_ANNOTATE(attribute)
#endif

#define SN_CAPABILITY		      SN_ANNOTATE(capability("mutex"))
#define SN_GUARDED_BY(lock)	      SN_ANNOTATE(guarded_by(lock))
#define SN_PT_GUARDED_BY(lock)	      SN_ANNOTATE(pt_guarded_by(lock))
#define SN_REQUIRES(...)	      SN_ANNOTATE(requires_capability(__VA_ARGS__))
#define SN_EXCLUDES(...)	      SN_ANNOTATE(locks_excluded(__VA_ARGS__))
#define SN_ACQUIRE(...)		      SN_ANNOTATE(acquire_capability(__VA_ARGS__))
#define SN_TRY_ACQUIRE(success, lock) SN_ANNOTATE(try_acquire_capability(success, lock))
#define SN_RELEASE(...)		      SN_ANNOTATE(release_capability(__VA_ARGS__))
#define SN_ACQUIRED_AFTER(...)	      SN_ANNOTATE(acquired_after(__VA_ARGS__))
#define SN_ACQUIRED_BEFORE(...)	      SN_ANNOTATE(acquired_before(__VA_ARGS__))
#define SN_NO_THREAD_SAFETY	      SN_ANNOTATE(no_thread_safety_analysis)

#endif
