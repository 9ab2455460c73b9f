/*
 * probe.h - where bpftrace, perf, gdb and SystemTap can look in.
 *
 * A probe is one nop, and a note in the library's file that says where it stands and where its
 * arguments are at that moment; nothing is called, tested or counted.  Without <sys/sdt.h>, or with
 * the meson option usdt=disabled, there is nothing at all.
 *
 * Probes stand on slow paths and in the lifecycle only, never between a lock's acquisition and its
 * release: what a tracer does there would last as long.  Arguments are values that are at hand:
 * nodes by the system's numbers, caches by their names, sizes in bytes or pages.  libslabnode(7)
 * lists them.
 */
#ifndef SN_PROBE_H
#define SN_PROBE_H

#ifdef SLABNODE_USDT
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define SN_PROBE(name, ...) STAP_PROBEV(slabnode, name, __VA_ARGS__)
#else
#define SN_PROBE(name, ...) ((void)0)
#endif

#endif
