/* Before an application starts: see the header.
 *
 * Why not simply the first destination that has a backup: destinations ship at their own pace, and
 * one that was away when the machine died holds an older state. Of two states of one run the place
 * in its log tells which is newer, else the time of the shipment: that is moved on where two of a
 * destination fall into one millisecond, and so a fast destination's may be ahead of its content.
 * Whether the older one may be written over is told by the run that wrote both.
 *
 * Invariants
 *  1. "There is no backup" is only concluded when every destination has said so. An application
 *     that begins with an empty database while the full one cannot be asked for would fork it.
 *  2. What is called older is a TXID of a destination, not the destination: a writer that was only
 *     paused may ship there until our fence stands.
 */
#include "store/restore.h"

#include "base/limits.h"
#include "store/fake.h"
#include "store/fast_forward.h"
#include "store/internal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS 1000000000
#define START_MS 10000
#define FENCES 32 /* the newest; what does not fit proves nothing */

enum answer { SILENT, EMPTY, BACKUP };

struct candidate {
    struct store *store;
    enum answer answer;
    uint64_t txid;           /* at which it ends */
    struct ltx_header last;  /* of its newest content: fences have none */
    uint64_t fenced[FENCES]; /* behind that: by these runs */
    int fence_count;
    struct err err; /* why it is silent */
};

struct look {
    struct restoration *p;
    struct candidate at[RESTORE_URLS];
};

static void event_of(const struct restoration *p, const char *name, const char *const *pairs,
                     int count) {
    if (p->event) p->event(p->event_arg, name, pairs, count);
}
#define EVENT(p, name, ...)                                                                        \
    event_of(p, name, (const char *const[]){__VA_ARGS__},                                          \
             (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))

void tell_requests(const struct store *store,
                   void (*event)(void *, const char *, const char *const *, int), void *arg) {
    const char *pairs[2 + 2 * REQUEST_KINDS] = {"to", store->url};
    char numbers[REQUEST_KINDS][24];
    unsigned long long all = 0;
    for (int i = 0; i < REQUEST_KINDS; i++) {
        unsigned long long n = atomic_load(&store->requests[i]);
        snprintf(numbers[i], sizeof numbers[i], "%llu", n);
        pairs[2 + 2 * i] = request_kind_name((enum request_kind)i);
        pairs[3 + 2 * i] = numbers[i];
        all += n;
    }
    if (all && event) event(arg, "requests", pairs, 2 + 2 * REQUEST_KINDS);
}

/* What asking again cannot change. */
static bool is_final(rc r) {
    return r.code != RC_RETRY && r.code != RC_TIMEOUT && r.code != RC_IO && r.code != RC_NOTFOUND;
}

static bool is_fence(const struct replica_file *f) {
    return f->level == 0 && f->size_bytes == LTX_LEAST_SIZE;
}

static bool is_newer_content(const struct replica_file *f, const struct replica_file *last) {
    if (is_fence(f)) return false;
    if (!last || f->max_txid != last->max_txid) return !last || f->max_txid > last->max_txid;
    return f->level < last->level;
}

static rc read_fences(struct candidate *c, const struct listing *files, uint64_t behind,
                      struct err *e) {
    c->fence_count = 0;
    for (size_t i = files->count; i > 0 && c->fence_count < FENCES; i--) {
        const struct replica_file *f = &files->files[i - 1];
        struct ltx_header h;
        if (!is_fence(f) || f->max_txid <= behind) continue;
        TRY(replica_read_header(c->store, f, &h, e));
        c->fenced[c->fence_count++] = h.node_id;
    }
    return ok();
}

static rc ask(struct candidate *c, struct err *e) {
    struct listing files = {0};
    struct plan plan = {0};
    const struct replica_file *last = NULL;
    rc r = replica_list_backup(c->store, &files, NULL, e);
    bool empty = is_ok(r) && files.count == 0;
    if (is_ok(r) && !empty) r = plan_make(&files, (struct target){0}, &plan, e);
    for (size_t i = 0; is_ok(r) && i < files.count; i++) {
        const struct replica_file *f = &files.files[i];
        if (f->max_txid <= plan.txid && is_newer_content(f, last)) last = f;
    }
    if (is_ok(r) && last) r = replica_read_header(c->store, last, &c->last, e);
    if (is_ok(r) && last) r = read_fences(c, &files, last->max_txid, e);
    c->txid = plan.txid;
    listing_deinit(&files);
    plan_deinit(&plan);
    if (is_ok(r)) c->answer = empty ? EMPTY : BACKUP;
    return r;
}

