/* holdfast replicate DB URL [URL...]: the loop around a source.
 *
 * It waits in one place, for the files to change, for a job to end, for a signal, for the end of
 * the application (-exec), or for the time at which the source wants to be stepped. When the
 * database is replaced or deleted it ships what it still can of the old one, waits for the new one,
 * and begins again with the start-up classes.
 *
 * With -exec the application runs only while its commits can be kept: it starts after what is here
 * has been shipped, and it is ended when the run ends for good.
 */
#include "cli/replicate.h"

#include "cli/cli.h"
#include "store/fast_forward.h"
#include "store/restore.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define QUIET_WAIT_NS 6000000 /* a wait longer than this is worth an inotify watch */
#define NEVER INT64_MAX
#define GONE_LOOK_NS 200000000
#define MAKING_NS 5000000000

static void on_event(void *arg, const char *name, const char *const *pairs, int count) {
    struct replicate *r = arg;
    log_pairs(&r->log, name, pairs, count);
}

static void on_job(void *arg) {
    watch_wake(arg);
}

static rc open_source(struct replicate *r, struct err *e) {
    source_free(r->source);
    r->source = NULL;
    TRY(source_open(&r->source, r->env, r->db, &r->options, e));
    for (int i = 0; i < r->url_count; i++) {
        struct store *store = NULL;
        TRY(store_open(r->env, r->urls[i], &store, e));
        TRY(source_add(r->source, store, e));
        if (i < RESTORE_URLS) source_older(r->source, i, r->older[i]);
    }
    if (source_switched_mode(r->source))
        log_pairs(&r->log, "database.switched_to_wal", (const char *const[]){"db", r->db}, 2);
    log_pairs(&r->log, "start", (const char *const[]){"db", r->db, "version", HOLDFAST_VERSION}, 4);
    waiters_found(&r->waiters, &r->log);
    return ok();
}

/* ---- figures ---- */

