/* A VF's node from C: buffers, a hardware context with its host queue, and control code out of an ELF. */
#ifndef FAUXDNA_NPU_H
#define FAUXDNA_NPU_H

#include <stddef.h>
#include <stdint.h>

enum { UCS = 6, NODES_MAX = 72, COMPLETED = 4 };

struct node {
	char path[64], folder[300], bdf[32];
	int type; /* enum xdna_device_type */
};
struct buffer {
	uint32_t handle;
	uint64_t address; /* what the device sees */
	size_t size;
	uint8_t *bytes;
};
struct context {
	int fd;
	uint32_t handle;
	struct buffer queue;
	volatile uint32_t *doorbell;
	uint64_t next; /* sequence number of the next packet */
	int padded;    /* XRT's header instead of Linux 7.2's */
};
struct code {
	unsigned count;
	uint32_t uc[UCS];
	uint64_t address[UCS];
};
struct program {
	unsigned columns;
	struct buffer text;
	struct code code;
	struct loaded *loaded;
};

/* Prints a sentence, and the error's name if errno is set, then ends with status 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

int find_nodes(struct node *nodes); /* in /sys/class/accel; how many */
void attribute_of(const char *folder, const char *name, char *text, size_t size); /* a file's first line */
int open_node(const struct node *node);

struct buffer allocate(int fd, size_t size, uint32_t type);
void release(int fd, struct buffer *buffer);

struct context create_context(int fd, unsigned columns, int padded);
int try_context(int fd, unsigned columns, int padded, struct context *context); /* 0, or an errno */
void destroy_context(struct context *context);
/* Queue control code (count 0: a packet that does nothing) and ring; the sequence number. */
uint64_t submit(struct context *context, const struct code *code);
int call(int fd, unsigned long request, void *argument); /* an ioctl: 0, or an errno */
const char *name_of_error(int error); /* "EINVAL" */
int wait_for(struct context *context, uint64_t sequence, uint32_t timeout_ms); /* WAIT_CMD: 0, or an errno */
uint32_t poll_for(struct context *context, uint64_t sequence);                  /* the completion word */
uint32_t completion(struct context *context, uint64_t sequence);

/* The program refers to data as long as it lives. */
struct program load_program(int fd, const uint8_t *data, size_t size);
void bind_argument(struct program *program, unsigned index, uint64_t address);
void check_arguments(const struct program *program, unsigned count); /* refuses fewer than the kernel refers to */
void unload_program(int fd, struct program *program);
/* Patches made-up addresses in and writes code and constants to a folder; prints what it did. Needs no device. */
void dump_program(const uint8_t *data, size_t size, const char *folder);

/* Makes calls that the driver of a node must refuse, and prints their errno; 0 if each is what it should be. */
int refusals(const struct node *node);

uint8_t *read_file(const char *path, size_t *size);
void write_file(const char *path, const uint8_t *data, size_t size);

#endif
