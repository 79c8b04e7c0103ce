/* The ELF container of AIE4 control code: sections and symbols. */
#ifndef FAUXDNA_IMAGE_H
#define FAUXDNA_IMAGE_H

#include <stdbool.h>

#include "abi.h"
#include "span.h"

/* Which part of the code, or which constant, a section holds. */
struct place {
	bool text, data, packets;
	uint32_t uc, page;
};

struct section {
	const char *name;
	struct elf_section header;
	struct span data;
	bool member; /* of the kernel that is read */
	struct place place; /* of members */
};

struct image {
	struct span file;
	unsigned version; /* EI_ABIVERSION */
	struct section *sections;
	unsigned count;
	const struct section *symbols, *names, *dynamic_symbols, *dynamic_names;
};

struct image image_read(struct span file);
const struct section *image_find(const struct image *image, const char *name);
/* Symbol index of a table, and its name. */
const char *image_symbol(const struct section *table, const struct section *strings, uint32_t index, struct elf_symbol *symbol);
/* What the section's name says. */
struct place image_place(const struct image *image, const struct section *section);

#endif