/* False: told to stop. */
static bool pause_before_retry(struct look *l, const char *url, const struct err *why) {
    struct restoration *p = l->p;
    EVENT(p, "start.retry", "from", url, "err", why->text);
    p->env->sleep_ns(p->env, RETRY_NS);
    return !atomic_load(&l->p->progress.cancel);
}

static rc cancelled(const struct restoration *p, struct err *e) {
    return err_set(e, RC_CANCELLED, "told to stop before %s was restored", p->db);
}

static rc ask_all(struct look *l, struct err *e) {
    struct restoration *p = l->p;
    int64_t until = p->env->mono_ns(p->env) + p->wait_ns;
    for (int i = 0; i < p->url_count; i++) {
        struct candidate *c = &l->at[i];
        for (;;) {
            rc r = ask(c, &c->err);
            if (is_ok(r)) break;
            if (is_final(r)) {
                *e = c->err;
                return r;
            }
            if (p->env->mono_ns(p->env) >= until) break;
            if (!pause_before_retry(l, c->store->url, &c->err)) return cancelled(p, e);
        }
    }
    return ok();
}

static rc nothing_known(const struct look *l, const struct candidate *silent, struct err *e) {
    return err_set(e, RC_TIMEOUT,
                   "%s is not here, and %s did not answer within %g"
                   " s: whether it holds a backup is not known, so nothing was started (%.300s)",
                   l->p->db, silent->store->url, (double)l->p->wait_ns / 1e9, silent->err.text);
}

static void tell_restored(const struct restoration *p, const char *event, const struct store *from,
                          const struct restore_result *result) {
    char txid[24];
    snprintf(txid, sizeof txid, "%" PRIu64, result->txid);
    EVENT(p, event, "db", p->db, "from", from->url, "txid", txid);
}

static rc sync_directory(const struct restoration *p, struct err *e) {
    const char *slash = strrchr(p->db, '/');
    char dir[LIMIT_PATH];
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - p->db) : 1, slash ? p->db : ".");
    return p->env->files->sync_dir(p->env, dir[0] ? dir : "/", e);
}

/* In the place of an empty file, which keeps its owner and permissions. */
static rc restore_over_empty(struct look *l, struct store *from, struct restore_options *options,
                             struct restore_result *result, struct err *e) {
    const struct restoration *p = l->p;
    const struct env_files *files = p->env->files;
    struct file_stat st;
    char temp[LIMIT_PATH + 32];
    snprintf(temp, sizeof temp, "%s-wal", p->db);
    if (is_ok(files->stat(p->env, temp, &st, e)) && st.size_bytes)
        return err_set(e, RC_CONFLICT, "%s is empty, but %s is not", p->db, temp);
    snprintf(temp, sizeof temp, "%s.holdfast-new", p->db);
    rc r = files->remove(p->env, temp, e); /* of a run that died */
    if (r.code != RC_NOTFOUND) TRY(r);
    TRY(replica_restore(from, temp, options, result, e));
    TRY(files->copy_access(p->env, p->db, temp, e));
    TRY(files->stat(p->env, p->db, &st, e));
    if (st.size_bytes) return err_set(e, RC_BUSY, "%s: somebody wrote to it meanwhile", p->db);
    TRY(files->rename(p->env, temp, p->db, true, e));
    return sync_directory(p, e);
}

static rc restore_from(struct look *l, struct candidate *c, struct err *e) {
    struct restoration *p = l->p;
    struct restore_options options = {.progress = &l->p->progress};
    struct restore_result result;
    struct file_stat st;
    if (is_ok(p->env->files->stat(p->env, p->db, &st, e)) && st.size_bytes == 0)
        TRY(restore_over_empty(l, c->store, &options, &result, e));
    else TRY(replica_restore(c->store, p->db, &options, &result, e));
    tell_restored(p, "restored", c->store, &result);
    p->restored = true;
    return ok();
}

/* None lists a file of this format: what else a restore can read, it finds by itself. */
static rc restore_other_format(struct look *l, struct err *e) {
    for (int i = 0; i < l->p->url_count; i++) {
        struct listing files = {0};
        rc r = restore_from(l, &l->at[i], e);
        if (r.code != RC_NOTFOUND) return r;
        TRY(replica_list_backup(l->at[i].store, &files, NULL, e));
        bool still_empty = files.count == 0;
        listing_deinit(&files);
        if (!still_empty) return err_set(e, RC_RETRY, "%s: just begun", l->at[i].store->url);
    }
    return ok();
}

static bool in_one_log(const struct ltx_header *a, const struct ltx_header *b) {
    return a->salt[0] == b->salt[0] && a->salt[1] == b->salt[1] && (a->salt[0] | a->salt[1]);
}

