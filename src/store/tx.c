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
    uint64_t owner = t->owner;
    if (!owner) return err_set(e, RC_USAGE, "this transaction has ended");
    if (owner != this_thread())
        return err_set(e, RC_USAGE,
                       "this transaction belongs to the thread that began it: begin another here");
    if (!t->gone && !t->one && sqlite3_get_autocommit(t->conn->db)) {
        t->gone = true;
        err_fill(&t->words, RC_CANCELLED, "the statement is not known");
    }
    if (!t->gone) return ok();
    return err_set(e, t->words.code, "'%s' was rolled back by SQLite: %.800s", t->why,
                   t->words.text);
}

/* ---- begin ---- */

static rc get_conn(hf_store *s, int scope, int64_t deadline_ns, struct conn **out, struct err *e) {
    if (scope != HF_READ) {
        if (!s->writers[scope]) TRY(conn_open(s, scope, deadline_ns, &s->writers[scope], e));
        *out = s->writers[scope];
        return ok();
    }
    pthread_mutex_lock(&s->lock);
    struct conn *c = s->idle;
    if (c) s->idle = c->next;
    pthread_mutex_unlock(&s->lock);
    if (!c) return conn_open(s, scope, deadline_ns, out, e);
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

static void enlist(struct conn *c, bool one, struct label *label, int64_t asked_ns) {
    hf_store *s = c->store;
    hf_tx *t = &c->tx;
    t->scope = c->scope;
    t->label = label;
    t->why = label_why(label);
    t->gone = t->lent = false;
    t->one = one;
    t->place = NULL;
    t->asked_ns = asked_ns;
    t->began_ns = s->env->mono_ns(s->env);
    t->next_of_thread = mine;
    mine = t;
    pthread_mutex_lock(&s->lock);
    t->owner = this_thread();
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
    t->owner = 0;
    pthread_mutex_unlock(&t->store->lock);
}

void tx_forget(const hf_store *s) {
    for (hf_tx **at = &mine; *at;)
        if ((*at)->store == s) *at = (*at)->next_of_thread;
        else at = &(*at)->next_of_thread;
}

static rc tell_kv(struct conn *c, struct err *e) {
    struct kv *kv = c->store->kv;
    if (!kv || c->scope == HF_READ) return ok();
    c->own = true;
    rc r = kv_begin(kv, c->scope, c->db, e);
    c->own = false;
    return r;
}

static rc lock_and_check(struct conn *c, const char *why, int64_t asked_ns, struct err *e) {
    TRY(turn_lock(c, why, asked_ns, e));
    rc r = c->scope == HF_READ ? ok() : check_newer(c, e);
    if (!is_ok(r)) conn_run(c, c->rollback);
    return r;
}

static rc begin_in_turn(hf_store *s, int scope, bool one, struct label *label, int64_t deadline_ns,
                        int64_t asked_ns, hf_tx **out, struct err *e) {
    struct conn *c;
    TRY(get_conn(s, scope, deadline_ns, &c, e));
    c->deadline_ns = deadline_ns;
    rc r = tell_kv(c, e);
    if (is_ok(r) && !one) r = lock_and_check(c, label_why(label), asked_ns, e);
    if (is_ok(r)) {
        enlist(c, one, label, asked_ns);
        *out = &c->tx;
    } else put_conn(c);
    return r;
}

static rc check_begin(hf_store *s, int scope, const char *why, struct err *e) {
    TRY(store_check(s, "this store", e));
    if (!why || !*why) return err_set(e, RC_USAGE, "a transaction needs a label: \"add node\"");
    if (scope < HF_READ || scope > HF_BOTH)
        return err_set(e, RC_USAGE, "'%s': %d is none of HF_READ, HF_MAIN, HF_NOISE, HF_BOTH", why,
                       scope);
    if (scope & HF_NOISE && !s->noise[0])
        return err_set(e, RC_USAGE, "'%s': %s was opened without noise: set .noise = \"\"", why,
                       s->path);
    hf_tx *outer = tx_of_thread(s);
    if (!outer) return ok();
    return err_set(e, RC_USAGE,
                   "'%s' inside of '%s', on the same thread: use its hf_tx, or end it first", why,
                   outer->why);
}

static void tell(hf_store *s, struct label *label, hf_trace *trace) {
    label_count(label, trace);
    if (s->options.trace) s->options.trace(s->options.trace_arg, trace);
}

static rc begin(hf_store *s, int scope, bool one, const char *why, int64_t deadline_ns, hf_tx **out,
                struct err *e) {
    TRY(check_begin(s, scope, why, e));
    struct label *label = stats_label(&s->stats, why, scope);
    int64_t now = s->env->mono_ns(s->env);
    why = label_why(label);
    if (!deadline_ns) deadline_ns = now + s->options.timeout_ms * 1000000;
    rc r = turn_take(s, scope, why, now, deadline_ns, e);
    if (is_ok(r)) {
        r = begin_in_turn(s, scope, one, label, deadline_ns, now, out, e);
        if (is_ok(r)) return r;
        turn_leave(s, scope, s->env->mono_ns(s->env));
    }
    hf_trace trace = {
        .why = why, .scope = scope, .code = (int)r.code, .wait_ns = s->env->mono_ns(s->env) - now};
    tell(s, label, &trace);
    return r;
}

rc tx_begin(hf_store *s, int scope, const char *why, int64_t deadline_ns, hf_tx **out,
            struct err *e) {
    return begin(s, scope, false, why, deadline_ns, out, e);
}

rc tx_begin_one(hf_store *s, const char *why, hf_tx **out, struct err *e) {
    return begin(s, HF_READ, true, why, 0, out, e);
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

/* `commit_ns`: when the commit began; 0: there was none. */
static void finish(hf_tx *t, int code, int64_t commit_ns) {
    hf_store *s = t->store;
    int64_t now = s->env->mono_ns(s->env);
    struct label *label = t->label;
    struct kv *kv = t->scope == HF_READ ? NULL : s->kv;
    hf_trace trace = {.why = t->why,
                      .scope = t->scope,
                      .code = code,
                      .wait_ns = t->began_ns - t->asked_ns,
                      .run_ns = now - t->began_ns,
                      .commit_ns = commit_ns ? now - commit_ns : 0};
    newer_ended(t->conn); /* before anything else is read */
    delist(t);
    if (kv) kv_ended(kv, trace.scope, code == 0);
    put_conn(t->conn);
    turn_leave(s, trace.scope, now);
    if (kv && code == 0) kv_wait_room(kv);
    tell(s, label, &trace);
}

static void undo(hf_tx *t, int code) {
    release_statements(t);
    if (!sqlite3_get_autocommit(t->conn->db)) conn_run(t->conn, t->conn->rollback);
    finish(t, code, 0);
}

/* A commit of another process is published in an instant; if that one died in it, "all until now"
 * is right too. */
static void read_place(sqlite3 *db, struct position *out) {
    for (int i = 0; i < 1000; i++)
        if (is_ok(position_read(db, "main", out, NULL))) return;
    *out = (struct position){.kind = POSITION_NOW};
}

/* True: somebody else has committed to main since this connection saw it. */
static bool others_committed(struct conn *c) {
    unsigned then = 0, now = 0;
    sqlite3_file_control(c->db, "main", SQLITE_FCNTL_DATA_VERSION, &then);
    if (!is_ok(conn_exec(c, "PRAGMA main.schema_version", true, NULL))) return true;
    sqlite3_file_control(c->db, "main", SQLITE_FCNTL_DATA_VERSION, &now);
    return then != now;
}

/* A commit of both files is two, main's first. If noise's then fails, main's stands: SQLite says
 * that it failed, but what is in main's log is committed. By now the lock is free, and what is
 * there may be another process's: then nothing is promised. */
static bool main_stands(hf_tx *t, const struct position *before) {
    struct position now;
    if (t->scope != HF_BOTH) return false;
    read_place(t->conn->db, &now);
    return memcmp(before, &now, sizeof now) != 0 && !others_committed(t->conn);
}

static void say_noise_lost(hf_store *s, const char *why, const struct err *e) {
    const char *pairs[] = {"noise", s->noise, "transaction", why, "err", e->text};
    store_event(s, "noise.lost", pairs, 6);
}

static rc commit(hf_tx *t, bool *noise_lost, struct err *e) {
    struct conn *c = t->conn;
    struct position before = {0}, after = {.kind = POSITION_NOTHING};
    bool looks = t->scope == HF_BOTH || (t->place && t->scope == HF_MAIN);
    if (looks) read_place(c->db, &before);
    int code = conn_run(c, c->commit);
    if (code != SQLITE_OK) {
        rc r = conn_error(c, code, t->why, e);
        if (!main_stands(t, &before)) return r;
        *noise_lost = true;
    }
    if (!t->place) return ok();
    if (looks) read_place(c->db, &after);
    if (before.kind && memcmp(&before, &after, sizeof after) == 0)
        after = (struct position){.kind = POSITION_NOTHING};
    memcpy(t->place, &after, sizeof after);
    return ok();
}

/* Of this thread, and open. */
static bool is_mine(const hf_tx *t) {
    for (const hf_tx *m = mine; m; m = m->next_of_thread)
        if (m == t) return is_ok(store_check(t->store, "this transaction", NULL));
    return false;
}

rc tx_commit(hf_tx *t, struct err *e) {
    bool noise_lost = false;
    rc r = tx_check(t, e);
    if (!is_ok(r) && !is_mine(t)) return r;
    hf_store *s = t->store;
    if (is_ok(r)) {
        release_statements(t);
        if (t->scope != HF_READ && s->kv) r = kv_before_commit(s->kv, t, e);
        release_statements(t);
        int64_t start = s->env->mono_ns(s->env);
        if (is_ok(r)) r = commit(t, &noise_lost, e);
        if (is_ok(r) && !noise_lost) {
            finish(t, 0, start);
            return r;
        }
    }
    const char *why = t->why;
    undo(t, (int)r.code);
    if (noise_lost) say_noise_lost(s, why, e);
    return r;
}

void tx_rollback(hf_tx *t, int code) {
    if (is_mine(t)) undo(t, code);
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

/* A read has nothing to lose: its end is an end. */
void hf_rollback(hf_tx *t) {
    if (is_mine(t)) undo(t, t->scope == HF_READ ? HF_OK : HF_CANCELLED);
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
    tx_rollback(t, said);
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
    tx_rollback(t, said);
    return said;
}

int hf_position(hf_tx *t, hf_place *out) {
    struct err e;
    rc r = out ? tx_check(t, &e) : err_set(&e, RC_USAGE, "hf_position: the place is NULL");
    if (is_ok(r)) t->place = out;
    return done(r, &e);
}
