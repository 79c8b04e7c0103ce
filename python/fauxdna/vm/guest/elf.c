/* Loads an AIE4 full ELF (docs/elf.md): control code into one buffer, constants into one each, addresses patched in. */
#include "amdxdna.h"
#include "npu.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	CODE_PAGE = 8192, /* of control code */
	PAGE_HEADER = 16, /* which relocations do not count */
	ABI_PAGES = 0x20,
	ABI_MERGED = 0x21,
	CONSTANTS_MAX = 64,
	SYMBOL_MAX = 64,
	SCRATCH = 3 << 20, /* a column */
	SCALAR_32 = 3,
};
#define SHIM_OFFSET 0x80000000ull

/* Where a schema keeps an address: its low 32 bits, then up to two more parts. XRT 2.25, elf_patcher.cpp. */
struct part {
	int word, bits, shift;
};
static const struct form {
	int known, low;
	struct part part[2];
	int shim, replace; /* XRT adds the shim's offset; the words' old content is not added */
} forms[] = {
	[2] = { 1, 1, { { 2, 16, 32 }, { 8, 9, 48 } }, 0, 0 },
	[4] = { 1, 2, { { 3, 12, 32 } }, 1, 0 },
	[5] = { 1, 1, { { 2, 16, 32 } }, 1, 0 },
	[6] = { 1, 1, { { 0, 25, 32 } }, 1, 0 },
	[7] = { 1, 2, { { 3, 12, 32 } }, 0, 0 },
	[8] = { 1, 0, { { 1, 32, 32 } }, 0, 1 },
	[9] = { 1, 2, { { 1, 25, 32 } }, 1, 0 },
};

struct constant {
	char symbol[SYMBOL_MAX];
	struct buffer buffer;
};
struct patch {
	char symbol[SYMBOL_MAX];
	uint32_t *words;
	const struct form *form;
	uint64_t base; /* what the words held, and the addend */
};
struct elf {
	unsigned constants, patches;
	struct constant constant[CONSTANTS_MAX];
	struct buffer scratch;
	struct patch *patch;
};
struct image { /* the file, checked as far as it is used */
	const uint8_t *data;
	size_t size;
	const Elf32_Ehdr *header;
	const Elf32_Shdr *section;
	size_t start[UCS], length[UCS]; /* of each uC's code in the buffer */
};

static const uint8_t *content(const struct image *image, const Elf32_Shdr *section)
{
	if (section->sh_offset > image->size || section->sh_size > image->size - section->sh_offset)
		die("a section leaves the ELF");
	return image->data + section->sh_offset;
}

static const char *text(const struct image *image, const Elf32_Shdr *strings, uint32_t at)
{
	const char *table = (const char *)content(image, strings);

	if (at >= strings->sh_size || !memchr(table + at, 0, strings->sh_size - at))
		die("a name leaves its table");
	return table + at;
}

static const char *name_of(const struct image *image, const Elf32_Shdr *section)
{
	return text(image, &image->section[image->header->e_shstrndx], section->sh_name);
}

static const Elf32_Shdr *find(const struct image *image, const char *name)
{
	for (int i = 1; i < image->header->e_shnum; i++)
		if (!strcmp(name_of(image, &image->section[i]), name))
			return &image->section[i];
	return NULL;
}

static int merged(const struct image *image)
{
	return image->header->e_ident[EI_ABIVERSION] == ABI_MERGED;
}

/* Which uC and page a .ctrltext or .ctrldata section is for; 0 if it is another section. */
static int code_section(const struct image *image, const Elf32_Shdr *section, unsigned *uc, unsigned *page)
{
	const char *name = name_of(image, section);
	unsigned group;

	if (strncmp(name, ".ctrltext.", 10) && strncmp(name, ".ctrldata.", 10))
		return 0;
	*page = 0;
	if (merged(image) ? sscanf(name + 10, "%u.%u", uc, &group) < 1 : sscanf(name + 10, "%u.%u", uc, page) < 2)
		die("section %s names no uC and page", name);
	if (*uc >= UCS || *page >= 65535)
		die("section %s is for a uC or page that no die has", name);
	return 1;
}

static void constant_symbol(const char *name, char *symbol)
{
	snprintf(symbol, SYMBOL_MAX, "%s", name);
	if (strrchr(symbol, '.') > symbol)
		*strrchr(symbol, '.') = 0;
}

static struct image examine(const uint8_t *data, size_t size)
{
	struct image image = { .data = data, .size = size, .header = (const void *)data };
	const Elf32_Ehdr *header = image.header;

