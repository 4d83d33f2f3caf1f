/* A connection that changes a schema.
 *
 * Why a connection of its own and not the store's: PRAGMA foreign_keys is a no-op inside of a
 * transaction, and the store's connections are always about to be in one.
 *
 * Invariants
 *  1. In a transaction foreign keys are off, but for a backfill's.
 *  2. What COMMIT could not do is rolled back: no transaction stays open behind an error of its
 *     end.
 */
#include "schema/conn.h"

#include "schema/parents.h"
#include "store/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_FIRST_NS 50000
#define PAUSE_MAX_NS 2000000
#define TICKS 100000 /* of SQLite's machine, between two looks at schema->stop */

/* Short pauses: who waits long for a lock here makes others wait for the schema. */
static int wait_for_lock(void *arg, int count) {
    struct sconn *c = arg;
    struct env *env = c->schema->env;
    c->waited++;
    if (env->mono_ns(env) >= c->deadline_ns || atomic_load(&c->schema->stop)) return 0;
    env->sleep_ns(env, count < 5 ? (int64_t)PAUSE_FIRST_NS << count : PAUSE_MAX_NS);
    return 1;
}

/* In the middle of a statement: it may have no end. */
static int should_stop(void *schema) {
    return atomic_load(&((hf_schema *)schema)->stop);
}

static enum rc_code code_of(int code) {
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL: return RC_BUSY;
    case SQLITE_NOMEM: return RC_NOMEM;
    case SQLITE_FULL: return RC_FULL;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: return RC_CORRUPT;
    case SQLITE_CONSTRAINT: return RC_CONFLICT;
    case SQLITE_INTERRUPT: return RC_CANCELLED;
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_AUTH:
    case SQLITE_MISMATCH:
    case SQLITE_LOCKED:
    case SQLITE_TOOBIG: return RC_USAGE;
    default: return RC_IO;
    }
}

rc sconn_error(struct sconn *c, int code, const struct migration *m, int line, struct err *e) {
    const char *said = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(code);
    if (m) return err_set(e, code_of(code), "%s:%d: %s", m->name, line, said);
    return err_set(e, code_of(code), "%s: %s", c->path, said);
}

static rc set_up(struct sconn *c, bool reading, struct err *e) {
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_handler(c->db, wait_for_lock, c);
    sqlite3_progress_handler(c->db, TICKS, should_stop, c->schema);
    c->deadline_ns = c->schema->env->mono_ns(c->schema->env) +
                     c->schema->options.lock_ms * 1000000; /* the first read recovers a log */
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FKEY, 0, (int *)NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    TRY(sconn_exec(c, "SELECT 1 FROM sqlite_master", e));
    if (reading) return sconn_exec(c, "PRAGMA query_only = 1", e);
    if (strcmp(c->path, ":memory:") == 0) return ok();
    return sconn_exec(c, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", e);
}

static rc try_open(hf_schema *s, const char *path, bool noise, bool reading, struct sconn *out,
                   struct err *e) {
    struct sconn c = {.schema = s, .noise = noise, .path = path};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                (strcmp(path, ":memory:") == 0 ? SQLITE_OPEN_CREATE : 0);
    int code = sqlite3_open_v2(path, &c.db, flags, NULL);
    *out = c; /* the busy handler keeps the address */
    rc r = code == SQLITE_OK ? set_up(out, reading, e) : sconn_error(out, code, NULL, 0, e);
    if (!is_ok(r)) sconn_close(out);
    return r;
}

/* While another process makes the file WAL, or is the last to close it, SQLite says BUSY at
 * once. */
static rc open_waiting(hf_schema *s, const char *path, bool noise, bool reading, struct sconn *out,
                       struct err *e) {
    struct env *env = s->env;
    int64_t deadline_ns = env->mono_ns(env) + s->options.lock_ms * 1000000;
    for (;;) {
        rc r = try_open(s, path, noise, reading, out, e);
        if (r.code != RC_BUSY || env->mono_ns(env) >= deadline_ns || atomic_load(&s->stop))
            return r;
        env->sleep_ns(env, PAUSE_MAX_NS);
    }
}

rc sconn_open_at(hf_schema *s, const char *path, bool noise, struct sconn *out, struct err *e) {
    return open_waiting(s, path, noise, false, out, e);
}

rc sconn_open(hf_schema *s, bool noise, struct sconn *out, struct err *e) {
    return open_waiting(s, noise ? s->noise : s->path, noise, false, out, e);
}

rc sconn_open_reading(hf_schema *s, bool noise, struct sconn *out, struct err *e) {
    return open_waiting(s, noise ? s->noise : s->path, noise, true, out, e);
}

void sconn_close(struct sconn *c) {
    sqlite3_close_v2(c->db);
    rows_free(&c->parents);
    c->parents = NULL;
    c->db = NULL;
}

void sconn_foreign_keys(struct sconn *c, bool on) {
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FKEY, (int)on, (int *)NULL);
    c->foreign_keys = on;
}

