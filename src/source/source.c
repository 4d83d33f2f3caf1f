/* The source: one database, stepped.
 *
 * Why a step and no thread of its own: the same core runs in a command's loop, in a pool, in an
 * application's thread and under a simulated clock. A step takes the ends of jobs, looks at the
 * wal-index, lets each destination do what is due, and moves the hold, in that order: what was
 * captured is offered to the destinations before a move might let the log go.
 *
 * Invariants
 *  1. source_step never waits for a store.
 *  2. Until every destination that answers has been classed, the hold does not move: the log as it
 *     was at the start is the evidence.
 */
#include "source/internal.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAFETY_NS 10000000000
#define BUSY_NS 50000000 /* after a commit: look again and again instead of waiting for an event */
#define BUSY_LOOK_NS 5000000
#define LOOK_FIRST_NS 30000   /* after an event: the write is seen before the header is published */
#define LOOK_FAST_NS 20000000 /* at most so far apart */
#define FAST_NS 1000000000    /* for so long, */
#define LOOK_SLOW_NS 100000000 /* then so far, until SAFETY_NS have passed */
#define EVIDENCE_NS 30000000000
#define EVIDENCE_SMALL_NS 2000000000 /* of a database whose sum is quickly had */
#define EVIDENCE_SMALL (256u << 20)
#define MOVE_PAUSE_NS 1000000000
#define SCRUB_PAGES 256u
#define SCRUB_PAUSE_NS 1000000

void source_event(struct source *s, const char *name, const char *const *pairs, int count) {
    if (s->opt.event) s->opt.event(s->opt.event_arg, name, pairs, count);
}

const char *u64_text(char out[24], uint64_t v) {
    snprintf(out, 24, "%" PRIu64, v);
    return out;
}

/* ---- jobs ---- */

static void run_task(struct job *job) {
    struct task *t = HOLDER_OF(job, struct task, job);
    t->result = t->work(t, &t->err);
}

void task_start(struct task *t, rc (*work)(struct task *, struct err *),
                void (*ended)(struct task *)) {
    struct err e;
    ENSURE(!t->busy);
    t->work = work;
    t->ended = ended;
    t->job = (struct job){.run = run_task, .home = t->source->done};
    t->busy = true;
    if (is_ok(t->source->env->submit(t->source->env, &t->job, &e))) return;
    t->result = (rc){e.code};
    t->err = e;
    jobs_done_put(t->source->done, &t->job);
}

bool source_take_ends(struct source *s) {
    bool any = false;
    for (struct job *j; (j = jobs_done_take(s->done)) != NULL; any = true) {
        struct task *t = HOLDER_OF(j, struct task, job);
        t->busy = false;
        t->ended(t);
    }
    return any;
}

static bool tasks_busy(const struct source *s) {
    for (int i = 0; i < s->dest_count; i++) {
        const struct dest *d = &s->dest[i];
        if (d->open_task.busy || d->keep_task.busy || d->verify_task.busy || d->ship.task.busy ||
            d->compact.task.busy)
            return true;
    }
    return false;
}

/* ---- life ---- */

static void set_defaults(struct source_options *o) {
    static const int64_t level_ms[4] = {0, 30000, 300000, 3600000};
    if (!o->interval_ms) o->interval_ms = 1000;
    if (!o->checkpoint_pages) o->checkpoint_pages = 1000;
    for (int i = 1; i < 4; i++)
        if (!o->level_ms[i]) o->level_ms[i] = level_ms[i];
    if (!o->snapshot_ms) o->snapshot_ms = 86400000;
    if (!o->retention.level0_ms) o->retention.level0_ms = 300000;
    if (!o->retention.snapshot_ms) o->retention.snapshot_ms = 86400000;
    if (!o->verify_ms) o->verify_ms = 86400000;
    if (!o->start_ms) o->start_ms = 10000;
}

static int64_t mtime_of(struct env *env, const char *path) {
    struct file_stat st;
    return is_ok(env->files->stat(env, path, &st, NULL)) ? st.mtime_ms : 0;
}

