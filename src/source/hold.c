/* The hold: two readers that hand over, so that one of them always holds.
 *
 * Where a reader lands is SQLite's choice: on mark 0 if it finds everything backfilled, else on a
 * mark. It cannot be asked, so it is proven: nBackfill only grows while the log is not reset,
 * therefore
 *   - nBackfill after the begin < frame count before it, same salts: it landed on a mark (M);
 *   - header equal before and after, nBackfill == frame count: mark 0, or a mark at the very end.
 *     In either case the database holds all frames up to it and no frame beyond is lost: Z's rules
 *     hold.
 *
 * Invariants
 *  1. At least one reader is in a transaction from hold_start on.
 *  2. A move is in the table below.
 *  3. M -> M only when a frame exists beyond the old reader's mark: nobody can have backfilled it,
 *     so the new reader cannot land on mark 0 unnoticed. Of a mark only bounds are known when
 *     somebody committed beside its begin: if then the new reader is not surely on a mark, the old
 *     one stays.
 *  4. Z -> M only after a PASSIVE with rc OK: no checkpointer with an older header is in flight.
 *     With one exception: an application's FULL, RESTART or TRUNCATE waits for us in Z as we wait
 *     for it, until its busy_timeout, and nobody can write. It has the write lock, took it before
 *     it read the header, and so has no older one. From outside it is known by one process holding
 *     both locks, all the time, while nothing is committed; what could be mistaken for it is a
 *     PASSIVE of another thread of that process, stopped in the middle for as long.
 *  5. We leave a mark for another only when no such checkpoint can be waiting at the other. It
 *     comes by the marks in order, waits for the lock of each that is below the end, and raises it;
 *     and if a reader of ours takes the lock at that instant, it waits for a mark that is at the
 *     end already, while no frame comes that would let us leave. None waits there when all marks
 *     before the one that we leave are at the end; when somebody commits since; or when nobody has
 *     the lock of a checkpoint. Else the new reader ends, and none begins until the checkpoint,
 *     which does not ask what the mark is now, has asked for its lock again and gone by, to ours.
 *  6. A checkpoint has the lock of mark 0 for an instant after it has said that all is copied. A
 *     reader that begins then lands on a mark at the very end: as safe, but a RESTART or TRUNCATE
 *     waits for it. So the readers change over again, by the same rule, until nobody had the lock
 *     of a checkpoint just before; but only after some rest, since to ask takes as long as a busy
 *     writer's commit, and he would not let us enter Z.
 *
 * A crash at any point leaves nothing behind but released locks.
 */
#include "source/hold.h"

#define WAITED_NS 100000000
#define ASKED_NS 100000000 /* the more locks the system has, the longer it takes to ask */
#define MOMENT_NS 50000    /* a busy writer commits within a few */
#define RESTED_NS 5000000
#define POLLED_NS 250000000 /* SQLite asks again for a lock after 100 ms at the latest */

void (*hold_gap)(const char *where);

static void gap(const char *where) {
    if (hold_gap) hold_gap(where);
}

static int64_t mono(const struct hold *h) {
    return h->live->env->mono_ns(h->live->env);
}

static void move(struct hold *h, enum hold_state to) {
    static const bool allowed[3][3] = {
        /*            NONE   M      Z   */
        [HOLD_NONE] = {false, true, true},
        [HOLD_M] = {false, true, true},
        [HOLD_Z] = {false, true, false},
    };
    ENSURE(allowed[h->state][to]);
    if (to == HOLD_Z) h->entered_z++;
    h->moves++;
    h->state = to;
}

/* After a failure; that the other reader holds on is all that matters then. */
static void let_go(struct hold *h, int reader) {
    struct err ignored;
    if (!is_ok(live_end(h->live, reader, &ignored))) return;
}

/* Begin `reader` and tell where it landed: HOLD_NONE when that is not certain. Its mark is at least
 * *least and at most what `after` says. */
