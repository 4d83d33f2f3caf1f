/* Which files make a state: docs/format.md 2.5.
 *
 * Litestream's rule, so that both tools restore the same, with one difference: with a time target,
 * too, a hole is an error. It would otherwise restore older data without a word.
 *
 * Each level is swept once, because it is sorted by min TXID and the state only moves on; so a plan
 * costs what the listing costs, with a million files as well.
 *
 * Invariant: each planned file begins at most one after the end of the one before, and ends later.
 */
#include "replica/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* One level, and the best of its files that begin at or before where the plan is. */
struct sweep {
    size_t next, end;
    const struct replica_file *best;
};

void plan_deinit(struct plan *p) {
    free(p->files);
    *p = (struct plan){0};
}

static bool takes_part(const struct replica_file *f, struct target t) {
    return (!t.txid || f->max_txid <= t.txid) && (!t.time_ms || f->time_ms < t.time_ms);
}

/* `p->count` is a power of two exactly when the array is full. */
static rc push(struct plan *p, const struct replica_file *f, struct err *e) {
    if ((p->count & (p->count - 1)) == 0) {
        size_t room = p->count ? p->count * 2 : 1;
        struct replica_file *files = realloc(p->files, room * sizeof *files);
        if (!files) return err_set(e, RC_NOMEM, "no memory for a plan of %zu files", room);
        p->files = files;
    }
    p->files[p->count++] = *f;
    p->txid = f->max_txid;
    return ok();
}

static bool better(const struct replica_file *a, const struct replica_file *b) {
    if (!b) return true;
    if (a->max_txid != b->max_txid) return a->max_txid > b->max_txid;
    if (a->min_txid != b->min_txid) return a->min_txid < b->min_txid;
    if (a->level != b->level) return a->level > b->level;
    return a->time_ms < b->time_ms;
}

static const struct replica_file *newest_snapshot(const struct listing *l, struct target t) {
    const struct replica_file *best = NULL;
    for (size_t i = l->count; i > 0 && l->files[i - 1].level == LEVEL_SNAPSHOT; i--) {
        const struct replica_file *f = &l->files[i - 1];
        if (file_is_snapshot(f) && takes_part(f, t) && better(f, best)) best = f;
    }
    return best;
}

/* The best file that continues state `at`, which never goes back. */
static const struct replica_file *next_file(const struct listing *l, struct target t, uint64_t at,
                                            struct sweep sweeps[LIMIT_LEVELS]) {
    const struct replica_file *best = NULL;
    for (int level = 0; level < LIMIT_LEVELS; level++) {
        struct sweep *s = &sweeps[level];
        for (; s->next < s->end && l->files[s->next].min_txid - 1 <= at; s->next++) {
            const struct replica_file *f = &l->files[s->next];
            if (takes_part(f, t) && better(f, s->best)) s->best = f;
        }
        if (s->best && s->best->max_txid > at && better(s->best, best)) best = s->best;
    }
    return best;
}

/* ---- refusals ---- */

static int by_end(const void *pa, const void *pb) {
    const struct replica_file *a = pa, *b = pb;
    if (a->max_txid != b->max_txid) return a->max_txid < b->max_txid ? -1 : 1;
    return a->level - b->level;
}

/* In order of their ends, a file makes its state if it begins where some state before it ends. Of
 * those that end together each is kept whose state can be made, by itself or by another. */
rc listing_points(const struct listing *l, struct replica_file **out, size_t *count,
                  struct err *e) {
    struct replica_file *files = malloc((l->count + 1) * sizeof *files);
    size_t kept = 0;
    if (!files) return err_set(e, RC_NOMEM, "no memory for %zu objects", l->count);
    for (size_t i = 0; i < l->count; i++) files[i] = l->files[i];
    if (l->count) qsort(files, l->count, sizeof *files, by_end);
    uint64_t at = 0;
    for (size_t i = 0, end; i < l->count; i = end) {
        bool made = false;
        for (end = i; end < l->count && files[end].max_txid == files[i].max_txid; end++)
            made |= files[end].min_txid - 1 <= at;
        if (!made) continue;
        at = files[i].max_txid;
        for (size_t k = i; k < end; k++) files[kept++] = files[k];
    }
    *out = files;
    *count = kept;
    return ok();
}

rc plan_neighbours(const struct listing *l, uint64_t txid, uint64_t *before, uint64_t *after,
                   struct err *e) {
    struct replica_file *points;
    size_t count;
    TRY(listing_points(l, &points, &count, e));
    *before = *after = 0;
    for (size_t i = 0; i < count && *after == 0; i++)
        if (points[i].max_txid <= txid) *before = points[i].max_txid;
        else *after = points[i].max_txid;
    free(points);
    return ok();
}

