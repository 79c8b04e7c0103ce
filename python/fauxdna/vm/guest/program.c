/* Puts a kernel into device memory as XRT does: control code in one buffer, constants in one each, a scratch pad. */
#include "npu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "kernel.h"

/* Addresses of a dump. */
#define DUMP_ADDRESS 0x100000000ull
#define DUMP_STRIDE 0x10000000ull

struct loaded {
	struct kernel kernel;
	struct buffer *constants; /* as many as the kernel has */
	struct buffer scratch;
};

static bool bind_number(struct kernel *kernel, const char *prefix, unsigned number, uint64_t address)
{
	char symbol[32];

	snprintf(symbol, sizeof symbol, "%s%u", prefix, number);
	return kernel_bind(kernel, symbol, address);
}

/* Copies the patched bytes to where the device reads them. */
static void publish(struct program *program)
{
	const struct loaded *loaded = program->loaded;

	memcpy(program->text.bytes, loaded->kernel.code, loaded->kernel.code_size);
	for (unsigned i = 0; i < loaded->kernel.constant_count; i++)
		memcpy(loaded->constants[i].bytes, loaded->kernel.constants[i].data, loaded->kernel.constants[i].size);
}

struct program load_program(int fd, const uint8_t *data, size_t size)
{
	struct loaded *loaded = zeroed(1, sizeof *loaded);
	struct kernel *kernel = &loaded->kernel;
	struct program program = { .loaded = loaded };

	*kernel = kernel_read((struct span){ data, size, "the ELF" }, NULL);
	program.columns = kernel->columns;
	program.text = allocate(fd, kernel->code_size, XDNA_BO_TYPE_SHARE);
	program.code.count = kernel->range_count;
	for (unsigned i = 0; i < kernel->range_count; i++) {
		program.code.uc[i] = kernel->ranges[i].uc;
		program.code.address[i] = program.text.address + kernel->ranges[i].offset;
		bind_number(kernel, ELF_CONTROL_CODE_SYMBOL, program.code.uc[i], program.code.address[i]);
	}
	loaded->constants = zeroed(kernel->constant_count, sizeof *loaded->constants);
	for (unsigned i = 0; i < kernel->constant_count; i++) {
		loaded->constants[i] = allocate(fd, kernel->constants[i].size ? kernel->constants[i].size : 1, XDNA_BO_TYPE_SHARE);
		kernel_bind(kernel, kernel->constants[i].symbol, loaded->constants[i].address);
	}
	if (kernel_refers(kernel, ELF_SCRATCH_PAD_SYMBOL)) {
		loaded->scratch = allocate(fd, (size_t)ELF_SCRATCH_PAD_SIZE * kernel->columns, XDNA_BO_TYPE_SHARE);
		kernel_bind(kernel, ELF_SCRATCH_PAD_SYMBOL, loaded->scratch.address);
	}
	publish(&program);
	return program;
}

void bind_argument(struct program *program, unsigned index, uint64_t address)
{
	if (bind_number(&program->loaded->kernel, "", index, address))
		publish(program);
}

void check_arguments(const struct program *program, unsigned count)
{
	const struct kernel *kernel = &program->loaded->kernel;

	for (unsigned i = 0; i < kernel->patch_count; i++) {
		const char *symbol = kernel->patches[i].symbol;

		if (symbol[strspn(symbol, "0123456789")] == 0 && strtoul(symbol, NULL, 10) >= count)
			refuse("the kernel has an argument %s, and %u were given", symbol, count);
	}
}

void unload_program(int fd, struct program *program)
{
	struct loaded *loaded = program->loaded;

	for (unsigned i = 0; i < loaded->kernel.constant_count; i++)
		release(fd, &loaded->constants[i]);
	if (loaded->scratch.bytes)
		release(fd, &loaded->scratch);
	release(fd, &program->text);
	kernel_free(&loaded->kernel);
	free(loaded->constants);
	free(loaded);
}

static void dump_symbol(struct kernel *kernel, const char *symbol, uint64_t address)
{
	if (kernel_bind(kernel, symbol, address))
		printf("%s %#llx\n", symbol, (unsigned long long)address);
}

void dump_program(const uint8_t *data, size_t size, const char *folder)
{
	struct kernel kernel = kernel_read((struct span){ data, size, "the ELF" }, NULL);
	uint64_t address = DUMP_ADDRESS;
	char text[4096];

	printf("columns %u\narguments %u\n", kernel.columns, kernel.arguments);
	for (unsigned i = 0; i < kernel.range_count; i++)
		printf("uc %u %#x\n", kernel.ranges[i].uc, kernel.ranges[i].offset);
	for (unsigned i = 0; i < kernel.patch_count; i++)
		dump_symbol(&kernel, kernel.patches[i].symbol, address += DUMP_STRIDE);
	snprintf(text, sizeof text, "%s/code", folder);
	write_file(text, kernel.code, kernel.code_size);
	for (unsigned i = 0; i < kernel.constant_count; i++) {
		snprintf(text, sizeof text, "%s/%u", folder, i);
		write_file(text, kernel.constants[i].data, kernel.constants[i].size);
		printf("constant %u %s\n", i, kernel.constants[i].symbol);
	}
	kernel_free(&kernel);
}
