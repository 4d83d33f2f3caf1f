/* Replication in the process: the public functions that begin and end it, and the list of what is
 * replicated here.
 *
 * Why a list: a database has one source. Between processes a lock file sees to that; in one, the
 * list does, and it lets a second door into the process (the extension of SQLite) find the source
 * of a file.
 *
 * Invariants
 *  1. What is in the list may be waited on: it leaves before its owner's share is given back.
 *  2. A file, by device and inode, is in the list once; so is a path, while its file is not open.
 */
#include "store/replicate.h"

#include "store/application.h"
#include "store/fake.h"
#include "store/restore.h"
#include "store/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_MS 10000
#define DRAIN_MS 30000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hf_source *list; /* guarded by lock */

/* ---- the list ---- */

static bool is_of(const struct hf_source *r, const char *path, const struct file_stat *st) {
    if (r->generation != fork_generation()) return false; /* the parent's */
    return strcmp(r->path, path) == 0 || (r->inode == st->inode && r->device == st->device);
}

/* In a child the parent's thread may have been in the middle of this. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void before_fork(void) {
    pthread_mutex_lock(&lock);
}
static void after_fork(void) {
    pthread_mutex_unlock(&lock);
}
static void watch_forks(void) {
    ENSURE(pthread_atfork(before_fork, after_fork, after_fork) == 0);
}

static struct hf_source *find_locked(const char *path, const struct file_stat *st) {
    struct hf_source *r = list;
    while (r && !is_of(r, path, st)) r = r->next;
    return r;
}

static rc look_at(const char *path, char real[LIMIT_PATH], struct file_stat *st, struct err *e) {
    struct env *env = store_env();
    if (!env) return err_set(e, RC_NOMEM, "no memory");
    TRY(system_real_path(path, real, e));
    return env->files->stat(env, real, st, e);
}

static rc enlist(struct hf_source *r, const struct file_stat *st, struct err *e) {
    pthread_once(&once, watch_forks);
    r->device = st->device;
    r->inode = st->inode;
    pthread_mutex_lock(&lock);
    const struct hf_source *other = find_locked(r->path, st);
    if (!other) {
        r->next = list;
        list = r;
    }
    pthread_mutex_unlock(&lock);
    if (!other) return ok();
    return err_set(e, RC_BUSY, "%s is replicated already, by this process", r->path);
}

static void delist(struct hf_source *r) {
    pthread_mutex_lock(&lock);
    for (struct hf_source **at = &list; *at; at = &(*at)->next) {
        if (*at != r) continue;
        *at = r->next;
        break;
    }
    pthread_mutex_unlock(&lock);
}

rc source_of_file(const char *path, hf_source **out, struct err *e) {
    char real[LIMIT_PATH];
    struct file_stat st;
    if (!path || !out) return err_set(e, RC_USAGE, "hf_source_find: an argument is NULL");
    TRY(look_at(path, real, &st, e));
    pthread_mutex_lock(&lock);
    struct hf_source *r = find_locked(real, &st);
    if (r) runner_retain(r);
    pthread_mutex_unlock(&lock);
    if (!r) return err_set(e, RC_NOTFOUND, "%s is not replicated by this process", path);
    *out = r;
    return ok();
}

/* ---- options ---- */

