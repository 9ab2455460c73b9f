/*
 * requests.c - an object cache whose objects are constructed once.
 *
 * A request has a lock and an empty list.  The constructor makes them when a slab is built; objects
 * come back from the cache as they were freed, so whoever frees one leaves it constructed, and the
 * next user need not do it again.
 */
#include <pthread.h>
#include <slabnode.h>
#include <stdio.h>
#include <string.h>

#define REQUESTS 100000
#define AT_ONCE	 32

struct request {
	pthread_mutex_t lock;
	struct request *next; /* NULL in a constructed object */
	unsigned int length;  /* 0 in a constructed object */
	char text[400];	      /* whatever it was: length says how much of it counts */
};

static unsigned long constructed;

/* Runs with no lock of the library held, in the thread that allocates: it may allocate, too. */
static void construct(void *object)
{
	struct request *request = object;

	pthread_mutex_init(&request->lock, NULL);
	request->next = NULL;
	request->length = 0;
	constructed++;
}

static void serve(struct request *request, unsigned int number)
{
	pthread_mutex_lock(&request->lock);
	request->length =
		(unsigned int)snprintf(request->text, sizeof(request->text), "request %u", number);
	pthread_mutex_unlock(&request->lock);
}

static void finish(struct slabnode_cache *cache, struct request *request)
{
	request->length = 0; /* as the constructor left it */
	slabnode_cache_free(cache, request);
}

int main(void)
{
	struct slabnode_cache *cache =
		slabnode_cache_create("request", sizeof(struct request), 0, construct);
	struct request *requests[AT_ONCE] = {NULL};
	int error;

	if (!cache) {
		perror("slabnode_cache_create");
		return 1;
	}
	for (unsigned int i = 0; i < REQUESTS; i++) {
		struct request **place = &requests[i % AT_ONCE];

		if (*place)
			finish(cache, *place);
		*place = slabnode_cache_alloc(cache);
		if (!*place) {
			perror("slabnode_cache_alloc");
			return 1;
		}
		if ((*place)->length || (*place)->next) {
			printf("an object was not as it was freed\n");
			return 1;
		}
		serve(*place, i);
	}
	printf("%d requests, %lu objects constructed\n", REQUESTS, constructed);
	error = slabnode_cache_destroy(cache);
	printf("in use, the cache stays: %s\n", strerror(-error));
	for (unsigned int i = 0; i < AT_ONCE; i++)
		finish(cache, requests[i]);
	printf("shrink: %zu bytes back to the system\n", slabnode_cache_shrink(cache));
	error = slabnode_cache_destroy(cache);
	printf("destroyed: %d\n", error);
	return error != 0;
}
