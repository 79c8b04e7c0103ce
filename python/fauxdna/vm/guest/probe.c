/* fauxdna-probe: what the guest's driver found, and programs run on it; also the example of how to use a VF's node from C. */
#define _GNU_SOURCE
#include "npu.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <time.h>
#include <unistd.h>

#include "abi.h"

#define MODEL_FOLDER "/usr/share/fauxdna/model"

enum { ARGUMENTS_MAX = 32, READ_LOG = 3, FIRST_MS = 60000 /* until nothing more is to be got ready */ };

static const char usage[] =
	"usage: fauxdna-probe                        log, nodes, and on each VF a context and the small model\n"
	"       fauxdna-probe run [OPTION] ELF ARGUMENT...   run an ELF; an argument is FILE or zeros:BYTES\n"
	"         -o INDEX=FILE   write an argument's buffer after the run\n"
	"         -n COUNT        run it so often, and print the median time\n"
	"       fauxdna-probe contexts COUNT         create a context, run a packet, destroy it\n"
	"       fauxdna-probe latency COUNT          from doorbell to WAIT_CMD's return, and to the completion word\n"
	"       fauxdna-probe woken COUNT            how long WAIT_CMD takes that sleeps before its packet is submitted\n"
	"       fauxdna-probe wait SEQUENCE MS       WAIT_CMD for a packet of a fresh context; prints errno and time\n"
	"       fauxdna-probe hold [SECONDS]         keep packets running, and say so when the first has\n"
	"       fauxdna-probe refusals               calls that the driver must refuse, on every node, with their errno\n"
	"       fauxdna-probe dump ELF FOLDER        patch made-up addresses in and write the bytes; needs no device\n"
	"options of all: --node BDF (default: the first VF), --padded (the queue header of XRT),\n"
	"  --timeout MS (for each packet; default 60000)\n";

static struct {
	const char *node;
	int padded;
	unsigned timeout_ms;
} option = { .timeout_ms = 60000 };

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
	qsort(values, count, sizeof *values, ascending);
	return values[count / 2];
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	errno = 0;
	if (*end || end == text || value > 1u << 30)
		die("'%s' is no number from 0 to %u", text, 1u << 30);
	return value;
}

static struct node chosen_node(void)
{
	struct node nodes[NODES_MAX];
	int count = find_nodes(nodes);

	for (int i = 0; i < count; i++)
		if (option.node ? !strcmp(nodes[i].bdf, option.node) : nodes[i].type == XDNA_DEVICE_TYPE_UMQ)
			return nodes[i];
	errno = 0;
	die("no node of %s in /sys/class/accel", option.node ? option.node : "a VF");
}

static void ended_well(struct context *context, uint64_t sequence, int error)
{
	uint32_t word = completion(context, sequence);

	errno = error;
	if (error)
		die("WAIT_CMD of packet %llu", (unsigned long long)sequence);
	if (word != COMPLETED)
		die("packet %llu ended with completion word %#x", (unsigned long long)sequence, word);
}

static void run_and_wait(struct context *context, const struct code *code)
{
	uint64_t sequence = submit(context, code);

	ended_well(context, sequence, wait_for(context, sequence, option.timeout_ms));
}

/* Copies a file, or zeros, into a new buffer. */
static struct buffer argument_buffer(int fd, const char *text)
{
	struct buffer buffer;
	uint8_t *data;
	size_t size;

	if (!strncmp(text, "zeros:", 6)) {
		size = number(text + 6);
		buffer = allocate(fd, size ? size : 1, XDNA_BO_TYPE_SHARE);
		buffer.size = size;
		return buffer;
	}
	data = read_file(text, &size);
	buffer = allocate(fd, size ? size : 1, XDNA_BO_TYPE_SHARE);
	memcpy(buffer.bytes, data, size);
	buffer.size = size;
	free(data);
	return buffer;
}