static rc check_options(const hf_replicate_options *o, struct err *e) {
    const struct {
        const char *name;
        int64_t value;
    } least_0[] = {{"interval_ms", o->interval_ms},
                   {"level_ms[1]", o->level_ms[1]},
                   {"level_ms[2]", o->level_ms[2]},
                   {"level_ms[3]", o->level_ms[3]},
                   {"snapshot_ms", o->snapshot_ms},
                   {"keep_level0_ms", o->keep_level0_ms},
                   {"keep_snapshots_ms", o->keep_snapshots_ms},
                   {"start_ms", o->start_ms},
                   {"drain_ms", o->drain_ms}};
    for (size_t i = 0; i < sizeof least_0 / sizeof *least_0; i++)
        if (least_0[i].value < 0 || least_0[i].value > INT64_MAX / 1000000)
            return err_set(e, RC_USAGE, "hf_replicate_options: %s is no duration: %lld",
                           least_0[i].name, (long long)least_0[i].value);
    if (o->checkpoint_pages && (o->checkpoint_pages < 10 || o->checkpoint_pages > 100000000))
        return err_set(e, RC_USAGE,
                       "hf_replicate_options: checkpoint_pages: from 10 to 100000000, not %u",
                       o->checkpoint_pages);
    return ok();
}

static rc take(const hf_replicate_options *given, struct runner_options *out, struct err *e) {
    hf_replicate_options o;
    TRY(take_options(given, &o, sizeof o, "hf_replicate_options", e));
    TRY(check_options(&o, e));
    *out = (struct runner_options){
        .source = {.interval_ms = o.interval_ms,
                   .checkpoint_pages = o.checkpoint_pages,
                   .level_ms = {0, o.level_ms[1], o.level_ms[2], o.level_ms[3]},
                   .snapshot_ms = o.snapshot_ms,
                   .retention = {.level0_ms = o.keep_level0_ms, .snapshot_ms = o.keep_snapshots_ms},
                   .verify_ms = o.verify_ms,
                   .unfenced = o.unfenced != 0,
                   .take_over = o.take_over != 0,
                   .adopt_local = o.adopt_local != 0,
                   .event = o.event,
                   .event_arg = o.event_arg},
        .serve = o.socket != 0,
        .start_ms = o.start_ms ? o.start_ms : START_MS,
        .drain_ms = o.drain_ms ? o.drain_ms : DRAIN_MS};
    out->source.start_ms = out->start_ms;
    return ok();
}

/* ---- begin and end ---- */

/* The run has ended: from now on the store sees to its log itself. */
static void let_go(void *store) {
    store_set_commit_hook(store, NULL, NULL);
}

/* `store`: NULL for an application's own connections. */
static rc begin(const char *path, hf_store *store, const char *const *urls,
                const hf_replicate_options *given, struct hf_source **out, struct err *e) {
    struct runner_options o;
    struct file_stat st;
    struct hf_source *r;
    char real[LIMIT_PATH];
    TRY(take(given, &o, e));
    if (!urls || !urls[0]) return err_set(e, RC_USAGE, "no URL to replicate %s to", path);
    TRY(look_at(path, real, &st, e));
    if (restored_here(&st, urls, o.older)) o.source.take_over = true;
    o.keep_to_file = store != NULL;
    o.ended = store ? let_go : NULL;
    o.ended_arg = store;
    o.clock = destination_clock(urls);
    TRY(runner_new(o.clock ? clock_env(o.clock) : store_env(), real, urls, &o, &r, e));
    rc result = enlist(r, &st, e);
    if (is_ok(result)) {
        result = runner_start(r, e);
        if (!is_ok(result)) delist(r);
    }
    if (is_ok(result)) *out = r;
    else runner_release(r);
    return result;
}

rc source_may_end(const hf_source *r, struct err *e) {
    if (!r || !runner_is_this_thread(r)) return ok();
    return err_set(e, RC_USAGE, "called by a callback of the replication, which must not wait");
}

rc source_end(hf_source *r, struct err *e) {
    if (!r) return ok();
    rc result = runner_stop(r, e);
    delist(r);
    runner_release(r);
    return result;
}

static rc attach(sqlite3 *db, const char *const *urls, const hf_replicate_options *o,
                 hf_source **out, struct err *e) {
    char path[LIMIT_PATH];
    if (!out) return err_set(e, RC_USAGE, "hf_attach: where to put the handle is NULL");
    TRY(application_check(db, e));
    TRY(application_path(db, path, e));
    return begin(path, NULL, urls, o, out, e);
}