static rc begin(struct source *s, const char *path, struct err *e) {
    char wal[LIMIT_PATH];
    snprintf(wal, sizeof wal, "%.*s-wal", LIMIT_PATH - 8, path);
    s->start.db_mtime_ms = mtime_of(s->env, path);
    s->start.wal_mtime_ms = mtime_of(s->env, wal);
    s->done = jobs_done_new(s->opt.wake, s->opt.wake_arg);
    if (!s->done) return err_set(e, RC_NOMEM, "no memory");
    s->env->random(s->env, &s->nonce, sizeof s->nonce);
    if (!s->nonce) s->nonce = 1;
    TRY(live_open(&s->live, s->env, path, !s->opt.observe, e));
    TRY(run_file_open(&s->run, s->env, s->live.path, s->opt.observe, e));
    s->page = malloc(s->live.page_size);
    if (!s->page) return err_set(e, RC_NOMEM, "no memory");
    s->hold = (struct hold){.live = &s->live, .capture = source_capture, .arg = s};
    TRY(source_take_start(s, e));
    s->started = s->last_change = s->last_look = s->last_sign = mono(s);
    s->next_safety = s->started + SAFETY_NS;
    s->relook = LOOK_FIRST_NS;
    return ok();
}

rc source_open(struct source **out, struct env *env, const char *path,
               const struct source_options *options, struct err *e) {
    struct source *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "no memory");
    s->env = env;
    if (options) s->opt = *options;
    set_defaults(&s->opt);
    rc r = begin(s, path, e);
    if (is_ok(r)) *out = s;
    else source_free(s);
    return r;
}

rc source_add(struct source *s, struct store *store, struct err *e) {
    if (s->dest_count == MAX_DESTS) {
        store_free(store);
        return err_set(e, RC_USAGE, "more than %d destinations", MAX_DESTS);
    }
    for (int i = 0; i < s->dest_count; i++) {
        if (strcmp(s->dest[i].store->url, store->url) != 0) continue;
        rc r = err_set(e, RC_USAGE, "%s: the same destination twice", store->url);
        store_free(store);
        return r;
    }
    struct dest *d = &s->dest[s->dest_count++];
    *d = (struct dest){.source = s, .store = store, .state = DEST_CLOSED};
    d->open_task.source = d->keep_task.source = d->verify_task.source = s;
    d->ship.dest = d->compact.dest = d;
    d->ship.task.source = d->compact.task.source = s;
    int known = run_record_find(&s->run.found, store->url);
    if (known >= 0) d->known_tail = s->run.found.dest[known].tail;
    return ok();
}

void source_older(struct source *s, int i, uint64_t txid) {
    s->dest[i].older_txid = txid;
}

void source_free(struct source *s) {
    if (!s) return;
    if (s->opt.barrier) barrier_leave(s->opt.barrier);
    s->draining = true;
    while (tasks_busy(s)) {
        if (!source_take_ends(s)) s->env->sleep_ns(s->env, 1000000);
    }
    for (int i = 0; i < s->dest_count; i++) dest_deinit(&s->dest[i]);
    if (s->done) jobs_done_free(s->done);
    run_file_close(&s->run);
    live_close(&s->live);
    bitmap_deinit(&s->touched);
    free(s->start.frames);
    free(s->page);
    free(s);
}

rc source_write_run_file(struct source *s, struct err *e) {
    struct run_record r = {.nonce = s->nonce, .at = s->pos, .dest_count = s->dest_count};
    struct cut cut = source_cut(s);
    rc result = source_read(s, &cut, 1, s->page, e);
    r.change_counter = get_u32be(s->page + 24);
    for (int i = 0; i < s->dest_count && is_ok(result); i++) {
        struct dest *d = &s->dest[i];
        r.dest[i].id = run_dest_id(d->store->url);
        r.dest[i].tail = d->known_tail;
        r.dest[i].full = d->full || d->state < DEST_CLASSED || d->state == DEST_REFUSED ||
                         (d->ship.active && d->ship.all_pages);
        result = dest_unacked(d, &r.dest[i].unacked, e);
    }
    if (is_ok(result)) {
        result = run_file_write(&s->run, &r, e);
        if (!is_ok(result)) { /* a hint: without it a crash costs a full upload, no data */
            EVENT(s, "run_file.failed", "err", e->text);
            result = ok();
        }
    }
    run_record_deinit(&r);
    return result;
}

/* ---- the step ---- */

static rc look(struct source *s, int64_t now, bool changed, struct err *e) {
    struct walindex_header before = s->pos;
    rc r = source_capture(s, e);
    if (r.code == RC_RETRY || r.code == RC_BUSY) return ok();
    TRY(r);
    if (s->opt.barrier) barrier_look(s->opt.barrier, s);
    if (changed) {
        s->relook = LOOK_FIRST_NS;
        s->last_sign = now;
    }
    if (!walindex_header_same(&before, &s->pos)) {
        s->last_change = s->last_sign = now;
        if (s->relook < BUSY_LOOK_NS) s->relook = BUSY_LOOK_NS;
    }
    if (now > s->last_look) {
        double rate = (double)(s->stats.frames_captured - s->frames_at_last_look) /
                      (double)(now - s->last_look);
        s->frames_at_last_look = s->stats.frames_captured;
        s->frames_per_ns = rate > s->frames_per_ns ? rate : (rate + s->frames_per_ns) / 2;
    }
    s->last_look = now;
    return ok();
}

