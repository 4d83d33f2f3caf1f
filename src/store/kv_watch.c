/* Watches: which keys a transaction of this store touched, and telling so in commit order.
 *
 * TEMP triggers on the connections that write see every way in which a row can change: the
 * functions here, plain SQL, REPLACE (with recursive_triggers on), an UPDATE of Key. They are there
 * only while there are watches, and note no more than the key. What is told is the value that the
 * key has when the transaction commits, read then.
 *
 * Why not the values that the triggers see: a ROLLBACK TO a savepoint takes them back, and no hook
 * of SQLite tells of it. So there is one change per key and transaction, in the order in which keys
 * were first touched; a key that was not there before, and is not after, is not told; one whose
 * change was taken back is told with the value that it has, which is true and harmless.
 *
 * Why a watch begins within a transaction of its own: it then holds the turns of all files that it
 * watches, so no transaction is open that has no triggers.
 *
 * A writer that leaves more behind than LIMIT_WATCH_* waits after its commit, holding nothing,
 * until there is room, but not longer than a transaction may wait for a lock: a callback that waits
 * for that writer would else never return. What the thread that calls back writes never waits.
 *
 * Invariants
 *  1. Changes enter the queue while the turn of their commit is held: the order of the queue is the
 *     order of the commits of each file.
 *  2. No callback runs under the lock.
 *  3. A watch that is being called is in the list; only the thread that calls takes it out then.
 */
#include "store/kv.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct change {
    struct change *next; /* in the transaction, then in the queue */
    uint64_t commit;
    enum kv_file file;
    bool was_there, is_there;
    char *value; /* NULL: none */
    size_t bytes, key_bytes;
    char key[]; /* with its NUL */
};

struct list {
    struct change *first, **end;
    size_t count, bytes;
};

struct hf_watch {
    struct watches *all;
    hf_watch *next;
    enum kv_file file;
    char *prefix; /* NULL: all */
    void (*fn)(void *, const hf_change *);
    void *arg;
    uint64_t from;             /* commits greater than this */
    bool stopped, to_be_freed; /* to_be_freed: stopped from its own callback */
};

/* One connection that writes; used by whoever has its turn. */
struct touched {
    struct watches *all;
    sqlite3 *db; /* whose triggers these are; NULL: it has none */
    int triggers;
    struct list keys;
    struct change **table; /* by the hash of file and key; open addressing */
    size_t table_size;     /* a power of two; 0: none */
    bool failed;           /* no memory */
};

struct watches {
    struct kv *kv;
    atomic_int active;
    struct touched writers[HF_BOTH + 1];
    pthread_mutex_t lock;
    pthread_cond_t news, room, returned;
    /* guarded by lock */
    hf_watch *first;
    hf_watch *calling;
    struct list queue;
    uint64_t commits;
    bool running, over;
    pthread_t thread;
};

static _Thread_local const struct watches *dispatcher_of;
static _Thread_local bool owes_wait; /* set by kv_ended for kv_wait_room, on one thread */

static void list_clear(struct list *l) {
    for (struct change *c = l->first, *next; c; c = next) {
        next = c->next;
        free(c->value);
        free(c);
    }
    *l = (struct list){.end = NULL};
}

static void list_add(struct list *l, struct change *c) {
    c->next = NULL;
    *(l->first ? l->end : &l->first) = c;
    l->end = &c->next;
    l->count++;
    l->bytes += sizeof *c + c->key_bytes + c->bytes;
}

static struct change *list_take(struct list *l) {
    struct change *c = l->first;
    l->first = c->next;
    l->count--;
    l->bytes -= sizeof *c + c->key_bytes + c->bytes;
    return c;
}

static void free_change(struct change *c) {
    free(c->value);
    free(c);
}

/* ---- noting keys: the turn is held ---- */

static void forget_keys(struct touched *t) {
    list_clear(&t->keys);
    free(t->table);
    t->table = NULL;
    t->table_size = 0;
    t->failed = false;
}

