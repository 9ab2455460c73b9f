/*
 * client.h - connections to the control socket.
 *
 * Requests of one connection are answered in their order: the next line is looked at when the one
 * before has its reply.  What a client may cost is bounded: one line of input, one reply and a
 * little of output, no waiting for it ever.
 */
#ifndef SLABNODE_CLIENT_H
#define SLABNODE_CLIENT_H

#include <poll.h>

#include "fd.h"
#include "reply.h"
#include "worker.h"

#define SN_MAX_CLIENTS 64
#define SN_MAX_LINE    4096

struct sn_client {
	struct sn_fd fd;
	struct sn_reply output;
	struct sn_operation *operation; /* under way for this client */
	bool following;			/* sends events as they happen */
	uint64_t followed;		/* sequence number of the last one sent */
	bool hung_up;			/* nobody is at the other end */
	bool input_ended;
	bool output_broken; /* it takes nothing any more: output is dropped */
	bool closing;	    /* takes no requests; goes when its output is sent */
	bool lingering;	    /* output is sent: waits for the other end to close first */
	int64_t active_ms;  /* when it last sent something */
	int64_t stalled_ms; /* since when it takes no output; 0: it does */
	size_t input_length;
	char input[SN_MAX_LINE];
};

/* Appends what is to be polled; returns how many.  There is room for SN_MAX_CLIENTS. */
unsigned int sn_clients_poll(struct pollfd *poll);
/* Deals with what poll() reported for them, with finished operations, and with events. */
void sn_clients_serve(const struct pollfd *poll, unsigned int count);
/* A connection was accepted. */
void sn_clients_add(int number);
/* In how many ms something is due for a client, -1: nothing. */
int64_t sn_clients_due(void);
bool sn_clients_full(void);
bool sn_clients_following(void);
void sn_clients_close_all(void);
/* In a forked child. */
void sn_clients_forget(void);

#endif
