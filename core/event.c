/*
 * event.c - the ring of state transitions that `hotplugctl events` follows.
 */
#include "event.h"

#include "fault.h"
#include "probe.h"

#include <string.h>
#include <time.h>

void (*sn_event_hook)(void);

static struct {
	struct sn_lock lock SN_RANKED(events);
	uint64_t last SN_GUARDED_BY(&lock); /* sequence number of the newest event */
} events;

/* 128 KiB, most of it never touched. */
static struct sn_event ring[SN_EVENTS] SN_GUARDED_BY(&events.lock);

void sn_event_add(const struct sn_node *node, enum sn_node_state from, enum sn_node_state to,
		  const char *action, const char *cause)
{
	struct timespec now;
	struct sn_event *event;

	sn_fault(SN_FAULT_EVENT);
	clock_gettime(CLOCK_REALTIME, &now);
	sn_lock_acquire(&events.lock, SN_RANK_EVENTS);
	event = &ring[events.last % SN_EVENTS];
	event->seq = ++events.last;
	event->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	event->os_node = node->os_number;
	event->from = from;
	event->to = to;
	event->action = action;
	strncpy(event->cause, cause, sizeof(event->cause) - 1);
	sn_lock_release(&events.lock, SN_RANK_EVENTS);
	SN_PROBE(transition, node->os_number, from, to, action, cause);
	if (sn_event_hook != NULL)
		sn_event_hook();
}

bool sn_event_next(uint64_t since, struct sn_event *event)
{
	bool found = false;

	sn_lock_acquire(&events.lock, SN_RANK_EVENTS);
	if (since < events.last) {
		uint64_t oldest = events.last > SN_EVENTS ? events.last - SN_EVENTS + 1 : 1;

		*event = ring[(sn_max(since + 1, oldest) - 1) % SN_EVENTS];
		found = true;
	}
	sn_lock_release(&events.lock, SN_RANK_EVENTS);
	return found;
}

uint64_t sn_event_last(void)
{
	uint64_t last;

	sn_lock_acquire(&events.lock, SN_RANK_EVENTS);
	last = events.last;
	sn_lock_release(&events.lock, SN_RANK_EVENTS);
	return last;
}

/* These two are halves of what the fork handler does. */
void sn_event_fork_lock(void) SN_NO_THREAD_SAFETY
{
	sn_lock_acquire(&events.lock, SN_RANK_EVENTS);
}

void sn_event_fork_unlock(bool child) SN_NO_THREAD_SAFETY
{
	if (child)
		sn_lock_reset(&events.lock);
	else
		sn_lock_release(&events.lock, SN_RANK_EVENTS);
}
