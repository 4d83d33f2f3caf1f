/* A growing set of page numbers, one bit each: 1 to LIMIT_PAGES. Not thread-safe. */
#ifndef BASE_BITMAP_H
#define BASE_BITMAP_H

#include "base/rc.h"

#include <stdint.h>

struct bitmap {
    uint64_t *words; /* zero-initialised struct = empty set */
    uint32_t word_count;
    uint32_t count; /* members */
};

void bitmap_deinit(struct bitmap *b);
/* RC_NOMEM; RC_CORRUPT for 0 and for more than LIMIT_PAGES. A failure changes nothing. */
MUST_USE rc bitmap_add(struct bitmap *b, uint32_t pgno, struct err *e);
MUST_USE rc bitmap_add_range(struct bitmap *b, uint32_t first, uint32_t last, struct err *e);
MUST_USE rc bitmap_add_all(struct bitmap *b, const struct bitmap *other, struct err *e);
void bitmap_remove_above(struct bitmap *b, uint32_t last); /* keep 1..last */
void bitmap_move(struct bitmap *to, struct bitmap *from);  /* `from` is empty then */
void bitmap_clear(struct bitmap *b);                       /* empty, memory kept */
bool bitmap_has(const struct bitmap *b, uint32_t pgno);
uint32_t bitmap_next(const struct bitmap *b, uint32_t from); /* smallest member >= from; 0: none */

#endif
