/* Bytes that somebody else made: every access is checked, and one that leaves them ends the program. */
#include "span.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void refuse(const char *format, ...)
{
	va_list values;

	fflush(stdout);
	fputs("fauxdna-probe: ", stderr);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
	exit(1);
}

void *zeroed(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		refuse("no memory for %zu x %zu bytes", count, size);
	return memory;
}

void span_copy(struct span span, size_t offset, void *target, size_t size)
{
	if (offset > span.size || size > span.size - offset)
		refuse("%s: %zu bytes at %zu leave its %zu bytes", span.name, size, offset, span.size);
	if (size)
		memcpy(target, span.data + offset, size);
}

uint32_t span_u32(struct span span, size_t offset)
{
	uint32_t value;

	span_copy(span, offset, &value, sizeof value);
	return value;
}

struct span span_part(struct span span, size_t offset, size_t size, const char *name)
{
	if (offset > span.size || size > span.size - offset)
		refuse("%s: %s (%zu bytes at %zu) leaves its %zu bytes", span.name, name, size, offset, span.size);
	return (struct span){ span.data + offset, size, name };
}

const char *span_text(struct span span, size_t offset)
{
	if (offset >= span.size || !memchr(span.data + offset, 0, span.size - offset))
		refuse("%s: the name at %zu leaves its %zu bytes", span.name, offset, span.size);
	return (const char *)span.data + offset;
}
