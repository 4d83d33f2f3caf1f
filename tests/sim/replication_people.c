/* Sources in their processes; whether a refusal was right; and the people who do what it says.
 *
 * A person knows no more than the refusal tells, but for one thing: whether the database goes on
 * from what the stores hold, which a person would know, too. Who adopts a database against its
 * replica is allowed to turn the history; the replica's state must be pinned then.
 */
#include "replication_hosts.h"

#include "store/fast_forward.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct waiter *waiters;

/* ---- sources ---- */

static void on_event(void *arg, const char *name, const char *const *pairs, int n) {
    struct run *r = arg;
    for (int i = 0; i < n; i++)
        if (strstr(pairs[i], SECRET)) violated("I14 no secret", "%s: %s", name, pairs[i]);
    const char *last = n ? pairs[n - 1] : "";
    trace("  %s: %s %s", r->host->m.name, name, last);
    if (strcmp(name, "verify") == 0) count.verifies++;
    if (strcmp(name, "verify.failed") == 0 && !strstr(last, "injected")) {
        for (int i = 0; i < bucket_count; i++)
            if (buckets[i].damaged_ns || buckets[i].untidy) return;
        violated("I11 fail loud", "verify found what is not there: %s", last);
    }
}

static void observe(struct run *r) {
    struct source_dest d;
    note_cuts(r);
    for (int i = 0; source_dest(r->source, i, &d); i++) {
        struct bucket *b = bucket_of(d.store);
        int64_t wall = r->life->env.unix_ms(&r->life->env);
        if (wall > b->newest_ms) b->newest_ms = wall;
        if (d.txid == r->acked[i] || !d.ready) continue;
        if (d.txid < r->acked[i]) violated("I7 monotone", "%s: TXID %" PRIx64, b->name, d.txid);
        if (!r->acked[i] && d.txid < r->opened_at[i] && !b->damaged_ns)
            violated("I7 monotone", "%s: a run begins at TXID %" PRIx64 " of %" PRIx64, b->name,
                     d.txid, r->opened_at[i]);
        r->acked[i] = d.txid;
        trace("  %s: %s acknowledges %" PRIx64, r->host->m.name, b->name, d.txid);
        oracle_acked(b, d.txid, r->source->nonce);
    }
}

static void on_wake(void *arg) {
    co_wake(((struct run *)arg)->co);
}

static rc run_source(struct run *r, struct err *e) {
    struct source_options options = swarm.options;
    options.take_over = r->host->take_over;
    options.adopt_local = r->host->adopt;
    options.event = on_event;
    options.event_arg = options.wake_arg = r;
    options.wake = on_wake;
    options.barrier = r->barrier;
    TRY(source_open(&r->source, &r->life->env, r->host->m.db, &options, e));
    for (int i = 0; i < bucket_count; i++) {
        r->opened_at[i] = buckets[i].acked;
        TRY(source_add(r->source, bucket_open(&buckets[i], r->life, &r->life->env), e));
    }
    for (;;) {
        int64_t due = INT64_MAX;
        bool changed = r->changed;
        r->changed = false;
        count.steps++;
        rc stepped = source_step(r->source, now_ns, changed, &due, e);
        observe(r);
        TRY(stepped);
        if (r->stop && (now_ns > r->give_up || source_left(r->source, NULL, 0) == 0)) return ok();
        co_wait(due);
    }
}

static void end_waits(struct run *r) {
    struct err why;
    err_fill(&why, RC_CANCELLED, "it has ended");
    barrier_stop(r->barrier, &why);
}

static void run_gone(struct run *r) {
    struct host *h = r->host;
    end_waits(r);
    barrier_free(r->barrier);
    h->run = NULL;
    life_end(r->life);
    free(r);
}

static void judge_verdict(struct run *r);

static void run_main(void *arg) {
    struct run *r = arg;
    r->co = co_current();
    r->verdict = run_source(r, &r->err);
    trace("%s: its source ends: %s", r->host->m.name, is_ok(r->verdict) ? "stopped" : r->err.text);
    r->ending = true;
    end_waits(r);
    if (r->source && chance(500)) source_abandon(r->source);
    source_free(r->source); /* waits for what is under way */
    r->source = NULL;
    judge_verdict(r);
    struct host *h = r->host;
    run_gone(r);
    if (h->wanted) operate_soon(h, between(0, settling ? SECOND : 20 * SECOND));
}