static int run(int count, char **words)
{
	const char *outputs[ARGUMENTS_MAX];
	struct buffer buffers[ARGUMENTS_MAX];
	unsigned written = 0, arguments = 0, times = 1;
	struct node node = chosen_node();
	struct context context;
	struct program program;
	double *seconds;
	uint8_t *data;
	size_t size;
	int fd;

	for (; count && words[0][0] == '-'; count -= 2, words += 2) {
		if (count < 2 || (strcmp(words[0], "-o") && strcmp(words[0], "-n")))
			die("%s: give -o INDEX=FILE or -n COUNT", words[0]);
		if (words[0][1] == 'n')
			times = number(words[1]);
		else if (written < ARGUMENTS_MAX)
			outputs[written++] = words[1];
	}
	if (count < 1 || count > 1 + ARGUMENTS_MAX || !times)
		die("%s", usage);
	fd = open_node(&node);
	data = read_file(words[0], &size);
	program = load_program(fd, data, size);
	for (; arguments < (unsigned)count - 1; arguments++) {
		buffers[arguments] = argument_buffer(fd, words[arguments + 1]);
		bind_argument(&program, arguments, buffers[arguments].address);
	}
	check_arguments(&program, arguments);
	context = create_context(fd, program.columns, option.padded);
	seconds = calloc(times, sizeof *seconds);
	for (unsigned i = 0; i < times; i++) {
		double begun = now();

		run_and_wait(&context, &program.code);
		seconds[i] = now() - begun;
	}
	printf("%s on %s: %u uCs, median of %u: %.3f ms\n", words[0], node.bdf, program.code.count, times,
	       median(seconds, times) * 1e3);
	for (unsigned i = 0; i < written; i++) {
		char *file = strchr(outputs[i], '=');
		unsigned index = file ? strtoul(outputs[i], NULL, 10) : arguments;

		errno = 0;
		if (index >= arguments)
			die("-o %s: give INDEX=FILE, with an index of the %u arguments", outputs[i], arguments);
		write_file(file + 1, buffers[index].bytes, buffers[index].size);
	}
	destroy_context(&context);
	unload_program(fd, &program);
	close(fd);
	return 0;
}

static int contexts(unsigned count)
{
	struct node node = chosen_node();
	int fd = open_node(&node);
	struct code nothing = { 0 };
	double begun = now();

	for (unsigned i = 0; i < count; i++) {
		struct context context = create_context(fd, 1, option.padded);

		run_and_wait(&context, &nothing);
		destroy_context(&context);
	}
	printf("%u contexts created, run and destroyed on %s: %.3f ms each\n", count, node.bdf, (now() - begun) * 1e3 / count);
	return 0;
}

static int latency(unsigned count)
{
	struct node node = chosen_node();
	int fd = open_node(&node);
	struct context context = create_context(fd, 1, option.padded);
	struct code nothing = { 0 };
	double *waited = calloc(count, sizeof *waited), *polled = calloc(count, sizeof *polled);

	for (unsigned i = 0; i < count; i++) {
		uint64_t sequence;
		double begun = now();

		run_and_wait(&context, &nothing);
		waited[i] = now() - begun;
		begun = now();
		sequence = submit(&context, &nothing);
		poll_for(&context, sequence);
		polled[i] = now() - begun;
		ended_well(&context, sequence, wait_for(&context, sequence, option.timeout_ms));
	}
	printf("doorbell to WAIT_CMD %.1f us, to the polled completion word %.1f us (medians of %u)\n",
	       median(waited, count) * 1e6, median(polled, count) * 1e6, count);
	destroy_context(&context);
	return 0;
}

/* A thread in WAIT_CMD. */
struct sleeper {
	struct context *context;
	uint64_t sequence;
	double seconds;
	int error;
	volatile pid_t id;
	volatile int ended;
};

static void *sleep_in_wait(void *data)
{
	struct sleeper *sleeper = data;
	double begun = now();

	sleeper->id = gettid();
	sleeper->error = wait_for(sleeper->context, sleeper->sequence, option.timeout_ms);
	sleeper->seconds = now() - begun;
	sleeper->ended = 1;
	return NULL;
}

static int sleeps(pid_t thread)
{
	char folder[64], text[128], *name_end;

	snprintf(folder, sizeof folder, "/proc/self/task/%d", thread);
	attribute_of(folder, "stat", text, sizeof text);
	name_end = strrchr(text, ')');
	return name_end && !strncmp(name_end, ") S", 3);
}

