/* When the hold moves, and when the log is checkpointed and let go.
 *
 * Why quiet first: a checkpoint under the write lock makes every application that upgrades a read
 * to a write fail at once, whatever its busy_timeout (29 SQLITE_BUSY in 28 locks, against 1 when
 * quiet comes first). PASSIVE rounds need no lock: they copy up to our mark, the mark moves on, and
 * in the first quiet instant, when all is copied and captured, we enter Z, where the next writer
 * resets the log. Only a log that comes near four times the threshold is worth the lock, and only
 * when little is left to copy. FULL, RESTART and TRUNCATE are never used: with the write lock busy
 * they turn into the very call that SQLite's WAL-reset bug needs.
 *
 * Above the threshold the mark moves in these rounds only: whatever it uncovers would be copied,
 * and synced, by the application's own automatic checkpoint in the middle of its next commit.
 *
 * Invariants
 *  1. Nothing moves while a cut is open.
 *  2. The run file is written in Z, where the log may be reset at any time; not before, since a
 *     busy writer would have gone on by then. It is written again when a reset is seen: an emptied
 *     log proves nothing by itself, to a start and to `status`. A kill in between costs an upload
 *     of all.
 */
#include "source/internal.h"

#define ROUNDS 6
#define LOCK_REST 64u
#define LOCK_HALVES 7u /* of the threshold: done before the log is four times as long */
#define LOCK_TRIES 100
#define LOCK_NAP_NS 10000
#define SLOW_SYNC_NS 50000000
#define QUIET_NS 20000000   /* after the last commit: enter Z, so that nobody waits behind us */
#define REFRESH_NS 10000000 /* the mark follows at most this often */
#define LEAVE_NS 2000000    /* Z, and another checkpoint is at it: look again */
#define CHECKPOINT_WAIT_NS 20000000
#define CHECKPOINT_PAUSE_NS 1000000
#define Z_LOOK_NS 200000
#define CHECKPOINT_PAUSE_MAX_NS 1000000000

/* How many frames may be left to copy under the write lock: the two syncs there take longer. */
static uint32_t lock_rest(const struct source *s) {
    uint32_t part = s->pos.frame_count / 16;
    return part > LOCK_REST ? part : LOCK_REST;
}

static uint32_t rest(const struct source *s) {
    uint32_t done = live_backfilled(&s->live);
    return s->pos.frame_count > done ? s->pos.frame_count - done : 0;
}

static rc enter_z(struct source *s, struct err *e) {
    struct walindex_header now;
    bool same = live_header_now(&s->live, &now) && walindex_header_same(&now, &s->pos);
    if (!same || rest(s)) return ok();
    TRY(hold_enter_z(&s->hold, &s->pos, e));
    s->moved = true;
    return ok();
}

/* The rest is small: copy it and enter Z while nobody can write. */
static rc with_lock(struct source *s, struct err *e) {
    rc r = ok();
    for (int i = 0; i < LOCK_TRIES; i++) { /* a busy writer leaves it for less than a microsecond */
        r = live_lock(&s->live, e);
        if (r.code != RC_BUSY) break;
        if (i > LOCK_TRIES / 2) s->env->sleep_ns(s->env, LOCK_NAP_NS);
    }
    if (r.code == RC_BUSY) return ok();
    TRY(r);
    int64_t start = mono(s);
    r = source_capture(s, e);
    if (is_ok(r)) r = hold_refresh(&s->hold, true, e);
    if (is_ok(r)) r = live_checkpoint(&s->live, CHECKPOINT_WAIT_NS / 4, e);
    if (is_ok(r)) r = enter_z(s, e);
    s->z_by_lock = s->hold.state == HOLD_Z;
    live_unlock(&s->live);
    int64_t held = mono(s) - start;
    s->stats.locks++;
    s->stats.lock_ns += held;
    if (held > s->stats.lock_max_ns) s->stats.lock_max_ns = held;
    return r.code == RC_BUSY ? ok() : r;
}