/* At an effect. What was in memory is gone; what it held open the system closes. */
static void run_died(struct life *l) {
    struct run *r = l->arg;
    struct host *h = r->host;
    struct source *s = r->source;
    if (s) {
        while (jobs_done_take(s->done)) {
        }
        for (int i = 0; i < s->dest_count; i++) {
            struct dest *d = &s->dest[i];
            d->open_task.busy = d->keep_task.busy = d->verify_task.busy = false;
            d->ship.task.busy = d->compact.task.busy = false;
        }
        s->opt.barrier = NULL;
        source_free(s);
    }
    run_gone(r);
    if (h->wanted)
        operate_soon(h, between(0, settling ? SECOND : chance(300) ? 10 * MINUTE : 10 * SECOND));
}

static void start_source(struct host *h) {
    struct err e;
    struct run *r = calloc(1, sizeof *r);
    ENSURE(r && !h->run);
    r->host = h;
    r->turns = h->has_turned |= h->turns; /* a run that died at it is gone on with */
    r->began_with = h->state;
    r->life = life_new(&h->m, r, run_died);
    if (!settling && chance(swarm.crashes)) r->life->crash_at = 1 + below(chance(500) ? 20 : 150);
    ENSURE(is_ok(barrier_new(&r->life->env, on_wake, r, &r->barrier, &e)));
    h->run = r;
    count.lives++;
    trace("%s: a source starts%s%s, local state %d", h->m.name, h->adopt ? " -adopt-local" : "",
          h->take_over ? " -take-over" : "", h->state);
    co_start(r->life, run_main, r, now_ns);
}

/* ---- refusals: were they right, and what a person does then ---- */

/* A person turned from the history in which it lies, or from what it goes on from, to an older
 * state: of that it is a descendant, and yet behind. */
static bool was_turned_from(struct bucket *b, int state) {
    for (int i = 0; i < b->turns && state != oracle_newest(b); i++) {
        const struct slot *s = oracle_slot(b, b->turned[i]);
        if (s && (state_descends(state, s->state) || state_descends(s->state, state))) return true;
    }
    return false;
}

/* The newest states are this one's past, or this one: going on loses nothing. */
static bool goes_on(int state) {
    for (int i = 0; i < bucket_count; i++)
        if (!state_descends(state, oracle_newest(&buckets[i])) ||
            was_turned_from(&buckets[i], state))
            return false;
    return true;
}

bool any_damaged(void) {
    for (int i = 0; i < bucket_count; i++)
        if (buckets[i].damaged_ns) return true;
    return false;
}

static void judge_verdict(struct run *r) {
    struct host *h = r->host;
    const char *words = r->err.text;
    if (is_ok(r->verdict)) return;
    count.refusals++;
    h->refused = (int)r->verdict.code;
    switch (r->verdict.code) {
    case RC_FENCED:
        count.fenced++;
        h->out = true;
        for (int i = 0; i < host_count; i++)
            if (&hosts[i] != h && hosts[i].foreign) return;
        if (h->foreign || any_damaged()) return; /* a slot that was lost, and those behind it */
        violated("I15 liveness", "%s was fenced, and by nobody: %s", h->m.name, words);
    case RC_BEHIND:
        if (goes_on(r->began_with) && !swarm.stale && !any_damaged())
            violated("I15 liveness", "%s goes on, and is refused: %s", h->m.name, words);
        return;
    case RC_CONFLICT:
        if (strncmp(words, "GONE", 4) == 0 && !swarm.stale && !any_damaged())
            violated("I15 liveness", "all is there, and %s is refused: %s", h->m.name, words);
        return;
    case RC_CORRUPT:
        if (!swarm.stale && !any_damaged())
            violated("I11 fail loud", "nothing is damaged, and %s says: %s", h->m.name, words);
        return;
    case RC_NOTFOUND:
    case RC_BUSY:
    case RC_RETRY:
    case RC_TIMEOUT: return;
    case RC_FULL:
    case RC_IO:
        if (swarm.faults.files) return;
        /* fall through */
    default: violated("I15 liveness", "%s stops: %s", h->m.name, words);
    }
}