static rc detach(hf_source *r, struct err *e) {
    if (!r) return ok();
    TRY(fork_check(r->generation, r->path, e));
    TRY(source_may_end(r, e));
    if (r->loop.keep_to_file) /* begin() */
        return err_set(e, RC_USAGE, "%s is replicated by its store: hf_store_close ends that",
                       r->path);
    return source_end(r, e);
}

static rc replicate(hf_store *s, const char *const *urls, const hf_replicate_options *o,
                    struct err *e) {
    struct hf_source *r;
    TRY(store_check(s, "the store", e));
    r = store_source(s);
    if (r && r->ended)
        return err_set(e, RC_BUSY,
                       "the replication of %s has ended (%.700s): close the store and open it anew",
                       hf_store_path(s), r->end.text);
    if (r) return err_set(e, RC_BUSY, "%s is replicated already, by this store", hf_store_path(s));
    TRY(begin(hf_store_path(s), s, urls, o, &r, e));
    store_set_source(s, r);
    store_set_commit_hook(s, runner_saw_commit, r);
    if (r->ended) let_go(s); /* meanwhile, and perhaps before it was set */
    return ok();
}

/* ---- public ---- */

int hf_store_replicate(hf_store *s, const char *const *urls, const hf_replicate_options *o) {
    struct err e;
    return done(replicate(s, urls, o, &e), &e);
}

hf_source *hf_store_source(hf_store *s) {
    return s ? store_source(s) : NULL;
}

int hf_attach(sqlite3 *db, const char *const *urls, const hf_replicate_options *o,
              hf_source **out) {
    struct err e;
    return done(attach(db, urls, o, out, &e), &e);
}

int hf_detach(hf_source *r) {
    struct err e;
    return done(detach(r, &e), &e);
}

int hf_source_find(const char *path, hf_source **out) {
    struct err e;
    return done(source_of_file(path, out, &e), &e);
}

void hf_source_release(hf_source *r) {
    if (r && r->generation == fork_generation()) runner_release(r);
}

/* ---- status ---- */

struct question {
    struct ask ask;
    struct hf_source *of;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    /* guarded by lock */
    bool is_answered;
    rc result;
    char *json;
    struct err err;
};

static void answer(struct ask *a, struct source *s) {
    struct question *q = a->arg;
    pthread_mutex_lock(&q->lock);
    const char *path = q->of->path;
    const struct err *end = q->of->ended ? &q->of->end : NULL;
    if (s) q->result = status_json(s, path, &q->json, &q->err);
    else q->result = status_json_without(path, end, &q->json, &q->err);
    q->is_answered = true;
    pthread_cond_signal(&q->answered);
    pthread_mutex_unlock(&q->lock);
}

static rc status(hf_source *r, char **json, struct err *e) {
    if (!r) return err_set(e, RC_USAGE, "nothing is replicated");
    if (!json) return err_set(e, RC_USAGE, "hf_source_status: where to put the text is NULL");
    TRY(fork_check(r->generation, r->path, e));
    TRY(source_may_end(r, e)); /* nor may it be waited for there */
    struct question q = {
        .of = r, .lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER};
    q.ask = (struct ask){.answer = answer, .arg = &q};
    runner_retain(r); /* its owner may end the run meanwhile */
    barrier_ask(r->barrier, &q.ask);
    pthread_mutex_lock(&q.lock);
    while (!q.is_answered) pthread_cond_wait(&q.answered, &q.lock);
    pthread_mutex_unlock(&q.lock);
    pthread_cond_destroy(&q.answered);
    pthread_mutex_destroy(&q.lock);
    runner_release(r);
    if (is_ok(q.result)) *json = q.json;
    else *e = q.err;
    return q.result;
}

int hf_source_status(hf_source *r, char **json) {
    struct err e;
    return done(status(r, json, &e), &e);
}
