/* The thread around a source: see the header.
 *
 * It waits in one place, for the files to change, for a job to end, for somebody who waits, for a
 * commit of the store, or for the time at which the source wants to be stepped.
 *
 * Why a commit of the store wakes it only while it sleeps: to wake is a system call, and a busy
 * writer would pay it for each commit. While the thread is awake it looks at the log anyway, every
 * few milliseconds; before a longer sleep it raises `asleep`. A commit between its last look and
 * that flag is seen by inotify, which is armed first.
 *
 * Invariants
 *  1. The start is told once: by the first of a good one, an error, the end.
 *  2. When the thread has ended, the barrier is stopped: nobody waits for ever.
 *  3. The last share frees, and by then the thread has ended.
 */
#include "store/runner.h"

#include "store/clock.h"
#include "store/fake.h"
#include "store/internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define QUIET_WAIT_NS 6000000 /* a wait longer than this is worth a watch */
#define NEVER INT64_MAX
#define GONE_LOOK_NS 200000000
#define MAKING_NS 5000000000
#define DRAIN_LOOK_NS 20000000
#define REPLACED_DRAIN_NS 2000000000

const struct runner_server *runner_server;

/* ---- life ---- */

rc runner_new(struct env *env, const char *path, const char *const *urls,
              const struct runner_options *o, struct hf_source **out, struct err *e) {
    struct hf_source *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, RC_NOMEM, "no memory");
    r->env = env;
    r->clock = o->clock;
    r->options = o->source;
    r->start_ns = o->start_ms * 1000000;
    r->drain_ns = o->drain_ms * 1000000;
    r->replaceable = o->replaceable;
    memcpy(r->older, o->older, sizeof r->older);
    r->serve = o->serve;
    r->told_end = o->ended;
    r->told_arg = o->ended_arg;
    r->generation = fork_generation();
    r->shares = 1;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->start_known, NULL);
    snprintf(r->path, sizeof r->path, "%s", path);
    rc result = watch_new(&r->watch, e);
    for (; is_ok(result) && urls[r->url_count]; r->url_count++) {
        if (r->url_count == RUNNER_URLS)
            result = err_set(e, RC_USAGE, "more than %d destinations", RUNNER_URLS);
        else if (!(r->urls[r->url_count] = strdup(urls[r->url_count])))
            result = err_set(e, RC_NOMEM, "no memory");
        if (!is_ok(result)) break;
    }
    if (is_ok(result)) result = barrier_new(env, runner_wake, r, &r->barrier, e);
    if (!is_ok(result)) {
        runner_release(r);
        return result;
    }
    r->options.barrier = r->barrier;
    r->options.wake = runner_wake;
    r->options.wake_arg = r;
    *out = r;
    return ok();
}

static void stop_barrier(struct hf_source *r, const struct err *why) {
    struct err ended = *why;
    if (!why->code) err_fill(&ended, RC_CANCELLED, "the replication of %s has ended", r->path);
    if (r->barrier) barrier_stop(r->barrier, &ended);
}

void runner_retain(struct hf_source *r) {
    atomic_fetch_add(&r->shares, 1);
}

