/* Plans, points and retention over any set of files, against answers found by trying everything.
 * Input: four bytes of settings, then five bytes for each file. TXIDs and times are small, so that
 * overlaps, holes, twins and files that end together are the rule. */
#include "fuzz.h"

#include "replica/internal.h"

#include <stdbool.h>

#define TIP 20 /* the last TXID */
#define TIMES 16
#define FILES 24

struct set {
    struct listing files;
    struct retention keep;
    int64_t now;
    uint64_t pins[2];
    size_t pin_count;
};

static void read_set(const uint8_t *bytes, size_t size, struct set *s) {
    struct err e;
    *s = (struct set){.keep = {.level0_ms = 1 + bytes[0] % 4, .snapshot_ms = 1 + bytes[0] / 4 % 16},
                      .now = bytes[1] % (TIMES + 4)};
    for (int i = 2; i < 4; i++)
        if (bytes[i] % 2) s->pins[s->pin_count++] = 1 + bytes[i] / 2 % TIP;
    for (const uint8_t *b = bytes + 4; size >= 5 && b <= bytes + size - 5; b += 5) {
        struct replica_file f = {.level = b[0] % LIMIT_LEVELS, .time_ms = 1 + b[3] % TIMES};
        f.min_txid = f.level == LEVEL_SNAPSHOT && b[4] % 8 ? 1 : 1 + b[1] % TIP;
        f.max_txid = f.min_txid + (f.level || b[4] % 16 == 0 ? b[2] % (TIP + 1 - f.min_txid) : 0);
        f.size_bytes = f.level == 0 && b[4] >= 224 ? LTX_LEAST_SIZE : 1000;
        if (s->files.count < FILES && !listing_has(&s->files, &f))
            MUST(is_ok(listing_add(&s->files, f, &e)));
    }
}

/* ---- what can be made, by trying everything ---- */

static bool takes_part(const struct replica_file *f, struct target t) {
    return (!t.txid || f->max_txid <= t.txid) && (!t.time_ms || f->time_ms < t.time_ms);
}

/* steps[s]: the fewest files that make state s out of state `from`, one more; 0: none do. */
static void reach_from(const struct listing *l, struct target t, uint64_t from,
                       int steps[TIP + 1]) {
    memset(steps, 0, (TIP + 1) * sizeof *steps);
    steps[from] = 1;
    for (uint64_t end = from + 1; end <= TIP; end++)
        for (size_t i = 0; i < l->count; i++) {
            const struct replica_file *f = &l->files[i];
            if (f->max_txid != end || !takes_part(f, t)) continue;
            for (uint64_t s = f->min_txid - 1; s < end; s++)
                if (steps[s] && (!steps[end] || steps[s] + 1 < steps[end]))
                    steps[end] = steps[s] + 1;
        }
}

static void reach(const struct listing *l, struct target t, int steps[TIP + 1]) {
    reach_from(l, t, 0, steps);
}

static uint64_t furthest(const int steps[TIP + 1]) {
    uint64_t at = 0;
    for (uint64_t s = 1; s <= TIP; s++)
        if (steps[s]) at = s;
    return at;
}

/* ---- plans ---- */

/* The rule of docs/format.md 2.5, word for word: of all that continue `at`, the best. */
static const struct replica_file *best_next(const struct listing *l, struct target t, uint64_t at) {
    const struct replica_file *b = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct replica_file *f = &l->files[i];
        if (!takes_part(f, t) || f->min_txid - 1 > at || f->max_txid <= at) continue;
        bool better = !b || f->max_txid > b->max_txid;
        if (b && f->max_txid == b->max_txid)
            better = f->min_txid != b->min_txid ? f->min_txid < b->min_txid : f->level > b->level;
        if (better) b = f;
    }
    return b;
}

static const struct replica_file *last_snapshot(const struct listing *l, struct target t) {
    const struct replica_file *b = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct replica_file *f = &l->files[i];
        if (!file_is_snapshot(f) || !takes_part(f, t)) continue;
        if (!b || f->max_txid > b->max_txid) b = f;
    }
    return b;
}

static void check_files(const struct listing *l, struct target t, const struct plan *p) {
    const struct replica_file *f = last_snapshot(l, t);
    uint64_t at = 0;
    if (!f) f = best_next(l, t, 0);
    for (size_t i = 0; i < p->count; i++, f = best_next(l, t, at)) {
        MUST(f && memcmp(&p->files[i], f, sizeof *f) == 0);
        at = f->max_txid;
    }
    MUST(at == p->txid && (at == t.txid || !best_next(l, t, at)));
}

/* No shorter way leads there from the snapshot that it begins with, or from nothing. */
static void check_shortest(const struct listing *l, struct target t, const struct plan *p) {
    const struct replica_file *s = last_snapshot(l, t);
    int steps[TIP + 1];
    reach_from(l, t, s ? s->max_txid : 0, steps);
    MUST((int)p->count == steps[p->txid] - !s);
}

/* Whether something was there behind `at` and is lost, as far as a list can tell: files that lie
 * beyond what anything leads over, or a level that breaks off at `at` and goes on. */
static bool is_lost(const struct listing *l, uint64_t at) {
    bool bridged = false, beyond = false, gap = false;
    for (size_t i = 0; i < l->count; i++) {
        const struct replica_file *f = &l->files[i], *next = f + 1;
        bridged |= f->min_txid - 1 <= at && f->max_txid > at;
        beyond |= f->min_txid - 1 > at;
        if (i + 1 < l->count && f->max_txid == at && f->level == next->level)
            gap |= !file_is_permanent(f) && next->min_txid - 1 > at;
    }
    return bridged ? gap : beyond;
}

