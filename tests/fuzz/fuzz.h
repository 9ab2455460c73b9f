/*
 * fuzz.h - the frame of the fuzzers: what is fed with bytes in the process, and watched.
 *
 * Each NAME.c is one target.  With clang it is linked with libFuzzer, which looks for inputs that
 * reach new code; with any compiler it is linked with replay.c, which runs the inputs that are kept
 * in corpus/NAME.  Both have the address and undefined-behaviour sanitizers.  fuzz.py builds and
 * runs them.
 *
 * A target insists on more than "no crash": FUZZ_CHECK() says what must hold whatever came in.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FUZZ_CHECK(cond)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #cond);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* libFuzzer's name.  The state is the same before each input, and nothing is left after it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