static size_t hash(enum kv_file file, const char *key, size_t n) {
    uint64_t h = 14695981039346656037u + file; /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)key[i]) * 1099511628211u;
    return (size_t)h;
}

/* Where the key is, or would be. */
static struct change **slot_of(struct touched *t, enum kv_file file, const char *key, size_t n) {
    size_t i = hash(file, key, n) & (t->table_size - 1);
    for (struct change *c; (c = t->table[i]); i = (i + 1) & (t->table_size - 1))
        if (c->file == file && c->key_bytes == n && memcmp(c->key, key, n) == 0) break;
    return &t->table[i];
}

static bool make_room(struct touched *t) {
    if (t->keys.count * 2 < t->table_size) return true;
    size_t size = t->table_size ? t->table_size * 2 : 64;
    struct change **table = calloc(size, sizeof(struct change *));
    if (!table) return false;
    free(t->table);
    t->table = table;
    t->table_size = size;
    for (struct change *c = t->keys.first; c; c = c->next)
        *slot_of(t, c->file, c->key, c->key_bytes) = c;
    return true;
}

static bool matches(const hf_watch *w, enum kv_file file, const char *key) {
    return w->file == file && (!w->prefix || strncmp(key, w->prefix, strlen(w->prefix)) == 0);
}

static bool is_watched(struct watches *all, enum kv_file file, const char *key) {
    pthread_mutex_lock(&all->lock);
    hf_watch *w = all->first;
    while (w && (w->stopped || !matches(w, file, key))) w = w->next;
    pthread_mutex_unlock(&all->lock);
    return w != NULL;
}

static void note(struct touched *t, enum kv_file file, const char *key, size_t n, bool was_there) {
    if (!make_room(t)) {
        t->failed = true;
        return;
    }
    struct change **slot = slot_of(t, file, key, n);
    if (*slot) return;
    struct change *c = calloc(1, sizeof *c + n + 1);
    if (!c) {
        t->failed = true;
        return;
    }
    c->file = file;
    c->was_there = was_there;
    c->key_bytes = n;
    memcpy(c->key, key, n);
    *slot = c;
    list_add(&t->keys, c);
}

/* hf_kv_touched(file, key, it was there) */
static void touched(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
    struct touched *t = sqlite3_user_data(ctx);
    (void)argc;
    if (sqlite3_value_type(argv[1]) != SQLITE_TEXT) return; /* no key */
    const char *key = (const char *)sqlite3_value_text(argv[1]);
    size_t n = (size_t)sqlite3_value_bytes(argv[1]);
    enum kv_file file = (enum kv_file)sqlite3_value_int(argv[0]);
    if (!key) t->failed = true;
    else if (strlen(key) == n && is_watched(t->all, file, key))
        note(t, file, key, n, sqlite3_value_int(argv[2]));
}

/* ---- the store's calls around a transaction ---- */

#define TRIGGERS 3 /* of a table */
static rc set_triggers(sqlite3 *db, enum kv_file file, bool on, struct err *e) {
    static const char make[] =
        "CREATE TEMP TRIGGER hf_kv_%s_i AFTER INSERT ON %s.DBX BEGIN "
        "SELECT hf_kv_touched(%d, new.Key, 0); END;"
        "CREATE TEMP TRIGGER hf_kv_%s_u AFTER UPDATE ON %s.DBX BEGIN "
        "SELECT hf_kv_touched(%d, old.Key, 1); "
        "SELECT hf_kv_touched(%d, new.Key, 0) WHERE new.Key IS NOT old.Key; END;"
        "CREATE TEMP TRIGGER hf_kv_%s_d AFTER DELETE ON %s.DBX BEGIN "
        "SELECT hf_kv_touched(%d, old.Key, 1); END;";
    const char *f = kv_file_name(file);
    char *sql = on ? sqlite3_mprintf(make, f, f, file, f, f, file, file, f, f, file)
                   : sqlite3_mprintf("DROP TRIGGER IF EXISTS temp.hf_kv_%s_i;"
                                     "DROP TRIGGER IF EXISTS temp.hf_kv_%s_u;"
                                     "DROP TRIGGER IF EXISTS temp.hf_kv_%s_d;",
                                     f, f, f);
    if (!sql) return err_set(e, RC_NOMEM, "no memory");
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return code == SQLITE_OK ? ok() : sql_error(e, db, code, "watch");
}

