/* Times system calls, natively and in a sandbox: exec_calls [NODE]. Prints one JSON object. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9
#define CALLS 20000
#define PREADS 2000
#define SAMPLES 20000
#define THREADS 16
#define BLOCK 65536

static unsigned long long cap[2]; /* struct drm_get_cap */
static int node = -1;
#define DRM_IOCTL_GET_CAP _IOWR('d', 0x0c, cap)
#define DRM_CAP_SYNCOBJ 0x13

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

/* The best of some rounds, in nanoseconds a call: what a noisy machine adds is not the call's. */
static double best(void (*call)(void), int calls)
{
	double least = 1e18;
	for (int round = 0; round < ROUNDS; round++) {
		double begin = now();
		for (int i = 0; i < calls; i++)
			call();
		double each = (now() - begin) / calls;
		if (each < least)
			least = each;
	}
	return least;
}

static int pipes[2], file;
static char block[BLOCK];

static void call_getpid(void) { syscall(SYS_getpid); }
static void call_ioctl(void) { int n; check(ioctl(pipes[0], FIONREAD, &n), "FIONREAD"); }
static void call_pread(void) { check(pread(file, block, BLOCK, 0), "pread"); }

static void *many(void *count)
{
	unsigned long long own[2] = { DRM_CAP_SYNCOBJ };
	for (int i = 0; i < *(int *)count; i++)
		check(ioctl(node, DRM_IOCTL_GET_CAP, own), "GET_CAP");
	return NULL;
}

static double together(int threads, int each)
{
	pthread_t made[THREADS];
	double begin = now();
	for (int i = 0; i < threads; i++)
		pthread_create(&made[i], NULL, many, &each);
	for (int i = 0; i < threads; i++)
		pthread_join(made[i], NULL);
	return (now() - begin) / (threads * each);
}

int main(int count, char **values)
{
	static double samples[SAMPLES];
	check(pipe(pipes), "pipe");
	file = memfd_create("block", 0);
	check(ftruncate(file, BLOCK), "ftruncate");
	printf("{\"getpid_ns\": %.1f, ", best(call_getpid, CALLS));
	printf("\"ioctl_ns\": %.1f, ", best(call_ioctl, CALLS));
	printf("\"pread_ns\": %.1f", best(call_pread, PREADS));
	if (count > 1) {
		node = open(values[1], O_RDWR);
		check(node, values[1]);
		for (int i = 0; i < SAMPLES; i++) {
			cap[0] = DRM_CAP_SYNCOBJ;
			double begin = now();
			check(ioctl(node, DRM_IOCTL_GET_CAP, cap), "GET_CAP");
			samples[i] = now() - begin;
		}
		qsort(samples, SAMPLES, sizeof(samples[0]), by_value);
		printf(", \"noop_p50_ns\": %.1f, \"noop_p99_ns\": %.1f", samples[SAMPLES / 2], samples[SAMPLES / 100 * 99]);
		printf(", \"one_thread_ns\": %.1f", together(1, SAMPLES));
		printf(", \"sixteen_threads_ns\": %.1f", together(THREADS, SAMPLES / THREADS));
	}
	printf("}\n");
	return 0;
}
