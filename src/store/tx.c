/* Transactions: whose turn it is, the locks, and the end.
 *
 * The struct of a transaction belongs to its connection and is used again. So a handle that has
 * ended is known to have, and is refused instead of being memory that is gone.
 *
 * Invariants:
 * 1. Of main's and noise's turns main's is taken first; of their locks too: BEGIN IMMEDIATE takes
 *    them in the order in which the files were opened.
 * 2. A turn is taken before the lock and left after it.
 * 3. hf_commit is HF_OK only if SQLite committed this very transaction.
 */
#include "store/parts.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static _Thread_local hf_tx *mine;
static _Thread_local uint64_t my_number;

static uint64_t this_thread(void) {
    static _Atomic uint64_t last;
    if (!my_number) my_number = atomic_fetch_add(&last, 1) + 1;
    return my_number;
}

hf_tx *tx_of_thread(const hf_store *s) {
    for (hf_tx *t = mine; t; t = t->next_of_thread)
        if (t->store == s) return t;
    return NULL;
}

bool store_in_transaction(const hf_store *s) {
    return tx_of_thread(s) != NULL;
}

hf_store *tx_store(const hf_tx *t) {
    return t->store;
}

int tx_scope(const hf_tx *t) {
    return t->scope;
}

rc tx_check(hf_tx *t, struct err *e) {
    if (!t) return err_set(e, RC_USAGE, "the transaction is NULL");
    TRY(store_check(t->store, "this transaction", e));
    if (!t->open) return err_set(e, RC_USAGE, "this transaction has ended");
    if (t->thread != this_thread())
        return err_set(e, RC_USAGE,
                       "'%s' belongs to the thread that began it, and is used on "
                       "another: begin one there",
                       t->why);
    if (!t->gone && sqlite3_get_autocommit(t->conn->db)) {
        t->gone = true;
        err_fill(&t->words, RC_CANCELLED, "an error");
    }
    if (!t->gone) return ok();
    return err_set(e, t->words.code, "'%s' was rolled back by SQLite: %.800s", t->why,
                   t->words.text);
}

/* ---- begin ---- */

static rc too_late(hf_store *s, struct queue *q, const char *file, const char *why, struct err *e) {
    char holder[64];
    int64_t held;
    queue_holder(q, s->env, holder, sizeof holder, &held);
    return err_set(e, RC_TIMEOUT, "'%s' waited for %s: held by '%s' of this process for %.1f s",
                   why, file, holder, (double)held / 1e9);
}

static void leave_turns(hf_store *s, int scope) {
    if (scope == HF_READ) queue_leave(&s->reader_turn, s->env);
    if (scope & HF_NOISE) queue_leave(&s->noise_turn, s->env);
    if (scope & HF_MAIN) queue_leave(&s->main_turn, s->env);
}

static rc take_turns(hf_store *s, int scope, const char *why, int64_t deadline, struct err *e) {
    if (scope == HF_READ && !queue_enter(&s->reader_turn, s->env, why, deadline))
        return err_set(e, RC_TIMEOUT, "'%s' waited for one of %d connections to read with", why,
                       s->options.readers);
    if (scope & HF_MAIN && !queue_enter(&s->main_turn, s->env, why, deadline))
        return too_late(s, &s->main_turn, s->path, why, e);
    if (scope & HF_NOISE && !queue_enter(&s->noise_turn, s->env, why, deadline)) {
        if (scope & HF_MAIN) queue_leave(&s->main_turn, s->env);
        return too_late(s, &s->noise_turn, s->noise, why, e);
    }
    return ok();
}

static rc get_conn(hf_store *s, int scope, struct conn **out, struct err *e) {
    if (scope != HF_READ) {
        if (!s->writers[scope]) TRY(conn_open(s, scope, &s->writers[scope], e));
        *out = s->writers[scope];
        return ok();
    }
    pthread_mutex_lock(&s->lock);
    struct conn *c = s->idle;
    if (c) s->idle = c->next;
    pthread_mutex_unlock(&s->lock);
    if (!c) return conn_open(s, scope, out, e);
    *out = c;
    return ok();
}

static void put_conn(struct conn *c) {
    if (c->scope != HF_READ) return;
    pthread_mutex_lock(&c->store->lock);
    c->next = c->store->idle;
    c->store->idle = c;
    pthread_mutex_unlock(&c->store->lock);
}

