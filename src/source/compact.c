/* Compaction, retention, and the daily verification of one destination.
 *
 * Why from the local database: a level's file holds the newest version of each page changed since
 * the level's last file, and that is what the database holds at an acknowledged cut; nothing is
 * downloaded. So a compaction needs a cut that is acknowledged and still readable: either nothing
 * has been committed since, or the shipment before kept its cut open ("pinned").
 *
 * Invariants
 *  1. A compacted file ends at an acknowledged TXID; it is read back and compared before anything
 *     that it covers is deleted.
 *  2. While a destination is pinned it ships nothing, so `acked` and since[] belong together.
 *  3. Retention deletes only what retention_choose chose, with the pins read just before.
 */
#include "source/internal.h"

#include "replica/notes.h"

#include <stdlib.h>
#include <string.h>

static const int levels[] = {1, 2, 3, LEVEL_SNAPSHOT};

static int64_t interval_ms(const struct dest *d, int level) {
    const struct source_options *o = &d->source->opt;
    return level == LEVEL_SNAPSHOT ? o->snapshot_ms : o->level_ms[level];
}

/* At the next boundary of the wall clock; at once if the last one was missed, as by a run that was
 * not there at midnight. A replica without a snapshot gets one first of all. */
static void next_boundary(struct dest *d, int level) {
    int64_t every = interval_ms(d, level), last = unix_now(d->source) / every * every;
    int64_t newest = 0;
    for (size_t i = 0; i < d->files.count; i++) {
        const struct replica_file *f = &d->files.files[i];
        if (f->level == level && f->time_ms > newest) newest = f->time_ms;
    }
    bool missed = newest < last && (newest || level == LEVEL_SNAPSHOT);
    d->level_due_ms[level] = missed ? last : last + every;
}

void compact_schedule(struct dest *d) {
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) next_boundary(d, levels[i]);
    d->keep_due_ms = unix_now(d->source) + d->source->opt.retention.level0_ms;
}

static bool has_news(const struct dest *d, int level) {
    if (level < LEVEL_SNAPSHOT) return d->since[level].count > 0;
    return d->since[3].count > 0 || d->level_max[3] > d->level_max[LEVEL_SNAPSHOT];
}

/* The finest level that is due. A file on its way belongs to it, though since[] does not say so
 * yet. */
static int due_level(const struct dest *d, bool shipping) {
    int64_t now = unix_now(d->source);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        int level = levels[i];
        if (level < LEVEL_SNAPSHOT && !d->level_max[LEVEL_SNAPSHOT]) continue;
        if (now >= d->level_due_ms[level] && (shipping || has_news(d, level))) return level;
    }
    return -1;
}

bool compact_due(const struct dest *d) {
    return !d->compact.active && due_level(d, true) >= 0;
}

/* `unknown`: it may be there, and goes again. Under another name it would be left beside the next,
 * unknown to retention, and its level would have a hole when its neighbours go. */
static void compact_failed(struct dest *d, const char *words, bool unknown) {
    struct source *s = d->source;
    struct outgoing *o = &d->compact;
    char level[24];
    int64_t wait = backoff_ns(s, 4 + o->attempts++);
    EVENT(s, "compact.retry", "to", d->store->url, "level", u64_text(level, (uint64_t)o->level),
          "err", words);
    o->retry_ns = mono(s) + wait;
    if (unknown && !o->streaming) return;
    if (o->level < LEVEL_SNAPSHOT && !is_ok(bitmap_add_all(&d->since[o->level], &o->pages, NULL)))
        (void)bitmap_add_range(&d->since[o->level], 1, o->header.commit, NULL).code;
    for (int i = 1; o->level == LEVEL_SNAPSHOT && i < 4; i++)
        if (!d->level_max[i]) (void)bitmap_add_range(&d->since[i], 1, o->header.commit, NULL).code;
    bitmap_clear(&o->pages);
    outgoing_release(o);
    dest_unpin(d);
    d->level_due_ms[o->level] = unix_now(s) + wait / 1000000;
}

static rc compacted(struct dest *d, struct err *e) {
    struct source *s = d->source;
    struct outgoing *o = &d->compact;
    char level[24], txid[24], bytes[24];
    struct replica_file f = outgoing_file(o);
    TRY(listing_add(&d->files, f, e));
    d->level_max[o->level] = f.max_txid;
    for (int i = 1; i < 4; i++) /* a level's first file builds on the first snapshot */
        if (!d->level_max[i]) d->level_max[i] = f.max_txid;
    int64_t every = interval_ms(d, o->level);
    d->level_due_ms[o->level] = (unix_now(s) / every + 1) * every;
    d->keep_due_ms = unix_now(s);
    o->attempts = 0;
    EVENT(s, "compact", "to", d->store->url, "level", u64_text(level, (uint64_t)o->level), "txid",
          u64_text(txid, f.max_txid), "bytes", u64_text(bytes, f.size_bytes));
    bitmap_clear(&o->pages);
    outgoing_release(o);
    return ok();
}

