/* One kernel of an AIE4 full ELF, as XRT loads it: pages in one piece, constants, and addresses patched in. */
#include "kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"

static uint32_t read_columns(const struct image *image)
{
	const struct section *section = image_find(image, ELF_NOTE_CONFIGURATION);
	struct elf_note note;
	uint32_t columns;

	if (!section)
		refuse("%s has no %s, so it is no full ELF", image->file.name, ELF_NOTE_CONFIGURATION);
	span_copy(section->data, 0, &note, sizeof(note));
	columns = span_u32(section->data, sizeof(note) + ((size_t)note.owner_size + 3) / 4 * 4);
	if (columns < 1 || columns > ARRAY_COLUMNS + 1)
		refuse("%s asks for %u columns; a die has %u", image->file.name, columns, ARRAY_COLUMNS);
	/* aiebu-asm notes one column too many where the assembly has no .partition directive. */
	return columns < ARRAY_COLUMNS ? columns : ARRAY_COLUMNS;
}

/* "_Z3DPUPcPc": the kernel's name, and one "Pc" or "Pv" for each argument. */
static void read_names(const struct image *image, const struct section *group, struct kernel *kernel)
{
	struct elf_symbol instance, function;
	const char *mangled;
	char *name, *parameters;
	unsigned long length;

	kernel->instance = image_symbol(image->symbols, image->names, group->header.info, &instance);
	mangled = image_symbol(image->symbols, image->names, instance.section, &function);
	length = !strncmp(mangled, "_Z", 2) ? strtoul(mangled + 2, &parameters, 10) : 0;
	if (!length || length > strlen(parameters))
		refuse("%s: kernel symbol '%.40s' is no mangled name", image->file.name, mangled);
	name = zeroed(length + 1, 1);
	memcpy(name, parameters, length);
	kernel->name = name;
	kernel->arguments = 0;
	for (parameters += length; *parameters; parameters++)
		if (parameters[0] == 'P' && (parameters[1] == 'c' || parameters[1] == 'v'))
			kernel->arguments++;
}

static bool is_wanted(const struct kernel *kernel, const char *wanted)
{
	size_t length = strlen(kernel->name);

	if (!wanted || !strcmp(wanted, kernel->name))
		return true;
	return !strncmp(wanted, kernel->name, length) && wanted[length] == ':' && !strcmp(wanted + length + 1, kernel->instance);
}

static void append(struct kernel *kernel, size_t *room, const void *data, size_t size)
{
	if (kernel->code_size + size > *room) {
		*room = 2 * (*room + size);
		kernel->code = realloc(kernel->code, *room);
		if (!kernel->code)
			refuse("no memory for %zu bytes of control code", *room);
	}
	if (size)
		memcpy(kernel->code + kernel->code_size, data, size);
	kernel->code_size += size;
}

/* The two sections of each page of a uC: text and data; *count pages. */
static const struct section **find_pages(const struct image *image, uint32_t uc, uint32_t *count)
{
	const struct section **pages;

	*count = 0;
	for (unsigned i = 0; i < image->count; i++) {
		const struct place *place = &image->sections[i].place;

		if ((place->text || place->data) && place->uc == uc && place->page >= *count)
			*count = place->page + 1;
	}
	pages = zeroed(*count, 2 * sizeof(*pages));
	for (unsigned i = 0; i < image->count; i++) {
		const struct place *place = &image->sections[i].place;

		if ((place->text || place->data) && place->uc == uc)
			pages[2 * place->page + place->data] = &image->sections[i];
	}
	return pages;
}

/* Puts the pages of all uCs together, uC after uC. */
static void read_code(const struct image *image, struct kernel *kernel)
{
	static const uint8_t zeros[CODE_PAGE_SIZE];
	size_t room = 0;

	for (uint32_t uc = 0; uc < CODE_MAX_UC; uc++) {
		size_t start = kernel->code_size;
		uint32_t count;
		const struct section **pages = find_pages(image, uc, &count);

		for (uint32_t page = 0; page < count; page++) {
			const struct section *text = pages[2 * page], *data = pages[2 * page + 1];
			size_t size = (text ? text->data.size : 0) + (data ? data->data.size : 0);

			if (!text && !data)
				refuse("uC %u has a page %u and no page %u", uc, count - 1, page);
			if (image->version != ELF_ABI_MERGED && size > CODE_PAGE_SIZE)
				refuse("page %u of uC %u is larger than %u bytes", page, uc, CODE_PAGE_SIZE);
			if (text)
				append(kernel, &room, text->data.data, text->data.size);
			if (data)
				append(kernel, &room, data->data.data, data->data.size);
			append(kernel, &room, zeros, -kernel->code_size % CODE_PAGE_SIZE);
		}
		free(pages);
		if (kernel->code_size > start)
			kernel->ranges[kernel->range_count++] =
				(struct code_range){ uc, (uint32_t)start, (uint32_t)(kernel->code_size - start) };
	}
	if (!kernel->code_size)
		refuse("kernel %s:%s has no control code", kernel->name, kernel->instance);
}