static rc begin_and_tell(struct hold *h, int reader, enum hold_state *where, uint32_t *least,
                         struct walindex_header *after, struct err *e) {
    struct walindex_header before;
    TRY(live_header(h->live, &before, e));
    *least = before.frame_count;
    gap("before begin");
    TRY(live_begin(h->live, reader, e));
    gap("after begin");
    rc r = live_header(h->live, after, e);
    if (!is_ok(r)) {
        let_go(h, reader);
        return r;
    }
    uint32_t backfilled = live_backfilled(h->live);
    *where = HOLD_NONE;
    if (same_salts(before.salt, after->salt) && backfilled < before.frame_count) *where = HOLD_M;
    else if (walindex_header_same(&before, after) && backfilled == after->frame_count)
        *where = HOLD_Z;
    return ok();
}

rc hold_start(struct hold *h, struct walindex_header *seen, struct err *e) {
    h->current = 0;
    h->state = HOLD_NONE;
    h->on_0 = false;
    for (int tries = 0; tries < 1000; tries++) {
        int next = !h->current;
        enum hold_state where;
        TRY(begin_and_tell(h, next, &where, &h->mark_least, seen, e));
        TRY(live_end(h->live, h->current, e));
        h->current = next;
        if (where == HOLD_NONE) continue;
        h->mark = seen->frame_count;
        h->z = *seen;
        move(h, where);
        return ok();
    }
    return err_set(e, RC_BUSY, "%s: no quiet instant to begin a hold", h->live->path);
}

/* Whether the marks that a checkpoint raises before it comes to ours are at the end. Of ours only
 * bounds are known: if a later one lies in them, too, it may be that one; but not when a checkpoint
 * has had the time to raise all that are free (`again`). */
static bool is_next(const struct hold *h, const struct walindex_header *now, bool again) {
    bool found = false;
    for (int i = 1; i < WALINDEX_READERS; i++) {
        uint32_t mark = walindex_read_mark(h->live->regions[0], i);
        if (mark >= now->frame_count) continue;
        bool ours = h->state == HOLD_M && mark >= h->mark_least && mark <= h->mark;
        if (!found && !ours) return false;
        if (found && ours) return again;
        found = true;
    }
    return true;
}

static bool may_be_waited_for(struct hold *h, const struct walindex_header *then) {
    struct walindex_header now;
    struct env *env = h->live->env;
    for (int i = 0; i < 5; i++, env->sleep_ns(env, MOMENT_NS)) /* a busy writer tells at once */
        if (!live_header_now(h->live, &now) || !walindex_header_same(&now, then)) return false;
    if (mono(h) - h->asked_ns < ASKED_NS) return true; /* a commit, or the next time, tells */
    h->asked_ns = mono(h);
    return live_checkpoint_runs(h->live);
}

/* Begin the new reader, capture all that it may cover, then let the old one go; or, where that
 * might keep a checkpoint waiting (invariant 5), the new one. */
static rc move_to_mark(struct hold *h, const struct walindex_header *now, bool at_once,
                       struct err *e) {
    enum hold_state where;
    uint32_t least;
    struct walindex_header after;
    int next = !h->current;
    bool again = walindex_header_same(now, &h->given_up);
    bool first = is_next(h, now, again);
    if (again && mono(h) - h->given_up_ns < POLLED_NS) return ok();
    TRY(begin_and_tell(h, next, &where, &least, &after, e));
    if (where != HOLD_M) {
        let_go(h, next);
        if (h->state == HOLD_M && least <= h->mark) return ok(); /* the old mark was the newest */
        /* Somebody broke the locks: a second SQLite, a deleted -shm. */
        return err_set(e, RC_CORRUPT, "%s: the log was reset under our read lock", h->live->path);
    }
    gap("before capture");
    rc r = h->capture(h->arg, e);
    gap("after capture");
    if (!is_ok(r)) {
        let_go(h, next);
        return r;
    }
    bool sure = at_once || (first && walindex_header_same(&after, now));
    if (!sure && may_be_waited_for(h, &after)) {
        gap("not sure");
        h->given_up = after;
        TRY(live_end(h->live, next, e));
        h->given_up_ns = mono(h);
        return ok();
    }
    TRY(live_end(h->live, h->current, e));
    gap("after end");
    h->current = next;
    h->mark = after.frame_count;
    h->mark_least = least;
    move(h, HOLD_M);
    return ok();
}