/* When to look at the header again without being told. A write is seen before its header is
 * published, and after an fsync in between that can be long; the writes of the next commit may have
 * been seen together with the header of this one. So it goes on for a while after the last sign of
 * life, whatever that was. */
static void schedule_look(struct source *s, int64_t now, bool changed, int64_t *due) {
    due_at(due, s->next_safety);
    if (now - s->last_change < BUSY_NS) {
        int64_t next = BUSY_LOOK_NS;
        if (s->frames_per_ns > 0 && s->pos.frame_count < s->opt.checkpoint_pages) {
            double ns = (double)(s->opt.checkpoint_pages - s->pos.frame_count) / s->frames_per_ns;
            if (ns < (double)next) next = ns < 200000 ? 200000 : (int64_t)ns;
        }
        due_at(due, now + next);
    }
    if (now - s->last_sign < SAFETY_NS) {
        if (!changed) s->relook += s->relook / 2;
        int64_t most = now - s->last_sign < FAST_NS ? LOOK_FAST_NS : LOOK_SLOW_NS;
        if (s->relook > most) s->relook = most;
        due_at(due, now + s->relook);
    }
}

/* How long the hold stands still for a destination that does not answer. An application's own
 * checkpoint waits for it. */
static int64_t evidence_ns(const struct source *s) {
    uint64_t bytes = (uint64_t)s->start.header.page_count * s->live.page_size;
    return bytes <= EVIDENCE_SMALL ? EVIDENCE_SMALL_NS : EVIDENCE_NS;
}

static bool evidence_needed(struct source *s, int64_t now, int64_t *due) {
    bool open = false;
    for (int i = 0; i < s->dest_count; i++)
        if (s->dest[i].state < DEST_CLASSED) open = true;
    if (open && now - s->started < evidence_ns(s)) {
        due_at(due, s->started + evidence_ns(s));
        return true;
    }
    return open;
}

static rc move_hold(struct source *s, int64_t now, int64_t *due, struct err *e) {
    if (evidence_needed(s, now, due)) {
        if (now - s->started < evidence_ns(s)) return ok();
        TRY(source_sum_start(s, e)); /* silent for long: keep the sum, not the log, and go on */
    }
    if (!is_due(now, s->move_after, due)) return ok();
    rc r = source_move(s, now, due, e);
    int64_t pause = LOOK_FAST_NS;
    if (r.code == RC_FULL || r.code == RC_IO) { /* the hold stands, the log grows: that can wait */
        pause = MOVE_PAUSE_NS;
        EVENT(s, "checkpoint.retry", "db", s->live.path, "in_ms", "1000", "err", e->text);
    } else if (r.code != RC_BUSY && r.code != RC_RETRY) {
        return r;
    }
    s->move_after = now + pause;
    due_at(due, s->move_after);
    return ok();
}

static bool full_waits(const struct source *s) {
    for (int i = 0; i < s->dest_count; i++)
        if (s->dest[i].state == DEST_READY && s->dest[i].full) return true;
    return false;
}

static rc scrub(struct source *s, int64_t now, int64_t *due, struct err *e) {
    if (s->summed_below > s->pos.page_count) {
        s->summed_below = UINT32_MAX;
        return ok();
    }
    if (!s->moved && evidence_needed(s, now, due) && !full_waits(s)) return ok();
    due_at(due, now + SCRUB_PAUSE_NS);
    return source_scrub(s, SCRUB_PAGES, e);
}

static rc safety(struct source *s, int64_t now, bool changed, struct err *e) {
    if (!changed && now < s->next_safety) return ok();
    s->next_safety = now + SAFETY_NS;
    if (!live_has_moved(&s->live)) return ok();
    if (s->opt.barrier) barrier_leave(s->opt.barrier); /* it may be the new one that they mean */
    return err_set(e, RC_NOTFOUND, "%s: the database was replaced or deleted", s->live.path);
}

/* One that refuses stops all: before any of the others is stepped. */
static rc refusal(struct source *s, struct err *e) {
    for (int i = 0; i < s->dest_count; i++) {
        if (s->dest[i].state != DEST_REFUSED) continue;
        *e = s->dest[i].refusal;
        return (rc){e->code};
    }
    return ok();
}

