/*
 * What the parts of the storm share: the client that asks, and the tally of what became of it.
 */
#ifndef HOTPLUGCTL_STORM_H
#define HOTPLUGCTL_STORM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "exchange.h"
#include "hotplugctl.h"
#include "target.h"

enum storm_kind {
	STORM_OFFLINE,
	STORM_ONLINE,
	STORM_CANCEL,
	STORM_CORDON,
	STORM_UNCORDON,
	STORM_DRAIN,
	STORM_CHANGES, /* so many kinds may change something; the others ask */
	STORM_PLAN = STORM_CHANGES,
	STORM_WHY,
	STORM_STATUS,
	STORM_SLABINFO,
	STORM_KINDS
};

struct storm_node {
	unsigned int number;
	bool memory;
	bool out, cordoned; /* in the client's picture */
};

/* One that asks. Several are processes of their own, each with its share of the requests. */
struct storm {
	const struct context *context;
	struct session link, canceller; /* one connection each, as long as the storm lasts */
	uint64_t state;			/* of the random numbers */
	unsigned int clients;
	double duration, rate; /* 0: no limit */
	uint64_t requests;     /* changes to ask for; 0: no limit */
	bool alone;	       /* nobody else is known to change nodes */
	struct storm_node *nodes;
	size_t count;
	json_t *tally; /* see storm_report.c */
	uint64_t changes, steps;
	int code;
	bool stop;
	/* The cancel that is due while an offline runs. */
	bool cancel_due;
	uint64_t cancel_at; /* 0: once the offline is under way */
	unsigned int cancel_node;
};

json_t *storm_tally_new(void);
void storm_tally_add(struct storm *storm, enum storm_kind kind, const char *request,
		     const json_t *reply, int code, double ms);
void storm_tally_merge(json_t *into, const json_t *tally);
json_t *storm_report(const json_t *tally, uint64_t seed, double seconds, int code);
void storm_announce(const struct storm *storm);
void storm_announce_all(const struct storm *storm, size_t processes);
void storm_show(const struct context *context, const struct targets *targets);

#endif
