/* Retention: what may be deleted. Source: docs/format.md 2.3. Chooses and deletes nothing.
 *
 * Invariants
 *  1. Never chosen: the newest file of a level, the newest snapshot, fences (level-0 files without
 *     pages) and TXID 1 at level 0, and what the plan of a pinned TXID uses.
 *  2. Level 0 goes from its old end, all that one file above covers together, when that file is old
 *     enough: so what is left of it continues a state that can be restored.
 *  3. Every state from the oldest snapshot kept on (pinned ones aside), at which a file that is
 *     kept ends (permanent and pinned ones aside), can still be restored.
 *  4. A pin keeps what it needs and no more: older snapshots go around it.
 */
#include "replica/internal.h"

#include <string.h>

struct choice {
    const struct listing *l;
    struct retention retention;
    int64_t now_ms;
    struct listing keep; /* for pins */
    uint64_t newest[LIMIT_LEVELS];
};

static bool is_old(const struct choice *c, const struct replica_file *f, int64_t age_ms) {
    return f->time_ms <= c->now_ms - age_ms;
}

rc listing_add_pinned(const struct listing *l, const uint64_t *pins, size_t count,
                      struct listing *keep, struct err *e) {
    for (size_t i = 0; i < count; i++) {
        struct plan plan = {0};
        struct err why;
        rc r = plan_make(l, (struct target){.txid = pins[i]}, &plan, &why);
        if (r.code == RC_NOTFOUND || r.code == RC_CORRUPT) continue;
        if (!is_ok(r)) return err_set(e, r.code, "%s", why.text);
        for (size_t k = 0; is_ok(r) && k < plan.count; k++) r = listing_add(keep, plan.files[k], e);
        plan_deinit(&plan);
        TRY(r);
    }
    return ok();
}

static bool may_go(const struct choice *c, const struct replica_file *f) {
    return f->max_txid != c->newest[f->level] && !listing_has(&c->keep, f);
}

/* Levels 1..8 and the snapshots, one position each: level-0 files are asked about in order. */
struct cover {
    size_t next[LIMIT_LEVELS], from[LIMIT_LEVELS + 1];
    uint64_t to[LIMIT_LEVELS]; /* the furthest end of the files that begin at or before */
};

/* By a file that is itself as old as level 0 may be. */
static bool is_covered(const struct choice *c, struct cover *v, const struct replica_file *f) {
    for (int level = 1; level < LIMIT_LEVELS; level++) {
        for (; v->next[level] < v->from[level + 1]; v->next[level]++) {
            const struct replica_file *above = &c->l->files[v->next[level]];
            if (above->min_txid > f->min_txid) break;
            if (is_old(c, above, c->retention.level0_ms) && above->max_txid > v->to[level])
                v->to[level] = above->max_txid;
        }
        if (v->to[level] >= f->max_txid) return true;
    }
    return false;
}

static rc choose_level0(const struct choice *c, struct listing *out, struct err *e) {
    struct cover cover = {0};
    listing_levels(c->l, cover.from);
    memcpy(cover.next, cover.from, sizeof cover.next);
    for (size_t i = 0; i < c->l->count && c->l->files[i].level == 0; i++) {
        const struct replica_file *f = &c->l->files[i];
        if (file_is_permanent(f)) continue;
        if (f->max_txid > c->newest[1] || !is_covered(c, &cover, f)) break;
        if (may_go(c, f)) TRY(listing_add(out, *f, e));
    }
    return ok();
}

/* The end of the snapshot before those that are young enough. It is kept, too: it is where a
 * restore begins that asks for a time before the oldest of them. 0: there is none. */
static uint64_t floor_of(const struct choice *c) {
    uint64_t before = 0;
    for (size_t i = 0; i < c->l->count; i++) {
        const struct replica_file *f = &c->l->files[i];
        if (!file_is_snapshot(f)) continue;
        if (!is_old(c, f, c->retention.snapshot_ms) || f->max_txid == c->newest[f->level])
            return before;
        before = f->max_txid;
    }
    return before;
}

static rc choose_above(const struct choice *c, struct listing *out, struct err *e) {
    uint64_t floor = floor_of(c);
    for (size_t i = 0; i < c->l->count; i++) {
        const struct replica_file *f = &c->l->files[i];
        if (f->level == 0 || (f->level == LEVEL_SNAPSHOT && !file_is_snapshot(f))) continue;
        if (f->max_txid < floor && may_go(c, f)) TRY(listing_add(out, *f, e));
    }
    return ok();
}

static rc choose(struct choice *c, const uint64_t *pins, size_t count, struct listing *out,
                 struct err *e) {
    for (size_t i = 0; i < c->l->count; i++) {
        const struct replica_file *f = &c->l->files[i];
        if (f->level == LEVEL_SNAPSHOT && !file_is_snapshot(f)) continue;
        if (f->max_txid > c->newest[f->level]) c->newest[f->level] = f->max_txid;
    }
    TRY(listing_add_pinned(c->l, pins, count, &c->keep, e));
    TRY(choose_level0(c, out, e));
    return choose_above(c, out, e);
}

rc retention_choose(const struct listing *l, struct retention retention, int64_t now_ms,
                    const uint64_t *pins, size_t pin_count, struct listing *out, struct err *e) {
    struct choice c = {.l = l, .retention = retention, .now_ms = now_ms};
    struct listing chosen = {0};
    rc r = choose(&c, pins, pin_count, &chosen, e);
    listing_deinit(&c.keep);
    if (is_ok(r)) *out = chosen;
    else listing_deinit(&chosen);
    return r;
}
