/* Bounded byte readers and growable writers.
 *
 * Invariants
 *  1. A reader never looks outside [bytes, bytes + size).
 *  2. After a failure a reader gives zeros and a buffer takes nothing, until it is made anew
 * (cleared).
 */
#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 256u

struct rd rd_of(const void *bytes, size_t size) {
    return (struct rd){.bytes = bytes, .size = size};
}

const uint8_t *rd_bytes(struct rd *r, size_t n) {
    if (r->failed) return NULL;
    if (n > r->size - r->at) {
        r->failed = true;
        r->bad_at = r->at;
        return NULL;
    }
    const uint8_t *p = r->bytes + r->at;
    r->at += n;
    return p;
}

uint8_t rd_u8(struct rd *r) {
    const uint8_t *p = rd_bytes(r, 1);
    return p ? *p : 0;
}

uint16_t rd_u16be(struct rd *r) {
    const uint8_t *p = rd_bytes(r, 2);
    return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

uint32_t rd_u32be(struct rd *r) {
    const uint8_t *p = rd_bytes(r, 4);
    return p ? get_u32be(p) : 0;
}

uint64_t rd_u64be(struct rd *r) {
    const uint8_t *p = rd_bytes(r, 8);
    return p ? get_u64be(p) : 0;
}

uint64_t rd_uvarint(struct rd *r) {
    size_t start = r->at;
    uint64_t v = 0;
    if (r->failed) return 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = rd_u8(r);
        if (r->failed) break;
        if (shift == 63 && b > 1) break;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            if (b == 0 && shift > 0) break; /* a longer form than needed */
            return v;
        }
    }
    r->failed = true;
    r->bad_at = start;
    return 0;
}

void buf_init(struct buf *b, size_t limit) {
    *b = (struct buf){.limit = limit};
}

void buf_deinit(struct buf *b) {
    free(b->bytes);
    *b = (struct buf){.limit = b->limit};
}

void buf_clear(struct buf *b) {
    b->size = 0;
    b->failed = b->full = false;
}

static bool grow(struct buf *b, size_t need) {
    size_t capacity = b->capacity ? b->capacity : BUF_FIRST;
    while (capacity < need && capacity <= b->limit / 2) capacity *= 2;
    if (capacity < need || capacity > b->limit) capacity = b->limit;
    uint8_t *bytes = realloc(b->bytes, capacity);
    if (!bytes) return false;
    b->bytes = bytes;
    b->capacity = capacity;
    return true;
}

uint8_t *buf_extend(struct buf *b, size_t n) {
    if (b->failed) return NULL;
    if (n > b->limit - b->size) {
        b->failed = b->full = true;
        return NULL;
    }
    if (b->size + n > b->capacity && !grow(b, b->size + n)) {
        b->failed = true;
        return NULL;
    }
    uint8_t *p = b->bytes + b->size;
    b->size += n;
    return p;
}

void buf_put(struct buf *b, const void *bytes, size_t n) {
    uint8_t *p = n ? buf_extend(b, n) : NULL;
    if (p) memcpy(p, bytes, n);
}

void buf_text(struct buf *b, const char *text) {
    buf_put(b, text, strlen(text));
}

void buf_u8(struct buf *b, uint8_t v) {
    buf_put(b, &v, 1);
}

void buf_u32be(struct buf *b, uint32_t v) {
    uint8_t *p = buf_extend(b, 4);
    if (p) put_u32be(p, v);
}

void buf_u64be(struct buf *b, uint64_t v) {
    uint8_t *p = buf_extend(b, 8);
    if (p) put_u64be(p, v);
}

void buf_uvarint(struct buf *b, uint64_t v) {
    uint8_t bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) bytes[n++] = (uint8_t)(v | 0x80);
    bytes[n++] = (uint8_t)v;
    buf_put(b, bytes, n);
}

rc buf_check(const struct buf *b, const char *what, struct err *e) {
    if (!b->failed) return ok();
    if (b->full) return err_set(e, RC_NOMEM, "%s: more than %zu bytes", what, b->limit);
    return err_set(e, RC_NOMEM, "%s: no memory", what);
}

void put_u16be(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void put_u32be(uint8_t *p, uint32_t v) {
    put_u16be(p, (uint16_t)(v >> 16));
    put_u16be(p + 2, (uint16_t)v);
}

void put_u64be(uint8_t *p, uint64_t v) {
    put_u32be(p, (uint32_t)(v >> 32));
    put_u32be(p + 4, (uint32_t)v);
}

uint32_t get_u32be(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t get_u64be(const uint8_t *p) {
    return (uint64_t)get_u32be(p) << 32 | get_u32be(p + 4);
}