static void log_stats(struct replicate *r, const char *event) {
    struct source_stats s;
    char n[4][24], mean_ms[32], max_ms[32];
    source_stats(r->source, &s);
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

static void log_all_requests(struct replicate *r) {
    struct source_dest d;
    for (int i = 0; r->source && source_dest(r->source, i, &d); i++)
        tell_requests(d.store, on_event, r);
}

static void report(struct replicate *r) {
    char words[ERR_TEXT_MAX];
    if (!r->source) return;
    log_stats(r, "figures");
    if (source_left(r->source, words, sizeof words))
        log_pairs(&r->log, "pending", (const char *const[]){"left", words}, 2);
    log_all_requests(r);
}

static void close_source(struct replicate *r) {
    log_all_requests(r);
    source_free(r->source);
    r->source = NULL;
}

/* ---- signals and the application ---- */

/* The run goes on for as long as the application does; without one, until a signal. */
static bool stopping(const struct replicate *r) {
    return r->child.pid ? r->child.ended : stop_signals > 0;
}

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

static void wait_for_event(struct replicate *r, int64_t timeout_ns, bool *changed) {
    watch_wait(r->watch, timeout_ns, changed);
    attend(r);
}

/* While there is no database to step. */
static void wait_without(struct replicate *r, int64_t timeout_ns) {
    bool changed;
    wait_for_event(r, waiters_idle(&r->waiters, timeout_ns), &changed);
}

/* ---- the loop ---- */

/* One step and one wait. */
static rc turn(struct replicate *r, bool *changed, bool *armed, int64_t until, struct err *e) {
    struct env *env = r->env;
    int64_t due, now = env->mono_ns(env);
    TRY(source_step(r->source, now, *changed, &due, e));
    *changed = false;
    now = env->mono_ns(env);
    if (due > until) due = until;
    if (due - now > QUIET_WAIT_NS && !*armed) {
        const char *paths[2];
        watch_arm(r->watch, paths, source_watch_paths(r->source, paths));
        *armed = true;
        return ok(); /* look once more before the first wait: it may have changed in between */
    }
    wait_for_event(r, due - now, changed);
    if (*changed) *armed = false;
    return ok();
}

static rc run(struct replicate *r, struct err *e) {
    bool changed = false, armed = false;
    while (!stopping(r)) TRY(turn(r, &changed, &armed, NEVER, e));
    return ok();
}

/* Ship what is left; how many destinations lack something in the end. */
static rc drain(struct replicate *r, int64_t patience_ns, int *left, struct err *e) {
    char words[ERR_TEXT_MAX];
    bool changed = false, armed = true;
    int64_t until = r->env->mono_ns(r->env) + patience_ns;
    source_drain(r->source);
    rc result = ok();
    for (;;) {
        result = turn(r, &changed, &armed, r->env->mono_ns(r->env) + 1, e);
        *left = source_left(r->source, words, sizeof words);
        if (!is_ok(result) || *left == 0 || stop_signals > 1) break;
        int64_t now = r->env->mono_ns(r->env);
        if (now >= until) break;
        wait_for_event(r, until - now < 20000000 ? until - now : 20000000, &changed);
    }
    if (*left) log_pairs(&r->log, "stop.not_all_shipped", (const char *const[]){"left", words}, 2);
    return result;
}

/* In SQLite's hands an empty file is no database yet, and may still be given another page size. */
static bool is_here(const struct replicate *r) {
    struct file_stat st;
    struct err ignored;
    return is_ok(r->env->files->stat(r->env, r->db, &st, &ignored)) && st.size_bytes > 0;
}

/* Until there is a database, and open it. */
static rc await_database(struct replicate *r, struct err *e) {
    const char *why, *told = NULL;
    while (!stopping(r) && (why = source_absence(r->env, r->db, &r->old)) != NULL) {
        if (why != told)
            log_pairs(&r->log, why, (const char *const[]){"db", r->db, "log", r->old.wal_path},
                      strcmp(why, "database.gone") == 0 ? 2 : 4);
        told = why;
        wait_without(r, GONE_LOOK_NS);
    }
    /* Whoever makes the new one may still be at it: in rollback mode, locked, or half copied. An
     * application of ours may keep it locked for as long as it likes. */
    int64_t until = r->env->mono_ns(r->env) + MAKING_NS;
    rc result = stopping(r) ? ok() : open_source(r, e);
    while (!is_ok(result) && !stopping(r)) {
        bool locked = result.code == RC_BUSY;
        if (!locked && result.code != RC_CORRUPT && result.code != RC_NOTFOUND) break;
        if (r->env->mono_ns(r->env) >= until && !(locked && r->child.pid)) break;
        wait_without(r, GONE_LOOK_NS);
        result = open_source(r, e);
    }
    return result;
}

/* The file is gone or another: end the old run, wait until there is a database again. */
static rc begin_again(struct replicate *r, struct err *e) {
    int left;
    struct err ignored;
    log_pairs(&r->log, "database.replaced", (const char *const[]){"db", r->db}, 2);
    if (!is_ok(drain(r, 2000000000, &left, &ignored))) { /* as far as it went */
    }
    source_old_files(r->source, &r->old);
    close_source(r);
    r->options.take_over = r->options.adopt_local = false; /* said of the old one */
    memset(r->older, 0, sizeof r->older);
    return await_database(r, e);
}

static rc keep_going(struct replicate *r, rc result, struct err *e) {
    while (is_ok(result) && !stopping(r)) {
        result = r->source ? run(r, e) : await_database(r, e);
        if (result.code == RC_NOTFOUND && r->source) result = begin_again(r, e);
    }
    return result;
}

static rc adopt_replica(struct replicate *r, struct err *e) {
    char saved[LIMIT_PATH];
    struct store *store = NULL;
    struct restore_result result;
    TRY(store_open(r->env, r->urls[0], &store, e));
    rc done = fast_forward_adopt(r->env, store, r->db, 0, NULL, &result, saved, e);
    store_free(store);
    TRY(done);
    log_pairs(&r->log, "adopted_replica", (const char *const[]){"db", r->db, "saved", saved}, 4);
    r->options.take_over = true;
    return ok();
}

/* ---- with an application ---- */

/* How many destinations have all of it, and whether the others can be waited for. */
static int complete(const struct replicate *r, bool *others_fail) {
    struct source_dest d;
    int count = 0;
    *others_fail = true;
    for (int i = 0; source_dest(r->source, i, &d); i++) {
        count += d.complete;
        if (!d.complete && !d.failing) *others_fail = false;
    }
    return count;
}

/* Until every destination that answers has all that is here. None does: the database is here and
 * complete, so the application goes on as it would if they had gone away a moment later. */
static rc ship_once(struct replicate *r, struct err *e) {
    char words[ERR_TEXT_MAX];
    bool changed = false, armed = false, others_fail;
    int64_t until = r->env->mono_ns(r->env) + r->exec_wait_ns;
    while (!stopping(r)) {
        TRY(turn(r, &changed, &armed, until, e));
        if (complete(r, &others_fail) && others_fail) break;
        if (r->env->mono_ns(r->env) >= until) break;
    }
    int left = source_left(r->source, words, sizeof words);
    if (stopping(r) || !left) return ok();
    if (r->exec_strict && !complete(r, &others_fail))
        return err_set(e, RC_TIMEOUT,
                       "no destination has all of %s within %lld s, so nothing was started:"
                       " %.300s",
                       r->db, (long long)(r->exec_wait_ns / 1000000000), words);
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
    struct restoration p = {.env = r->env,
                            .db = r->db,
                            .urls = (const char *const *)r->urls,
                            .url_count = r->url_count,
                            .wait_ns = r->exec_wait_ns,
                            .strict = r->exec_strict,
                            .event = on_event,
                            .event_arg = r};
    if (r->adopt_replica && is_here(r)) {
        TRY(adopt_replica(r, e));
    } else if (!is_here(r)) {
        TRY(interruptible(restore_missing, &p, e));
        if (!p.restored) return ok();
        r->options.take_over = true; /* whoever starts an application here has decided that */
        memcpy(r->older, p.older, sizeof r->older);
    }
    for (int behind = 0;; behind++) {
        TRY(open_source(r, e));
        rc result = ship_once(r, e);
        if (result.code != RC_BEHIND || r->options.adopt_local || behind == r->url_count)
            return result;
        close_source(r);
        TRY(interruptible(restore_fast_forward, &p, e));
    }
}

static rc start_application(struct replicate *r, struct err *e) {
    char pid[16];
    const char *socket = r->waiters.socket ? socket_path(r->waiters.socket) : NULL;
    TRY(child_start(&r->child, r->command, socket, e));
    snprintf(pid, sizeof pid, "%d", (int)r->child.pid);
    log_pairs(&r->log, "exec.start", (const char *const[]){"pid", pid}, 2);
    return ok();
}

/* Nothing that it commits from now on would be kept. */
static void end_application(struct replicate *r, const struct err *why) {
    bool changed;
    int64_t until = r->env->mono_ns(r->env) + r->drain_ns;
    log_pairs(&r->log, "exec.stop", (const char *const[]){"err", why->text}, 2);
    child_signal(&r->child, SIGTERM);
    while (!r->child.ended) {
        int64_t left = until - r->env->mono_ns(r->env);
        if (left <= 0) child_signal(&r->child, SIGKILL);
        wait_for_event(r, left > 0 ? left : NEVER, &changed);
    }
}

/* The application's own, unless it did as it was told and we did not. */
static int exit_status(const struct replicate *r, int left) {
    int ours = left ? EXIT_NOT_ALL_SHIPPED : 0;
    if (!r->command) return ours;
    if (!r->child.pid) return 128 + SIGTERM; /* told to stop before it began */
    int its = child_exit_status(&r->child);
    bool as_told = its == 0 || (r->signal_passed && its == 128 + r->signal_passed);
    return as_told && ours ? ours : its;
}

/* ---- the whole ---- */

static int finish(struct replicate *r, rc result, struct err *e) {
    int left = 0;
    notify("STOPPING=1");
    if (!is_ok(result)) waiters_end(&r->waiters, result, e); /* before the application is told */
    if (r->child.pid && !r->child.ended) end_application(r, e);
    /* It made its database, and ended before we had seen it. */
    if (is_ok(result) && r->child.pid && !r->source && is_here(r)) result = open_source(r, e);
    if (is_ok(result) && r->source) {
        result = drain(r, r->drain_ns, &left, e);
        log_stats(r, "stop");
    }
    waiters_end(&r->waiters, result, e);
    log_all_requests(r);
    bool good = is_ok(result) || result.code == RC_CANCELLED;
    int code = good ? exit_status(r, left) : cli_fail(result, e);
    if (left) source_abandon(r->source);
    if (stop_signals > 1) _exit(code); /* not even for a store that hangs */
    source_free(r->source);
    waiters_deinit(&r->waiters);
    return code;
}

static rc begin(struct replicate *r, struct err *e) {
    if (r->command) {
        TRY(prepare(r, e));
        TRY(waiters_serve(&r->waiters, &r->log, e));
        if (r->source) waiters_found(&r->waiters, &r->log);
        TRY(stopping(r) ? ok() : start_application(r, e));
    } else {
        if (r->adopt_replica) TRY(adopt_replica(r, e));
        TRY(open_source(r, e));
        TRY(waiters_serve(&r->waiters, &r->log, e));
        waiters_found(&r->waiters, &r->log);
    }
    notify("READY=1");
    return ok();
}

/* One destination may have a shipment, a compaction and a deletion or verification under way: those
 * of a bucket that hangs take no worker away from another. */
static int replicate(struct replicate *r) {
    struct err e;
    int workers = r->url_count < 2 ? 0 : r->url_count < 8 ? 3 * r->url_count : 24;
    rc result = env_new_system(workers, &r->env, &e);
    if (!is_ok(result)) return cli_fail(result, &e);
    result = watch_new(&r->watch, &e);
    if (is_ok(result)) result = waiters_init(&r->waiters, r->env, r->watch, &e);
    if (is_ok(result)) {
        signals_catch(r->watch, r->command != NULL);
        r->options.wake_arg = r->watch;
        r->options.barrier = r->waiters.barrier;
        prctl(PR_SET_TIMERSLACK, 1000UL);
        result = begin(r, &e);
        result = keep_going(r, result, &e);
    }
    int code = finish(r, result, &e);
    signals_no_more();
    watch_free(r->watch);
    env_free_system(r->env);
    return code;
}

int cmd_replicate(int argc, char **argv) {
    struct replicate r = {.drain_ns = 30000000000, .exec_wait_ns = 30000000000};
    int code;
    log_init(&r.log, stderr);
    r.options.event = on_event;
    r.options.event_arg = &r;
    r.options.wake = on_job;
    return replicate_options(&r, argc, argv, &code) ? replicate(&r) : code;
}