rc hold_refresh(struct hold *h, bool at_once, struct err *e) {
    ENSURE(h->state == HOLD_M);
    struct walindex_header now;
    TRY(live_header(h->live, &now, e));
    if (now.frame_count <= h->mark_least) return ok();
    if (now.frame_count <= h->mark && live_backfilled(h->live) >= now.frame_count) return ok();
    return move_to_mark(h, &now, at_once, e);
}

/* *entered: the other reader has begun in Z, and the old one has ended. */
static rc begin_z(struct hold *h, const struct walindex_header *position, bool *entered,
                  struct err *e) {
    struct walindex_header now, after;
    *entered = false;
    TRY(live_header(h->live, &now, e));
    if (!walindex_header_same(&now, position) || live_backfilled(h->live) != now.frame_count)
        return ok();
    enum hold_state where;
    uint32_t least;
    int next = !h->current;
    TRY(begin_and_tell(h, next, &where, &least, &after, e));
    if (where != HOLD_Z || !walindex_header_same(&after, position)) {
        gap("not quiet");
        return live_end(h->live, next, e);
    }
    TRY(live_end(h->live, h->current, e));
    h->current = next;
    h->z = after;
    *entered = true;
    return ok();
}

rc hold_enter_z(struct hold *h, const struct walindex_header *position, struct err *e) {
    ENSURE(h->state == HOLD_M);
    bool entered;
    TRY(begin_z(h, position, &entered, e));
    if (!entered) return ok();
    h->on_0 = false;
    h->z_ns = mono(h);
    move(h, HOLD_Z);
    gap("in Z");
    return ok();
}

/* See invariant 6. */
static rc settle_on_0(struct hold *h, const struct walindex_header *now, struct err *e) {
    bool entered;
    struct walindex_header z = h->z;
    if (!walindex_header_same(now, &z)) h->on_0 = true; /* nobody else's mark lets a reset pass */
    if (h->on_0 || mono(h) - h->z_ns < RESTED_NS) return ok();
    bool none = !live_checkpoint_runs(h->live);
    gap("looked for a checkpoint");
    TRY(begin_z(h, &z, &entered, e));
    h->on_0 = none && entered;
    return ok();
}

/* See invariant 4. Where somebody commits the system is not asked: that slows all who lock. */
static bool waits_for_us(struct hold *h, const struct walindex_header *now) {
    if (!walindex_header_same(now, &h->waited) || !live_checkpointer_writes(h->live))
        h->waiting = 0;
    else if (!h->waiting) h->waiting = mono(h);
    h->waited = *now;
    return h->waiting && mono(h) - h->waiting >= WAITED_NS;
}

rc hold_leave_z(struct hold *h, struct err *e) {
    ENSURE(h->state == HOLD_Z);
    struct walindex_header now, again;
    TRY(live_header(h->live, &now, e));
    gap("header seen in Z");
    if (now.frame_count <= live_backfilled(h->live)) return settle_on_0(h, &now, e);
    TRY(live_header(h->live, &again, e));
    if (!same_salts(now.salt, again.salt))
        return ok(); /* reset in between: the two do not belong together */
    rc r = live_checkpoint(h->live, 20 * MOMENT_NS, e);
    if (r.code == RC_RETRY || (r.code == RC_BUSY && !waits_for_us(h, &now))) return ok();
    if (r.code != RC_BUSY) TRY(r);
    gap("after the barrier");
    TRY(move_to_mark(h, &now, r.code == RC_BUSY, e));
    if (h->state == HOLD_Z) return ok();
    h->waiting = 0;
    if (!same_salts(now.salt, h->z.salt)) h->resets_seen++;
    return ok();
}
