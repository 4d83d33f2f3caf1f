/* Capture: which pages did the new commits change, and what is the database's sum.
 *
 * Why no page is read when it changes: a page that a thousand commits touch is shipped once. A
 * commit costs one bit, and, at its first touch since the last cut, one read of the old version,
 * which keeps the sum without a table of all pages (docs/design.md "chain").
 *
 * Invariants
 *  1. Everything up to `pos` is in touched or in each destination's pending.
 *  2. `sum` covers the pages below summed_below that are not in touched, as of pos. The old version
 *     of a page is readable when it is first touched: nobody has backfilled beyond our mark, and
 *     the mark is not beyond pos.
 *  3. Salts change only in Z. A change in M, or a log that got shorter, means that the hold was
 *     broken: stop, never guess.
 */
#include "source/internal.h"

#include "base/hash.h"

static bool counted(const struct source *s, uint32_t pgno) {
    return pgno < s->summed_below && pgno != ltx_lock_page(s->live.page_size);
}

/* In Z, frames up to where it was entered are in the database, and may be overwritten in the
 * log. */
static uint32_t low_frame(const struct source *s, const struct walindex_header *at) {
    return s->hold.state == HOLD_Z && same_salts(at->salt, s->hold.z.salt) ? s->hold.z.frame_count
                                                                           : 0;
}

struct cut source_cut(const struct source *s) {
    return (struct cut){
        .at = s->pos, .low = low_frame(s, &s->pos), .seq = s->stats.frames_captured};
}

rc source_read(struct source *s, const struct cut *cut, uint32_t pgno, uint8_t *page,
               struct err *e) {
    return live_page(&s->live, pgno, cut->at.frame_count, cut->low, cut->at.salt, page, e);
}

/* Take the old version of a page out of the sum. */
static rc subtract(struct source *s, const struct cut *old, uint32_t pgno, struct err *e) {
    if (!counted(s, pgno) || pgno > old->at.page_count) return ok();
    TRY(source_read(s, old, pgno, s->page, e));
    s->sum -= page_sum(pgno, s->page, s->live.page_size);
    return ok();
}

static rc touch(struct source *s, const struct cut *old, uint32_t pgno, struct err *e) {
    if (bitmap_has(&s->touched, pgno)) return ok();
    TRY(subtract(s, old, pgno, e));
    return bitmap_add(&s->touched, pgno, e);
}

static rc forget_above(struct source *s, const struct cut *old, uint32_t last, struct err *e) {
    for (uint32_t p = last + 1; p <= old->at.page_count; p++)
        if (!bitmap_has(&s->touched, p)) TRY(subtract(s, old, p, e));
    bitmap_remove_above(&s->touched, last);
    for (int i = 0; i < s->dest_count; i++) bitmap_remove_above(&s->dest[i].pending, last);
    return ok(); /* not since[]: a compaction may be due at an earlier cut, which had these pages */
}

static rc touch_frames(struct source *s, const struct cut *old, uint32_t from,
                       const struct walindex_header *now, struct err *e) {
    for (uint32_t frame = from + 1; frame <= now->frame_count; frame++) {
        uint32_t pgno = 0;
        TRY(live_page_of_frame(&s->live, frame, &pgno, e));
        TRY(touch(s, old, pgno, e));
    }
    for (uint32_t p = old->at.page_count + 1; p <= now->page_count; p++) TRY(touch(s, old, p, e));
    return forget_above(s, old, now->page_count, e);
}

rc source_capture(void *arg, struct err *e) {
    struct source *s = arg;
    struct walindex_header now;
    TRY(live_header(&s->live, &now, e));
    if (walindex_header_same(&now, &s->pos)) return ok();
    bool same = same_salts(now.salt, s->pos.salt);
    if (!same && s->hold.state == HOLD_M)
        return err_set(e, RC_CORRUPT, "%s: the log was reset under our read lock", s->live.path);
    if (same && now.frame_count < s->pos.frame_count)
        return err_set(e, RC_CORRUPT, "%s: the log lost frames %u to %u", s->live.path,
                       now.frame_count + 1, s->pos.frame_count);
    uint32_t from = same ? s->pos.frame_count : 0;
    struct cut old = source_cut(s);
    if (!same) { /* the old log is gone: the database holds all of it, and nobody backfills in Z */
        old.low = old.at.frame_count;
        s->stats.resets++;
        s->new_log = true;
    }
    rc r = touch_frames(s, &old, from, &now, e);
    if (!is_ok(
            r)) { /* what was marked stays marked; the sum may have lost a page: compute it anew */
        s->sum = s->summed_below = 0;
        return r;
    }
    s->stats.frames_captured += now.frame_count - from;
    if (now.change > s->pos.change) s->stats.commits += now.change - s->pos.change;
    if (now.frame_count > s->stats.wal_frames_max) s->stats.wal_frames_max = now.frame_count;
    s->pos = now;
    return ok();
}

rc source_fold(struct source *s, struct err *e) {
    struct cut cut = source_cut(s);
    uint64_t sum = s->sum;
    for (uint32_t p = bitmap_next(&s->touched, 1); p; p = bitmap_next(&s->touched, p + 1)) {
        if (!counted(s, p)) continue;
        TRY(source_read(s, &cut, p, s->page, e));
        sum += page_sum(p, s->page, s->live.page_size);
    }
    for (int i = 0; i < s->dest_count; i++)
        TRY(bitmap_add_all(&s->dest[i].pending, &s->touched, e));
    s->sum = sum;
    bitmap_clear(&s->touched);
    return ok();
}

bool source_sum_known(const struct source *s) {
    return s->summed_below > s->pos.page_count;
}

uint64_t source_sum(const struct source *s) {
    if (!source_sum_known(s)) return 0;
    return s->sum ? s->sum : 1;
}

rc source_scrub(struct source *s, uint32_t pages, struct err *e) {
    struct cut cut = source_cut(s);
    for (uint32_t n = 0; n < pages && s->summed_below <= s->pos.page_count;
         n++, s->summed_below++) {
        uint32_t p = s->summed_below;
        if (p == 0 || p == ltx_lock_page(s->live.page_size) || bitmap_has(&s->touched, p)) continue;
        TRY(source_read(s, &cut, p, s->page, e));
        s->sum += page_sum(p, s->page, s->live.page_size);
    }
    if (s->summed_below > s->pos.page_count) s->summed_below = UINT32_MAX;
    return ok();
}

rc source_sum_at(struct source *s, const struct cut *cut, uint64_t *out, struct err *e) {
    uint64_t sum = 0;
    for (uint32_t p = 1; p <= cut->at.page_count; p++) {
        if (p == ltx_lock_page(s->live.page_size)) continue;
        TRY(source_read(s, cut, p, s->page, e));
        sum += page_sum(p, s->page, s->live.page_size);
    }
    *out = sum ? sum : 1;
    return ok();
}