static rc lock_files(struct conn *c, const char *why, struct err *e) {
    struct env *env = c->store->env;
    int code;
    while ((code = conn_run(c, c->begin)) != SQLITE_OK || /* a look reads both files */
           (c->look && (code = conn_run(c, c->look)) != SQLITE_OK)) {
        if (!sqlite3_get_autocommit(c->db)) conn_run(c, c->rollback);
        if ((code & 0xff) != SQLITE_BUSY) return conn_error(c, code, why, e);
        if (env->mono_ns(env) >= c->deadline_ns)
            return err_set(e, RC_TIMEOUT, "'%s' waited for another process", why);
        env->sleep_ns(env, 1000000);
    }
    return ok();
}

static void enlist(struct conn *c, int scope, const char *why, int64_t asked_ns) {
    hf_store *s = c->store;
    hf_tx *t = &c->tx;
    *t = (hf_tx){.store = s,
                 .conn = c,
                 .scope = scope,
                 .open = true,
                 .thread = this_thread(),
                 .asked_ns = asked_ns,
                 .began_ns = s->env->mono_ns(s->env)};
    snprintf(t->why, sizeof t->why, "%s", why);
    t->next_of_thread = mine;
    mine = t;
    pthread_mutex_lock(&s->lock);
    t->next = s->open;
    if (t->next) t->next->link = &t->next;
    t->link = &s->open;
    s->open = t;
    pthread_mutex_unlock(&s->lock);
}

static void delist(hf_tx *t) {
    hf_tx **at = &mine;
    while (*at != t) at = &(*at)->next_of_thread;
    *at = t->next_of_thread;
    pthread_mutex_lock(&t->store->lock);
    *t->link = t->next;
    if (t->next) t->next->link = t->link;
    t->open = false;
    pthread_mutex_unlock(&t->store->lock);
}

static rc begin_on(hf_store *s, int scope, const char *why, int64_t deadline_ns, int64_t asked_ns,
                   hf_tx **out, struct err *e) {
    struct conn *c;
    TRY(get_conn(s, scope, &c, e));
    c->deadline_ns = deadline_ns;
    rc r = scope != HF_READ && s->kv ? kv_begin(s->kv, scope, c->db, e) : ok();
    if (is_ok(r)) r = lock_files(c, why, e);
    if (!is_ok(r)) {
        put_conn(c);
        return r;
    }
    enlist(c, scope, why, asked_ns);
    *out = &c->tx;
    return ok();
}

rc tx_begin(hf_store *s, int scope, const char *why, int64_t deadline_ns, hf_tx **out,
            struct err *e) {
    TRY(store_check(s, "this store", e));
    if (!why) return err_set(e, RC_USAGE, "a transaction needs a label: \"add node\"");
    if (scope < HF_READ || scope > HF_BOTH)
        return err_set(e, RC_USAGE, "'%s': %d is none of HF_READ, HF_MAIN, HF_NOISE, HF_BOTH", why,
                       scope);
    if (scope & HF_NOISE && !s->noise[0])
        return err_set(e, RC_USAGE, "'%s': %s was opened without noise: set .noise = \"\"", why,
                       s->path);
    hf_tx *outer = tx_of_thread(s);
    if (outer)
        return err_set(e, RC_USAGE,
                       "'%s' inside of '%s', on the same thread: use its hf_tx, or "
                       "end it first",
                       why, outer->why);
    int64_t now = s->env->mono_ns(s->env);
    if (!deadline_ns) deadline_ns = now + s->options.timeout_ms * 1000000;
    TRY(take_turns(s, scope, why, deadline_ns, e));
    rc r = begin_on(s, scope, why, deadline_ns, now, out, e);
    if (!is_ok(r)) leave_turns(s, scope);
    return r;
}

/* ---- end ---- */

static void release_statements(hf_tx *t) {
    for (struct stmt *s; (s = t->used);) {
        t->used = s->next_used;
        cache_put(t->conn, s);
    }
    if (!t->lent) return;
    for (sqlite3_stmt *st = NULL; (st = sqlite3_next_stmt(t->conn->db, st));)
        if (sqlite3_stmt_busy(st)) sqlite3_reset(st);
}

