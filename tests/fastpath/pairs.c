/*
 * pairs.c - so many pairs of malloc and free, for the row locked of fastpath.py.
 */
#include <stdlib.h>

int main(int argc, char **argv)
{
	long pairs = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

	for (long i = 0; i < pairs; i++) {
		char *volatile p = malloc((size_t)(i % 64) * 16);

		free(p);
	}
	return 0;
}
