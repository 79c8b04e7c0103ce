/* Bytes that somebody else made: every access is checked, and one that leaves them ends the program. */
#ifndef FAUXDNA_SPAN_H
#define FAUXDNA_SPAN_H

#include <stddef.h>
#include <stdint.h>

struct span {
	const uint8_t *data;
	size_t size;
	const char *name; /* for messages */
};

void span_copy(struct span span, size_t offset, void *target, size_t size);
uint32_t span_u32(struct span span, size_t offset);
struct span span_part(struct span span, size_t offset, size_t size, const char *name);
/* The text at offset, which ends within the span. */
const char *span_text(struct span span, size_t offset);

/* Prints a sentence and ends the program with status 1. */
_Noreturn void refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Zeroed memory. */
void *zeroed(size_t count, size_t size);

#endif