static rc not_there(const struct listing *l, uint64_t txid, struct err *e) {
    uint64_t before, after;
    TRY(plan_neighbours(l, txid, &before, &after, e));
    if (before && after)
        return err_set(e, RC_NOTFOUND,
                       "TXID %" PRIu64 " cannot be restored; the nearest that can are %" PRIu64
                       " and %" PRIu64,
                       txid, before, after);
    return err_set(e, RC_NOTFOUND,
                   "TXID %" PRIu64 " cannot be restored; the %s that can is %" PRIu64, txid,
                   after ? "first" : "last", after ? after : before);
}

/* Whether anything, the target aside, leads over the hole that begins after `at`. */
static bool is_bridged(const struct listing *l, uint64_t at) {
    for (size_t i = 0; i < l->count; i++)
        if (l->files[i].min_txid - 1 <= at && l->files[i].max_txid > at) return true;
    return false;
}

/* Where a level goes on after a gap that begins at `at`. Retention takes files from a level's old
 * end only, so that what lay there is lost (or was taken around a pin). */
static const struct replica_file *after_gap(const struct listing *l, uint64_t at) {
    for (size_t i = 0; i + 1 < l->count; i++) {
        const struct replica_file *f = &l->files[i], *next = &l->files[i + 1];
        if (f->max_txid == at && level_has_gap(f, next)) return next;
    }
    return NULL;
}

/* The nearest file that does not continue `at`. By time also one that does not take part: what is
 * missing before it might have. */
static const struct replica_file *after_hole(const struct listing *l, struct target t,
                                             uint64_t at) {
    const struct replica_file *next = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct replica_file *f = &l->files[i];
        if (f->min_txid - 1 > at && (t.time_ms || takes_part(f, t)) &&
            (!next || f->min_txid < next->min_txid))
            next = f;
    }
    return next;
}

/* A file that leads over the hole and does not take part means that finer ones were pruned. */
static rc check_hole(const struct listing *l, struct target t, uint64_t at, struct err *e) {
    bool bridged = is_bridged(l, at);
    const struct replica_file *next = bridged ? NULL : after_hole(l, t, at);
    if (bridged && t.time_ms) next = after_gap(l, at);
    if (!next) return ok(); /* by TXID: not_there says it */
    return err_set(e, RC_CORRUPT,
                   "hole between TXID %" PRIu64 " and %" PRIu64 " (level %d): what lay between is "
                   "missing; TXID %" PRIu64 " can be restored by its number",
                   at, next->min_txid, next->level, at);
}

static void format_time(int64_t ms, char out[40]) {
    time_t seconds = (time_t)(ms >= 0 ? ms / 1000 : (ms - 999) / 1000);
    struct tm tm;
    char text[24] = "";
    if (gmtime_r(&seconds, &tm)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 40, "%s.%03dZ", text, (int)(ms - (int64_t)seconds * 1000));
}

rc plan_too_early(int64_t first_ms, struct err *e) {
    char text[40];
    format_time(first_ms, text);
    return err_set(e, RC_NOTFOUND, "no backup for that time: the first is of %s", text);
}

static rc too_early(const struct listing *l, struct err *e) {
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < l->count; i++)
        if (l->files[i].min_txid == 1 && l->files[i].time_ms < first) first = l->files[i].time_ms;
    return plan_too_early(first, e);
}

static rc no_start(const struct listing *l, struct target t, struct err *e) {
    for (size_t i = 0; i < l->count; i++)
        if (l->files[i].min_txid == 1) return t.txid ? not_there(l, t.txid, e) : too_early(l, e);
    return err_set(e, RC_CORRUPT, "no object begins at TXID 1: there is nothing to build on");
}

static rc make(const struct listing *l, struct target t, struct plan *p, struct err *e) {
    struct sweep sweeps[LIMIT_LEVELS];
    size_t from[LIMIT_LEVELS + 1];
    const struct replica_file *f = newest_snapshot(l, t);
    if (l->count == 0) return err_set(e, RC_NOTFOUND, "no backup");
    if (f) TRY(push(p, f, e));
    listing_levels(l, from);
    for (int i = 0; i < LIMIT_LEVELS; i++) sweeps[i] = (struct sweep){from[i], from[i + 1], NULL};
    while ((!t.txid || p->txid < t.txid) && (f = next_file(l, t, p->txid, sweeps)) != NULL)
        TRY(push(p, f, e));
    if (t.txid && p->txid == t.txid) return ok();
    if (p->count == 0) return no_start(l, t, e);
    TRY(check_hole(l, t, p->txid, e));
    return t.txid ? not_there(l, t.txid, e) : ok();
}

rc plan_make(const struct listing *l, struct target t, struct plan *out, struct err *e) {
    struct plan p = {0};
    if (t.txid && t.time_ms) return err_set(e, RC_USAGE, "a target is a TXID or a time, not both");
    rc r = make(l, t, &p, e);
    if (is_ok(r)) *out = p;
    else plan_deinit(&p);
    return r;
}
