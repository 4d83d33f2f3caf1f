/* A database's state as sums of its pages, not the pages. Private to replica/.
 *
 * Files are applied in order of their TXIDs; at any point the state can be compared with a file
 * that claims to make the same. One state is used by one thread.
 */
#ifndef REPLICA_STATE_H
#define REPLICA_STATE_H

#include "replica/internal.h"

#define STATE_BLOCKS 512u

struct page_state {
    uint64_t sum;
    uint64_t since; /* min TXID of the file that it comes from; 0: no file had it */
};

struct state {
    struct env *env;
    uint64_t txid; /* 0: nothing applied */
    uint32_t page_size, page_count;
    uint64_t sum; /* modulo 2^64, not yet 1 for 0 */
    uint64_t links_checked, links_unknown;
    /* the pages: the first blocks in memory, the others in an unnamed file, one at hand */
    struct page_state *blocks[STATE_BLOCKS];
    struct file *file;
    struct page_state *held;
    uint64_t held_block, file_blocks;
    bool held_changed;
    /* the file under way */
    struct ltx_header header;
    uint32_t grown_from;
    struct bitmap seen;
};

void state_init(struct state *, struct env *);
void state_deinit(struct state *);

/* Apply one file: begin, its pages, end. The file continues the state. RC_CORRUPT when its sum is
 * not what it makes, or when a page is in no file. */
MUST_USE rc state_apply_begin(struct state *, const struct ltx_header *, struct err *);
MUST_USE rc state_apply_page(struct state *, uint32_t pgno, uint64_t sum, struct err *);
MUST_USE rc state_apply_end(struct state *, struct err *);

/* Compare a file that ends where the state is: all it holds is in the state, and all that changed
 * since its first TXID is in it. */
MUST_USE rc state_compare_begin(struct state *, const struct ltx_header *, struct err *);
MUST_USE rc state_compare_page(struct state *, uint32_t pgno, uint64_t sum, struct err *);
MUST_USE rc state_compare_end(struct state *, struct err *);

#endif