/* A person's command, in a process of its own. */
struct command {
    struct host *host;
    struct life *life;
    bool copy; /* from there, instead of a restore */
    struct host *from;
};

static void command_ends(struct command *c) {
    c->host->busy = false;
    life_end(c->life);
    free(c);
}

static void after_restore(struct host *h, struct bucket *b, uint64_t txid, uint64_t acked_before,
                          bool whole) {
    const struct slot *s = oracle_slot(b, txid);
    if (!s) violated("I2 prefix", "%s: restored TXID %" PRIx64 ", which never was", b->name, txid);
    if (txid < acked_before && !any_damaged() && !swarm.stale)
        violated("I1 acknowledged",
                 "%s: restored TXID %" PRIx64 ", and %" PRIx64 " was acknowledged", b->name, txid,
                 acked_before);
    if (whole) state_check_file(h->m.db, s->state, "I3 byte identity");
    h->state = s->state;
    h->seen_count = 0;
}

/* Bring the database up to the replica: the refusal's own advice. */
static void fast_forward(void *arg) {
    struct command *c = arg;
    struct host *h = c->host;
    struct bucket *b = &buckets[below((uint32_t)bucket_count)];
    struct restore_result result = {0};
    struct err e;
    char saved[LIMIT_PATH];
    bool behind = h->refused == RC_BEHIND;
    uint64_t acked = b->acked;
    app_close(h, chance(500));
    struct store *store = bucket_open(b, c->life, &c->life->env);
    rc r = behind ? fast_forward_database(&c->life->env, store, h->m.db, 1, NULL, &result, &e)
                  : fast_forward_adopt(&c->life->env, store, h->m.db, 1, NULL, &result, saved, &e);
    store_free(store);
    trace("%s: fast-forward from %s: %s", h->m.name, b->name, is_ok(r) ? "done" : e.text);
    if (is_ok(r)) {
        after_restore(h, b, result.txid, acked, result.page_count > 0);
        if (!behind) unlink(saved);
        count.fast_forwards++;
        h->refused = 0;
        h->rolled_back = false;
    } else if (r.code == RC_CONFLICT) { /* it was written to since */
        h->refused = RC_CONFLICT;
    }
    if (access(h->m.db, F_OK) != 0) h->there = false;
    if (h->there) {
        app_open(h);
        note_opened(h);
    }
    operate_soon(h, between(0, 5 * SECOND));
    command_ends(c);
}

/* Another machine gets the database, by a restore or as a copy, and goes on with it. */
static void take_over(void *arg) {
    struct command *c = arg;
    struct host *h = c->host;
    struct bucket *b = &buckets[below((uint32_t)bucket_count)];
    struct restore_result result;
    struct err e;
    app_close(h, true);
    disk_remove(h);
    disk_boots(h);
    h->there = false;
    if (c->copy) {
        struct saved s = {0};
        disk_save(c->from, &s);
        disk_put_back(h, &s, false);
        free(s.bytes[0]);
        free(s.bytes[1]);
    } else {
        uint64_t acked = b->acked;
        struct store *store = bucket_open(b, c->life, &c->life->env);
        rc r =
            replica_restore(store, h->m.db, &(struct restore_options){.parallel = 1}, &result, &e);
        store_free(store);
        trace("%s: restore from %s: %s", h->m.name, b->name, is_ok(r) ? "done" : e.text);
        if (!is_ok(r)) {
            if (r.code == RC_CORRUPT && !swarm.stale && !any_damaged())
                violated("I11 fail loud", "nothing is damaged, and a restore says: %s", e.text);
            command_ends(c);
            return;
        }
        after_restore(h, b, result.txid, acked, true);
    }
    h->there = h->wanted = h->foreign = true;
    app_open(h);
    note_opened(h);
    h->out = h->adopt = h->turns = false;
    h->take_over = true;
    h->refused = 0;
    count.takeovers++;
    operate_soon(h, between(0, 5 * SECOND));
    command_ends(c);
}

static void command_start(struct host *h, void (*what)(void *), struct command proto) {
    struct command *c = malloc(sizeof *c);
    ENSURE(c);
    *c = proto;
    c->host = h;
    c->life = life_new(&h->m, c, NULL);
    h->busy = true;
    co_start(c->life, what, c, now_ns);
}