void runner_release(struct hf_source *r) {
    if (!r || atomic_fetch_sub(&r->shares, 1) > 1) return;
    stop_barrier(r, &r->end);
    barrier_free(r->barrier);
    watch_free(r->watch);
    for (int i = 0; i < r->url_count; i++) free(r->urls[i]);
    clock_leave(r->clock, r);
    pthread_cond_destroy(&r->start_known);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void runner_wake(void *arg) {
    struct hf_source *r = arg;
    watch_wake(r->watch);
}

void runner_saw_commit(void *arg) {
    struct hf_source *r = arg;
    if (atomic_load_explicit(&r->asleep, memory_order_relaxed) &&
        atomic_exchange(&r->asleep, false))
        watch_wake(r->watch);
}

static void tell_start(struct hf_source *r, const struct err *why) {
    pthread_mutex_lock(&r->lock);
    if (!r->started) r->start = *why;
    r->started = true;
    pthread_cond_signal(&r->start_known);
    pthread_mutex_unlock(&r->lock);
}

/* ---- the loop ---- */

static void event(struct hf_source *r, const char *name, const char *const *pairs, int count) {
    if (r->options.event) r->options.event(r->options.event_arg, name, pairs, count);
}

static int64_t now_ns(struct hf_source *r) {
    return r->env->mono_ns(r->env);
}

static void close_source(struct hf_source *r) {
    source_free(r->source);
    r->source = NULL;
}

static rc open_source(struct hf_source *r, struct err *e) {
    struct file_stat st;
    close_source(r);
    TRY(source_open(&r->source, r->env, r->path, &r->options, e));
    for (int i = 0; i < r->url_count; i++) {
        struct store *store = NULL;
        TRY(destination_open(r->env, r->urls[i], &store, e));
        TRY(source_add(r->source, store, e));
        source_older(r->source, i, r->older[i]);
    }
    TRY(r->env->files->stat(r->env, r->path, &st, e));
    r->device = st.device;
    r->inode = st.inode;
    r->begun_ns = now_ns(r);
    r->changed = r->armed = false;
    if (r->server) TRY(runner_server->database(r->server, e));
    if (source_switched_mode(r->source))
        event(r, "database.switched_to_wal", (const char *const[]){"db", r->path}, 2);
    event(r, "start", (const char *const[]){"db", r->path, "version", HOLDFAST_VERSION}, 4);
    return ok();
}

static void wait_until(struct hf_source *r, int64_t due) {
    bool changed;
    watch_wait(r->watch, clock_wait_ns(r->clock, due, now_ns(r)), &changed);
    r->changed |= changed;
    if (changed) r->armed = false;
}

/* One step and one wait. */
static rc turn(struct hf_source *r, int64_t until, struct err *e) {
    int64_t due, now = now_ns(r);
    bool changed = r->changed;
    r->changed = false;
    TRY(source_step(r->source, now, changed, &due, e));
    if (due > until) due = until;
    if (due - now_ns(r) > QUIET_WAIT_NS && !(r->armed && atomic_load(&r->asleep))) {
        const char *paths[2];
        watch_arm(r->watch, paths, source_watch_paths(r->source, paths));
        r->armed = true;
        r->asleep = true;
        return ok(); /* look once more before the first wait: it may have changed in between */
    }
    wait_until(r, due);
    return ok();
}

/* Whether each destination is ours, and the words for those that are not yet. */
static bool all_ready(const struct hf_source *r, char words[ERR_TEXT_MAX]) {
    struct source_dest d;
    size_t at = 0;
    words[0] = 0;
    for (int i = 0; source_dest(r->source, i, &d); i++) {
        if (d.ready) continue;
        int n = snprintf(words + at, ERR_TEXT_MAX - at, "%s%s (%.300s)", at ? ", " : "",
                         d.store->url, d.error[0] ? d.error : "no answer");
        if (n > 0 && (size_t)n < ERR_TEXT_MAX - at) at += (size_t)n;
    }
    return at == 0;
}

static void see_start(struct hf_source *r) {
    char words[ERR_TEXT_MAX];
    static const struct err good;
    bool ready = all_ready(r, words);
    if (!ready && now_ns(r) - r->begun_ns < r->start_ns) return;
    if (!ready) event(r, "start.not_all_ready", (const char *const[]){"left", words}, 2);
    tell_start(r, &good);
}

static rc run(struct hf_source *r, struct err *e) {
    while (!r->stopping) {
        TRY(turn(r, r->started ? NEVER : r->begun_ns + r->start_ns, e));
        if (!r->started) see_start(r);
    }
    return ok();
}

/* Ship what is left; in the end `left` says what it was. A clock that stands still is moved: its
 * owner waits for us. */
static rc drain(struct hf_source *r, int64_t patience_ns, char left[ERR_TEXT_MAX], struct err *e) {
    int64_t until = now_ns(r) + patience_ns;
    source_drain(r->source);
    rc result = ok();
    for (;;) {
        result = turn(r, now_ns(r), e);
        int count = source_left(r->source, left, ERR_TEXT_MAX);
        int64_t now = now_ns(r);
        if (!is_ok(result) || count == 0 || now >= until) break;
        if (!clock_pass(r->clock, DRAIN_LOOK_NS))
            wait_until(r, until - now < DRAIN_LOOK_NS ? until : now + DRAIN_LOOK_NS);
    }
    if (left[0]) event(r, "stop.not_all_shipped", (const char *const[]){"left", left}, 2);
    return result;
}

static void idle(struct hf_source *r) {
    int64_t now = now_ns(r), due = now + GONE_LOOK_NS;
    barrier_idle(r->barrier, now, &due);
    wait_until(r, due);
}

/* Until there is a database, and open it. Whoever makes the new one may still be at it: in rollback
 * mode, locked, or half copied. */
static rc await_database(struct hf_source *r, struct err *e) {
    const char *why, *told = NULL;
    while (!r->stopping && (why = source_absence(r->env, r->path, &r->old)) != NULL) {
        if (why != told)
            event(r, why, (const char *const[]){"db", r->path, "log", r->old.wal_path},
                  strcmp(why, "database.gone") == 0 ? 2 : 4);
        told = why;
        idle(r);
    }
    int64_t until = now_ns(r) + MAKING_NS;
    rc result = r->stopping ? ok() : open_source(r, e);
    while (!is_ok(result) && !r->stopping && now_ns(r) < until) {
        if (result.code != RC_BUSY && result.code != RC_CORRUPT && result.code != RC_NOTFOUND)
            break;
        idle(r);
        result = open_source(r, e);
    }
    return r->stopping ? ok() : result;
}

/* The file is gone or another. An application of its own connections may have meant that; under an
 * open store it is an accident. */
static rc begin_again(struct hf_source *r, struct err *e) {
    char left[ERR_TEXT_MAX];
    struct err ignored;
    event(r, "database.replaced", (const char *const[]){"db", r->path}, 2);
    if (!is_ok(drain(r, REPLACED_DRAIN_NS, left, &ignored))) { /* as far as it went */
    }
    source_old_files(r->source, &r->old);
    close_source(r);
    if (!r->replaceable)
        return err_set(e, RC_CANCELLED,
                       "%s was replaced or deleted under the open store: close the store and open"
                       " it anew",
                       r->path);
    r->options.take_over = r->options.adopt_local = false; /* said of the old one */
    memset(r->older, 0, sizeof r->older);
    return await_database(r, e);
}

static rc serve(struct hf_source *r, struct err *e) {
    if (!r->serve) return ok();
    if (!runner_server)
        return err_set(e, RC_UNFIT,
                       "this library was built without the socket for other processes");
    return runner_server->start(r->env, r->barrier, r->path, &r->server, e);
}

static rc keep_going(struct hf_source *r, struct err *e) {
    TRY(serve(r, e));
    rc result = open_source(r, e);
    while (is_ok(result) && !r->stopping) {
        result = r->source ? run(r, e) : await_database(r, e);
        if (result.code == RC_NOTFOUND && r->source) result = begin_again(r, e);
    }
    return result;
}

static rc ship_the_rest(struct hf_source *r, struct err *e) {
    char left[ERR_TEXT_MAX] = "";
    if (!r->source) return ok();
    TRY(drain(r, r->drain_ns, left, e));
    if (!left[0]) return ok();
    source_abandon(r->source); /* the patience is over for what hangs, too */
    return err_set(e, RC_TIMEOUT,
                   "%s was closed, and not all of it was shipped within %g s: %.700s", r->path,
                   (double)r->drain_ns / 1e9, left);
}

static _Thread_local const struct hf_source *of_this_thread;

bool runner_is_this_thread(const struct hf_source *r) {
    return of_this_thread == r;
}

static void *live(void *arg) {
    struct hf_source *r = arg;
    struct err why = {0};
    of_this_thread = r;
    prctl(PR_SET_TIMERSLACK, 1000UL);
    pthread_setname_np(pthread_self(), "holdfast");
    rc result = keep_going(r, &why);
    bool ended = !is_ok(result);
    if (!ended) result = ship_the_rest(r, &why);
    if (!is_ok(result)) r->end = why;
    r->ended = true;
    if (ended && r->started)
        event(r, "replication.ended",
              (const char *const[]){"db", r->path, "code", rc_name(why.code), "err", why.text}, 6);
    stop_barrier(r, &r->end);
    if (r->server) runner_server->stop(r->server);
    close_source(r);
    if (r->told_end) r->told_end(r->told_arg);
    tell_start(r, &r->end);
    return NULL;
}

/* ---- the owner ---- */

rc runner_start(struct hf_source *r, struct err *e) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the application's threads */
    int errnum = pthread_create(&r->thread, NULL, live, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errnum) return err_errno(e, errnum, "cannot start a thread");
    r->has_thread = true;
    clock_join(r->clock, r);
    pthread_mutex_lock(&r->lock);
    while (!r->started) pthread_cond_wait(&r->start_known, &r->lock);
    struct err start = r->start;
    pthread_mutex_unlock(&r->lock);
    if (!start.code) return ok();
    pthread_join(r->thread, NULL);
    r->has_thread = false;
    *e = start;
    return (rc){start.code};
}

rc runner_stop(struct hf_source *r, struct err *e) {
    if (!r->has_thread) return ok();
    r->stopping = true;
    runner_wake(r);
    pthread_join(r->thread, NULL);
    r->has_thread = false;
    if (r->end.code) *e = r->end;
    return (rc){r->end.code};
}
