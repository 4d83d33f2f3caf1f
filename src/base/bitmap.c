/* A growing set of page numbers.
 *
 * Invariants
 *  1. `count` is the number of set bits.
 *  2. Words beyond word_count are zero.
 */
#include "base/bitmap.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

void bitmap_deinit(struct bitmap *b) {
    free(b->words);
    *b = (struct bitmap){0};
}

/* Bits of one word from page `first` on, and up to page `last`. */
static uint64_t bits_from(uint32_t first) {
    return ~(uint64_t)0 << (first % 64);
}
static uint64_t bits_to(uint32_t last) {
    return ~(uint64_t)0 >> (63 - last % 64);
}

static rc reserve(struct bitmap *b, uint32_t pgno, struct err *e) {
    uint32_t need = pgno / 64 + 1;
    if (need <= b->word_count) return ok();
    uint32_t words = b->word_count + b->word_count / 2 + 16;
    if (words < need) words = need;
    uint64_t *grown = calloc(words, sizeof *grown); /* zeros nobody touches are free */
    if (!grown) return err_set(e, RC_NOMEM, "no memory for %u pages", pgno);
    if (b->word_count) memcpy(grown, b->words, b->word_count * sizeof *grown);
    free(b->words);
    b->words = grown;
    b->word_count = words;
    return ok();
}

static void set(struct bitmap *b, uint32_t word, uint64_t bits) {
    b->count += (uint32_t)__builtin_popcountll(bits & ~b->words[word]);
    b->words[word] |= bits;
}

static void unset(struct bitmap *b, uint32_t word, uint64_t bits) {
    b->count -= (uint32_t)__builtin_popcountll(bits & b->words[word]);
    b->words[word] &= ~bits;
}

rc bitmap_add(struct bitmap *b, uint32_t pgno, struct err *e) {
    return bitmap_add_range(b, pgno, pgno, e);
}

rc bitmap_add_range(struct bitmap *b, uint32_t first, uint32_t last, struct err *e) {
    if (first > last) return ok();
    if (first == 0 || last > LIMIT_PAGES)
        return err_set(e, RC_CORRUPT, "page %u: no page has this number", first ? last : first);
    TRY(reserve(b, last, e));
    for (uint32_t i = first / 64; i <= last / 64; i++) {
        uint64_t from = i == first / 64 ? bits_from(first) : ~(uint64_t)0;
        set(b, i, i == last / 64 ? from & bits_to(last) : from);
    }
    return ok();
}

rc bitmap_add_all(struct bitmap *b, const struct bitmap *other, struct err *e) {
    uint32_t words = other->word_count;
    while (words && !other->words[words - 1]) words--;
    if (!words) return ok();
    TRY(reserve(b, words * 64 - 1, e));
    for (uint32_t i = 0; i < words; i++) set(b, i, other->words[i]);
    return ok();
}

bool bitmap_has(const struct bitmap *b, uint32_t pgno) {
    return pgno / 64 < b->word_count && (b->words[pgno / 64] >> (pgno % 64) & 1);
}

void bitmap_remove_above(struct bitmap *b, uint32_t last) {
    uint32_t i = last / 64;
    if (i < b->word_count) unset(b, i, ~bits_to(last));
    for (i++; i < b->word_count; i++) unset(b, i, ~(uint64_t)0);
}

void bitmap_clear(struct bitmap *b) {
    if (b->count) memset(b->words, 0, b->word_count * sizeof *b->words);
    b->count = 0;
}

void bitmap_move(struct bitmap *to, struct bitmap *from) {
    struct bitmap room = *to;
    bitmap_clear(&room);
    *to = *from;
    *from = room;
}

uint32_t bitmap_next(const struct bitmap *b, uint32_t from) {
    uint32_t i = from / 64;
    if (i >= b->word_count) return 0;
    uint64_t word = b->words[i] & bits_from(from);
    while (!word) {
        if (++i == b->word_count) return 0;
        word = b->words[i];
    }
    return i * 64 + (uint32_t)__builtin_ctzll(word);
}
