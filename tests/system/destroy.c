/* What DESTROY_HWCTX and process exit do to waits and commands under way. Prints the same lines wherever a driver does as Linux 7.2. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi.h"
#include "npu.h"

enum { SETTLE_US = 50000, WAIT_MS = 200, NEVER = 1000, PATIENCE_MS = 60000 };

static const struct code nothing;
static struct node node;

/* An ioctl in a thread of its own. */
struct caller {
	int fd, result;
	unsigned long request;
	union {
		struct amdxdna_drm_wait_cmd wait;
		struct amdxdna_drm_destroy_hwctx destroy;
	} argument;
	volatile pid_t id;
	volatile int ended;
	pthread_t thread;
};

static int once(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument) < 0 ? errno : 0;
}

static void *run(void *data)
{
	struct caller *caller = data;

	caller->id = gettid();
	caller->result = once(caller->fd, caller->request, &caller->argument);
	caller->ended = 1;
	return NULL;
}

/* Returns when the call has ended, or has been in the kernel for a while. */
static struct caller *start(struct caller call)
{
	struct caller *caller = malloc(sizeof *caller);
	char path[64], text[64];

	*caller = call;
	if (pthread_create(&caller->thread, NULL, run, caller))
		die("a thread");
	do {
		usleep(1000);
		snprintf(path, sizeof path, "/proc/self/task/%d", caller->id);
		attribute_of(path, "syscall", text, sizeof text);
	} while (!caller->ended && atoi(text) != SYS_ioctl);
	usleep(SETTLE_US);
	return caller;
}

/* Whether the call has ended, of one that has to end by itself. */
static int ends(const struct caller *caller)
{
	for (int ms = 0; !caller->ended && ms < PATIENCE_MS; ms++)
		usleep(1000);
	return caller->ended;
}

static const char *end_of(struct caller *caller)
{
	pthread_join(caller->thread, NULL);
	return name_of_error(caller->result);
}

static struct caller *start_wait(const struct context *context, uint64_t sequence, uint32_t timeout_ms)
{
	return start((struct caller){
		.fd = context->fd,
		.request = XDNA_IOCTL_WAIT_CMD,
		.argument.wait = { .hwctx = context->handle, .timeout = timeout_ms, .seq = sequence },
	});
}

static struct caller *start_destroy(const struct context *context)
{
	return start((struct caller){
		.fd = context->fd,
		.request = XDNA_IOCTL_DESTROY_HWCTX,
		.argument.destroy = { .handle = context->handle },
	});
}

/* Destroys a context while a wait is under way, for it or another; a command ends that wait, and one in the same file's destroyer. */
static void meanwhile(const char *what, struct context *waited, const struct context *destroyed)
{
	struct caller *waiter = start_wait(waited, 0, 0), *destroyer = start_destroy(destroyed);
	int waits = waited->fd == destroyed->fd ? !destroyer->ended : !ends(destroyer);

	printf("%s: destroyer %s", what, waits ? "waits" : "does not wait");
	submit(waited, &nothing);
	printf(" and gets %s; waiter %s", end_of(destroyer), end_of(waiter));
	printf("\n");
}

static struct context fresh(int fd)
{
	return create_context(fd, 1, 0);
}

static void nobody(int signal)
{
	(void)signal;
}

static void interrupted(const char *what, int fd, int flags)
{
	struct sigaction action = { .sa_handler = nobody, .sa_flags = flags };
	struct context context = fresh(fd);
	struct caller *waiter, *destroyer;

	sigaction(SIGUSR1, &action, NULL);
	waiter = start_wait(&context, NEVER, 0);
	destroyer = start_destroy(&context);
	/* Again: one that comes before the call has reached its driver has it made anew. */
	while (!waiter->ended) {
		pthread_kill(waiter->thread, SIGUSR1);
		usleep(SETTLE_US);
	}
	printf("%s: destroyer %s", what, end_of(destroyer));
	printf("; waiter %s\n", end_of(waiter));
}

/* A child that ends, or is killed, in the middle; what it had is free again. */
static void child(const char *what, int deadly, void (*live)(int fd))
{
	int status = 0, ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready))
		die("a pipe");
	pid = fork();
	if (!pid) {
		int fd = open_node(&node);

		live(fd);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		if (deadly)
			pause();
		_exit(0);
	}
	if (read(ready[0], &byte, 1) != 1)
		die("no word from the child");
	if (deadly)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	printf("%s: %s\n", what, WIFSIGNALED(status) ? "killed" : WEXITSTATUS(status) ? "failed" : "ended");
}

static void leave_commands(int fd)
{
	struct context *context = malloc(sizeof *context);

	*context = fresh(fd);
	for (int i = 0; i < 20; i++)
		submit(context, &nothing);
}

static void leave_wait(int fd)
{
	struct context *context = malloc(sizeof *context);

	*context = fresh(fd);
	start_wait(context, NEVER, 0);
}

static void leave_destroyer(int fd)
{
	struct context *context = malloc(sizeof *context);

	*context = fresh(fd);
	start_wait(context, NEVER, 0);
	start_destroy(context);
}

int main(void)
{
	struct node nodes[NODES_MAX];
	struct context first, second, third;
	struct caller *waiter, *destroyer;
	int count = find_nodes(nodes), error, fd, other;

	for (int i = count - 1; i >= 0; i--)
		if (nodes[i].type == XDNA_DEVICE_TYPE_UMQ)
			node = nodes[i];
	fd = open_node(&node);
	other = open_node(&node);
	setvbuf(stdout, NULL, _IOLBF, 0);

	first = fresh(fd);
	meanwhile("a wait for the context", &first, &first);
	first = fresh(fd);
	second = fresh(fd);
	meanwhile("a wait for another context", &first, &second);
	third = fresh(other);
	meanwhile("a wait in another file", &first, &third);
	printf("destroyed twice: %s\n", end_of(start_destroy(&third)));

	first = fresh(fd);
	waiter = start_wait(&first, NEVER, WAIT_MS);
	destroyer = start_destroy(&first);
	printf("a wait with a timeout: destroyer %s", end_of(destroyer));
	printf("; waiter %s\n", end_of(waiter));

	first = fresh(fd);
	waiter = start_wait(&first, 0, 0);
	destroyer = start_destroy(&first);
	do
		error = wait_for(&first, 0, 20);
	while (error == ETIME);
	printf("a wait that begins later: %s\n", name_of_error(error));
	submit(&first, &nothing);
	end_of(destroyer);
	end_of(waiter);

	interrupted("a signal", fd, 0);
	interrupted("a signal, system calls restarted", fd, SA_RESTART);

	first = fresh(fd);
	for (int i = 0; i < 20; i++)
		submit(&first, &nothing);
	printf("with commands queued: %s\n", end_of(start_destroy(&first)));

	child("exit with commands", 0, leave_commands);
	child("exit with a wait", 0, leave_wait);
	child("exit with a blocked destroyer", 0, leave_destroyer);
	child("killed with a wait", 1, leave_wait);
	child("killed with a blocked destroyer", 1, leave_destroyer);
	first = fresh(fd);
	printf("a new context: %s\n", name_of_error(wait_for(&first, submit(&first, &nothing), 10000)));
	return 0;
}