/* A .ctrlpkt section's symbol: its name without the last dotted part. */
static char *constant_symbol(const char *section)
{
	const char *dot = strrchr(section, '.');
	size_t length = dot && dot != section ? (size_t)(dot - section) : strlen(section);
	char *symbol = zeroed(length + 1, 1);

	memcpy(symbol, section, length);
	return symbol;
}

static int find_constant(const struct kernel *kernel, const char *symbol)
{
	for (unsigned i = 0; i < kernel->constant_count; i++)
		if (!strcmp(kernel->constants[i].symbol, symbol))
			return (int)i;
	return -1;
}

static void read_constants(const struct image *image, struct kernel *kernel)
{
	kernel->constants = zeroed(image->count, sizeof(*kernel->constants));
	for (unsigned i = 0; i < image->count; i++) {
		const struct section *section = &image->sections[i];
		struct constant constant;
		int known;

		if (!section->place.packets)
			continue;
		constant = (struct constant){ constant_symbol(section->name), zeroed(section->data.size, 1), section->data.size };
		span_copy(section->data, 0, constant.data, constant.size);
		known = find_constant(kernel, constant.symbol);
		kernel->constants[known < 0 ? (int)kernel->constant_count++ : known] = constant;
	}
}

static const struct elf_address_form *find_form(uint32_t schema)
{
	for (size_t i = 0; i < sizeof(elf_address_forms) / sizeof(elf_address_forms[0]); i++)
		if (elf_address_forms[i].schema == schema)
			return &elf_address_forms[i];
	return NULL;
}

/* The uC's range, or the end of the program. */
static const struct code_range *find_range(const struct kernel *kernel, uint32_t uc, uint64_t offset, const char *symbol)
{
	for (unsigned i = 0; i < kernel->range_count; i++)
		if (kernel->ranges[i].uc == uc && offset < kernel->ranges[i].size)
			return &kernel->ranges[i];
	refuse("a relocation of '%s' at 0x%llx lies outside the code of uC %u", symbol, (unsigned long long)offset, uc);
}

static uint8_t *target_bytes(const struct kernel *kernel, int target, size_t *size)
{
	*size = target < 0 ? kernel->code_size : kernel->constants[target].size;
	return target < 0 ? kernel->code : kernel->constants[target].data;
}

static uint32_t get_word(const uint8_t *bytes, size_t index)
{
	uint32_t word;

	memcpy(&word, bytes + 4 * index, sizeof(word));
	return word;
}

static void put_word(uint8_t *bytes, size_t index, uint32_t word)
{
	memcpy(bytes + 4 * index, &word, sizeof(word));
}

static uint32_t low_mask(unsigned bits)
{
	return bits < 32 ? (1u << bits) - 1 : ~0u;
}

/* Checks one relocation and keeps it, with the address that its words hold now. */
static void add_patch(struct kernel *kernel, const struct elf_relocation *relocation,
		      const struct section *section, const char *symbol)
{
	uint32_t schema = relocation->info & 0xFF, addend = (uint32_t)relocation->addend;
	struct patch patch = { .symbol = symbol, .target = -1 };
	struct place place = section->place;
	uint64_t offset = relocation->offset;
	const uint8_t *bytes;
	size_t size, words;

	if (schema == CODE_RELOCATION_SCALAR_32)
		return;
	if (place.packets) {
		char *name = constant_symbol(section->name);

		patch.target = find_constant(kernel, name);
		free(name);
	} else if (place.text || place.data) {
		offset += (uint64_t)place.page * CODE_PAGE_SIZE + CODE_PAGE_HEADER_SIZE;
		offset += find_range(kernel, place.uc, offset, symbol)->offset;
	} else {
		refuse("a relocation of '%s' lies in %s, which holds nothing to patch", symbol, section->name);
	}
	patch.form = find_form(schema);
	if (!patch.form)
		refuse("a relocation of '%s' has schema %u, for which AIE4 has no patch", symbol, schema);
	words = patch.form->low;
	for (int i = 0; i < 2; i++)
		if (patch.form->high[i].bits && patch.form->high[i].word > words)
			words = patch.form->high[i].word;
	bytes = target_bytes(kernel, patch.target, &size);
	if (offset % 4 || offset + 4 * (words + 1) > size)
		refuse("a relocation of '%s' at 0x%llx leaves its %zu bytes, or is not aligned to 4", symbol,
		     (unsigned long long)offset, size);
	patch.offset = (uint32_t)offset;
	patch.base = addend;
	if (!patch.form->replace) {
		patch.base += get_word(bytes, offset / 4 + patch.form->low);
		for (int i = 0; i < 2; i++)
			patch.base += (uint64_t)(get_word(bytes, offset / 4 + patch.form->high[i].word) &
						 low_mask(patch.form->high[i].bits))
				      << patch.form->high[i].shift;
	}
	kernel->patches[kernel->patch_count++] = patch;
}

