/* The extension of SQLite: holdfast_wait, holdfast_position, holdfast_status,
 * holdfast_schema_join.
 *
 *     SELECT load_extension('holdfast');          or sqlite3_load_extension
 *     SELECT holdfast_wait();                     1: what this connection committed is safe
 *     SELECT holdfast_wait(5000, 'flush');        at most 5 s; ship now
 *
 * Why it covers this connection's commits and needs no more: the position is read from the
 * connection's own view of the log, so that a connection whose file was replaced under it is
 * refused and not told "safe" by whoever replicates the new file.
 *
 * Invariants
 *  1. While it waits it holds no lock and no transaction: it refuses to wait inside of one, and by
 *     itself a SELECT without a table begins none.
 *  2. It returns 1 only when a replicator said so of that very position.
 */
#include "ext/beside.h"
#include "ext/join.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

SQLITE_EXTENSION_INIT1

#define TIMEOUT_MS 30000
#define TIMEOUT_MAX_MS 86400000
#define PUBLISHING_TRIES 2000 /* of 1 ms */
#define SINCE_TXN_STATE 3034000

static void fail(sqlite3_context *c, const struct err *e) {
    sqlite3_result_error(c, e->text, -1);
}

/* ---- this connection ---- */

static rc path_of(sqlite3 *db, const char **out, struct err *e) {
    const char *path = sqlite3_db_filename(db, "main");
    if (!path || !*path)
        return err_set(
            e, RC_USAGE,
            "usage: the main database is in memory or temporary: nobody can replicate it");
    *out = path;
    return ok();
}

/* Nothing of an open transaction is committed, and its locks would be held meanwhile. */
static rc check_idle(sqlite3 *db, struct err *e) {
    bool writing = sqlite3_libversion_number() >= SINCE_TXN_STATE &&
                   sqlite3_txn_state(db, NULL) == SQLITE_TXN_WRITE;
    if (!sqlite3_get_autocommit(db))
        return err_set(e, RC_USAGE,
                       "usage: inside of a transaction, of which nothing is committed yet: end it,"
                       " then wait");
    if (writing)
        return err_set(e, RC_USAGE,
                       "usage: inside of a statement that writes: SELECT holdfast_wait() is one of"
                       " its own, after it");
    return ok();
}

static rc read_position(sqlite3 *db, struct position *out, struct err *e) {
    rc r = position_read(db, "main", out, e);
    for (int i = 0; r.code == RC_BUSY && i < PUBLISHING_TRIES; i++) {
        sqlite3_sleep(1);
        r = position_read(db, "main", out, e);
    }
    return r;
}

/* A connection that has not read yet has not looked whether there is a log. */
static rc own_position(sqlite3 *db, struct position *out, struct err *e) {
    TRY(check_idle(db, e));
    rc r = read_position(db, out, e);
    if (r.code == RC_USAGE) {
        int code = sqlite3_exec(db, "PRAGMA main.schema_version", NULL, NULL, NULL);
        if (code != SQLITE_OK)
            return err_set(e, RC_IO, "io: the database cannot be read: %.500s", sqlite3_errmsg(db));
        r = read_position(db, out, e);
    }
    return is_ok(r) ? r : err_prefix(e, r, "%s", rc_name(r.code));
}

/* ---- the functions ---- */

/* [timeout_ms [, 'flush']]; NULL: the default. */
static rc take_arguments(int count, sqlite3_value **values, int64_t *timeout_ms, bool *flush,
                         struct err *e) {
    if (count > 0 && sqlite3_value_type(values[0]) != SQLITE_NULL) {
        *timeout_ms = sqlite3_value_int64(values[0]);
        if (sqlite3_value_type(values[0]) != SQLITE_INTEGER || *timeout_ms < 0 ||
            *timeout_ms > TIMEOUT_MAX_MS)
            return err_set(e, RC_USAGE,
                           "usage: holdfast_wait(timeout_ms): a whole number from 0 to 86400000");
    }
    if (count > 1 && sqlite3_value_type(values[1]) != SQLITE_NULL) {
        const char *word = (const char *)sqlite3_value_text(values[1]);
        if (!word || strcmp(word, "flush") != 0)
            return err_set(e, RC_USAGE, "usage: holdfast_wait(timeout_ms, 'flush'): no other word");
        *flush = true;
    }
    return ok();
}

static rc wait_until_safe(sqlite3 *db, int count, sqlite3_value **values, struct err *e) {
    struct position at;
    int64_t timeout_ms = TIMEOUT_MS;
    bool flush = false;
    const char *path = NULL;
    TRY(take_arguments(count, values, &timeout_ms, &flush, e));
    TRY(path_of(db, &path, e));
    TRY(own_position(db, &at, e));
    return beside_wait(path, &at, timeout_ms, flush, e);
}

static void sql_wait(sqlite3_context *c, int count, sqlite3_value **values) {
    struct err e;
    if (is_ok(wait_until_safe(sqlite3_context_db_handle(c), count, values, &e)))
        sqlite3_result_int(c, 1);
    else fail(c, &e);
}

static void sql_position(sqlite3_context *c, int count, sqlite3_value **values) {
    struct err e;
    struct position at;
    char text[POSITION_TEXT_SIZE];
    const char *path = NULL;
    sqlite3 *db = sqlite3_context_db_handle(c);
    (void)count;
    (void)values;
    rc r = path_of(db, &path, &e);
    if (is_ok(r)) r = own_position(db, &at, &e);
    if (!is_ok(r)) {
        fail(c, &e);
        return;
    }
    position_text(&at, text);
    sqlite3_result_text(c, text, -1, SQLITE_TRANSIENT);
}

static void sql_status(sqlite3_context *c, int count, sqlite3_value **values) {
    struct err e;
    char *json = NULL;
    const char *path = NULL;
    (void)count;
    (void)values;
    rc r = path_of(sqlite3_context_db_handle(c), &path, &e);
    if (is_ok(r)) r = beside_status(path, &json, &e);
    if (is_ok(r)) sqlite3_result_text(c, json, -1, free);
    else fail(c, &e);
}

/* ---- the entry ---- */

__attribute__((visibility("default"))) int sqlite3_holdfast_init(sqlite3 *, char **,
                                                                 const sqlite3_api_routines *);

int sqlite3_holdfast_init(sqlite3 *db, char **words, const sqlite3_api_routines *api) {
    static const struct {
        const char *name;
        int arguments;
        void (*run)(sqlite3_context *, int, sqlite3_value **);
    } functions[] = {
        {"holdfast_wait", 0, sql_wait},     {"holdfast_wait", 1, sql_wait},
        {"holdfast_wait", 2, sql_wait},     {"holdfast_position", 0, sql_position},
        {"holdfast_status", 0, sql_status},
    };
    SQLITE_EXTENSION_INIT2(api);
    (void)words;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        int code = sqlite3_create_function_v2(db, functions[i].name, functions[i].arguments,
                                              SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL,
                                              functions[i].run, NULL, NULL, NULL);
        if (code != SQLITE_OK) return code;
    }
    int code = join_register(db);
    return code == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : code;
}