/* All have been classed, for good: the log of the start has told what it could. */
static void forget_start(struct source *s) {
    for (int i = 0; i < s->dest_count; i++)
        if (s->dest[i].state != DEST_READY) return;
    free(s->start.frames);
    s->start.frames = NULL;
}

rc source_step(struct source *s, int64_t now, bool changed, int64_t *due_ns, struct err *e) {
    int64_t due = INT64_MAX;
    if (source_take_ends(s)) due_at(&due, now);
    bool asked = s->opt.barrier && barrier_take(s->opt.barrier, s);
    if (!s->looked_last) TRY(look(s, now, changed, e));
    s->looked_last = s->draining; /* what is committed from now on is the next run's */
    TRY(refusal(s, e));
    for (int i = 0; i < s->dest_count; i++) TRY(dest_step(&s->dest[i], now, &due, e));
    forget_start(s);
    TRY(refusal(s, e)); /* the log and the run file stay as they are, for the next start */
    if (!s->draining) TRY(move_hold(s, now, &due, e));
    TRY(scrub(s, now, &due, e));
    /* Whoever waits may have committed to another file than the one that is held. */
    TRY(safety(s, now, changed || asked, e));
    schedule_look(s, now, changed, &due);
    if (s->opt.barrier) barrier_settle(s->opt.barrier, s, now, &due);
    *due_ns = due;
    return ok();
}

void source_drain(struct source *s) {
    s->draining = true;
    s->looked_last = false;
}

void source_abandon(struct source *s) {
    for (int i = 0; i < s->dest_count; i++) atomic_store(&s->dest[i].store->abandoned, true);
}

bool source_dest(const struct source *s, int i, struct source_dest *out) {
    static const char *const states[] = {"closed",  "opening", "known",  "classed",
                                         "fencing", "ready",   "refused"};
    if (i < 0 || i >= s->dest_count) return false;
    const struct dest *d = &s->dest[i];
    bool known = d->state == DEST_READY;
    *out = (struct source_dest){
        .store = d->store,
        .state = states[d->state],
        .ready = known,
        .complete = dest_is_complete(d),
        .failing = d->attempts > 0 || d->ship.attempts > 0,
        .txid = known ? d->txid : 0,
        .lacks_pages = d->pending.count + d->ship.pages.count + s->touched.count,
        .lacks_all = d->full || (d->ship.active && d->ship.all_pages) || d->state < DEST_CLASSED,
        .error = d->state == DEST_REFUSED ? d->refusal.text : d->trouble,
    };
    return true;
}

void source_position(const struct source *s, struct position *out) {
    *out = position_of(s->pos.frame_count, s->pos.salt);
}

int source_left(const struct source *s, char *words, size_t size) {
    int left = 0;
    size_t at = 0;
    if (size) words[0] = 0;
    struct source_dest known;
    for (int i = 0; source_dest(s, i, &known); i++) {
        const struct dest *d = &s->dest[i];
        if (known.complete) continue;
        left++;
        char pages[32] = "all of it";
        if (!d->full && d->state >= DEST_CLASSED)
            snprintf(pages, sizeof pages, "%u pages",
                     d->pending.count + d->ship.pages.count + s->touched.count);
        int n = snprintf(words + at, size - at, "%s%s (%s%s%.300s)", left > 1 ? ", " : "",
                         d->store->url, pages, known.error[0] ? "; " : "", known.error);
        if (n > 0 && (size_t)n < size - at) at += (size_t)n;
    }
    return left;
}

void source_old_files(const struct source *s, struct old_files *out) {
    const struct live *l = &s->live;
    *out = (struct old_files){
        .db = {.device = l->device, .inode = l->inode, .birth_ns = s->run.birth_ns}};
    memcpy(out->path, l->path, sizeof out->path);
    memcpy(out->wal_path, l->wal_path, sizeof out->wal_path);
    if (!is_ok(s->env->files->stat(s->env, l->wal_path, &out->wal, NULL)) ||
        out->wal.inode != l->wal_inode || !out->wal.birth_ns)
        out->wal.inode = 0;
}

int source_watch_paths(struct source *s, const char *paths[2]) {
    paths[0] = s->live.wal_path;
    paths[1] = s->live.path;
    s->next_safety = 0; /* are these still the files that are open? */
    return 2;
}

void source_stats(const struct source *s, struct source_stats *out) {
    *out = s->stats;
}
bool source_switched_mode(const struct source *s) {
    return s->live.switched;
}