	if (size < sizeof *header || memcmp(data, ELFMAG, SELFMAG) || data[EI_CLASS] != ELFCLASS32)
		die("this is no 32-bit ELF");
	if (data[EI_ABIVERSION] < ABI_PAGES || data[EI_ABIVERSION] > ABI_MERGED)
		die("the ELF has ABI version %#x; it must be a full ELF of %#x or %#x", data[EI_ABIVERSION], ABI_PAGES, ABI_MERGED);
	if (header->e_shoff % 4 || header->e_shoff > size || header->e_shnum > (size - header->e_shoff) / sizeof(Elf32_Shdr) ||
	    header->e_shstrndx >= header->e_shnum)
		die("the table of sections leaves the ELF");
	image.section = (const void *)(data + header->e_shoff);
	return image;
}

static void load_code(int fd, struct image *image, struct program *program)
{
	size_t total = 0;
	unsigned uc, page;

	for (int i = 1; i < image->header->e_shnum; i++) {
		const Elf32_Shdr *section = &image->section[i];
		size_t end;

		if (!code_section(image, section, &uc, &page))
			continue;
		end = merged(image) ? (section->sh_size + CODE_PAGE - 1) / CODE_PAGE * CODE_PAGE : (page + 1) * (size_t)CODE_PAGE;
		if (end > image->length[uc])
			image->length[uc] = end;
	}
	for (uc = 0; uc < UCS; uc++) {
		image->start[uc] = total;
		total += image->length[uc];
	}
	if (!total)
		die("the ELF has no control code");
	program->text = allocate(fd, total, BO_CMD);
	for (uc = 0; uc < UCS; uc++) {
		if (!image->length[uc])
			continue;
		program->code.uc[program->code.count] = uc;
		program->code.address[program->code.count++] = program->text.address + image->start[uc];
	}
	/* A page's data follows its text, which comes first among the sections. */
	for (int pass = 0; pass < 2; pass++)
		for (int i = 1; i < image->header->e_shnum; i++) {
			const Elf32_Shdr *section = &image->section[i];
			const Elf32_Shdr *before;
			char name[SYMBOL_MAX];
			size_t at = 0;

			if (!code_section(image, section, &uc, &page) || pass != !strncmp(name_of(image, section), ".ctrldata.", 10))
				continue;
			if (pass) {
				snprintf(name, sizeof name, ".ctrltext.%s", name_of(image, section) + 10);
				before = find(image, name);
				at = before ? before->sh_size : 0;
			}
			if (!merged(image) && (at > CODE_PAGE || section->sh_size > CODE_PAGE - at))
				die("%s is larger than a page", name_of(image, section));
			memcpy(program->text.bytes + image->start[uc] + page * (size_t)CODE_PAGE + at, content(image, section),
			       section->sh_size);
		}
}

static void load_constants(int fd, const struct image *image, struct program *program)
{
	struct elf *elf = program->elf;

	for (int i = 1; i < image->header->e_shnum; i++) {
		const Elf32_Shdr *section = &image->section[i];
		struct constant *constant = &elf->constant[elf->constants];

		if (strncmp(name_of(image, section), ".ctrlpkt", 8))
			continue;
		if (elf->constants++ == CONSTANTS_MAX)
			die("the ELF has more than %d constants", CONSTANTS_MAX);
		constant_symbol(name_of(image, section), constant->symbol);
		constant->buffer = allocate(fd, section->sh_size ? section->sh_size : 1, BO_CMD);
		memcpy(constant->buffer.bytes, content(image, section), section->sh_size);
	}
}

static struct buffer *patched(struct image *image, struct program *program, const Elf32_Shdr *section, uint32_t offset, size_t *at)
{
	unsigned uc, page;
	char symbol[SYMBOL_MAX];

	if (code_section(image, section, &uc, &page)) {
		*at = image->start[uc] + page * (size_t)CODE_PAGE + offset + PAGE_HEADER;
		return &program->text;
	}
	*at = offset;
	constant_symbol(name_of(image, section), symbol);
	for (unsigned i = 0; i < program->elf->constants; i++)
		if (!strcmp(program->elf->constant[i].symbol, symbol))
			return &program->elf->constant[i].buffer;
	die("a relocation is in %s, which is neither code nor constant", name_of(image, section));
}

static size_t last_word(const struct form *form)
{
	int last = form->low;

	for (int k = 0; k < 2; k++)
		if (form->part[k].word > last)
			last = form->part[k].word;
	return last;
}

