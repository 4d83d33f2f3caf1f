/* holdfast replicate DB URL [URL...]: a source, its signals, and the application (-exec).
 *
 * All of it is on one thread, in the loop of store/loop.h, which a signal and the end of the
 * application wake.
 *
 * With -exec the application runs only while its commits can be kept: it starts after what is here
 * has been shipped, and it is ended when the run ends for good.
 */
#include "cli/replicate.h"

#include "cli/cli.h"
#include "store/fast_forward.h"
#include "store/restore.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NEVER INT64_MAX

static void on_event(void *arg, const char *name, const char *const *pairs, int count) {
    struct replicate *r = arg;
    log_pairs(&r->log, name, pairs, count);
}

/* ---- figures ---- */

static void log_stats(struct replicate *r, const char *event) {
    struct source_stats s;
    char n[4][24], mean_ms[32], max_ms[32];
    source_stats(r->loop.source, &s);
    snprintf(n[0], sizeof n[0], "%llu", (unsigned long long)s.shipments);
    snprintf(n[1], sizeof n[1], "%llu", (unsigned long long)s.bytes_shipped);
    snprintf(n[2], sizeof n[2], "%u", s.wal_frames_max);
    snprintf(n[3], sizeof n[3], "%llu", (unsigned long long)s.locks);
    snprintf(mean_ms, sizeof mean_ms, "%.1f",
             s.locks ? (double)s.lock_ns / (double)s.locks / 1e6 : 0);
    snprintf(max_ms, sizeof max_ms, "%.1f", (double)s.lock_max_ns / 1e6);
    log_pairs(&r->log, event,
              (const char *const[]){"shipments", n[0], "bytes", n[1], "wal_frames_max", n[2],
                                    "locks", n[3], "lock_mean_ms", mean_ms, "lock_max_ms", max_ms},
              12);
}

static void log_all_requests(void *arg) {
    struct replicate *r = arg;
    struct source_dest d;
    for (int i = 0; r->loop.source && source_dest(r->loop.source, i, &d); i++)
        tell_requests(d.store, on_event, r);
}

static void report(struct replicate *r) {
    char words[ERR_TEXT_MAX];
    if (!r->loop.source) return;
    log_stats(r, "figures");
    if (source_left(r->loop.source, words, sizeof words))
        log_pairs(&r->log, "pending", (const char *const[]){"left", words}, 2);
    log_all_requests(r);
}

/* ---- signals and the application ---- */

static void see_end(struct replicate *r) {
    char status[16];
    if (r->child.ended || !child_ended(&r->child)) return;
    snprintf(status, sizeof status, "%d", child_exit_status(&r->child));
    log_pairs(&r->log, "exec.end", (const char *const[]){"status", status}, 2);
    if (stop_signals > 1) stop_signals = 1; /* those were the application's */
}

static void attend(struct replicate *r) {
    static const int passed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR2, SIGTERM};
    unsigned came = signals_take();
    if (came & 1u << SIGUSR1) report(r);
    if (!r->child.pid) return;
    for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
        if (!(came & 1u << passed_on[i]) || r->child.ended) continue;
        r->signal_passed = passed_on[i];
        child_signal(&r->child, passed_on[i]);
    }
    see_end(r);
}

/* The run goes on for as long as the application does; without one, until a signal. */
static enum loop_order asked(void *arg, int64_t *until_ns) {
    struct replicate *r = arg;
    (void)until_ns;
    attend(r);
    if (r->child.pid ? !r->child.ended : !stop_signals) return LOOP_GO_ON;
    return stop_signals > 1 ? LOOP_END_AT_ONCE : LOOP_END;
}

static bool stopping(struct replicate *r) {
    return asked(r, NULL) != LOOP_GO_ON;
}

/* ---- the database ---- */

static rc opened(void *arg, struct err *e) {
    struct replicate *r = arg;
    (void)e;
    waiters_found(&r->waiters, &r->log);
    return ok();
}

static const struct loop_owner owner = {
    .open_store = store_open, .opened = opened, .closing = log_all_requests, .asked = asked};

/* In SQLite's hands an empty file is no database yet, and may still be given another page size. */
static bool is_here(const struct replicate *r) {
    struct file_stat st;
    struct err ignored;
    struct env *env = r->loop.env;
    return is_ok(env->files->stat(env, r->loop.path, &st, &ignored)) && st.size_bytes > 0;
}