static void check_target(const struct listing *l, struct target t) {
    struct plan p = {0};
    struct err e = {0};
    int steps[TIP + 1];
    reach(l, t, steps);
    uint64_t to = furthest(steps);
    rc r = plan_make(l, t, &p, &e);
    if (is_ok(r)) {
        MUST(p.count && p.txid == (t.txid ? t.txid : to));
        check_files(l, t, &p);
        check_shortest(l, t, &p);
        if (!t.txid) MUST(!is_lost(l, to));
    } else {
        MUST(!p.files && *e.text && e.code == r.code);
        MUST(r.code == RC_NOTFOUND || r.code == RC_CORRUPT);
        if (t.txid) MUST(t.txid > TIP || !steps[t.txid]);
        else MUST(to == 0 || is_lost(l, to));
    }
    plan_deinit(&p);
}

static void check_points(const struct listing *l) {
    struct replica_file *points;
    size_t count, seen = 0;
    struct err e;
    int steps[TIP + 1];
    reach(l, (struct target){0}, steps);
    MUST(is_ok(listing_points(l, &points, &count, &e)));
    for (size_t i = 0; i < count; i++) {
        MUST(listing_has(l, &points[i]) && steps[points[i].max_txid]);
        if (i) MUST(points[i - 1].max_txid <= points[i].max_txid);
    }
    for (size_t i = 0; i < l->count; i++) seen += steps[l->files[i].max_txid] != 0;
    MUST(seen == count);
    free(points);
}

static void check_neighbours(const struct listing *l, uint64_t txid) {
    uint64_t before, after, want_before = 0, want_after = 0;
    struct err e;
    int steps[TIP + 1];
    reach(l, (struct target){0}, steps);
    for (uint64_t s = 1; s <= TIP; s++)
        if (!steps[s]) continue;
        else if (s <= txid) want_before = s;
        else if (!want_after) want_after = s;
    MUST(is_ok(plan_neighbours(l, txid, &before, &after, &e)));
    MUST(before == want_before && after == want_after);
}

/* ---- retention: docs/format.md 2.3 ---- */

static uint64_t newest_of(const struct listing *l, int level) {
    uint64_t newest = 0;
    for (size_t i = 0; i < l->count; i++) {
        const struct replica_file *f = &l->files[i];
        if (f->level != level || (level == LEVEL_SNAPSHOT && !file_is_snapshot(f))) continue;
        if (f->max_txid > newest) newest = f->max_txid;
    }
    return newest;
}

static bool is_covered(const struct set *s, const struct replica_file *f) {
    for (size_t i = 0; i < s->files.count; i++) {
        const struct replica_file *above = &s->files.files[i];
        if (above->level > 0 && above->min_txid <= f->min_txid && above->max_txid >= f->max_txid &&
            above->time_ms <= s->now - s->keep.level0_ms)
            return true;
    }
    return false;
}

static void check_removed(const struct set *s, const struct replica_file *f) {
    MUST(listing_has(&s->files, f) && !file_is_permanent(f));
    MUST(f->max_txid != newest_of(&s->files, f->level));
    if (f->level == 0) MUST(is_covered(s, f));
    bool floor = false; /* a snapshot that is too old, and another behind it, end no earlier */
    for (size_t i = 0; i < s->files.count; i++) {
        const struct replica_file *x = &s->files.files[i];
        if (!file_is_snapshot(x) || x->max_txid < f->max_txid) continue;
        floor |= x->time_ms <= s->now - s->keep.snapshot_ms &&
                 x->max_txid < newest_of(&s->files, LEVEL_SNAPSHOT);
    }
    if (f->level > 0) MUST(floor);
}

static void check_retention(const struct set *s) {
    struct listing remove, left = {0};
    struct err e;
    int before[TIP + 1], after[TIP + 1];
    MUST(is_ok(listing_copy(&s->files, &left, &e)));
    MUST(is_ok(retention_choose(&s->files, s->keep, s->now, s->pins, s->pin_count, &remove, &e)));
    for (size_t i = 0; i < remove.count; i++) {
        check_removed(s, &remove.files[i]);
        listing_remove(&left, &remove.files[i]);
    }
    MUST(left.count + remove.count == s->files.count);
    reach(&s->files, (struct target){0}, before);
    reach(&left, (struct target){0}, after);
    for (size_t i = 0; i < s->pin_count; i++) {
        uint64_t pin = s->pins[i];
        MUST(!before[pin] || after[pin]);
        struct plan p = {0}, q = {0};
        rc was = plan_make(&s->files, (struct target){.txid = pin}, &p, &e);
        rc is = plan_make(&left, (struct target){.txid = pin}, &q, &e);
        MUST(!is_ok(was) || (is_ok(is) && p.txid == q.txid));
        plan_deinit(&p);
        plan_deinit(&q);
    }
    MUST(furthest(before) == furthest(after));
    listing_deinit(&left);
    listing_deinit(&remove);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct set s;
    if (size < 4) return 0;
    read_set(bytes, size, &s);
    for (uint64_t at = 0; at <= TIP + 1; at++) {
        check_target(&s.files, (struct target){.txid = at});
        check_neighbours(&s.files, at);
    }
    for (int64_t at = 1; at <= TIMES + 1; at++)
        check_target(&s.files, (struct target){.time_ms = at});
    check_points(&s.files);
    check_retention(&s);
    listing_deinit(&s.files);
    return 0;
}