rc sconn_exec(struct sconn *c, const char *sql, struct err *e) {
    int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? ok() : sconn_error(c, code, NULL, 0, e);
}

rc sconn_int(struct sconn *c, const char *sql, int64_t *out, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    rc r = ok();
    if (code == SQLITE_ROW) *out = sqlite3_column_int64(st, 0);
    else if (code == SQLITE_DONE) r = err_set(e, RC_NOTFOUND, "%s: no row: %s", c->path, sql);
    else r = sconn_error(c, code, NULL, 0, e);
    sqlite3_finalize(st);
    return r;
}

static rc begin_checked(struct sconn *c, struct err *e) {
    int64_t on = 1;
    TRY(sconn_int(c, "PRAGMA foreign_keys", &on, e));
    ENSURE(on == c->foreign_keys); /* invariant 1 */
    return ok();
}

static rc late_for_lock(struct sconn *c, int64_t asked_ns, struct err *e) {
    char holder[128];
    struct env *env = c->schema->env;
    bool seen = name_writer(env, c->path, holder, sizeof holder);
    if (atomic_load(&c->schema->stop)) return err_set(e, RC_CANCELLED, "%s: told to stop", c->path);
    return err_set(e, RC_BUSY, "%s: waited %.1f s for its write lock, held by %s", c->path,
                   (double)(env->mono_ns(env) - asked_ns) / 1e9, seen ? holder : "another process");
}

rc sconn_begin(struct sconn *c, struct err *e) {
    struct env *env = c->schema->env;
    int64_t asked_ns = env->mono_ns(env);
    c->waited = 0;
    rows_free(&c->parents);
    c->parents = NULL;
    c->deadline_ns = env->mono_ns(env) + c->schema->options.lock_ms * 1000000;
    sconn_rollback(c); /* of one whose end found no memory */
    TRY(begin_checked(c, e));
    rc r = sconn_exec(c, "BEGIN IMMEDIATE", e);
    if (r.code == RC_BUSY) return late_for_lock(c, asked_ns, e);
    TRY(r);
    c->began_ns = env->mono_ns(env);
    return ok();
}

rc sconn_watch_parents(struct sconn *c, struct err *e) {
    return parents_read(c, &c->parents, e);
}

rc sconn_commit(struct sconn *c, int64_t *lock_us, struct err *e) {
    struct env *env = c->schema->env;
    rc r = c->parents ? parents_compare(c, c->parents, e) : ok();
    if (is_ok(r)) r = sconn_exec(c, "COMMIT", e);
    if (!is_ok(r)) sconn_rollback(c);
    if (lock_us) *lock_us = (env->mono_ns(env) - c->began_ns) / 1000;
    return r;
}

void sconn_rollback(struct sconn *c) {
    if (!sqlite3_get_autocommit(c->db)) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}
