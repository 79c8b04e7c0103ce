/* One kernel of an AIE4 full ELF, as XRT loads it. The format is described in docs/elf.md. */
#ifndef FAUXDNA_KERNEL_H
#define FAUXDNA_KERNEL_H

#include <stdbool.h>

#include "abi.h"
#include "span.h"

/* The address of symbol goes into the words at offset of target: -1 is the code, else a constant's index. */
struct patch {
	const char *symbol; /* in the file: an argument's index in decimal, a constant's name, or one of the reserved names */
	int target;
	uint32_t offset;
	const struct elf_address_form *form;
	uint64_t base; /* what is added to the address: the words' first content, or the addend */
};

/* Content of a .ctrlpkt-* section. */
struct constant {
	const char *symbol;
	uint8_t *data;
	size_t size;
};

/* The pages of one uC within the code. */
struct code_range {
	uint32_t uc, offset, size;
};

struct kernel {
	const char *name, *instance;
	uint32_t columns, arguments;
	uint8_t *code;
	size_t code_size;
	struct code_range ranges[CODE_MAX_UC];
	unsigned range_count;
	struct constant *constants;
	unsigned constant_count;
	struct patch *patches;
	unsigned patch_count;
};

/* The kernel called name ("KERNEL" or "KERNEL:INSTANCE"; NULL: the only one), which refers to the file as long as it lives. Ends the
 * program where the ELF is wrong. */
struct kernel kernel_read(struct span file, const char *name);
/* Patches the address of symbol in everywhere; false if nothing refers to it. */
bool kernel_bind(struct kernel *kernel, const char *symbol, uint64_t address);
bool kernel_refers(const struct kernel *kernel, const char *symbol);
void kernel_free(struct kernel *kernel);

#endif