static void finish(hf_tx *t, bool committed) {
    hf_store *s = t->store;
    int scope = t->scope;
    delist(t);
    if (scope != HF_READ && s->kv) kv_ended(s->kv, scope, committed);
    put_conn(t->conn);
    leave_turns(s, scope);
    if (scope != HF_READ && s->kv && committed) kv_wait_room(s->kv);
}

static void undo(hf_tx *t) {
    release_statements(t);
    if (!sqlite3_get_autocommit(t->conn->db)) conn_run(t->conn, t->conn->rollback);
    finish(t, false);
}

/* A commit of another process is published in an instant; if that one died in it, "all until now"
 * is right too. */
static void read_place(sqlite3 *db, struct position *out) {
    for (int i = 0; i < 1000; i++)
        if (is_ok(position_read(db, "main", out, NULL))) return;
    *out = (struct position){.kind = POSITION_NOW};
}

static rc commit(hf_tx *t, struct err *e) {
    struct conn *c = t->conn;
    struct position before = {0}, after = {.kind = POSITION_NOTHING};
    bool placed = t->place && t->scope & HF_MAIN;
    if (placed) read_place(c->db, &before);
    int code = conn_run(c, c->commit);
    if (code != SQLITE_OK) return conn_error(c, code, t->why, e);
    if (placed) read_place(c->db, &after);
    if (placed && before.kind && memcmp(&before, &after, sizeof after) == 0)
        after = (struct position){.kind = POSITION_NOTHING};
    if (t->place) memcpy(t->place, &after, sizeof after);
    return ok();
}

rc tx_commit(hf_tx *t, struct err *e) {
    rc r = tx_check(t, e);
    if (!is_ok(r)) {
        if (t && t->gone && t->open) undo(t);
        return r;
    }
    release_statements(t);
    if (t->scope != HF_READ && t->store->kv) r = kv_before_commit(t->store->kv, t, e);
    if (is_ok(r)) r = commit(t, e);
    if (is_ok(r)) finish(t, true);
    else undo(t);
    return r;
}

void tx_rollback(hf_tx *t) {
    struct err e;
    if (is_ok(tx_check(t, &e)) || (t && t->gone && t->open)) undo(t);
}

/* ---- the public ones ---- */

_Static_assert(sizeof(hf_place) == sizeof(struct position) && POSITION_NOW == 0,
               "a place is a position, byte for byte");

int hf_begin(hf_store *s, int scope, const char *why, hf_tx **out) {
    struct err e;
    if (!out) return fail(RC_USAGE, "hf_begin: where to put the transaction is NULL");
    return done(tx_begin(s, scope, why, 0, out, &e), &e);
}

int hf_commit(hf_tx *t) {
    struct err e;
    return done(tx_commit(t, &e), &e);
}

void hf_rollback(hf_tx *t) {
    tx_rollback(t);
}

int hf_write(hf_store *s, int scope, const char *why, int (*fn)(hf_tx *, void *), void *arg) {
    struct err e;
    hf_tx *t;
    if (!fn) return fail(RC_USAGE, "hf_write: the function is NULL");
    if (scope == HF_READ) return fail(RC_USAGE, "hf_write: HF_READ: use hf_read");
    rc r = tx_begin(s, scope, why, 0, &t, &e);
    if (!is_ok(r)) return done(r, &e);
    int said = fn(t, arg);
    if (said == 0) return done(tx_commit(t, &e), &e);
    tx_rollback(t);
    return said;
}

int hf_read(hf_store *s, const char *why, int (*fn)(hf_tx *, void *), void *arg) {
    struct err e;
    hf_tx *t;
    if (!fn) return fail(RC_USAGE, "hf_read: the function is NULL");
    rc r = tx_begin(s, HF_READ, why, 0, &t, &e);
    if (!is_ok(r)) return done(r, &e);
    int said = fn(t, arg);
    if (said == 0) return done(tx_commit(t, &e), &e);
    tx_rollback(t);
    return said;
}

int hf_position(hf_tx *t, hf_place *out) {
    struct err e;
    rc r = out ? tx_check(t, &e) : err_set(&e, RC_USAGE, "hf_position: the place is NULL");
    if (is_ok(r)) t->place = out;
    return done(r, &e);
}