/* Of two states of one run. SQLite counts the first salt up at each reset. */
static bool is_before(const struct ltx_header *a, const struct ltx_header *b) {
    if (in_one_log(a, b)) return a->wal_offset + a->wal_size <= b->wal_offset + b->wal_size;
    bool logs = (a->salt[0] | a->salt[1]) && (b->salt[0] | b->salt[1]);
    if (logs) return (int32_t)(b->salt[0] - a->salt[0]) > 0;
    return a->timestamp_ms < b->timestamp_ms; /* a compacted file names no log */
}

/* What `a` holds is a state that `b`'s came from, or the same: one run shipped to both; or the run
 * that shipped to `b` had put its fence at `a`, and so had found there what its own began with, or
 * less. False, too: it cannot be told. */
static bool is_older(const struct candidate *a, const struct candidate *b) {
    uint64_t run = b->last.node_id;
    if (!run) return false;
    for (int i = 0; i < a->fence_count; i++)
        if (a->fenced[i] == run) return true;
    return a->last.node_id == run && is_before(&a->last, &b->last);
}

static bool is_better(const struct candidate *c, const struct candidate *best) {
    bool newer = is_older(best, c), older = is_older(c, best);
    if (newer != older) return newer;
    return !newer && c->last.timestamp_ms > best->last.timestamp_ms;
}

/* Than the state that the database has now. */
static void note_older(struct look *l, const struct candidate *best) {
    for (int i = 0; i < l->p->url_count; i++) {
        const struct candidate *c = &l->at[i];
        bool older = c != best && c->answer == BACKUP && is_older(c, best);
        l->p->older[i] = older ? c->txid : 0;
    }
}

static rc choose_and_restore(struct look *l, struct err *e) {
    struct restoration *p = l->p;
    struct candidate *best = NULL, *silent = NULL;
    for (int i = 0; i < p->url_count; i++) {
        struct candidate *c = &l->at[i];
        if (c->answer == SILENT && !silent) silent = c;
        if (c->answer == BACKUP && (!best || is_better(c, best))) best = c;
    }
    if (silent && (!best || p->strict)) return nothing_known(l, silent, e);
    if (!best) return restore_other_format(l, e);
    if (silent) EVENT(p, "start.without", "to", silent->store->url, "err", silent->err.text);
    EVENT(p, "restore", "db", p->db, "from", best->store->url);
    TRY(restore_from(l, best, e));
    note_older(l, best);
    return ok();
}

static rc look_open(struct look *l, struct err *e) {
    struct restoration *p = l->p;
    if (p->url_count > RESTORE_URLS)
        return err_set(e, RC_USAGE, "more than %d destinations", RESTORE_URLS);
    for (int i = 0; i < p->url_count; i++)
        TRY(destination_open(p->env, p->urls[i], &l->at[i].store, e));
    return ok();
}

static void look_close(struct look *l) {
    for (int i = 0; i < l->p->url_count && i < RESTORE_URLS; i++) {
        if (l->at[i].store) tell_requests(l->at[i].store, l->p->event, l->p->event_arg);
        store_free(l->at[i].store);
    }
}

/* A directory that is not there is more often a disk that is not mounted than a new service. */
static rc directory_is_there(const struct restoration *p, struct err *e) {
    char dir[LIMIT_PATH];
    struct file_stat st;
    const char *slash = strrchr(p->db, '/');
    if (!slash || slash == p->db) return ok();
    snprintf(dir, sizeof dir, "%.*s", (int)(slash - p->db), p->db);
    rc r = p->env->files->stat(p->env, dir, &st, e);
    return is_ok(r) ? ok() : err_prefix(e, r, "the directory of the database");
}

rc restore_missing(struct restoration *p, struct err *e) {
    struct look l = {.p = p};
    TRY(directory_is_there(p, e));
    rc r = look_open(&l, e);
    if (is_ok(r)) r = ask_all(&l, e);
    if (is_ok(r)) r = choose_and_restore(&l, e);
    if (atomic_load(&l.p->progress.cancel) && !is_ok(r)) r = cancelled(p, e);
    look_close(&l);
    return r;
}

