/*
 * A program with a control thread and no allocator: an imitation stands in for the core
 * (imitation.h), so that the tests see the control thread alone.  Commands come on standard input,
 * one letter a line; each is answered by one line.
 */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "imitation.h"
#include "internal.h"
#include "thread.h"

static _Atomic int reaps;
static _Atomic uint64_t next_reap;

static _Thread_local int internal_depth;
static _Atomic int stray_threads; /* left the internal section more often than entered */

void sn_internal_enter(void)
{
	internal_depth++;
}

bool sn_thread_ends(void)
{
	return true;
}

void sn_internal_leave(void)
{
	if (--internal_depth < 0)
		stray_threads++;
}

int64_t imitation_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void imitation_pause(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static uint64_t fake_reap(void)
{
	reaps++;
	return next_reap;
}

/* As in a container: no descriptor table of our own. */
static void refuse_close_range(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 436, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program))
		exit(3);
}

static int open_descriptors(void)
{
	int count = 0;

	for (int i = 0; i < 4096; i++)
		count += fcntl(i, F_GETFD) >= 0;
	return count;
}

static void *poke_later(void *arg)
{
	(void)arg;
	sn_control_poke();
	return NULL;
}

static void *own_offline(void *arg)
{
	unsigned int node = sn_node_find(5);
	struct sn_offline_request request = {.policy = SN_WAIT, .timeout_ms = -1};
	struct sn_lifecycle_result result = {0};

	sn_offline(&node, 1, &request, &result);
	return arg;
}

/* In the child: a thread and a socket of its own, the parent's left alone. */
static void fork_and_ask(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		sn_control_fork_child();
		if (sn_control_socket()[0])
			_exit(4);
		if (!sn_control_start())
			_exit(5);
		for (int i = 0; i < 400 && !sn_control_socket()[0]; i++)
			imitation_pause(5);
		printf("%s\n", sn_control_socket());
		fflush(stdout);
		imitation_pause(1500);
		sn_control_at_exit();
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("%d\n", status);
}

static void obey(int letter)
{
	pthread_t thread;

	switch (letter) {
	case 's': /* the socket, empty when none; stderr has the reason */
		printf("%s\n", sn_control_socket());
		break;
	case 'r':
		sn_control_retire();
		printf("%s|%d\n", sn_control_socket(), sn_control_start());
		break;
	case 'f':
		fork_and_ask();
		break;
	case 'd':
		printf("%d\n", open_descriptors());
		break;
	case 'c': /* what daemons do */
		for (int i = 3; i < 4096; i++)
			close(i);
		printf("closed\n");
		break;
	case 'n': /* an event of the program's own */
		imitation_event(SN_FIRST_NODE, SN_ONLINE, "MEM_ONLINE");
		printf("told\n");
		break;
	case 'a': /* how often aged */
		printf("%d\n", reaps);
		break;
	case 'p':
		pthread_create(&thread, NULL, poke_later, NULL);
		pthread_join(thread, NULL);
		printf("poked\n");
		break;
	case 'b': /* a long slabinfo */
		imitation_caches = SN_MAX_CACHES;
		printf("big\n");
		break;
	case 'l': /* a sandbox without new descriptors */
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 4096});
		printf("limited\n");
		break;
	case 'o': /* an offline of the program's own, of node 5 */
		pthread_create(&thread, NULL, own_offline, NULL);
		pthread_detach(thread);
		printf("begun\n");
		break;
	case 'x':
		sn_cancel(sn_node_find(5), &(struct sn_lifecycle_result){0});
		printf("cancelled\n");
		break;
	case 'i':
		printf("%d\n", stray_threads);
		break;
	default:
		printf("?\n");
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct sn_control_config config = imitation_config;
	char line[64];

	if (argc > 1)
		config.rundir = argv[1];
	if (argc > 2 && !strcmp(argv[2], "no-close-range"))
		refuse_close_range();
	next_reap = argc > 2 && !strcmp(argv[2], "ageing") ? 20 : UINT64_MAX;
	imitation_start();
	sn_control_reap = fake_reap;
	sn_control_configure(&config);
	if (!sn_control_start() || !sn_control_start())
		return 2;
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		obey(line[0]);
	sn_control_at_exit();
	return 0;
}
