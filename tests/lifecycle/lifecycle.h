/*
 * lifecycle.h - the frame of the programs whose nodes are taken away under them.
 *
 * They run under the library on a simulated topology with the control thread on, and order
 * their own offlines through hotplugctl, as an operator would from another terminal: ctl()
 * runs it on this process and keeps what it printed.  What needs the moment of the
 * acknowledgement speaks with the control socket itself (link_*).
 */
#ifndef TESTS_LIFECYCLE_H
#define TESTS_LIFECYCLE_H

#include "../../include/slabnode.h"
#include "../preload/check.h"

#include <pthread.h>
#include <signal.h>

/* The library's own functions, found with dlsym(). */
struct api {
	void *(*malloc_node)(size_t size, int node);
	int (*node_of)(const void *ptr);
	int (*node_state)(int node);
	int (*prefer_node)(int node);
	int (*max_node)(void);
	int (*offline)(int node, enum slabnode_policy policy, long timeout_ms, char *message,
		       size_t size);
	int (*online)(int node, int rebalance, char *message, size_t size);
	int (*cancel)(int node);
	int (*cordon)(int node);
	int (*uncordon)(int node);
	int (*register_memory_notifier)(const char *name, int priority, slabnode_memory_fn *fn,
					void *data);
	struct slabnode_cache *(*cache_create)(const char *name, size_t size, size_t align,
					       void (*ctor)(void *object));
	void *(*cache_alloc)(struct slabnode_cache *cache);
	void *(*cache_alloc_node)(struct slabnode_cache *cache, int node);
	void (*cache_free)(struct slabnode_cache *cache, void *object);
};
extern struct api api;
enum { OFFLINE, GOING_ONLINE, ONLINE, GOING_OFFLINE }; /* as in slabnode.h */

void start(void); /* skips the row where there is no library */

/* hotplugctl -p PID ARGUMENTS...: its exit status; what it printed is in ctl_out. */
extern char ctl_out[1 << 18];
__attribute__((format(printf, 1, 2))) int ctl(const char *format, ...);
/* The same in the background. */
__attribute__((format(printf, 1, 2))) pid_t ctl_begin(const char *format, ...);
int ctl_end(pid_t pid);
#define CTL(expected, ...)                                                                         \
	do {                                                                                       \
		int status_ = ctl(__VA_ARGS__);                                                    \
		if (status_ != (expected))                                                         \
			check_fail(__FILE__, __LINE__, "hotplugctl: status %d, not %d: %s",        \
				   status_, (expected), ctl_out);                                  \
	} while (0)
#define PRINTED(text)                                                                              \
	do {                                                                                       \
		if (strstr(ctl_out, (text)) == NULL)                                               \
			check_fail(__FILE__, __LINE__, "hotplugctl did not say %s: %s", (text),    \
				   ctl_out);                                                       \
	} while (0)
/* The number behind "KEY": after the first `from` (NULL: anywhere) in ctl_out. */
long long printed_number(const char *from, const char *key);

/* A connection to the own control socket; the hello has been read. */
int link_open(void);
void link_send(int fd, const char *line);
/* The next line; false at the end. */
bool link_line(int fd, char *line, size_t size);

void until_state(int node, int state);

/* Allocates and frees sizes from 8 B to 8 MiB for a while and insists that no page of it is on
 * the node. Several threads. */
void audit_away(int node, unsigned int rounds);
/* An object of that node, filled with its id. */
void *held(size_t size, int node, uint64_t id);
/* The node gives memory, and its fresh pages are there. */
void check_allocates(int node);

#endif