/* A packet that is done before anybody waits needs no interrupt; none of these is. */
static int woken(unsigned count)
{
	struct node node = chosen_node();
	int fd = open_node(&node);
	struct context context = create_context(fd, 1, option.padded);
	struct code nothing = { 0 };
	double *seconds = calloc(count, sizeof *seconds);

	for (unsigned i = 0; i < count;) {
		struct sleeper sleeper = { .context = &context, .sequence = context.next };
		pthread_t thread;

		if (pthread_create(&thread, NULL, sleep_in_wait, &sleeper))
			die("a thread");
		while (!sleeper.ended && !sleeps(sleeper.id))
			usleep(1000);
		submit(&context, &nothing);
		pthread_join(thread, NULL);
		poll_for(&context, sleeper.sequence);
		/* On a busy machine its time was over before the packet came. */
		if (sleeper.error == ETIME)
			continue;
		ended_well(&context, sleeper.sequence, sleeper.error);
		seconds[i++] = sleeper.seconds;
	}
	printf("WAIT_CMD returned after %.1f us (median of %u)\n", median(seconds, count) * 1e6, count);
	destroy_context(&context);
	return 0;
}

static int wait_in_vain(unsigned sequence, unsigned timeout_ms)
{
	struct node node = chosen_node();
	int fd = open_node(&node);
	struct context context = create_context(fd, 1, option.padded);
	double begun = now();
	int error = wait_for(&context, sequence, timeout_ms);

	printf("%s after %.1f ms\n", name_of_error(error), (now() - begun) * 1e3);
	destroy_context(&context);
	return 0;
}

static int hold(unsigned seconds)
{
	struct node node = chosen_node();
	int fd = open_node(&node);
	struct context context = create_context(fd, 1, option.padded);
	struct code nothing = { 0 };
	double end = now() + seconds;
	unsigned timeout_ms = option.timeout_ms;
	unsigned long runs = 1;

	option.timeout_ms = FIRST_MS;
	run_and_wait(&context, &nothing);
	option.timeout_ms = timeout_ms;
	printf("packets run on %s\n", node.bdf);
	for (; now() < end; runs++)
		run_and_wait(&context, &nothing);
	printf("%lu packets on %s in %u s\n", runs, node.bdf, seconds);
	destroy_context(&context);
	return 0;
}

static int all_refusals(void)
{
	struct node nodes[NODES_MAX];
	int count = find_nodes(nodes), wrong = !count;

	for (int i = 0; i < count; i++)
		wrong |= refusals(&nodes[i]);
	return wrong;
}

static int dump(const char *file, const char *folder)
{
	size_t size;
	uint8_t *data = read_file(file, &size);

	dump_program(data, size, folder);
	return 0;
}

/* The driver's own lines of the kernel's log. */
static void print_log(void)
{
	static char log[1 << 20];
	int length = klogctl(READ_LOG, log, sizeof log - 1);

	for (char *line = strtok(log, "\n"); length > 0 && line; line = strtok(NULL, "\n"))
		if (strstr(line, "amdxdna") && !strstr(line, "ommand line:") && strchr(line, '['))
			printf("%s\n", strchr(line, '['));
}

/* Runs the small model that came with the guest and compares with what it gave outside. */
static void run_model(int fd)
{
	size_t size, inputs, outputs;
	char bytes[32];
	uint8_t *elf, *input, *expected;
	struct buffer in, out, workspace;
	struct context context;
	struct program program;

	if (access(MODEL_FOLDER "/model.elf", R_OK)) {
		errno = 0;
		return;
	}
	elf = read_file(MODEL_FOLDER "/model.elf", &size);
	input = read_file(MODEL_FOLDER "/input", &inputs);
	expected = read_file(MODEL_FOLDER "/output", &outputs);
	attribute_of(MODEL_FOLDER, "workspace", bytes, sizeof bytes);
	program = load_program(fd, elf, size);
	in = allocate(fd, inputs, XDNA_BO_TYPE_SHARE);
	out = allocate(fd, outputs, XDNA_BO_TYPE_SHARE);
	workspace = allocate(fd, number(bytes) + 1, XDNA_BO_TYPE_SHARE);
	memcpy(in.bytes, input, inputs);
	bind_argument(&program, 0, in.address);
	bind_argument(&program, 1, out.address);
	bind_argument(&program, 2, workspace.address);
	context = create_context(fd, program.columns, option.padded);
	run_and_wait(&context, &program.code);
	errno = 0;
	if (memcmp(out.bytes, expected, outputs))
		die("the model's %zu output bytes differ from those outside the guest", outputs);
	printf("  model: %zu bytes in, %zu bytes out:", inputs, outputs);
	for (size_t i = 0; i < outputs && i < 16; i++)
		printf(" %02x", out.bytes[i]);
	printf("%s, the same as outside\n", outputs > 16 ? " ..." : "");
	destroy_context(&context);
	release(fd, &in);
	release(fd, &out);
	release(fd, &workspace);
	unload_program(fd, &program);
}

