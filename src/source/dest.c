/* One destination: from its first reading to each acknowledgement.
 *
 *   CLOSED -> OPENING -> KNOWN -> CLASSED -> FENCING -> READY
 *      ^________|                    |          |         |
 *      |  (retry)                    v          |         v
 *      |__________________________ REFUSED <----+---------+   (fenced, behind, fork, ...)
 *
 * Invariants
 *  1. One level-0 object is on its way at a time; its slot is txid + 1.
 *  2. pending, the object on its way, and what is acknowledged together cover everything up to
 *     `pos` (with `touched`): a failure moves pages back to pending, never away.
 *  3. Positions move at an acknowledgement and at nothing else.
 */
#include "source/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000 /* what is committed meanwhile is in danger for as long */

/* Capped exponential, full jitter. */
int64_t backoff_ns(struct source *s, int attempts) {
    int64_t cap = BACKOFF_FIRST_MS;
    for (int i = 0; i < attempts && cap < BACKOFF_MAX_MS; i++) cap *= 2;
    if (cap > BACKOFF_MAX_MS) cap = BACKOFF_MAX_MS;
    uint32_t random;
    s->env->random(s->env, &random, sizeof random);
    return (cap / 4 + (int64_t)(random % (uint64_t)cap)) * 1000000;
}

bool dest_dirty(const struct dest *d) {
    return d->full || d->pending.count || d->source->touched.count;
}

bool dest_is_complete(const struct dest *d) {
    return d->state == DEST_READY && !dest_dirty(d) && !d->ship.active;
}

rc dest_unacked(struct dest *d, struct bitmap *out, struct err *e) {
    TRY(bitmap_add_all(out, &d->pending, e));
    TRY(bitmap_add_all(out, &d->source->touched, e));
    return d->ship.active ? bitmap_add_all(out, &d->ship.pages, e) : ok();
}

/* ---- shipping ---- */

static void ship_header(struct dest *d, const struct cut *cut, struct ltx_header *h) {
    struct source *s = d->source;
    const struct walindex_header *at = &cut->at;
    bool same = d->acked_live && same_salts(d->acked.salt, at->salt);
    uint64_t from = wal_frame_offset(1 + (same ? d->acked.frame_count : 0), s->live.page_size);
    *h = (struct ltx_header){.page_size = s->live.page_size,
                             .commit = at->page_count,
                             .min_txid = d->txid + 1,
                             .max_txid = d->txid + 1,
                             .timestamp_ms = unix_now(s),
                             .wal_offset = from,
                             .wal_size =
                                 wal_frame_offset(1 + at->frame_count, s->live.page_size) - from,
                             .salt = {at->salt[0], at->salt[1]},
                             .node_id = s->nonce,
                             .chain = {.present = true, .sum = source_sum(s)}};
    if (h->timestamp_ms <= d->txid_time_ms) h->timestamp_ms = d->txid_time_ms + 1;
    if (at->frame_count)
        memcpy(h->chain.frame_checksum, at->checksum, sizeof h->chain.frame_checksum);
}

static void give_back(struct dest *d) {
    if (d->ship.all_pages) d->full = true;
    if (!is_ok(bitmap_add_all(&d->pending, &d->ship.pages, NULL))) d->full = true;
    bitmap_clear(&d->ship.pages);
}

void dest_unpin(struct dest *d) {
    if (d->pinned) d->source->open_cuts--;
    d->pinned = false;
}

static rc acknowledged(struct dest *d, struct err *e) {
    struct source *s = d->source;
    struct outgoing *o = &d->ship;
    char txid[24], pages[24], bytes[24], ms[24];
    TRY(listing_add(&d->files, outgoing_file(o), e));
    d->known_tail.txid = d->txid = o->header.max_txid;
    d->txid_time_ms = o->header.timestamp_ms;
    d->level_max[0] = d->txid;
    for (int level = 1; level < 4; level++) {
        TRY(bitmap_add_all(&d->since[level], &o->pages, e));
        if (o->all_pages) TRY(bitmap_add_range(&d->since[level], 1, o->header.commit, e));
    }
    if (o->adopted) {
        give_back(d); /* the slot holds an earlier cut of ours: these pages go again */
        d->acked_live = false;
        dest_unpin(d);
    } else {
        d->acked = o->cut.at;
        d->acked_low = o->cut.low;
        d->acked_live = true;
        d->acked_sum = o->header.chain.sum;
        d->safe_to = o->cut.seq + 1;
    }
    o->attempts = 0;
    d->trouble[0] = 0;
    s->stats.shipments++;
    s->stats.bytes_shipped += o->size;
    EVENT(s, "ship", "to", d->store->url, "txid", u64_text(txid, d->txid), "pages",
          u64_text(pages, o->writer.page_count), "bytes", u64_text(bytes, o->size), "ms",
          u64_text(ms, (uint64_t)(mono(s) - o->started_ns) / 1000000));
    bitmap_clear(&o->pages);
    outgoing_release(o);
    return source_write_run_file(s, e); /* so that a kill from now on costs nothing */
}