static void compact_ended(struct task *t) {
    struct dest *d = HOLDER_OF(t, struct outgoing, task)->dest;
    struct err e;
    bool unknown = t->result.code != RC_CORRUPT && t->result.code != RC_UNFIT;
    if (is_ok(t->result) && !d->compact.finished) return; /* the next chunk */
    if (!is_ok(t->result)) compact_failed(d, t->err.text, unknown);
    else if (!is_ok(compacted(d, &e))) compact_failed(d, e.text, true);
}

static void compact_header(struct dest *d, int level, const struct cut *cut, struct ltx_header *h) {
    *h = (struct ltx_header){.page_size = d->source->live.page_size,
                             .commit = cut->at.page_count,
                             .min_txid = level == LEVEL_SNAPSHOT ? 1 : d->level_max[level] + 1,
                             .max_txid = d->txid,
                             .timestamp_ms = d->txid_time_ms,
                             .node_id = d->source->nonce,
                             .chain = {.present = true, .sum = d->acked_sum}};
}

static rc compact_begin(struct dest *d, int level, struct cut cut, struct err *e) {
    struct outgoing *o = &d->compact;
    struct ltx_header h;
    compact_header(d, level, &cut, &h);
    o->level = level;
    o->all_pages = h.min_txid == 1;
    if (level < LEVEL_SNAPSHOT) {
        bitmap_move(&o->pages, &d->since[level]);
        bitmap_remove_above(&o->pages, h.commit);
    } else {
        for (int i = 1; i < 4; i++)
            if (!d->level_max[i]) bitmap_clear(&d->since[i]);
    }
    rc r = outgoing_begin(o, &h, cut, compact_ended, e);
    /* a short one is all encoded, a long one keeps its own cut: shipping goes on */
    if (is_ok(r)) dest_unpin(d);
    else compact_failed(d, e->text, false);
    return ok();
}

/* The acknowledged boundary can still be read: it is kept open, or nothing has changed since. */
static bool acked_is_readable(const struct dest *d, struct cut *cut) {
    if (!d->acked_live || d->ship.active) return false;
    *cut = d->pinned ? (struct cut){.at = d->acked, .low = d->acked_low} : source_cut(d->source);
    return d->pinned || !dest_dirty(d);
}

/* ---- retention ---- */

static rc delete_doomed(struct task *t, struct err *e) {
    struct dest *d = HOLDER_OF(t, struct dest, keep_task);
    for (size_t i = 0; i < d->doomed.count; i++) {
        const struct replica_file *f = &d->doomed.files[i];
        char key[KEY_SIZE];
        replica_key(d->store, f, key);
        TRY(d->store->ops->remove(d->store, key, e));
    }
    return ok();
}

static void doomed_are_gone(struct task *t) {
    struct dest *d = HOLDER_OF(t, struct dest, keep_task);
    char n[24];
    if (!is_ok(t->result))
        EVENT(d->source, "retention.retry", "to", d->store->url, "err", t->err.text);
    else
        EVENT(d->source, "retention", "to", d->store->url, "deleted", u64_text(n, d->doomed.count));
    for (size_t i = 0; is_ok(t->result) && i < d->doomed.count; i++)
        listing_remove(&d->files, &d->doomed.files[i]);
    listing_deinit(&d->doomed);
}

static rc choose(struct dest *d, struct err *e) {
    listing_deinit(&d->doomed);
    return retention_choose(&d->files, d->source->opt.retention, unix_now(d->source), d->pins,
                            d->pin_count, &d->doomed, e);
}

static rc read_pins(struct task *t, struct err *e) {
    struct dest *d = HOLDER_OF(t, struct dest, keep_task);
    free(d->pins);
    d->pins = NULL;
    d->pin_count = 0;
    return replica_read_pins(d->store, &d->pins, &d->pin_count, e);
}

static void pins_were_read(struct task *t) {
    struct dest *d = HOLDER_OF(t, struct dest, keep_task);
    if (is_ok(t->result)) t->result = choose(d, &t->err);
    if (!is_ok(t->result)) doomed_are_gone(t); /* none of them is */
    else if (d->doomed.count) task_start(&d->keep_task, delete_doomed, doomed_are_gone);
}

/* When the next level-0 file that a level-1 file covers will be old enough; 0 if there is none. */
static int64_t next_level0_expiry(const struct dest *d, int64_t wall) {
    for (size_t i = 0; i < d->files.count; i++) {
        const struct replica_file *f = &d->files.files[i];
        if (f->level > 0 || f->max_txid > d->level_max[1]) break;
        int64_t expiry = f->time_ms + d->source->opt.retention.level0_ms;
        if (expiry > wall) return expiry;
    }
    return 0;
}

