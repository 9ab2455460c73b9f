/*
 * tell.h - writing to whoever may read, without being ended by it.
 *
 * A pipe that nobody reads any more answers a write with SIGPIPE, and a file at its limit of size
 * with SIGXFSZ: these end programs that never meant to write a word.  The signals go to the thread
 * that wrote, so it keeps them off meanwhile, and takes back those that its writes have raised.
 */
#ifndef SLABNODE_TELL_H
#define SLABNODE_TELL_H

#include "base.h"

#include <signal.h>

struct sn_tell {
	sigset_t mask, pending; /* of the thread, before */
	bool bare;
};

/* Between these writes only fail.  errno stays what it is. */
void sn_tell_begin(struct sn_tell *tell);
void sn_tell_end(const struct sn_tell *tell);

/* One write of one line; false: nobody got it. */
bool sn_tell(int descriptor, const char *line, size_t size);

/* From now on, in a sandbox: a write is nothing but a write, since other calls may be forbidden. */
void sn_tell_barely(void);

#endif
