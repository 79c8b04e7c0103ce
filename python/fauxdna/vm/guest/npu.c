/* Nodes, buffers, contexts, host queues: what a user-space driver of AIE4 does, over the ioctls of Linux 7.2. */
#include "npu.h"
#include "amdxdna.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	CAPACITY = 32,	  /* Linux 7.2 CTX_MAX_CMDS */
	PACKETS = 128,	  /* behind either header */
	PACKET = 64,
	PAYLOAD = 32,	  /* of an indirect packet, for each uC */
	STRIDE = 64,	  /* of completion words */
	PAYLOADS = PACKETS + CAPACITY * PACKET,
	COMPLETIONS = PAYLOADS + UCS * CAPACITY * PAYLOAD,
	QUEUE_SIZE = COMPLETIONS + CAPACITY * STRIDE,
	EXEC_BUF = 1,
	TEST = 2,
	EXEC_SIZE = 24,
	TILES_PER_COLUMN = 4,
};

struct packet { /* of the host queue */
	uint8_t type, reserved, opcode, chain;
	uint16_t count;
	uint8_t distribute, indirect;
	uint64_t completion;
	uint32_t data[12];
};
struct payload {
	uint8_t type, reserved, opcode, chain;
	uint16_t count;
	uint8_t distribute, indirect;
	uint32_t exec[6];
};
_Static_assert(sizeof(struct packet) == PACKET, "");
_Static_assert(sizeof(struct payload) == PAYLOAD, "");

_Noreturn void die(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "fauxdna-probe: ");
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	if (error)
		fprintf(stderr, ": %s", strerror(error));
	fprintf(stderr, "\n");
	exit(1);
}

static int call(int fd, unsigned long request, void *argument)
{
	while (ioctl(fd, request, argument) < 0)
		if (errno != EINTR)
			return errno;
	return 0;
}

static void must(int error, const char *what)
{
	errno = error;
	if (error)
		die("%s", what);
}

void attribute_of(const char *folder, const char *name, char *text, size_t size)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "r");
	if (!file || !fgets(text, size, file))
		snprintf(text, size, "?");
	text[strcspn(text, "\n")] = 0;
	if (file)
		fclose(file);
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct node *)a)->bdf, ((const struct node *)b)->bdf);
}

int find_nodes(struct node *nodes)
{
	DIR *folder = opendir("/sys/class/accel");
	struct dirent *entry;
	int count = 0;

	while (folder && (entry = readdir(folder)) && count < NODES_MAX) {
		struct node *node = &nodes[count];
		char target[256], type[16];
		ssize_t length;

		if (strncmp(entry->d_name, "accel", 5))
			continue;
		snprintf(node->path, sizeof node->path, "/dev/accel/%.32s", entry->d_name);
		snprintf(node->folder, sizeof node->folder, "/sys/class/accel/%.32s/device", entry->d_name);
		length = readlink(node->folder, target, sizeof target - 1);
		target[length < 0 ? 0 : length] = 0;
		snprintf(node->bdf, sizeof node->bdf, "%.31s", strrchr(target, '/') ? strrchr(target, '/') + 1 : "?");
		attribute_of(node->folder, "device_type", type, sizeof type);
		node->type = atoi(type);
		count++;
	}
	if (folder)
		closedir(folder);
	qsort(nodes, count, sizeof *nodes, by_address);
	return count;
}

int open_node(const struct node *node)
{
	int fd = open(node->path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("%s (%s) can't be opened", node->path, node->bdf);
	return fd;
}

struct buffer allocate(int fd, size_t size, uint32_t type)
{
	struct create_bo create = { .size = (size + PAGE - 1) / PAGE * PAGE, .type = type };
	struct get_bo_info info = { 0 };
	struct buffer buffer = { .size = create.size };

	must(call(fd, CREATE_BO, &create), "CREATE_BO");
	info.handle = buffer.handle = create.handle;
	must(call(fd, GET_BO_INFO, &info), "GET_BO_INFO");
	buffer.address = info.device_address;
	buffer.bytes = mmap(NULL, buffer.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, info.map_offset);
	if (buffer.bytes == MAP_FAILED)
		die("mmap of a buffer of %zu bytes", buffer.size);
	return buffer;
}

void release(int fd, struct buffer *buffer)
{
	struct gem_close argument = { .handle = buffer->handle };

	munmap(buffer->bytes, buffer->size);
	must(call(fd, GEM_CLOSE, &argument), "GEM_CLOSE");
}

/* Offsets in the queue's header: Linux 7.2's form, and the padded one that XRT writes. */
static unsigned write_index_at(const struct context *context)
{
	return context->padded ? 64 : 16;
}

static void lay_out(struct context *context)
{
	uint8_t *queue = context->queue.bytes;
	uint64_t packets = context->queue.address + PACKETS;
	uint16_t major = context->padded;
	uint32_t capacity = CAPACITY;

	memset(queue, 0, context->queue.size);
	memcpy(queue + 8, &major, sizeof major);
	memcpy(queue + 12, &capacity, sizeof capacity);
	memcpy(queue + (context->padded ? 120 : 24), &packets, sizeof packets);
}

int try_context(int fd, unsigned columns, int padded, struct context *context)
{
	struct qos qos = { .priority = 0x200 };
	struct create_hwctx create = { .qos = (uintptr_t)&qos, .tiles = columns * TILES_PER_COLUMN };
	int error;

	*context = (struct context){ .fd = fd, .padded = padded, .queue = allocate(fd, QUEUE_SIZE, BO_CMD) };
	lay_out(context);
	create.queue_bo = context->queue.handle;
	error = call(fd, CREATE_HWCTX, &create);
	if (error) {
		release(fd, &context->queue);
		return error;
	}
	context->handle = create.handle;
	context->doorbell = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, create.doorbell);
	if (context->doorbell == MAP_FAILED)
		die("mmap of the doorbell at %#x", create.doorbell);
	return 0;
}