rc restore_fast_forward(struct restoration *p, struct err *e) {
    struct look l = {.p = p};
    rc r = look_open(&l, e);
    if (is_ok(r)) r = err_set(e, RC_NOTFOUND, "%s is behind no destination", p->db);
    for (int i = 0; i < p->url_count && !is_ok(r) && !atomic_load(&l.p->progress.cancel); i++) {
        struct restore_result result = {0};
        struct store *store = l.at[i].store;
        struct err why;
        rc moved = fast_forward_database(p->env, store, p->db, 0, &l.p->progress, &result, &why);
        if (is_ok(moved) && result.page_count) {
            tell_restored(p, "fast_forwarded", store, &result);
            for (int k = 0; k < p->url_count; k++) (void)ask(&l.at[k], &why).code;
            note_older(&l, &l.at[i]);
            r = ok();
        } else if (!is_ok(moved) && r.code == RC_NOTFOUND && moved.code != RC_CONFLICT) {
            *e = why;
            r = moved;
        }
    }
    if (atomic_load(&l.p->progress.cancel) && !is_ok(r)) r = cancelled(p, e);
    look_close(&l);
    return r;
}

/* ---- in the process ---- */

/* What was restored here may go on as its own replica's writer: nobody asks for a backup of another
 * who is still at work. */
struct own {
    struct file_stat file;
    int url_count;
    char *urls[RESTORE_URLS];
    uint64_t older[RESTORE_URLS];
    struct own *next;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct own *owned; /* guarded by lock; never freed */

static rc remember(const struct restoration *p, struct err *e) {
    struct file_stat st;
    TRY(p->env->files->stat(p->env, p->db, &st, e));
    struct own *o = calloc(1, sizeof *o);
    bool full = o;
    for (; full && o->url_count < p->url_count; o->url_count++) {
        o->urls[o->url_count] = strdup(p->urls[o->url_count]);
        o->older[o->url_count] = p->older[o->url_count];
        full = o->urls[o->url_count] != NULL;
    }
    if (!full) {
        for (int i = 0; o && i < RESTORE_URLS; i++) free(o->urls[i]);
        free(o);
        return err_set(e, RC_NOMEM, "no memory");
    }
    o->file = st;
    pthread_mutex_lock(&lock);
    o->next = owned;
    owned = o;
    pthread_mutex_unlock(&lock);
    return ok();
}

static uint64_t older_at(const struct own *o, const char *url) {
    for (int i = 0; i < o->url_count; i++)
        if (strcmp(o->urls[i], url) == 0) return o->older[i];
    return 0;
}

/* An inode is given to another file when its own is deleted; not so its time of birth. */
static bool is_same_file(const struct file_stat *a, const struct file_stat *b) {
    return a->device == b->device && a->inode == b->inode && a->birth_ns == b->birth_ns;
}

bool restored_here(const struct file_stat *file, const char *const *urls,
                   uint64_t older[RESTORE_URLS]) {
    pthread_mutex_lock(&lock);
    const struct own *o = owned; /* the newest first */
    while (o && !is_same_file(&o->file, file)) o = o->next;
    for (int i = 0; o && i < RESTORE_URLS && urls[i]; i++) older[i] = older_at(o, urls[i]);
    pthread_mutex_unlock(&lock);
    return o != NULL;
}

static rc restore_if_missing(const char *path, const char *const *urls,
                             const hf_replicate_options *given, int *restored, struct err *e) {
    hf_replicate_options o;
    struct file_stat st;
    struct clock *clock = destination_clock(urls);
    struct env *env = clock ? clock_env(clock) : store_env();
    TRY(take_options(given, &o, sizeof o, "hf_replicate_options", e));
    if (!path || !*path || !urls || !urls[0] || !restored)
        return err_set(e, RC_USAGE, "hf_restore_if_missing: an argument is missing");
    if (!env) return err_set(e, RC_NOMEM, "no memory");
    if (o.start_ms < 0 || o.start_ms > INT64_MAX / 1000000)
        return err_set(e, RC_USAGE, "hf_replicate_options: start_ms is no duration");
    struct restoration p = {.env = env,
                            .db = path,
                            .urls = urls,
                            .wait_ns = (o.start_ms ? o.start_ms : START_MS) * 1000000,
                            .event = o.event,
                            .event_arg = o.event_arg};
    while (urls[p.url_count]) p.url_count++;
    rc r = env->files->stat(env, path, &st, e);
    bool missing = r.code == RC_NOTFOUND || (is_ok(r) && st.is_regular && st.size_bytes == 0);
    if (!missing) TRY(r);
    else TRY(restore_missing(&p, e));
    if (p.restored) TRY(remember(&p, e));
    *restored = p.restored;
    return ok();
}

int hf_restore_if_missing(const char *path, const char *const *urls, const hf_replicate_options *o,
                          int *restored) {
    struct err e;
    return done(restore_if_missing(path, urls, o, restored, &e), &e);
}