/* *copied: whether anything could be. */
static rc rounds(struct source *s, int64_t *sync_ns, bool *copied, struct err *e) {
    uint32_t before = UINT32_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        TRY(hold_refresh(&s->hold, true, e));
        s->moved = true;
        int64_t start = mono(s);
        uint32_t done = live_backfilled(&s->live);
        rc r = live_checkpoint(&s->live, CHECKPOINT_WAIT_NS, e);
        if (r.code == RC_BUSY) return ok();
        TRY(r);
        bool progress = live_backfilled(&s->live) > done;
        *copied |= progress;
        TRY(source_capture(s, e));
        if (rest(s) == 0) {
            TRY(enter_z(s, e));
            if (s->hold.state == HOLD_Z) return ok();
        } else if (!progress) {
            return ok();
        } else { /* PASSIVE left the database unsynced, since writers moved on */
            TRY(live_sync_database(&s->live, e));
            TRY(source_capture(s, e));
        }
        *sync_ns = mono(s) - start;
        if (rest(s) <= lock_rest(s) || (uint64_t)rest(s) * 10 > (uint64_t)before * 9) return ok();
        before = rest(s);
    }
    return ok();
}

static rc checkpoint(struct source *s, int64_t now, struct err *e) {
    int64_t sync_ns = 0;
    bool copied = false;
    TRY(rounds(s, &sync_ns, &copied, e));
    if (copied || !s->pause) s->pause = CHECKPOINT_PAUSE_NS;
    else if (s->pause < CHECKPOINT_PAUSE_MAX_NS) s->pause *= 2; /* a reader is in the way */
    s->not_before = mono(s) + s->pause;
    if (s->hold.state == HOLD_Z || 2 * s->pos.frame_count < LOCK_HALVES * s->opt.checkpoint_pages)
        return ok();
    if (rest(s) > lock_rest(s) || sync_ns > SLOW_SYNC_NS || now < s->lock_not_before) return ok();
    if (live_backfilled(&s->live) < s->hold.mark_least) return ok(); /* in a reader's way */
    TRY(with_lock(s, e));
    if (s->hold.state != HOLD_Z) s->lock_not_before = mono(s) + CHECKPOINT_PAUSE_NS;
    return ok();
}

/* A Z under the lock that brought no reset: a reader stays on a mark. Do not take the lock again
 * and again. (Without the lock it says nothing: a writer that had begun before cannot reset.) */
static void left_z(struct source *s, uint64_t resets_before) {
    bool locked = s->z_by_lock;
    s->z_by_lock = false;
    if (s->hold.resets_seen > resets_before) s->z_backoff = 0;
    if (s->hold.resets_seen > resets_before || !locked) return;
    s->z_backoff = s->z_backoff ? s->z_backoff * 2 : 1000000000;
    if (s->z_backoff > 60000000000) s->z_backoff = 60000000000;
    s->lock_not_before = mono(s) + s->z_backoff;
}

static rc move(struct source *s, int64_t now, int64_t *due, struct err *e) {
    if (s->hold.state == HOLD_Z) {
        uint64_t resets = s->hold.resets_seen;
        TRY(hold_leave_z(&s->hold, e));
        if (s->hold.state == HOLD_Z) {
            if (rest(s) || !s->hold.on_0) due_at(due, now + LEAVE_NS);
            return ok();
        }
        s->moved = true;
        left_z(s, resets);
    }
    if (s->pos.frame_count >= s->opt.checkpoint_pages) {
        if (now >= s->not_before) TRY(checkpoint(s, now, e));
        else due_at(due, s->not_before);
        if (s->hold.state == HOLD_Z) return ok();
        due_at(due, s->not_before);
    } else if (s->pos.frame_count > s->hold.mark_least) {
        if (now - s->last_refresh >= REFRESH_NS) {
            TRY(hold_refresh(&s->hold, false, e));
            s->moved = true;
            s->last_refresh = now;
        }
        due_at(due, now + REFRESH_NS);
    }
    if (rest(s) == 0) {
        bool quiet = now - s->last_change >= QUIET_NS;
        if (quiet) TRY(enter_z(s, e));
        if (s->hold.state == HOLD_M) due_at(due, (quiet ? now : s->last_change) + QUIET_NS);
    }
    return ok();
}

rc source_move(struct source *s, int64_t now, int64_t *due, struct err *e) {
    if (s->new_log) TRY(source_write_run_file(s, e));
    s->new_log = false;
    if (s->open_cuts) return ok();
    uint64_t entered = s->hold.entered_z;
    TRY(move(s, now, due, e));
    if (s->hold.entered_z == entered || s->hold.state != HOLD_Z) return ok();
    due_at(due, mono(s) + Z_LOOK_NS); /* in Z nobody copies: leave it with the first frame beyond */
    return source_write_run_file(s, e);
}