static void ship_failed(struct dest *d, struct task *t) {
    struct source *s = d->source;
    struct outgoing *o = &d->ship;
    char in[24];
    dest_unpin(d);
    if (t->result.code == RC_FENCED ||
        t->result.code == RC_CORRUPT || /* the slot is taken for good */
        t->result.code == RC_UNFIT) {   /* or can never be */
        d->state = DEST_REFUSED;
        d->refusal = t->err;
        return;
    }
    int64_t wait = backoff_ns(s, o->attempts++);
    o->retry_ns = mono(s) + wait;
    snprintf(d->trouble, sizeof d->trouble, "%s", t->err.text);
    EVENT(s, "ship.retry", "to", d->store->url, "in_ms", u64_text(in, (uint64_t)wait / 1000000),
          "err", t->err.text);
    if (!o->streaming) return; /* the same bytes again */
    give_back(d);
    outgoing_release(o);
}

static void ship_ended(struct task *t) {
    struct outgoing *o = HOLDER_OF(t, struct outgoing, task);
    struct dest *d = o->dest;
    if (!is_ok(t->result)) {
        ship_failed(d, t);
        return;
    }
    if (!o->finished) return; /* the next chunk, at the next step */
    struct err e;
    if (!is_ok(acknowledged(d, &e))) {
        d->state = DEST_REFUSED;
        d->refusal = e;
    }
}

static rc ship_begin(struct dest *d, int64_t now, struct err *e) {
    struct source *s = d->source;
    struct outgoing *o = &d->ship;
    struct ltx_header h;
    TRY(source_fold(s, e));
    struct cut cut = source_cut(s);
    bitmap_remove_above(&d->pending, cut.at.page_count);
    ship_header(d, &cut, &h);
    o->all_pages = d->full;
    bitmap_move(&o->pages, &d->pending);
    d->full = false;
    d->last_ship_ns = now;
    if (compact_due(d)) {
        d->pinned = true;
        s->open_cuts++;
    }
    rc r = outgoing_begin(o, &h, cut, ship_ended, e);
    if (!is_ok(r)) {
        dest_unpin(d);
        give_back(d);
        outgoing_release(o);
    }
    return r;
}

static rc ship_step(struct dest *d, int64_t now, int64_t *due, struct err *e) {
    struct outgoing *o = &d->ship;
    if (o->task.busy) return ok();
    if (!is_due(now, o->retry_ns, due)) return ok();
    if (o->active) return outgoing_step(o, e);
    if (!dest_dirty(d) || d->pinned) return ok();
    if (d->full && !source_sum_known(d->source))
        return ok(); /* it is the base of all: with its sum */
    int64_t when = d->last_ship_ns ? d->last_ship_ns + d->source->opt.interval_ms * 1000000 : now;
    bool at_once = d->source->draining || d->source->flush_to > d->safe_to;
    return at_once || is_due(now, when, due) ? ship_begin(d, now, e) : ok();
}

/* ---- starting ---- */

/* One that refuses, maybe in this very step, stops all: not even a fence goes out. */
static bool others_are_known(const struct source *s, int64_t now) {
    bool late = now - s->started > s->opt.start_ms * 1000000;
    for (int i = 0; i < s->dest_count; i++)
        if (s->dest[i].state == DEST_REFUSED || (!late && s->dest[i].state < DEST_CLASSED))
            return false;
    return true;
}

rc dest_step(struct dest *d, int64_t now, int64_t *due, struct err *e) {
    switch (d->state) {
    case DEST_CLOSED:
        if (is_due(now, d->retry_ns, due)) dest_open_start(d);
        return ok();
    case DEST_KNOWN:
        if (d->open_task.busy) return ok();
        TRY(dest_classify(d, e));
        if (d->state == DEST_CLASSED) due_at(due, now);
        return ok();
    case DEST_CLASSED:
        if (!others_are_known(d->source, now)) {
            due_at(due, d->source->started + d->source->opt.start_ms * 1000000 + 1);
            return ok();
        }
        return dest_fence_start(d, e);
    case DEST_READY: TRY(ship_step(d, now, due, e)); return compact_step(d, now, due, e);
    case DEST_OPENING:
    case DEST_FENCING:
    case DEST_REFUSED: return ok();
    }
    return ok();
}

void dest_deinit(struct dest *d) {
    if (d->ship.active) outgoing_release(&d->ship);
    if (d->compact.active) outgoing_release(&d->compact);
    bitmap_deinit(&d->ship.pages);
    bitmap_deinit(&d->compact.pages);
    bitmap_deinit(&d->pending);
    for (int level = 1; level < 4; level++) bitmap_deinit(&d->since[level]);
    listing_deinit(&d->files);
    listing_deinit(&d->doomed);
    listing_deinit(&d->to_verify);
    free(d->history);
    free(d->pins);
    store_free(d->store);
}
