/* Bounded byte readers and growable writers. All pointer arithmetic on foreign bytes is in here.
 *
 * Failure is sticky: after the first short read every read gives 0 (or NULL), and rd_ok() is false;
 * so a parser reads like the table in its specification and checks once.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/rc.h"

#include <stddef.h>
#include <stdint.h>

/* A view on somebody else's bytes. */
struct rd {
    const uint8_t *bytes;
    size_t size, at;
    bool failed;
    size_t bad_at; /* where the first failure happened */
};

struct rd rd_of(const void *bytes, size_t size);
uint8_t rd_u8(struct rd *r);
uint16_t rd_u16be(struct rd *r);
uint32_t rd_u32be(struct rd *r);
uint64_t rd_u64be(struct rd *r);
uint64_t rd_uvarint(struct rd *r); /* unsigned LEB128, at most 10 bytes; an overlong one fails */
const uint8_t *rd_bytes(struct rd *r, size_t n); /* NULL when short */
static inline size_t rd_left(const struct rd *r) {
    return r->failed ? 0 : r->size - r->at;
}
static inline bool rd_ok(const struct rd *r) {
    return !r->failed;
}
/* All read, nothing left, nothing short. */
static inline bool rd_done(const struct rd *r) {
    return !r->failed && r->at == r->size;
}

/* A growable buffer, never born without its limit. Failure (no memory, limit) is sticky; look at
 * `failed` once at the end, or call buf_check. Free with buf_deinit. */
struct buf {
    uint8_t *bytes;
    size_t size, capacity, limit;
    bool failed, full; /* full: the limit was the reason */
};

void buf_init(struct buf *b, size_t limit);
void buf_deinit(struct buf *b); /* usable as AUTO(buf_deinit) */
void buf_clear(struct buf *b);  /* size 0, failure forgotten, memory kept */
void buf_put(struct buf *b, const void *bytes, size_t n);
void buf_text(struct buf *b, const char *text); /* without its NUL */
uint8_t *buf_extend(struct buf *b, size_t n);   /* n new bytes to fill, NULL on failure */
void buf_u8(struct buf *b, uint8_t v);
void buf_u32be(struct buf *b, uint32_t v);
void buf_u64be(struct buf *b, uint64_t v);
void buf_uvarint(struct buf *b, uint64_t v);
MUST_USE rc buf_check(const struct buf *b, const char *what, struct err *e);

/* Fixed places in a caller's array. */
void put_u16be(uint8_t *p, uint16_t v);
void put_u32be(uint8_t *p, uint32_t v);
void put_u64be(uint8_t *p, uint64_t v);
uint32_t get_u32be(const uint8_t *p);
uint64_t get_u64be(const uint8_t *p);

#endif
