/* Nodes, buffers, contexts, host queues: what a user-space driver of AIE4 does, over the ioctls of Linux 7.2. */
#define _GNU_SOURCE
#include "npu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi.h"

/* Our layout of a queue's memory: header, packets, payloads of indirect packets, completion words a cache line apart. */
enum {
	PAGE = QUEUE_DOORBELL_PAGE_SIZE,
	CAPACITY = QUEUE_CAPACITY_MAX,
	STRIDE = 64,
	PACKETS = sizeof(struct header_padded),
	PAYLOADS = PACKETS + CAPACITY * sizeof(struct packet),
	COMPLETIONS = PAYLOADS + QUEUE_INDIRECT_MAX * CAPACITY * sizeof(struct indirect_payload),
	QUEUE_SIZE = COMPLETIONS + CAPACITY * STRIDE,
};
_Static_assert(UCS == CODE_MAX_UC && COMPLETED == (int)QUEUE_COMPLETION_STATE_COMPLETED, "npu.h");

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

int call(int fd, unsigned long request, void *argument)
{
	while (ioctl(fd, request, argument) < 0)
		if (errno != EINTR)
			return errno;
	return 0;
}

const char *name_of_error(int error)
{
	return error ? strerrorname_np(error) : "ok";
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

	while (folder && count < NODES_MAX && (entry = readdir(folder))) {
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
	struct amdxdna_drm_create_bo create = { .size = (size + PAGE - 1) / PAGE * PAGE, .type = type };
	struct amdxdna_drm_get_bo_info info = { 0 };
	struct buffer buffer = { .size = create.size };

	must(call(fd, XDNA_IOCTL_CREATE_BO, &create), "CREATE_BO");
	info.handle = buffer.handle = create.handle;
	must(call(fd, XDNA_IOCTL_GET_BO_INFO, &info), "GET_BO_INFO");
	buffer.address = info.xdna_addr;
	buffer.bytes = mmap(NULL, buffer.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, info.map_offset);
	if (buffer.bytes == MAP_FAILED)
		die("mmap of a buffer of %zu bytes", buffer.size);
	return buffer;
}

void release(int fd, struct buffer *buffer)
{
	struct drm_gem_close argument = { .handle = buffer->handle };

	munmap(buffer->bytes, buffer->size);
	must(call(fd, XDNA_IOCTL_GEM_CLOSE, &argument), "GEM_CLOSE");
}

static void lay_out(struct context *context)
{
	uint64_t packets = context->queue.address + PACKETS;
	struct header_unpadded unpadded = { .capacity = CAPACITY, .data_address = packets };
	struct header_padded padded = { .major = QUEUE_PADDED_MAJOR, .capacity = CAPACITY, .data_address = packets };

	memset(context->queue.bytes, 0, context->queue.size);
	if (context->padded)
		memcpy(context->queue.bytes, &padded, sizeof padded);
	else
		memcpy(context->queue.bytes, &unpadded, sizeof unpadded);
}

int try_context(int fd, unsigned columns, int padded, struct context *context)
{
	struct amdxdna_qos_info qos = { .priority = XDNA_PRIORITY_NORMAL };
	struct amdxdna_drm_create_hwctx create = { .qos_p = (uintptr_t)&qos, .num_tiles = columns * MESSAGE_TILES_PER_COLUMN };
	int error;

	*context = (struct context){ .fd = fd, .padded = padded, .queue = allocate(fd, QUEUE_SIZE, XDNA_BO_TYPE_CMD) };
	lay_out(context);
	create.umq_bo = context->queue.handle;
	error = call(fd, XDNA_IOCTL_CREATE_HWCTX, &create);
	if (error) {
		release(fd, &context->queue);
		return error;
	}
	context->handle = create.handle;
	context->doorbell = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, create.umq_doorbell);
	if (context->doorbell == MAP_FAILED)
		die("mmap of the doorbell at %#x", create.umq_doorbell);
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
	struct amdxdna_drm_destroy_hwctx argument = { .handle = context->handle };

	munmap((void *)context->doorbell, PAGE);
	must(call(context->fd, XDNA_IOCTL_DESTROY_HWCTX, &argument), "DESTROY_HWCTX");
	release(context->fd, &context->queue);
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
	struct packet packet = { .opcode = code->count ? QUEUE_PACKET_OPCODE_EXEC_BUF : QUEUE_PACKET_OPCODE_TEST };

	while (__atomic_load_n((uint64_t *)queue, __ATOMIC_ACQUIRE) + CAPACITY <= sequence)
		usleep(50);
	packet.completion_signal = context->queue.address + completion_at(sequence);
	if (code->count == 1 && code->uc[0] == 0) {
		struct exec_buf direct = { .code_low = (uint32_t)code->address[0], .code_high = code->address[0] >> 32 };

		packet.count = sizeof direct;
		memcpy(packet.data, &direct, sizeof direct);
	} else if (code->count) {
		packet.distribute = packet.indirect = 1;
		packet.count = code->count * QUEUE_INDIRECT_ENTRY_WORDS * 4;
	}
	for (unsigned i = 0; packet.indirect && i < code->count; i++) {
		struct indirect_payload payload = {
			.opcode = QUEUE_PACKET_OPCODE_EXEC_BUF,
			.count = sizeof(struct exec_buf),
			.distribute = 1,
			.code_low = (uint32_t)code->address[i],
			.code_high = code->address[i] >> 32,
		};
		unsigned at = PAYLOADS + (code->uc[i] * CAPACITY + slot) * sizeof payload;
		uint64_t address = context->queue.address + at;

		memcpy(queue + at, &payload, sizeof payload);
		packet.data[2 * i] = (uint32_t)address;
		packet.data[2 * i + 1] = ((address >> 32) & QUEUE_INDIRECT_ENTRY_ADDRESS_HIGH_MASK) |
					 code->uc[i] << QUEUE_INDIRECT_ENTRY_UC_LOW;
	}
	__atomic_store_n((uint32_t *)(queue + completion_at(sequence)), 0, __ATOMIC_RELAXED);
	memcpy(queue + PACKETS + slot * sizeof packet, &packet, sizeof packet);
	write_index = (uint64_t *)(queue + (context->padded ? offsetof(struct header_padded, write_index)
							   : offsetof(struct header_unpadded, write_index)));
	/* The packet before the index, the index before the bell. */
	__atomic_store_n(write_index, context->next, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*context->doorbell = QUEUE_DOORBELL_RING;
	return sequence;
}

int wait_for(struct context *context, uint64_t sequence, uint32_t timeout_ms)
{
	struct amdxdna_drm_wait_cmd argument = { .hwctx = context->handle, .timeout = timeout_ms, .seq = sequence };

	return call(context->fd, XDNA_IOCTL_WAIT_CMD, &argument);
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