static rc adopt_replica(struct replicate *r, struct err *e) {
    char saved[LIMIT_PATH];
    struct store *store = NULL;
    struct restore_result result;
    TRY(store_open(r->loop.env, r->loop.urls[0], &store, e));
    rc done = fast_forward_adopt(r->loop.env, store, r->loop.path, 0, NULL, &result, saved, e);
    store_free(store);
    TRY(done);
    log_pairs(&r->log, "adopted_replica", (const char *const[]){"db", r->loop.path, "saved", saved},
              4);
    r->loop.options.take_over = true;
    return ok();
}

/* ---- with an application ---- */

/* How many destinations have all of it, and whether the others can be waited for. */
static int complete(const struct replicate *r, bool *others_fail) {
    struct source_dest d;
    int count = 0;
    *others_fail = true;
    for (int i = 0; source_dest(r->loop.source, i, &d); i++) {
        count += d.complete;
        if (!d.complete && !d.failing) *others_fail = false;
    }
    return count;
}

/* Until every destination that answers has all that is here. None does: the database is here and
 * complete, so the application goes on as it would if they had gone away a moment later. */
static rc ship_once(struct replicate *r, struct err *e) {
    char words[ERR_TEXT_MAX];
    bool others_fail;
    int64_t until = r->loop.env->mono_ns(r->loop.env) + r->exec_wait_ns;
    while (!stopping(r)) {
        TRY(loop_turn(&r->loop, until, e));
        if (complete(r, &others_fail) && others_fail) break;
        if (r->loop.env->mono_ns(r->loop.env) >= until) break;
    }
    int left = source_left(r->loop.source, words, sizeof words);
    if (stopping(r) || !left) return ok();
    if (r->exec_strict && !complete(r, &others_fail))
        return err_set(e, RC_TIMEOUT,
                       "no destination has all of %s within %lld s, so nothing was started:"
                       " %.300s",
                       r->loop.path, (long long)(r->exec_wait_ns / 1000000000), words);
    log_pairs(&r->log, "start.not_all_shipped", (const char *const[]){"left", words}, 2);
    return ok();
}

static rc interruptible(rc (*work)(struct restoration *, struct err *), struct restoration *p,
                        struct err *e) {
    signals_cancel(&p->progress.cancel);
    rc result = work(p, e);
    signals_cancel(NULL);
    return result;
}

/* The database as the replica has it, or nothing if there is no backup; shipped. */
static rc prepare(struct replicate *r, struct err *e) {
    struct restoration p = {.env = r->loop.env,
                            .db = r->loop.path,
                            .urls = (const char *const *)r->loop.urls,
                            .url_count = r->loop.url_count,
                            .wait_ns = r->exec_wait_ns,
                            .strict = r->exec_strict,
                            .event = on_event,
                            .event_arg = r};
    if (r->adopt_replica && is_here(r)) {
        TRY(adopt_replica(r, e));
    } else if (!is_here(r)) {
        TRY(interruptible(restore_missing, &p, e));
        if (!p.restored) return ok();
        r->loop.options.take_over = true; /* whoever starts an application here has decided that */
    }
    for (int behind = 0;; behind++) {
        memcpy(r->loop.older, p.older, sizeof r->loop.older);
        TRY(loop_open(&r->loop, e));
        rc result = ship_once(r, e);
        if (result.code != RC_BEHIND || r->loop.options.adopt_local || behind == r->loop.url_count)
            return result;
        loop_close(&r->loop);
        TRY(interruptible(restore_fast_forward, &p, e));
    }
}

static rc start_application(struct replicate *r, struct err *e) {
    char pid[16];
    const char *socket = r->waiters.socket ? socket_path(r->waiters.socket) : NULL;
    TRY(child_start(&r->child, r->command, socket, e));
    r->loop.patient = true; /* with a database of its application's */
    snprintf(pid, sizeof pid, "%d", (int)r->child.pid);
    log_pairs(&r->log, "exec.start", (const char *const[]){"pid", pid}, 2);
    return ok();
}

