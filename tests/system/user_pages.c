/* A model whose input and output are the program's own pages, and what becomes of it when the program does something to them. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi.h"
#include "npu.h"

enum { PAGE = 4096, TURNS = 200, TIMEOUT_MS = 60000 };

static struct node node;
static uint8_t *elf, *input, *expected;
static size_t elf_size, input_size, output_size, workspace_size;

/* The model with buffers over pages of this process. */
struct run {
	int fd;
	struct context context;
	struct program program;
	struct buffer workspace;
	uint8_t *in, *out;
	uint32_t in_handle, out_handle;
};

static size_t pages(size_t size)
{
	return (size + PAGE - 1) / PAGE * PAGE;
}

static uint8_t *fresh_pages(size_t size, void *at)
{
	uint8_t *memory = mmap(at, pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	if (memory == MAP_FAILED)
		die("%zu bytes", size);
	return memory;
}

/* CREATE_BO over memory of this process: its device address. */
static uint64_t bind(int fd, void *memory, size_t size, uint32_t *handle)
{
	struct {
		struct amdxdna_drm_va_tbl table;
		struct amdxdna_drm_va_entry entry;
	} pages_of = { { .num_entries = 1 }, { (uintptr_t)memory, pages(size) } };
	struct amdxdna_drm_create_bo create = { .vaddr = (uintptr_t)&pages_of, .type = XDNA_BO_TYPE_SHARE };
	struct amdxdna_drm_get_bo_info info = { 0 };

	if (call(fd, XDNA_IOCTL_CREATE_BO, &create))
		die("CREATE_BO over %zu bytes", size);
	info.handle = *handle = create.handle;
	if (call(fd, XDNA_IOCTL_GET_BO_INFO, &info))
		die("GET_BO_INFO");
	return info.xdna_addr;
}

static struct run prepare(int fd)
{
	struct run run = { .fd = fd, .in = fresh_pages(input_size, NULL), .out = fresh_pages(output_size, NULL) };

	memcpy(run.in, input, input_size);
	memset(run.out, 0xEE, output_size);
	run.program = load_program(fd, elf, elf_size);
	run.workspace = allocate(fd, workspace_size + 1, XDNA_BO_TYPE_SHARE);
	bind_argument(&run.program, 0, bind(fd, run.in, input_size, &run.in_handle));
	bind_argument(&run.program, 1, bind(fd, run.out, output_size, &run.out_handle));
	bind_argument(&run.program, 2, run.workspace.address);
	run.context = create_context(fd, run.program.columns, 1);
	return run;
}

static void finish(struct run *run)
{
	struct drm_gem_close in = { .handle = run->in_handle }, out = { .handle = run->out_handle };

	destroy_context(&run->context);
	if (call(run->fd, XDNA_IOCTL_GEM_CLOSE, &in) || call(run->fd, XDNA_IOCTL_GEM_CLOSE, &out))
		die("GEM_CLOSE");
	release(run->fd, &run->workspace);
	unload_program(run->fd, &run->program);
}

/* "completed", or "failed"; waits for the end in any case. */
static const char *go(struct run *run)
{
	uint64_t sequence = submit(&run->context, &run->program.code);
	int error = wait_for(&run->context, sequence, TIMEOUT_MS);
	uint32_t word = completion(&run->context, sequence);

	if (error)
		return name_of_error(error);
	return word == COMPLETED ? "completed" : (word & 0xF) == 5 ? "failed" : "ended oddly";
}

static const char *same(const uint8_t *out)
{
	return memcmp(out, expected, output_size) ? "other bytes" : "the same bytes";
}

static void *change_forever(void *data)
{
	struct run *run = data;

	for (int turn = 0; turn < TURNS; turn++) {
		munmap(run->out, pages(output_size));
		fresh_pages(output_size, run->out);
		mprotect(run->in, pages(input_size), turn % 2 ? PROT_NONE : PROT_READ | PROT_WRITE);
		madvise(run->out, pages(output_size), MADV_DONTNEED);
	}
	return NULL;
}

int main(int count, char **words)
{
	struct node nodes[NODES_MAX];
	char path[512], text[32];
	const char *ended;
	pthread_t thread;
	struct run run;
	uint8_t *moved;
	int fd, status, others[2];
	pid_t pid;

	if (count != 2)
		return 2;
	snprintf(path, sizeof path, "%s/model.elf", words[1]);
	elf = read_file(path, &elf_size);
	snprintf(path, sizeof path, "%s/input", words[1]);
	input = read_file(path, &input_size);
	snprintf(path, sizeof path, "%s/output", words[1]);
	expected = read_file(path, &output_size);
	attribute_of(words[1], "workspace", text, sizeof text);
	workspace_size = atoi(text);
	for (int i = find_nodes(nodes) - 1; i >= 0; i--)
		if (nodes[i].type == XDNA_DEVICE_TYPE_UMQ)
			node = nodes[i];
	fd = open_node(&node);
	setvbuf(stdout, NULL, _IOLBF, 0);

	run = prepare(fd);
	printf("untouched: %s", go(&run));
	printf(", %s\n", same(run.out));
	finish(&run);

	run = prepare(fd);
	munmap(run.out, pages(output_size));
	printf("output unmapped: %s\n", go(&run));
	fresh_pages(output_size, run.out);
	printf("mapped anew: %s", go(&run));
	printf(", %s\n", same(run.out));
	finish(&run);

	run = prepare(fd);
	munmap(run.in, pages(input_size));
	printf("input unmapped: %s\n", go(&run));
	finish(&run);

	run = prepare(fd);
	mprotect(run.out, pages(output_size), PROT_READ);
	mprotect(run.in, pages(input_size), PROT_NONE);
	printf("protected: %s", go(&run));
	printf(", %s\n", same(run.out));
	finish(&run);

	run = prepare(fd);
	madvise(run.out, pages(output_size), MADV_DONTNEED);
	printf("output discarded: %s", go(&run));
	printf(", %s\n", same(run.out));
	madvise(run.in, pages(input_size), MADV_DONTNEED);
	printf("input discarded: %s", go(&run));
	printf(", %s\n", same(run.out));
	finish(&run);

	run = prepare(fd);
	moved = mremap(run.out, pages(output_size), pages(output_size), MREMAP_MAYMOVE | MREMAP_FIXED, fresh_pages(output_size, NULL));
	printf("output moved: %s", go(&run));
	printf(", %s\n", moved[0] == 0xEE ? "untouched" : "changed");
	finish(&run);

	run = prepare(fd);
	if (pipe(others))
		die("a pipe");
	pid = fork();
	if (!pid) {
		memset(run.in, 0, input_size);
		memset(run.out, 0x11, output_size);
		_exit(write(others[1], "d", 1) != 1);
	}
	if (read(others[0], text, 1) != 1)
		die("no word from the child");
	printf("a child wrote its copy: %s", go(&run));
	printf(", %s\n", same(run.out));
	waitpid(pid, &status, 0);
	finish(&run);

	/* The pages go with the process that gave them; the open file stays with its child. */
	pid = fork();
	if (!pid) {
		int alive[2];

		run = prepare(fd);
		if (pipe(alive))
			die("a pipe");
		if (fork())
			_exit(0);
		/* Its end is closed when the owner has gone, and its memory before that. */
		close(alive[1]);
		if (read(alive[0], text, 1))
			die("the owner writes nothing");
		printf("after their owner: %s\n", go(&run));
		_exit(write(others[1], "e", 1) != 1);
	}
	waitpid(pid, &status, 0);
	if (read(others[0], text, 1) != 1)
		die("no word from the grandchild");

	run = prepare(fd);
	pthread_create(&thread, NULL, change_forever, &run);
	for (int turn = 0; turn < TURNS; turn++) {
		ended = go(&run);
		if (strcmp(ended, "completed") && strcmp(ended, "failed"))
			printf("while pages change: %s\n", ended);
	}
	pthread_join(thread, NULL);
	finish(&run);
	run = prepare(fd);
	printf("afterwards: %s", go(&run));
	printf(", %s\n", same(run.out));
	finish(&run);
	return 0;
}
