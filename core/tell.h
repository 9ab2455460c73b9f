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
/* `unheard`: one of them failed, or may have. */
void sn_tell_end(const struct sn_tell *tell, bool unheard);

/*
 * One write of one line, whatever a variable or a path in it holds: the last byte becomes its end,
 * and of what stands before nothing is left that a terminal obeys.  False: nobody got it.
 */
bool sn_tell(int descriptor, char *line, size_t size);
/* What such a line may be long, so that nobody else's comes between its parts. */
#define SN_TELL_MAX ((size_t)512)
/* As much is shown of a path, to have room for what is wrong with it. */
#define SN_PATH_SHOWN 300

/* From now on, in a sandbox: a write is nothing but a write, since other calls may be forbidden. */
void sn_tell_barely(void);

#endif
