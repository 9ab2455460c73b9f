/*
 * load.c - a program that makes the allocator do all that it does, for the list of its system
 * calls: threads that come and go, blocks that grow, a child, memory given back.  "die" ends it by
 * a pointer that is nobody's.  It frees little at once, since each system call is looked at.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OBJECTS 2000
#define ROUNDS	3

static void *work(void *arg)
{
	void *objects[OBJECTS];

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < OBJECTS; i++)
			objects[i] = malloc(16 + (size_t)i * 7 % 3000);
		for (int i = 0; i < OBJECTS; i++)
			free(objects[i]);
	}
	return arg;
}

static void large(void)
{
	char *block = malloc(1 << 20);

	block = realloc(block, 64 << 20);
	if (block)
		memset(block, 1, 16 << 20);
	block = realloc(block, 200 << 20);
	free(block);
	malloc_trim(0);
}

static int child(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		work(NULL);
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

int main(int argc, char **argv)
{
	pthread_t threads[4];
	char end;

	if (argc > 1 && !strcmp(argv[1], "die"))
		free(argv[0]);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, work, NULL))
			return 1;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	large();
	if (child())
		return 1;
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	/* Until the test has asked all that it wants to. */
	while (read(0, &end, 1) == 1)
		work(NULL);
	return 0;
}
