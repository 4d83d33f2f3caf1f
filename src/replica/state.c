/* A database's state as sums of its pages: 16 bytes a page, 32 MiB of them in memory, the others in
 * an unnamed file through one block at hand. Files hold their pages in order, so that is cheap.
 *
 * What a page is when a database shrinks and grows again without writing it: what the newest file
 * that holds it says, as in restore and in Litestream. So entries above the end are kept.
 *
 * Invariants
 *  1. `sum` is the sum of the entries 1..page_count.
 *  2. Between calls every entry in 1..page_count but the lock page's has been in some file.
 */
#include "replica/state.h"

#include "os/system.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_PAGES 4096u
#define BLOCK_SIZE (BLOCK_PAGES * sizeof(struct page_state))

void state_init(struct state *s, struct env *env) {
    *s = (struct state){.env = env};
}

void state_deinit(struct state *s) {
    for (size_t i = 0; i < STATE_BLOCKS; i++) free(s->blocks[i]);
    s->env->files->close(s->env, s->file);
    free(s->held);
    bitmap_deinit(&s->seen);
}

/* ---- entries ---- */

static rc open_file(struct state *s, struct err *e) {
    s->held = malloc(BLOCK_SIZE);
    if (!s->held) return err_set(e, RC_NOMEM, "no memory");
    s->held_block = UINT64_MAX;
    return s->env->files->open(s->env, system_temp_dir(), FILE_TEMP, &s->file, e);
}

static rc hold_block(struct state *s, uint64_t block, struct err *e) {
    if (!s->file) TRY(open_file(s, e));
    if (s->held_block == block) return ok();
    if (s->held_changed)
        TRY(s->env->files->write(s->env, s->file, s->held_block * BLOCK_SIZE, s->held, BLOCK_SIZE,
                                 e));
    s->held_changed = false;
    s->held_block = UINT64_MAX;
    if (block >= s->file_blocks) { /* reads as zeros */
        TRY(s->env->files->truncate(s->env, s->file, (block + 1) * BLOCK_SIZE, e));
        s->file_blocks = block + 1;
    }
    TRY(s->env->files->read(s->env, s->file, block * BLOCK_SIZE, s->held, BLOCK_SIZE, e));
    s->held_block = block;
    return ok();
}

/* Valid until the next call. */
static rc entry_of(struct state *s, uint32_t pgno, bool change, struct page_state **out,
                   struct err *e) {
    uint32_t block = pgno / BLOCK_PAGES;
    if (block >= STATE_BLOCKS) {
        TRY(hold_block(s, block - STATE_BLOCKS, e));
        s->held_changed |= change;
        *out = &s->held[pgno % BLOCK_PAGES];
        return ok();
    }
    if (!s->blocks[block]) s->blocks[block] = calloc(BLOCK_PAGES, sizeof **out);
    if (!s->blocks[block]) return err_set(e, RC_NOMEM, "no memory for a table of pages");
    *out = &s->blocks[block][pgno % BLOCK_PAGES];
    return ok();
}

/* ---- applying ---- */

static rc check_page_size(struct state *s, const struct ltx_header *h, struct err *e) {
    if (s->txid == 0 || h->page_size == s->page_size) return ok();
    return err_set(e, RC_CORRUPT, "pages of %u bytes, where the files before it have %u",
                   h->page_size, s->page_size);
}

/* Entries above the end are not in the sum. Growth is added at the end, when its pages are known,
 * so that a header costs nothing. */
rc state_apply_begin(struct state *s, const struct ltx_header *h, struct err *e) {
    TRY(check_page_size(s, h, e));
    ENSURE(h->min_txid - 1 <= s->txid && h->max_txid > s->txid);
    s->header = *h;
    s->page_size = h->page_size;
    for (uint32_t p = h->commit + 1; p <= s->page_count && p; p++) {
        struct page_state *entry = NULL;
        TRY(entry_of(s, p, false, &entry, e));
        s->sum -= entry->sum;
    }
    if (h->commit < s->page_count) s->page_count = h->commit;
    s->grown_from = s->page_count;
    return ok();
}

rc state_apply_page(struct state *s, uint32_t pgno, uint64_t sum, struct err *e) {
    struct page_state *entry = NULL;
    TRY(entry_of(s, pgno, true, &entry, e));
    if (pgno <= s->page_count) s->sum += sum - entry->sum;
    *entry = (struct page_state){sum, s->header.min_txid};
    return ok();
}

static rc grow(struct state *s, struct err *e) {
    uint32_t lock = ltx_lock_page(s->page_size);
    for (uint64_t p = (uint64_t)s->grown_from + 1; p <= s->header.commit; p++) {
        struct page_state *entry = NULL;
        if (p == lock) continue;
        TRY(entry_of(s, (uint32_t)p, false, &entry, e));
        if (!entry->since)
            return err_set(e, RC_CORRUPT, "page %u of its %u is neither in it nor in a file before",
                           (uint32_t)p, s->header.commit);
        s->sum += entry->sum;
    }
    s->page_count = s->header.commit;
    return ok();
}

static rc check_sum(struct state *s, struct err *e) {
    const struct ltx_chain *chain = &s->header.chain;
    if (!chain->present || !chain->sum) {
        s->links_unknown++;
        return ok();
    }
    if (chain->sum != (s->sum ? s->sum : 1))
        return err_set(e, RC_CORRUPT, "the database after it does not have the sum that it says");
    s->links_checked++;
    return ok();
}

rc state_apply_end(struct state *s, struct err *e) {
    TRY(grow(s, e));
    s->txid = s->header.max_txid;
    return check_sum(s, e);
}

/* ---- comparing ---- */

rc state_compare_begin(struct state *s, const struct ltx_header *h, struct err *e) {
    TRY(check_page_size(s, h, e));
    ENSURE(h->max_txid == s->txid);
    s->header = *h;
    bitmap_clear(&s->seen);
    if (h->commit == s->page_count) return ok();
    return err_set(e, RC_CORRUPT, "a database of %u pages, where the files it was made from say %u",
                   h->commit, s->page_count);
}

rc state_compare_page(struct state *s, uint32_t pgno, uint64_t sum, struct err *e) {
    struct page_state *entry = NULL;
    if (pgno > s->page_count) return ok(); /* restore drops it, too */
    TRY(entry_of(s, pgno, false, &entry, e));
    if (entry->sum != sum || !entry->since)
        return err_set(e, RC_CORRUPT, "page %u is not what the files it was made from say", pgno);
    return bitmap_add(&s->seen, pgno, e);
}

rc state_compare_end(struct state *s, struct err *e) {
    for (uint32_t p = 1; p <= s->page_count && p; p++) {
        struct page_state *entry = NULL;
        TRY(entry_of(s, p, false, &entry, e));
        if (entry->since >= s->header.min_txid && !bitmap_has(&s->seen, p))
            return err_set(e, RC_CORRUPT, "lacks page %u, which changed since TXID %llu", p,
                           (unsigned long long)s->header.min_txid);
    }
    return check_sum(s, e);
}
