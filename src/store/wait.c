/* Waiting until a commit is safe elsewhere: the public side of source/barrier.h.
 *
 * Invariants
 *  1. A wait whose memory is on a stack is taken out of the barrier, or was told, before the
 *     function returns.
 *  2. `done` of an asynchronous wait is called once; if the function returned an error, never.
 *  3. Nobody waits inside of a transaction of the same store: its own commit is what would be
 *     waited for.
 */
#include "store/application.h"
#include "store/replicate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 30000
#define GRACE_NS 50000000 /* the source's thread is the one to say why it is late */
#define DAY_NS 86400000000000

_Static_assert(sizeof(struct hf_place) == sizeof(struct position),
               "a place is a position that nobody looks into");

/* The source's thread may be in the hands of a slow disk, so the one that waits has the deadline in
 * its own hands, too. */
struct sleeper {
    struct env *env;
    pthread_mutex_t lock;
    pthread_cond_t told;
    /* guarded by lock */
    bool is_told;
    rc result;
    struct err err;
};

static void wake_sleeper(struct wait *w, rc result, const struct err *why) {
    struct sleeper *s = w->arg;
    pthread_mutex_lock(&s->lock);
    if (why) s->err = *why;
    s->result = result;
    s->is_told = true;
    pthread_cond_signal(&s->told);
    pthread_mutex_unlock(&s->lock);
}

static void sleep_locked(struct sleeper *s, int64_t ns) {
    struct env *real = store_env(); /* the other one's clock may stand still */
    int64_t at = real->mono_ns(real) + ns;
    struct timespec t = {at / 1000000000, at % 1000000000};
    pthread_cond_timedwait(&s->told, &s->lock, &t);
}

/* False: not within that time of the source's clock. */
static bool sleep_until(struct sleeper *s, int64_t deadline_ns) {
    pthread_mutex_lock(&s->lock);
    while (!s->is_told) {
        int64_t left = deadline_ns - s->env->mono_ns(s->env);
        if (left <= 0) break;
        sleep_locked(s, left < DAY_NS ? left : DAY_NS);
    }
    bool told = s->is_told;
    pthread_mutex_unlock(&s->lock);
    return told;
}