static void read_relocations(struct image *image, struct program *program)
{
	const Elf32_Shdr *table = find(image, ".rela.dyn"), *symbols = find(image, ".dynsym"), *strings = find(image, ".dynstr");
	const Elf32_Rela *relocation;
	const Elf32_Sym *symbol;
	unsigned count;

	if (!table)
		return;
	if (!symbols || !strings || table->sh_offset % 4 || symbols->sh_offset % 4)
		die("the ELF has relocations without symbols");
	relocation = (const void *)content(image, table);
	symbol = (const void *)content(image, symbols);
	count = table->sh_size / sizeof *relocation;
	program->elf->patch = calloc(count ? count : 1, sizeof(struct patch));
	for (unsigned i = 0; i < count; i++) {
		struct patch *patch = &program->elf->patch[program->elf->patches];
		unsigned schema = relocation[i].r_info & 0xff, index = relocation[i].r_info >> 8;
		struct buffer *buffer;
		size_t at;

		if (schema == SCALAR_32)
			continue;
		if (schema >= sizeof forms / sizeof *forms || !forms[schema].known)
			die("a relocation has schema %u, for which AIE4 has no patch", schema);
		if (index >= symbols->sh_size / sizeof *symbol || symbol[index].st_shndx >= image->header->e_shnum)
			die("a relocation has no symbol");
		patch->form = &forms[schema];
		snprintf(patch->symbol, sizeof patch->symbol, "%s", text(image, strings, symbol[index].st_name));
		buffer = patched(image, program, &image->section[symbol[index].st_shndx], relocation[i].r_offset, &at);
		if (at % 4 || at > buffer->size || 4 * (last_word(patch->form) + 1) > buffer->size - at)
			die("a relocation of %s leaves its section", patch->symbol);
		patch->words = (uint32_t *)(buffer->bytes + at);
		patch->base = (uint32_t)relocation[i].r_addend;
		if (!patch->form->replace) {
			patch->base += patch->words[patch->form->low];
			for (int k = 0; k < 2 && patch->form->part[k].bits; k++) {
				const struct part *part = &patch->form->part[k];

				patch->base += (patch->words[part->word] & ((1ull << part->bits) - 1)) << part->shift;
			}
		}
		program->elf->patches++;
	}
}

static void bind(struct program *program, const char *symbol, uint64_t address)
{
	for (unsigned i = 0; i < program->elf->patches; i++) {
		struct patch *patch = &program->elf->patch[i];
		uint64_t value = patch->base + address + (patch->form->shim ? SHIM_OFFSET : 0);

		if (strcmp(patch->symbol, symbol))
			continue;
		patch->words[patch->form->low] = (uint32_t)value;
		for (int k = 0; k < 2 && patch->form->part[k].bits; k++) {
			const struct part *part = &patch->form->part[k];
			uint32_t mask = (1ull << part->bits) - 1;

			patch->words[part->word] = (patch->words[part->word] & ~mask) | ((value >> part->shift) & mask);
		}
	}
}

static unsigned columns_of(const struct image *image)
{
	const Elf32_Shdr *note = find(image, ".note.xrt.configuration");
	const uint32_t *words;
	uint32_t at;

	if (!note || note->sh_size < 12)
		die("the ELF has no .note.xrt.configuration, so it is no full ELF");
	words = (const void *)content(image, note);
	at = 12 + (words[0] + 3) / 4 * 4;
	if (at + 4 > note->sh_size)
		die(".note.xrt.configuration is cut short");
	return words[at / 4];
}

struct program load_program(int fd, const uint8_t *data, size_t size)
{
	struct image image = examine(data, size);
	struct program program = { .elf = calloc(1, sizeof(struct elf)) };
	char symbol[SYMBOL_MAX];

	program.columns = columns_of(&image);
	load_code(fd, &image, &program);
	load_constants(fd, &image, &program);
	read_relocations(&image, &program);
	for (unsigned i = 0; i < program.elf->constants; i++)
		bind(&program, program.elf->constant[i].symbol, program.elf->constant[i].buffer.address);
	for (unsigned i = 0; i < program.code.count; i++) {
		snprintf(symbol, sizeof symbol, "control-code-%u", program.code.uc[i]);
		bind(&program, symbol, program.code.address[i]);
	}
	for (unsigned i = 0; i < program.elf->patches && !program.elf->scratch.bytes; i++)
		if (!strcmp(program.elf->patch[i].symbol, "scratch-pad-mem")) {
			program.elf->scratch = allocate(fd, SCRATCH * (size_t)program.columns, BO_CMD);
			bind(&program, "scratch-pad-mem", program.elf->scratch.address);
		}
	return program;
}

void bind_argument(struct program *program, unsigned index, uint64_t address)
{
	char symbol[SYMBOL_MAX];

	snprintf(symbol, sizeof symbol, "%u", index);
	bind(program, symbol, address);
}

void unload_program(int fd, struct program *program)
{
	for (unsigned i = 0; i < program->elf->constants; i++)
		release(fd, &program->elf->constant[i].buffer);
	if (program->elf->scratch.bytes)
		release(fd, &program->elf->scratch);
	release(fd, &program->text);
	free(program->elf->patch);
	free(program->elf);
}