static rc keep_step(struct dest *d, int64_t now, int64_t *due, struct err *e) {
    struct source *s = d->source;
    int64_t wall = unix_now(s);
    if (d->keep_task.busy || d->verify_task.busy || !d->keep_due_ms) return ok();
    if (wall < d->keep_due_ms) {
        due_at(due, now + (d->keep_due_ms - wall) * 1000000);
        return ok();
    }
    TRY(choose(d, e));
    int64_t next = next_level0_expiry(d, wall);
    d->keep_due_ms = next ? (next < wall + 15000 ? wall + 15000 : next) : 0;
    /* Somebody may have pinned one of them. */
    if (d->doomed.count) task_start(&d->keep_task, read_pins, pins_were_read);
    return ok();
}

/* ---- verification ---- */

/* What could not be read now is no result. It is told in the log as well. */
static void write_result(struct dest *d, rc r, const struct verify_result *v, const char *words) {
    struct err ignored;
    if (!is_ok(r) && r.code != RC_CORRUPT && r.code != RC_NOTFOUND) return;
    json_t *note =
        json_pack("{s:I, s:b, s:I, s:I, s:s}", "time_ms", (json_int_t)unix_now(d->source), "ok",
                  is_ok(r), "txid", (json_int_t)v->txid, "links", (json_int_t)v->links_checked,
                  "error", is_ok(r) ? "" : words);
    (void)note_write(d->store, VERIFIED_KEY, note, &ignored).code;
    json_decref(note);
}

/* Another writer may have taken over, and what we know of may rightly be gone: `broken` stays if it
 * is not. What cannot be read says nothing about that. */
static rc look_again(struct dest *d, rc broken, struct verify_result *out, struct err *e) {
    struct err why;
    uint64_t tip = 0;
    for (size_t i = 0; i < d->to_verify.count; i++)
        if (d->to_verify.files[i].max_txid > tip) tip = d->to_verify.files[i].max_txid;
    rc r = replica_verify(d->store, 1, NULL, out, &why);
    if (r.code == RC_RETRY || r.code == RC_TIMEOUT) return err_set(e, r.code, "%s", why.text);
    return is_ok(r) && out->txid >= tip ? r : broken;
}

static rc verify_replica(struct task *t, struct err *e) {
    struct dest *d = HOLDER_OF(t, struct dest, verify_task);
    struct verify_result result;
    rc r = replica_verify_listing(d->store, &d->to_verify, 1, NULL, &result, e);
    if (r.code == RC_CORRUPT) r = look_again(d, r, &result, e);
    d->verified_txid = is_ok(r) ? result.txid : 0;
    write_result(d, r, &result, e->text);
    return r;
}

static void replica_was_verified(struct task *t) {
    struct dest *d = HOLDER_OF(t, struct dest, verify_task);
    d->verified_ms = unix_now(d->source);
    listing_deinit(&d->to_verify);
    EVENT(d->source, is_ok(t->result) ? "verify" : "verify.failed", "to", d->store->url, "err",
          is_ok(t->result) ? "" : t->err.text);
}

/* What is proven and has not grown since is not read again. */
static rc verify_step(struct dest *d, int64_t now, int64_t *due, struct err *e) {
    struct source *s = d->source;
    int64_t wall = unix_now(s), every = s->opt.verify_ms;
    if (every < 0 || d->verify_task.busy || d->keep_task.busy) return ok();
    if (!d->verified_ms) d->verified_ms = wall; /* a new replica: a day from now */
    if (d->txid == d->verified_txid) return ok();
    if (wall < d->verified_ms + every) {
        due_at(due, now + (d->verified_ms + every - wall) * 1000000);
        return ok();
    }
    TRY(listing_copy(&d->files, &d->to_verify, e)); /* which goes on growing meanwhile */
    task_start(&d->verify_task, verify_replica, replica_was_verified);
    return ok();
}

rc compact_step(struct dest *d, int64_t now, int64_t *due, struct err *e) {
    struct outgoing *o = &d->compact;
    TRY(keep_step(d, now, due, e));
    TRY(verify_step(d, now, due, e));
    if (o->active) {
        if (o->task.busy || !is_due(now, o->retry_ns, due)) return ok();
        if (!is_ok(outgoing_step(o, e))) compact_failed(d, e->text, false);
        return ok();
    }
    int level = due_level(d, false);
    struct cut cut;
    if (level >= 0 && acked_is_readable(d, &cut)) return compact_begin(d, level, cut, e);
    if (d->pinned && !d->ship.active) dest_unpin(d);
    int64_t wall = unix_now(d->source), next = INT64_MAX;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (has_news(d, levels[i]) && d->level_due_ms[levels[i]] < next)
            next = d->level_due_ms[levels[i]];
    if (next > wall && next != INT64_MAX) due_at(due, now + (next - wall) * 1000000);
    return ok();
}
