/* The thread around a source: see the header.
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

const struct runner_server *runner_server;

/* ---- life ---- */

static const struct loop_owner owner;

rc runner_new(struct env *env, const char *path, const char *const *urls,
              const struct runner_options *o, struct hf_source **out, struct err *e) {
    struct hf_source *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, RC_NOMEM, "no memory");
    r->start_ns = o->start_ms * 1000000;
    r->drain_ns = o->drain_ms * 1000000;
    r->serve = o->serve;
    r->told_end = o->ended;
    r->told_arg = o->ended_arg;
    r->generation = fork_generation();
    r->shares = 1;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->start_known, NULL);
    snprintf(r->path, sizeof r->path, "%s", path);
    struct loop *l = &r->loop;
    l->owner = &owner;
    l->arg = r;
    l->env = env;
    l->clock = o->clock;
    l->path = r->path;
    l->urls = r->urls;
    memcpy(l->older, o->older, sizeof l->older);
    l->options = o->source;
    l->keep_to_file = o->keep_to_file;
    rc result = watch_new(&l->watch, e);
    for (int i = 0; is_ok(result) && urls[i]; i++, l->url_count++) {
        if (i == RUNNER_URLS)
            result = err_set(e, RC_USAGE, "more than %d destinations", RUNNER_URLS);
        else if (!(r->urls[i] = strdup(urls[i]))) result = err_set(e, RC_NOMEM, "no memory");
        if (!is_ok(result)) break;
    }
    if (is_ok(result)) result = barrier_new(env, runner_wake, r, &r->barrier, e);
    if (!is_ok(result)) {
        runner_release(r);
        return result;
    }
    l->options.barrier = r->barrier;
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
    watch_free(r->loop.watch);
    for (int i = 0; i < r->loop.url_count; i++) free(r->urls[i]);
    clock_leave(r->loop.clock, r);
    pthread_cond_destroy(&r->start_known);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void runner_wake(void *arg) {
    struct hf_source *r = arg;
    watch_wake(r->loop.watch);
}

void runner_saw_commit(void *arg) {
    struct hf_source *r = arg;
    if (atomic_load_explicit(&r->loop.asleep, memory_order_relaxed) &&
        atomic_exchange(&r->loop.asleep, false))
        runner_wake(r);
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
    const struct source_options *o = &r->loop.options;
    if (o->event) o->event(o->event_arg, name, pairs, count);
}

static int64_t now_ns(struct hf_source *r) {
    return r->loop.env->mono_ns(r->loop.env);
}

static rc opened(void *arg, struct err *e) {
    struct hf_source *r = arg;
    struct file_stat st;
    TRY(r->loop.env->files->stat(r->loop.env, r->path, &st, e));
    r->device = st.device;
    r->inode = st.inode;
    r->begun_ns = now_ns(r);
    return r->server ? runner_server->database(r->server, e) : ok();
}

/* Whether each destination is ours, and the words for those that are not yet. */
static bool all_ready(const struct hf_source *r, char words[ERR_TEXT_MAX]) {
    struct source_dest d;
    size_t at = 0;
    words[0] = 0;
    for (int i = 0; source_dest(r->loop.source, i, &d); i++) {
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

static enum loop_order asked(void *arg, int64_t *until) {
    struct hf_source *r = arg;
    if (!r->started && r->loop.source) see_start(r);
    if (!r->started) *until = r->begun_ns + r->start_ns;
    return r->stopping ? LOOP_END : LOOP_GO_ON;
}

static const struct loop_owner owner = {
    .open_store = destination_open, .opened = opened, .asked = asked};

static rc serve(struct hf_source *r, struct err *e) {
    if (!r->serve) return ok();
    if (!runner_server)
        return err_set(e, RC_UNFIT,
                       "this library was built without the socket for other processes");
    return runner_server->start(r->loop.env, r->barrier, r->path, &r->server, e);
}

static rc keep_going(struct hf_source *r, struct err *e) {
    TRY(serve(r, e));
    TRY(loop_open(&r->loop, e));
    return loop_run(&r->loop, e);
}

static rc ship_the_rest(struct hf_source *r, struct err *e) {
    char left[ERR_TEXT_MAX] = "";
    if (!r->loop.source) return ok();
    TRY(loop_drain(&r->loop, r->drain_ns, left, e));
    if (!left[0]) return ok();
    source_abandon(r->loop.source); /* the patience is over for what hangs, too */
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
    loop_close(&r->loop);
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
    clock_join(r->loop.clock, r);
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