/* Nothing that it commits from now on would be kept. */
static void end_application(struct replicate *r, const struct err *why) {
    bool changed;
    int64_t until = r->loop.env->mono_ns(r->loop.env) + r->drain_ns;
    log_pairs(&r->log, "exec.stop", (const char *const[]){"err", why->text}, 2);
    child_signal(&r->child, SIGTERM);
    while (!r->child.ended) {
        int64_t left = until - r->loop.env->mono_ns(r->loop.env);
        if (left <= 0) child_signal(&r->child, SIGKILL);
        watch_wait(r->loop.watch, left > 0 ? left : NEVER, &changed);
        attend(r);
    }
}

/* The application's own, unless it did as it was told and we did not. */
static int exit_status(const struct replicate *r, bool left) {
    int ours = left ? EXIT_NOT_ALL_SHIPPED : 0;
    if (!r->command) return ours;
    if (!r->child.pid) return 128 + SIGTERM; /* told to stop before it began */
    int its = child_exit_status(&r->child);
    bool as_told = its == 0 || (r->signal_passed && its == 128 + r->signal_passed);
    return as_told && ours ? ours : its;
}

/* ---- the whole ---- */

static int finish(struct replicate *r, rc result, struct err *e) {
    char left[ERR_TEXT_MAX] = "";
    notify("STOPPING=1");
    if (!is_ok(result)) waiters_end(&r->waiters, result, e); /* before the application is told */
    if (r->child.pid && !r->child.ended) end_application(r, e);
    /* It made its database, and ended before we had seen it. */
    if (is_ok(result) && r->child.pid && !r->loop.source && is_here(r))
        result = loop_open(&r->loop, e);
    if (is_ok(result) && r->loop.source) {
        result = loop_drain(&r->loop, r->drain_ns, left, e);
        log_stats(r, "stop");
    }
    waiters_end(&r->waiters, result, e);
    log_all_requests(r);
    bool good = is_ok(result) || result.code == RC_CANCELLED;
    int code = good ? exit_status(r, left[0]) : cli_fail(result, e);
    if (left[0]) source_abandon(r->loop.source);
    if (stop_signals > 1) _exit(code); /* not even for a store that hangs */
    source_free(r->loop.source);
    waiters_deinit(&r->waiters);
    return code;
}

/* The database first: a socket that nobody serves keeps whoever asks there waiting. */
static rc begin(struct replicate *r, struct err *e) {
    if (r->command) {
        TRY(prepare(r, e));
    } else {
        if (r->adopt_replica) TRY(adopt_replica(r, e));
        TRY(loop_open(&r->loop, e));
    }
    TRY(waiters_serve(&r->waiters, &r->log, e));
    if (r->loop.source) waiters_found(&r->waiters, &r->log);
    if (r->command && !stopping(r)) TRY(start_application(r, e));
    notify("READY=1");
    return ok();
}

/* One destination may have a shipment, a compaction and a deletion or verification under way: those
 * of a bucket that hangs take no worker away from another. */
static int replicate(struct replicate *r) {
    struct err e;
    int workers = r->loop.url_count < 2 ? 0 : r->loop.url_count < 8 ? 3 * r->loop.url_count : 24;
    rc result = env_new_system(workers, &r->loop.env, &e);
    if (!is_ok(result)) return cli_fail(result, &e);
    result = watch_new(&r->loop.watch, &e);
    if (is_ok(result)) result = waiters_init(&r->waiters, r->loop.env, r->loop.watch, &e);
    if (is_ok(result)) {
        signals_catch(r->loop.watch, r->command != NULL);
        r->loop.options.barrier = r->waiters.barrier;
        prctl(PR_SET_TIMERSLACK, 1000UL);
        result = begin(r, &e);
        if (is_ok(result)) result = loop_run(&r->loop, &e);
    }
    int code = finish(r, result, &e);
    signals_no_more();
    watch_free(r->loop.watch);
    env_free_system(r->loop.env);
    return code;
}

/* glibc maps a large buffer by itself only until one has been freed; from then on it takes those up
 * to its size from the heap, which keeps them. A shipment's is needed once in a while. */
static void give_back_large_buffers(void) {
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

int cmd_replicate(int argc, char **argv) {
    struct replicate r = {
        .loop = {.owner = &owner, .arg = &r}, .drain_ns = 30000000000, .exec_wait_ns = 30000000000};
    int code;
    give_back_large_buffers();
    log_init(&r.log, stderr);
    r.loop.options.event = on_event;
    r.loop.options.event_arg = &r;
    return replicate_options(&r, argc, argv, &code) ? replicate(&r) : code;
}