static void print_vf(int fd)
{
	struct amdxdna_drm_query_aie_metadata metadata = { 0 };
	struct amdxdna_drm_get_info info = { .param = XDNA_INFO_PARAM_AIE_METADATA, .buffer_size = sizeof metadata, .buffer = (uintptr_t)&metadata };
	struct code nothing = { 0 };
	struct context context;

	if (ioctl(fd, XDNA_IOCTL_GET_INFO, &info))
		die("GET_INFO");
	printf("  array %u.%u: %u columns of %u rows, core rows %u, mem rows %u\n", metadata.version_major, metadata.version_minor, metadata.cols,
	       metadata.rows, metadata.core_row_count, metadata.mem_row_count);
	context = create_context(fd, 1, option.padded);
	run_and_wait(&context, &nothing);
	printf("  context: a packet completed, WAIT_CMD returned 0\n");
	destroy_context(&context);
	run_model(fd);
}

static int report(void)
{
	struct node nodes[NODES_MAX];
	int count = find_nodes(nodes), vfs = 0;

	print_log();
	for (int i = 0; i < count; i++) {
		struct context context;
		char name[64], firmware[64];
		int fd = open_node(&nodes[i]);

		attribute_of(nodes[i].folder, "vbnv", name, sizeof name);
		attribute_of(nodes[i].folder, "fw_version", firmware, sizeof firmware);
		printf("%s %s: %s, %s, firmware %s\n", nodes[i].bdf, nodes[i].path, nodes[i].type == XDNA_DEVICE_TYPE_PF ? "PF" : "VF", name,
		       firmware);
		if (nodes[i].type == XDNA_DEVICE_TYPE_UMQ) {
			print_vf(fd);
			vfs++;
		} else {
			int error = try_context(fd, 1, option.padded, &context);

			printf("  a context: %s, as on a PF\n", error ? strerror(error) : "created");
			if (error != EOPNOTSUPP)
				die("the PF's node took a context");
		}
		close(fd);
	}
	errno = 0;
	if (!vfs)
		die("no VF has a node");
	return 0;
}

int main(int count, char **words)
{
	for (count--, words++; count && words[0][0] == '-'; count--, words++) {
		if (!strcmp(words[0], "--padded")) {
			option.padded = 1;
		} else if (!strcmp(words[0], "--node") && count > 1) {
			option.node = words[1];
			count--, words++;
		} else if (!strcmp(words[0], "--timeout") && count > 1) {
			option.timeout_ms = number(words[1]);
			count--, words++;
		} else {
			fputs(usage, stderr);
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!count)
		return report();
	if (!strcmp(words[0], "run"))
		return run(count - 1, words + 1);
	if (!strcmp(words[0], "hold"))
		return hold(count > 1 ? number(words[1]) : 10);
	if (count == 3 && !strcmp(words[0], "wait"))
		return wait_in_vain(number(words[1]), number(words[2]));
	if (!strcmp(words[0], "refusals"))
		return all_refusals();
	if (count == 3 && !strcmp(words[0], "dump"))
		return dump(words[1], words[2]);
	if (count == 2 && number(words[1]) && !strcmp(words[0], "contexts"))
		return contexts(number(words[1]));
	if (count == 2 && number(words[1]) && !strcmp(words[0], "latency"))
		return latency(number(words[1]));
	if (count == 2 && number(words[1]) && !strcmp(words[0], "woken"))
		return woken(number(words[1]));
	fputs(usage, stderr);
	return 2;
}