struct context create_context(int fd, unsigned columns, int padded)
{
	struct context context;

	must(try_context(fd, columns, padded, &context), "CREATE_HWCTX");
	return context;
}

void destroy_context(struct context *context)
{
	struct destroy_hwctx argument = { .handle = context->handle };

	munmap((void *)context->doorbell, PAGE);
	must(call(context->fd, DESTROY_HWCTX, &argument), "DESTROY_HWCTX");
	release(context->fd, &context->queue);
}

static void fill_exec(uint32_t *exec, uint64_t code)
{
	exec[1] = (uint32_t)code;
	exec[2] = code >> 32;
}

static unsigned completion_at(uint64_t sequence)
{
	return COMPLETIONS + sequence % CAPACITY * STRIDE;
}

uint64_t submit(struct context *context, const struct code *code)
{
	uint64_t sequence = context->next++, *write_index;
	uint8_t *queue = context->queue.bytes;
	unsigned slot = sequence % CAPACITY;
	struct packet packet = { .opcode = code->count ? EXEC_BUF : TEST };

	while (__atomic_load_n((uint64_t *)queue, __ATOMIC_ACQUIRE) + CAPACITY <= sequence)
		usleep(50);
	packet.completion = context->queue.address + completion_at(sequence);
	if (code->count == 1 && code->uc[0] == 0) {
		packet.count = EXEC_SIZE;
		fill_exec(packet.data, code->address[0]);
	} else if (code->count) {
		packet.distribute = packet.indirect = 1;
		packet.count = code->count * 8;
	}
	for (unsigned i = 0; packet.indirect && i < code->count; i++) {
		struct payload payload = { .opcode = EXEC_BUF, .count = EXEC_SIZE, .distribute = 1 };
		unsigned at = PAYLOADS + (code->uc[i] * CAPACITY + slot) * PAYLOAD;
		uint64_t address = context->queue.address + at;

		fill_exec(payload.exec, code->address[i]);
		memcpy(queue + at, &payload, sizeof payload);
		packet.data[2 * i] = (uint32_t)address;
		packet.data[2 * i + 1] = (address >> 32) & 0x1ffffff | code->uc[i] << 25;
	}
	__atomic_store_n((uint32_t *)(queue + completion_at(sequence)), 0, __ATOMIC_RELAXED);
	memcpy(queue + PACKETS + slot * PACKET, &packet, sizeof packet);
	write_index = (uint64_t *)(queue + write_index_at(context));
	__atomic_store_n(write_index, context->next, __ATOMIC_RELEASE);
	*context->doorbell = 0;
	return sequence;
}

int wait_for(struct context *context, uint64_t sequence, uint32_t timeout_ms)
{
	struct wait_cmd argument = { .hwctx = context->handle, .timeout_ms = timeout_ms, .sequence = sequence };

	return call(context->fd, WAIT_CMD, &argument);
}

uint32_t completion(struct context *context, uint64_t sequence)
{
	return __atomic_load_n((uint32_t *)(context->queue.bytes + completion_at(sequence)), __ATOMIC_ACQUIRE);
}

uint32_t poll_for(struct context *context, uint64_t sequence)
{
	uint32_t word;

	while (!(word = completion(context, sequence)))
		__builtin_ia32_pause();
	return word;
}

uint8_t *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;
	long length;

	if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0)
		die("%s can't be read", path);
	rewind(file);
	data = malloc(length ? length : 1);
	if (!data || fread(data, 1, length, file) != (size_t)length)
		die("%s can't be read", path);
	fclose(file);
	*size = length;
	return data;
}

void write_file(const char *path, const uint8_t *data, size_t size)
{
	FILE *file = fopen(path, "wb");
	uint8_t *copy = malloc(size ? size : 1); /* 9p can't pin the pages of a node's mapping */

	if (!copy)
		die("no memory for a copy of %zu bytes", size);
	memcpy(copy, data, size);
	if (!file || fwrite(copy, 1, size, file) != size || fclose(file))
		die("%s can't be written", path);
	free(copy);
}
