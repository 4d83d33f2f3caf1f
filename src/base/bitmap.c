/* A growing set of page numbers.
 *
 * Invariants
 *  1. `count` is the number of set bits.
 *  2. Words beyond word_count are zero.
 */
#include "base/bitmap.h"

#include <stdlib.h>
#include <string.h>

void bitmap_deinit(struct bitmap *b) {
    free(b->words);
    *b = (struct bitmap){0};
}

static rc reserve(struct bitmap *b, uint32_t pgno, struct err *e) {
    uint32_t need = pgno / 64 + 1;
    if (need <= b->word_count) return ok();
    uint32_t words = b->word_count + b->word_count / 2 + 16;
    if (words < need) words = need;
    uint64_t *grown = realloc(b->words, words * sizeof *grown);
    if (!grown) return err_set(e, RC_NOMEM, "no memory for %u pages", pgno);
    memset(grown + b->word_count, 0, (words - b->word_count) * sizeof *grown);
    b->words = grown;
    b->word_count = words;
    return ok();
}

rc bitmap_add(struct bitmap *b, uint32_t pgno, struct err *e) {
    TRY(reserve(b, pgno, e));
    uint64_t bit = (uint64_t)1 << (pgno % 64), *word = &b->words[pgno / 64];
    b->count += !(*word & bit);
    *word |= bit;
    return ok();
}

rc bitmap_add_range(struct bitmap *b, uint32_t first, uint32_t last, struct err *e) {
    if (first > last) return ok();
    TRY(reserve(b, last, e));
    for (uint64_t p = first; p <= last; p++) TRY(bitmap_add(b, (uint32_t)p, e));
    return ok();
}

rc bitmap_add_all(struct bitmap *b, const struct bitmap *other, struct err *e) {
    uint32_t words = other->word_count;
    while (words && !other->words[words - 1]) words--;
    if (!words) return ok();
    TRY(reserve(b, words * 64 - 1, e));
    for (uint32_t i = 0; i < words; i++) {
        uint64_t fresh = other->words[i] & ~b->words[i];
        b->words[i] |= fresh;
        b->count += (uint32_t)__builtin_popcountll(fresh);
    }
    return ok();
}

bool bitmap_has(const struct bitmap *b, uint32_t pgno) {
    return pgno / 64 < b->word_count && (b->words[pgno / 64] >> (pgno % 64) & 1);
}

void bitmap_remove(struct bitmap *b, uint32_t pgno) {
    if (!bitmap_has(b, pgno)) return;
    b->words[pgno / 64] &= ~((uint64_t)1 << (pgno % 64));
    b->count--;
}

void bitmap_remove_above(struct bitmap *b, uint32_t last) {
    for (uint32_t p = bitmap_next(b, last + 1); p; p = bitmap_next(b, p + 1)) bitmap_remove(b, p);
}

void bitmap_clear(struct bitmap *b) {
    if (b->count) memset(b->words, 0, b->word_count * sizeof *b->words);
    b->count = 0;
}

uint32_t bitmap_next(const struct bitmap *b, uint32_t from) {
    uint32_t i = from / 64;
    if (i >= b->word_count) return 0;
    uint64_t word = b->words[i] & (~(uint64_t)0 << (from % 64));
    while (!word) {
        if (++i == b->word_count) return 0;
        word = b->words[i];
    }
    return i * 64 + (uint32_t)__builtin_ctzll(word);
}