static rc set_all_triggers(struct touched *t, int scope, sqlite3 *db, bool on, struct err *e) {
    const struct kv *kv = t->all->kv;
    int code =
        on ? sqlite3_create_function(db, "hf_kv_touched", 3, SQLITE_UTF8, t, touched, NULL, NULL)
           : SQLITE_OK;
    if (code != SQLITE_OK) return sql_error(e, db, code, "watch");
    t->triggers = 0;
    for (int f = 0; f < KV_FILES; f++) {
        if (!(scope & kv_scope((enum kv_file)f)) || kv->refused[f][0]) continue;
        TRY(set_triggers(db, (enum kv_file)f, on, e));
        t->triggers += TRIGGERS;
    }
    return ok();
}

rc kv_begin(struct kv *kv, int scope, sqlite3 *db, struct err *e) {
    struct watches *all = kv->watches;
    struct touched *t = &all->writers[scope];
    bool on = atomic_load(&all->active) > 0;
    if (on == (t->db == db) && (on || !t->db)) return ok();
    rc r = set_all_triggers(t, scope, db, false, e);
    if (is_ok(r) && on) r = set_all_triggers(t, scope, db, true, e);
    t->db = is_ok(r) && on ? db : NULL;
    return r;
}

/* The value that the key has now. */
static rc read_value(hf_tx *tx, struct change *c, struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("SELECT Value FROM ", ".DBX WHERE Key=?1 AND Value IS NOT NULL");
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(tx, sql[c->file], &rows, e));
    sqlite3_bind_text(rows.it, 1, c->key, (int)c->key_bytes, SQLITE_STATIC);
    rc r = kv_next(&rows, e);
    if (r.code == RC_NOTFOUND) return ok();
    TRY(r);
    const void *data = sqlite3_column_blob(rows.it, 0);
    c->bytes = (size_t)sqlite3_column_bytes(rows.it, 0);
    c->is_there = true;
    c->value = c->bytes && !data ? NULL : malloc(c->bytes + 1);
    if (!c->value) return err_set(e, RC_NOMEM, "no memory to tell a watch of '%.200s'", c->key);
    if (c->bytes) memcpy(c->value, data, c->bytes);
    c->value[c->bytes] = 0;
    return ok();
}

/* With a table its triggers go, and what this transaction did to a new one is not known. */
static rc check_triggers(hf_tx *tx, const struct touched *t, struct err *e) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(tx, "SELECT count(*) FROM sqlite_temp_master WHERE name GLOB 'hf_kv_*'", &rows, e));
    TRY(kv_next(&rows, e));
    if (sqlite3_column_int(rows.it, 0) == t->triggers) return ok();
    return err_set(e, RC_USAGE,
                   "the table DBX was dropped while it is watched: stop the watches first");
}

rc kv_before_commit(struct kv *kv, hf_tx *tx, struct err *e) {
    struct touched *t = &kv->watches->writers[tx_scope(tx)];
    if (t->db) TRY(check_triggers(tx, t, e));
    if (t->failed) return err_set(e, RC_NOMEM, "no memory to tell the watches of this transaction");
    struct list keys = t->keys, told = {0};
    free(t->table);
    t->table = NULL;
    t->table_size = 0;
    t->keys = (struct list){0};
    rc r = ok();
    while (keys.first) {
        struct change *c = list_take(&keys);
        if (is_ok(r)) r = read_value(tx, c, e);
        if (c->was_there || c->is_there) list_add(&told, c);
        else free_change(c);
    }
    t->keys = told;
    return r;
}

