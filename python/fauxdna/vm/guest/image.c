/* The ELF container of AIE4 control code: sections and symbols. */
#include "image.h"

#include <stdlib.h>
#include <string.h>

#define PAGES_MAX 65535

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

static struct elf_header read_header(struct span file)
{
	struct elf_header header;
	uint8_t platform, version;

	if (file.size < sizeof(header) || memcmp(file.data, "\177ELF", 4))
		refuse("%s is no ELF file", file.name);
	span_copy(file, 0, &header, sizeof(header));
	if (header.ident[4] != ELF_CLASS_32 || header.ident[5] != ELF_DATA_LITTLE)
		refuse("%s is no little-endian ELF32 file", file.name);
	platform = header.ident[ELF_IDENT_OSABI];
	version = header.ident[ELF_IDENT_ABI_VERSION];
	if (platform != ELF_PLATFORM_AIE4 && platform != ELF_PLATFORM_AIE4A && platform != ELF_PLATFORM_AIE4Z &&
	    platform != ELF_PLATFORM_AIE2PS_LEGACY)
		refuse("%s is for platform (OSABI) 0x%x, not AIE4 (0x%x)", file.name, platform, ELF_PLATFORM_AIE4);
	if (version < ELF_ABI_GROUPS)
		refuse("%s is a partial ELF (ABI version 0x%x); make a full one with aiebu-asm -t aie4_config", file.name, version);
	return header;
}

const struct section *image_find(const struct image *image, const char *name)
{
	for (unsigned i = image->count; i-- > 0;)
		if (!strcmp(image->sections[i].name, name))
			return &image->sections[i];
	return NULL;
}

struct image image_read(struct span file)
{
	struct elf_header header = read_header(file);
	struct image image = { .file = file, .version = header.ident[ELF_IDENT_ABI_VERSION], .count = header.section_count };
	struct span table, names;

	if (header.section_size != sizeof(struct elf_section) || header.names_index >= header.section_count)
		refuse("%s: its section table makes no sense", file.name);
	table = span_part(file, header.section_offset, image.count * sizeof(struct elf_section), "the section table");
	image.sections = zeroed(image.count, sizeof(*image.sections));
	for (unsigned i = 0; i < image.count; i++)
		span_copy(table, i * sizeof(struct elf_section), &image.sections[i].header, sizeof(struct elf_section));
	names = span_part(file, image.sections[header.names_index].header.offset,
			  image.sections[header.names_index].header.size, "the section names");
	for (unsigned i = 0; i < image.count; i++) {
		struct section *section = &image.sections[i];

		section->name = span_text(names, section->header.name);
		if (section->header.type != ELF_SECTION_TYPE_NULL)
			section->data = span_part(file, section->header.offset, section->header.size, section->name);
	}
	image.symbols = image_find(&image, ".symtab");
	image.names = image_find(&image, ".strtab");
	image.dynamic_symbols = image_find(&image, ".dynsym");
	image.dynamic_names = image_find(&image, ".dynstr");
	return image;
}

const char *image_symbol(const struct section *table, const struct section *strings, uint32_t index,
			       struct elf_symbol *symbol)
{
	if (!table || !strings)
		refuse("the ELF has no symbol table");
	span_copy(table->data, (size_t)index * sizeof(*symbol), symbol, sizeof(*symbol));
	return span_text(strings->data, symbol->name);
}

struct place image_place(const struct image *image, const struct section *section)
{
	struct place place = { 0 };
	const char *numbers;
	char *end;
	unsigned long uc, page = 0;

	place.packets = starts_with(section->name, ELF_CONTROL_PACKETS);
	place.text = starts_with(section->name, ELF_TEXT);
	place.data = starts_with(section->name, ELF_DATA);
	if (starts_with(section->name, ELF_PAD))
		refuse("section %s: pads are not supported; a newer aiebu-asm has none", section->name);
	if (!place.text && !place.data)
		return place;
	numbers = section->name + strlen(ELF_TEXT);
	uc = *numbers == '.' ? strtoul(numbers + 1, &end, 10) : CODE_MAX_UC;
	if (*numbers != '.' || end == numbers + 1 || uc >= CODE_MAX_UC)
		refuse("section %s names no uC from 0 to %u", section->name, CODE_MAX_UC - 1);
	if (image->version != ELF_ABI_MERGED && *end == '.')
		page = strtoul(end + 1, NULL, 10);
	if (page >= PAGES_MAX)
		refuse("section %s: a uC has at most %u pages", section->name, PAGES_MAX);
	place.uc = (uint32_t)uc;
	place.page = (uint32_t)page;
	return place;
}