static void sleeper_init(struct sleeper *s, struct env *env) {
    pthread_condattr_t monotonic;
    *s = (struct sleeper){.env = env, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->told, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static rc wait_here(struct hf_source *r, struct wait *w, struct err *e) {
    struct sleeper s;
    sleeper_init(&s, r->loop.env);
    w->ended = wake_sleeper;
    w->arg = &s;
    int64_t patience =
        w->deadline_ns < INT64_MAX - GRACE_NS ? w->deadline_ns + GRACE_NS : INT64_MAX;
    barrier_add(r->barrier, w);
    if (!sleep_until(&s, patience)) {
        if (barrier_remove(r->barrier, w))
            s.result = err_set(&s.err, RC_TIMEOUT,
                               "not known to be safe in time: the replication of %s did not get to"
                               " it",
                               r->path);
        else sleep_until(&s, INT64_MAX); /* it is being told at this moment */
    }
    pthread_cond_destroy(&s.told);
    pthread_mutex_destroy(&s.lock);
    if (!is_ok(s.result)) *e = s.err;
    return s.result;
}

/* ---- options and places ---- */

static rc take_wait(struct hf_source *r, const hf_place *place, const hf_wait_options *given,
                    hf_wait_options *o, struct wait *w, struct err *e) {
    if (!r) return err_set(e, RC_USAGE, "nothing is replicated: begin with hf_store_replicate");
    TRY(fork_check(r->generation, r->path, e));
    TRY(take_options(given, o, sizeof *o, "hf_wait_options", e));
    int64_t ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
    int64_t now = r->loop.env->mono_ns(r->loop.env);
    bool ever = ms < 0 || ms > (INT64_MAX - now) / 1000000;
    *w = (struct wait){.flush = o->flush != 0,
                       .destination = o->destination,
                       .deadline_ns = ever ? INT64_MAX : now + ms * 1000000};
    if (place) memcpy(&w->at, place, sizeof w->at);
    if (w->at.kind > POSITION_NOTHING)
        return err_set(e, RC_USAGE, "this is no place that hf_position gave");
    return ok();
}

static rc wait_on(struct hf_source *r, const hf_place *place, const hf_wait_options *given,
                  struct err *e) {
    hf_wait_options o;
    struct wait w;
    TRY(take_wait(r, place, given, &o, &w, e));
    if (runner_is_this_thread(r))
        return err_set(e, RC_USAGE, "called by a callback of the replication, which must not wait");
    runner_retain(r); /* its owner may end the run meanwhile */
    rc result = wait_here(r, &w, e);
    runner_release(r);
    return result;
}

/* ---- asynchronously ---- */

/* An asynchronous wait that is just being added by this thread: the run may have ended, and then it
 * is the function that says so. NULL: it has. */
static _Thread_local const struct async *adding;

struct async {
    struct wait wait;
    hf_done *done;
    void *arg;
    struct err refused;
    char destination[];
};

static void async_ended(struct wait *w, rc result, const struct err *why) {
    struct async *a = w->arg;
    if (adding == a) {
        adding = NULL;
        a->refused = *why;
        return;
    }
    a->done(a->arg, (int)result.code, why ? why->text : "");
    free(a);
}

static rc begin_async(struct hf_source *r, const hf_place *place, const hf_wait_options *given,
                      hf_done *told, void *arg, struct err *e) {
    hf_wait_options o;
    struct wait w;
    if (!told) return err_set(e, RC_USAGE, "no function to call was given");
    TRY(take_wait(r, place, given, &o, &w, e));
    size_t n = o.destination ? strlen(o.destination) + 1 : 0;
    struct async *a = malloc(sizeof *a + n);
    if (!a) return err_set(e, RC_NOMEM, "no memory");
    *a = (struct async){.wait = w, .done = told, .arg = arg};
    if (n) memcpy(a->destination, o.destination, n);
    a->wait.destination = n ? a->destination : NULL;
    a->wait.ended = async_ended;
    a->wait.arg = a;
    adding = a;
    runner_retain(r); /* the barrier wakes its thread after the wait is in it */
    barrier_add(r->barrier, &a->wait);
    runner_release(r);
    bool refused = !adding;
    adding = NULL;
    if (!refused) return ok();
    *e = a->refused;
    free(a);
    return (rc){e->code};
}

/* ---- public ---- */

static rc source_of_store(hf_store *s, struct hf_source **out, struct err *e) {
    TRY(store_check(s, "the store", e));
    if (store_in_transaction(s))
        return err_set(e, RC_USAGE,
                       "waiting inside of a transaction of %s: what it commits would be waited for"
                       " before it is committed; end it first",
                       hf_store_path(s));
    *out = store_source(s);
    return ok();
}

int hf_wait(hf_store *s, const hf_place *place, const hf_wait_options *o) {
    struct err e;
    struct hf_source *source = NULL;
    rc r = source_of_store(s, &source, &e);
    if (is_ok(r)) r = wait_on(source, place, o, &e);
    return done(r, &e);
}

int hf_wait_async(hf_store *s, const hf_place *place, const hf_wait_options *o, hf_done *told,
                  void *arg) {
    struct err e;
    struct hf_source *source = NULL;
    rc r = source_of_store(s, &source, &e);
    if (is_ok(r)) r = begin_async(source, place, o, told, arg, &e);
    return done(r, &e);
}

int hf_source_wait(hf_source *r, const hf_place *place, const hf_wait_options *o) {
    struct err e;
    return done(wait_on(r, place, o, &e), &e);
}

int hf_source_wait_async(hf_source *r, const hf_place *place, const hf_wait_options *o,
                         hf_done *told, void *arg) {
    struct err e;
    return done(begin_async(r, place, o, told, arg, &e), &e);
}

int hf_position_of(sqlite3 *db, hf_place *out) {
    struct err e;
    struct position p;
    rc r = out ? application_position(db, &p, &e)
               : err_set(&e, RC_USAGE, "hf_position_of: the place is NULL");
    if (is_ok(r)) memcpy(out, &p, sizeof p);
    return done(r, &e);
}
