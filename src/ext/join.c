/* A client of the schema in any language: see src/schema/clients.h for what that means.
 *
 *     SELECT holdfast_schema_join('control 41', 20260901120000);
 *
 * The first call takes a slot and writes the row, by the connection itself, in noise if a file is
 * attached under that name. Each later one only asks whether the schema has gone on without this
 * program, in a transaction or not: then nothing can come between the answer and the commit.
 *
 * Invariants
 *  1. The lock lasts as long as the connection: SQLite frees what belongs to the function with it.
 *  2. The row is written under the shared gate, as by the library.
 */
#include "ext/join.h"

#include "os/system.h"
#include "schema/clients.h"
#include "schema/lock.h"
#include "store/min_version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GATE_TRIES 60000 /* of 1 ms: a contract may rebuild a table */

struct client_of {
    struct lock *lock; /* NULL: it has not joined */
    char app[100];
    int64_t version;
};

static void leave(void *arg) {
    struct client_of *me = arg;
    lock_close(me->lock);
    free(me);
}

static bool has_noise(sqlite3 *db) {
    const char *path = sqlite3_db_filename(db, "noise");
    return path && *path;
}

static rc check(sqlite3 *db, const char *app, int64_t version, struct err *e) {
    TRY(min_version_check(db, "main", app, version, e));
    return has_noise(db) ? min_version_check(db, "noise", app, version, e) : ok();
}

static rc sql_failed(sqlite3 *db, struct err *e) {
    return err_set(e, RC_IO, "holdfast_client: %.500s", sqlite3_errmsg(db));
}

static rc write_row(sqlite3 *db, const struct client_of *me, int slot, struct err *e) {
    bool noise = has_noise(db);
    char host[100], lock[LOCK_ID];
    sqlite3_stmt *st = NULL, *now = NULL;
    system_host_name(host, sizeof host);
    lock_id(me->lock, lock);
    int code =
        sqlite3_exec(db, noise ? CLIENT_TABLE("noise") : CLIENT_TABLE("main"), NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code =
            sqlite3_prepare_v2(db, noise ? CLIENT_ROW("noise") : CLIENT_ROW("main"), -1, &st, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(
            db, "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)", -1, &now,
            NULL);
    if (code == SQLITE_OK) {
        sqlite3_step(now);
        sqlite3_bind_int(st, 1, slot);
        sqlite3_bind_text(st, 2, me->app, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 3, me->version);
        sqlite3_bind_int(st, 4, system_pid());
        sqlite3_bind_text(st, 5, host, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 6, lock, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 7, sqlite3_column_int64(now, 0));
        code = sqlite3_step(st) == SQLITE_DONE ? SQLITE_OK : SQLITE_ERROR;
    }
    rc r = code == SQLITE_OK ? ok() : sql_failed(db, e);
    sqlite3_finalize(st);
    sqlite3_finalize(now);
    return r;
}

static rc take_slot(struct lock *l, int *slot, struct err *e) {
    for (*slot = 0; *slot < LOCK_CLIENTS; ++*slot) {
        rc r = lock_take(l, LOCK_CLIENT + *slot, false, e);
        if (r.code != RC_BUSY) return r;
    }
    return err_set(e, RC_BUSY, "%d programs have the database open: there is no room for another",
                   LOCK_CLIENTS);
}

static rc enter_gate(struct lock *l, struct err *e) {
    rc r = lock_take(l, LOCK_GATE, true, e);
    for (int i = 0; r.code == RC_BUSY && i < GATE_TRIES; i++) {
        sqlite3_sleep(1);
        r = lock_take(l, LOCK_GATE, true, e);
    }
    return r;
}

static rc join_in_gate(sqlite3 *db, const struct client_of *me, struct err *e) {
    int slot;
    TRY(check(db, me->app, me->version, e));
    TRY(take_slot(me->lock, &slot, e));
    return write_row(db, me, slot, e);
}

static rc join(sqlite3 *db, struct client_of *me, struct err *e) {
    const char *path = sqlite3_db_filename(db, "main");
    if (!path || !*path)
        return err_set(e, RC_USAGE,
                       "the main database is in memory or temporary: nobody else"
                       " could change its schema");
    if (!sqlite3_get_autocommit(db))
        return err_set(e, RC_USAGE, "inside of a transaction: join before the first");
    TRY(lock_open(NULL, path, &me->lock, e));
    rc r = enter_gate(me->lock, e);
    if (is_ok(r)) {
        r = join_in_gate(db, me, e);
        lock_release(me->lock, LOCK_GATE);
    }
    if (is_ok(r)) return r;
    lock_close(me->lock);
    me->lock = NULL;
    return r;
}

static rc take_arguments(sqlite3_value **values, struct client_of *out, struct err *e) {
    const char *app = (const char *)sqlite3_value_text(values[0]);
    if (sqlite3_value_type(values[0]) != SQLITE_TEXT || !app || !*app)
        return err_set(e, RC_USAGE,
                       "holdfast_schema_join(app, version): app is a text, as the"
                       " program is called to others");
    out->version = sqlite3_value_int64(values[1]);
    if (sqlite3_value_type(values[1]) != SQLITE_INTEGER || out->version < 0)
        return err_set(e, RC_USAGE,
                       "holdfast_schema_join(app, version): version is a number, that"
                       " of the newest migration that the program knows; 0: none yet");
    snprintf(out->app, sizeof out->app, "%s", app);
    return ok();
}

static rc join_or_ask(sqlite3 *db, sqlite3_value **values, struct client_of *me, struct err *e) {
    struct client_of asked = {0};
    TRY(take_arguments(values, &asked, e));
    if (!me->lock) {
        *me = asked;
        return join(db, me, e);
    }
    if (asked.version != me->version || strcmp(asked.app, me->app) != 0)
        return err_set(e, RC_USAGE, "this connection has joined as '%s', which knows %lld", me->app,
                       (long long)me->version);
    return check(db, me->app, me->version, e);
}

static void sql_join(sqlite3_context *c, int count, sqlite3_value **values) {
    struct err e;
    (void)count;
    rc r = join_or_ask(sqlite3_context_db_handle(c), values, sqlite3_user_data(c), &e);
    if (is_ok(r)) sqlite3_result_int(c, 1);
    else if (!is_ok(err_prefix(&e, r, "%s", rc_name(r.code)))) sqlite3_result_error(c, e.text, -1);
}

int join_register(sqlite3 *db) {
    struct client_of *me = calloc(1, sizeof *me);
    if (!me) return SQLITE_NOMEM;
    return sqlite3_create_function_v2(db, "holdfast_schema_join", 2,
                                      SQLITE_UTF8 | SQLITE_DIRECTONLY, me, sql_join, NULL, NULL,
                                      leave); /* which is called also when this fails */
}