/* All of them at the queue's end, as one commit. */
static void enqueue(struct watches *all, struct list *told) {
    pthread_mutex_lock(&all->lock);
    uint64_t commit = ++all->commits;
    while (told->first) {
        struct change *c = list_take(told);
        c->commit = commit;
        list_add(&all->queue, c);
    }
    pthread_cond_signal(&all->news);
    pthread_mutex_unlock(&all->lock);
}

void kv_ended(struct kv *kv, int scope, bool committed) {
    struct watches *all = kv->watches;
    struct touched *t = &all->writers[scope];
    owes_wait = committed && t->keys.first && dispatcher_of != all;
    if (committed && t->keys.first) enqueue(all, &t->keys);
    forget_keys(t);
}

static bool is_full(const struct watches *all) {
    return all->queue.count > LIMIT_WATCH_CHANGES || all->queue.bytes > LIMIT_WATCH_BYTES;
}

static struct timespec in_ms(int64_t ms) {
    struct env *env = store_env();
    int64_t at = env->mono_ns(env) + ms * 1000000;
    return (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
}

void kv_wait_room(struct kv *kv) {
    struct watches *all = kv->watches;
    if (!owes_wait) return;
    owes_wait = false;
    struct timespec until = in_ms(store_timeout_ms(kv->store));
    bool late = false;
    pthread_mutex_lock(&all->lock);
    while (is_full(all) && !all->over && !late)
        late = pthread_cond_clockwait(&all->room, &all->lock, CLOCK_MONOTONIC, &until) != 0;
    pthread_mutex_unlock(&all->lock);
    if (late) store_event(kv->store, "kv.watch_behind", NULL, 0);
}

/* ---- the thread that calls back ---- */

static void unlink_watch(struct watches *all, hf_watch *w) {
    hf_watch **at = &all->first;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    free(w->prefix);
    free(w);
}

/* The lock is held; it is let go for the call. Returns the next watch. */
static hf_watch *call(struct watches *all, hf_watch *w, const struct change *c) {
    hf_change told = {.key = c->key, .value = c->value, .bytes = c->bytes, .commit = c->commit};
    all->calling = w;
    pthread_mutex_unlock(&all->lock);
    w->fn(w->arg, &told);
    pthread_mutex_lock(&all->lock);
    all->calling = NULL;
    hf_watch *next = w->next;
    if (w->to_be_freed) unlink_watch(all, w);
    else if (w->stopped) pthread_cond_broadcast(&all->returned);
    return next;
}

static void tell(struct watches *all, const struct change *c) {
    for (hf_watch *w = all->first; w && !all->over;) {
        bool its = !w->stopped && w->from < c->commit && matches(w, c->file, c->key);
        w = its ? call(all, w, c) : w->next;
    }
}

static void *run(void *arg) {
    struct watches *all = arg;
    dispatcher_of = all;
    pthread_mutex_lock(&all->lock);
    while (!all->over) {
        if (!all->queue.first) {
            pthread_cond_wait(&all->news, &all->lock);
            continue;
        }
        struct change *c = list_take(&all->queue);
        tell(all, c);
        free_change(c);
        if (!is_full(all)) pthread_cond_broadcast(&all->room);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

bool kv_is_dispatcher(const struct kv *kv) {
    return kv && dispatcher_of && dispatcher_of == kv->watches;
}

/* Signals are the application's, and its threads'. */
static rc start_thread(struct watches *all, struct err *e) {
    sigset_t every, before;
    if (all->running) return ok();
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    int errnum = pthread_create(&all->thread, NULL, run, all);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    all->running = errnum == 0;
    return errnum == 0 ? ok() : err_errno(e, errnum, "start the thread of the watches");
}

/* ---- begin and end of a watch ---- */

static rc new_watch(struct watches *all, const char *prefix, hf_watch **out, struct err *e) {
    hf_watch *w = calloc(1, sizeof *w);
    char *copy = prefix && w ? strdup(prefix) : NULL;
    if (!w || (prefix && !copy)) {
        free(w);
        return err_set(e, RC_NOMEM, "no memory");
    }
    *w = (hf_watch){.all = all, .prefix = copy};
    *out = w;
    return ok();
}

/* The turns are held. */
static rc add_watch(struct watches *all, hf_watch *w, struct err *e) {
    pthread_mutex_lock(&all->lock);
    rc r = start_thread(all, e);
    hf_watch **at = &all->first;
    while (*at) at = &(*at)->next;
    w->from = all->commits;
    if (is_ok(r)) *at = w;
    pthread_mutex_unlock(&all->lock);
    if (is_ok(r)) atomic_fetch_add(&all->active, 1);
    return r;
}

static rc watch(hf_store *s, const char *prefix, void (*fn)(void *, const hf_change *), void *arg,
                hf_watch **out, struct err *e) {
    enum kv_file file;
    hf_watch *w = NULL;
    hf_tx *tx;
    TRY(store_check(s, "this store", e));
    struct kv *kv = store_kv(s);
    if (!fn || !out) return err_set(e, RC_USAGE, "hf_kv_watch: fn and out may not be NULL");
    TRY(kv_file_of_prefix(kv, prefix, &file, e));
    if (kv->refused[file][0]) return err_set(e, RC_UNFIT, "%s", kv->refused[file]);
    TRY(tx_begin(s, kv->noise ? HF_BOTH : HF_MAIN, "hf_kv_watch", 0, &tx, e));
    rc r = new_watch(kv->watches, prefix, &w, e);
    if (is_ok(r)) {
        w->file = file;
        w->fn = fn;
        w->arg = arg;
        r = add_watch(kv->watches, w, e);
    }
    tx_rollback(tx, HF_OK);
    if (is_ok(r)) *out = w;
    else if (w) free(w->prefix), free(w);
    return r;
}

int hf_kv_watch(hf_store *s, const char *prefix, void (*fn)(void *arg, const hf_change *),
                void *arg, hf_watch **out) {
    struct err e;
    return done(watch(s, prefix, fn, arg, out, &e), &e);
}

void hf_watch_stop(hf_watch *w) {
    if (!w) return;
    struct watches *all = w->all;
    atomic_fetch_sub(&all->active, 1);
    pthread_mutex_lock(&all->lock);
    w->stopped = true;
    if (all->calling == w && dispatcher_of == all) {
        w->to_be_freed = true;
    } else {
        while (all->calling == w) pthread_cond_wait(&all->returned, &all->lock);
        unlink_watch(all, w);
    }
    pthread_mutex_unlock(&all->lock);
}

rc watches_new(struct kv *kv, struct watches **out, struct err *e) {
    struct watches *all = calloc(1, sizeof *all);
    if (!all) return err_set(e, RC_NOMEM, "no memory");
    all->kv = kv;
    for (int i = 0; i <= HF_BOTH; i++) all->writers[i].all = all;
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->news, NULL);
    pthread_cond_init(&all->room, NULL);
    pthread_cond_init(&all->returned, NULL);
    *out = all;
    return ok();
}

void watches_free(struct watches *all) {
    if (!all) return;
    pthread_mutex_lock(&all->lock);
    all->over = true;
    pthread_cond_broadcast(&all->news);
    pthread_cond_broadcast(&all->room);
    pthread_mutex_unlock(&all->lock);
    if (all->running) pthread_join(all->thread, NULL);
    while (all->first) unlink_watch(all, all->first);
    list_clear(&all->queue);
    for (int i = 0; i <= HF_BOTH; i++) forget_keys(&all->writers[i]);
    pthread_cond_destroy(&all->news);
    pthread_cond_destroy(&all->room);
    pthread_cond_destroy(&all->returned);
    pthread_mutex_destroy(&all->lock);
    free(all);
}