/* What a person does about a source that does not run. */
static void operate(void *arg) {
    struct host *h = arg;
    if (h->run || h->busy || !h->there || h->out || !h->wanted) return;
    h->turns = h->adopt = false;
    h->take_over = h->foreign;
    switch (h->refused) {
    case RC_BEHIND: command_start(h, fast_forward, (struct command){0}); return;
    case RC_CONFLICT:
        if (!goes_on(h->state) && (h->rolled_back || chance(500))) {
            command_start(h, fast_forward, (struct command){0});
            return;
        }
        h->adopt = h->turns = true;
        break;
    case RC_CORRUPT:
        if (any_damaged()) return; /* a new replica, which is another story */
        break;
    default: break;
    }
    h->refused = 0;
    start_source(h);
}

void operate_soon(struct host *h, int64_t in) {
    at(now_ns + in, operate, h);
}

/* ---- waits ---- */

static void forget(struct waiter *w) {
    struct waiter **at = &waiters;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    free(w);
}

/* It does not lack this state: in its newest, or in a history that a person turned from, pinned. */
static bool holds(struct bucket *b, int state) {
    bool holds = state_descends(oracle_newest(b), state);
    for (int i = 0; i < b->turns; i++) {
        const struct slot *s = oracle_slot(b, b->turned[i]);
        holds |= s && state_descends(s->state, state);
    }
    return holds;
}

static void wait_ended(struct wait *wait, rc r, const struct err *why) {
    struct waiter *w = (struct waiter *)wait;
    int safe = 0;
    (void)why;
    for (int i = 0; i < bucket_count; i++)
        safe += buckets[i].damaged_ns || holds(&buckets[i], w->state);
    trace("%s: the wait for state %d ends: %s", w->host->m.name, w->state, rc_name(r.code));
    if (is_ok(r) && (w->any ? safe == 0 : safe < bucket_count))
        violated("I1 acknowledged", "%s: state %d was said to be safe", w->host->m.name, w->state);
    if (!w->excused && now_ns > wait->deadline_ns + 11 * SECOND)
        violated("I13 bounded", "a wait was told %" PRId64 " ms late",
                 (now_ns - wait->deadline_ns) / MS);
    count.waits_safe += is_ok(r);
    forget(w);
}

void wait_begin(struct host *h) {
    struct waiter *w = calloc(1, sizeof *w);
    struct err e;
    ENSURE(w);
    note_commit(h);
    *w = (struct waiter){.host = h, .state = h->state, .any = chance(300), .next = waiters};
    w->wait = (struct wait){.flush = chance(500),
                            .destination = w->any ? "any" : NULL,
                            .deadline_ns = now_ns + between(SECOND, 2 * MINUTE),
                            .ended = wait_ended};
    if (chance(500) && !is_ok(position_read(h->app, "main", &w->wait.at, &e))) {
        free(w);
        return;
    }
    waiters = w;
    trace("%s: a wait for state %d begins, until %" PRId64, h->m.name, h->state,
          w->wait.deadline_ns / SECOND);
    count.waits++;
    barrier_add(h->run->barrier, &w->wait);
}

void waits_excused(const struct host *h) {
    for (struct waiter *w = waiters; w; w = w->next) w->excused |= w->host == h;
}

void source_kill(struct host *h) {
    if (!h->run) return;
    trace("%s: killed", h->m.name);
    count.crashes++;
    life_end(h->run->life);
    run_died(h->run->life);
}

void source_stop(struct host *h) {
    if (!h->run || h->run->stop) return;
    trace("%s: asked to stop", h->m.name);
    h->run->stop = true;
    h->run->give_up = now_ns + between(0, 30 * SECOND);
    if (h->run->source) source_drain(h->run->source);
    co_wake(h->run->co);
}

void take_over_from(struct host *from) {
    for (int i = 0; i < host_count; i++) {
        struct host *h = &hosts[i];
        if (h == from || h->run || h->busy || h->m.paused || (h->there && !h->out)) continue;
        command_start(h, take_over,
                      (struct command){.copy = from && from->app && chance(300), .from = from});
        return;
    }
}

void waits_forget(void) {
    while (waiters) forget(waiters);
}