static void read_patches(const struct image *image, struct kernel *kernel)
{
	const struct section *table = image_find(image, ".rela.dyn");
	size_t count = table ? table->data.size / sizeof(struct elf_relocation) : 0;

	kernel->patches = zeroed(count, sizeof(*kernel->patches));
	for (size_t i = 0; i < count; i++) {
		struct elf_relocation relocation;
		struct elf_symbol symbol;
		const char *name;

		span_copy(table->data, i * sizeof(relocation), &relocation, sizeof(relocation));
		name = image_symbol(image->dynamic_symbols, image->dynamic_names, relocation.info >> 8, &symbol);
		if (symbol.section < image->count && image->sections[symbol.section].member)
			add_patch(kernel, &relocation, &image->sections[symbol.section], name);
	}
}

struct kernel kernel_read(struct span file, const char *name)
{
	struct image image = image_read(file);
	const struct section *group = NULL;
	struct kernel kernel = { .columns = read_columns(&image) }, candidate = kernel;
	unsigned found = 0;

	for (unsigned i = 0; i < image.count; i++) {
		if (image.sections[i].header.type != ELF_SECTION_TYPE_GROUP)
			continue;
		read_names(&image, &image.sections[i], &candidate);
		if (!is_wanted(&candidate, name))
			continue;
		group = &image.sections[i];
		kernel = candidate;
		found++;
	}
	if (found != 1)
		refuse("%s: %u of its kernels are called '%s'; one must be", file.name, found, name ? name : "");
	for (size_t at = 4; at + 4 <= group->data.size; at += 4) {
		uint32_t index = span_u32(group->data, at);

		if (index >= image.count)
			refuse("%s names section %u of %u", group->name, index, image.count);
		image.sections[index].member = true;
		image.sections[index].place = image_place(&image, &image.sections[index]);
	}
	read_code(&image, &kernel);
	read_constants(&image, &kernel);
	read_patches(&image, &kernel);
	free(image.sections);
	return kernel;
}

bool kernel_bind(struct kernel *kernel, const char *symbol, uint64_t address)
{
	bool bound = false;

	for (unsigned i = 0; i < kernel->patch_count; i++) {
		const struct patch *patch = &kernel->patches[i];
		uint64_t value = patch->base + address + (patch->form->offset ? ARRAY_SHIM_ADDRESS_OFFSET : 0);
		size_t size, at = patch->offset / 4;
		uint8_t *bytes;

		if (strcmp(patch->symbol, symbol))
			continue;
		bytes = target_bytes(kernel, patch->target, &size);
		put_word(bytes, at + patch->form->low, (uint32_t)value);
		for (int j = 0; j < 2; j++) {
			uint32_t mask = low_mask(patch->form->high[j].bits);
			uint32_t old = get_word(bytes, at + patch->form->high[j].word);

			if (patch->form->high[j].bits)
				put_word(bytes, at + patch->form->high[j].word,
					 (old & ~mask) | ((uint32_t)(value >> patch->form->high[j].shift) & mask));
		}
		bound = true;
	}
	return bound;
}

bool kernel_refers(const struct kernel *kernel, const char *symbol)
{
	for (unsigned i = 0; i < kernel->patch_count; i++)
		if (!strcmp(kernel->patches[i].symbol, symbol))
			return true;
	return false;
}

void kernel_free(struct kernel *kernel)
{
	for (unsigned i = 0; i < kernel->constant_count; i++) {
		free((char *)kernel->constants[i].symbol);
		free(kernel->constants[i].data);
	}
	free(kernel->constants);
	free(kernel->patches);
	free(kernel->code);
	free((char *)kernel->name);
}
