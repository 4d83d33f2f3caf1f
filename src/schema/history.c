/* The history of a database, in the database.
 *
 * Why tables of our own and not PRAGMA user_version: applications use that, it holds one number,
 * and of a migration in phases there is more to say than "done". Why in the file itself: a row that
 * commits with its step needs no mark for "perhaps"; a file that is copied or restored takes its
 * history along.
 *
 * Invariants
 *  1. The four tables are there, or none of them: they are made in one transaction.
 *  2. A database without them has an empty history, and reading it writes nothing.
 *  3. A format that this library does not know is read by nobody: RC_UNFIT.
 */
#include "schema/history.h"
#include "store/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 1

static const char *const phases[] = {"none",       "expanded", "synced",
                                     "backfilled", "verified", "done"};

const char *phase_name(enum phase phase) {
    return phases[phase];
}

static bool phase_of(const char *name, enum phase *out) {
    for (int i = PHASE_EXPANDED; name && i <= PHASE_DONE; i++)
        if (strcmp(name, phases[i]) == 0) {
            *out = (enum phase)i;
            return true;
        }
    return false;
}

/* ---- reading ---- */

static rc prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct err *e) {
    int code = sqlite3_prepare_v2(db, sql, -1, out, NULL);
    return code == SQLITE_OK ? ok() : sql_error(e, db, code, "the history");
}

static void finish(sqlite3_stmt **st) {
    sqlite3_finalize(*st);
}

static rc is_there(sqlite3 *db, bool *there, struct err *e) {
    AUTO(finish) sqlite3_stmt *st = NULL;
    TRY(prepare(db, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'holdfast_schema'",
                &st, e));
    int code = sqlite3_step(st);
    *there = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? ok() : sql_error(e, db, code, "the history");
}

static rc read_head(sqlite3 *db, struct records *out, struct err *e) {
    AUTO(finish) sqlite3_stmt *st = NULL;
    TRY(prepare(db, "SELECT format, min_version FROM holdfast_schema", &st, e));
    int code = sqlite3_step(st);
    if (code == SQLITE_DONE) return err_set(e, RC_CORRUPT, "holdfast_schema has no row");
    if (code != SQLITE_ROW) return sql_error(e, db, code, "the history");
    if (sqlite3_column_int64(st, 0) != FORMAT)
        return err_set(
            e, RC_UNFIT,
            "its schema is kept in format %lld, by a newer Holdfast; this one (%s) knows "
            "%d: use a newer one",
            (long long)sqlite3_column_int64(st, 0), HOLDFAST_VERSION, FORMAT);
    out->min_version = sqlite3_column_int64(st, 1);
    return ok();
}

static const char *text_of(sqlite3_stmt *st, int column) {
    const char *text = (const char *)sqlite3_column_text(st, column);
    return text ? text : "";
}

/* For one more at the end. */
static rc grow(struct records *r, struct err *e) {
    if (r->count & (r->count - 1)) return ok(); /* only at a power of two */
    struct record *at = realloc(r->at, (r->count ? r->count * 2 : 1) * sizeof *at);
    if (!at) return err_set(e, RC_NOMEM, "no memory for the history");
    r->at = at;
    return ok();
}

static rc take_row(sqlite3_stmt *st, struct records *out, struct err *e) {
    struct record r = {.version = sqlite3_column_int64(st, 0),
                       .phase_ms = sqlite3_column_int64(st, 5),
                       .breaking = sqlite3_column_int(st, 6) != 0};
    bool none = sqlite3_column_type(st, 7) == SQLITE_NULL;
    if (!phase_of(text_of(st, 4), &r.phase))
        return err_set(e, RC_CORRUPT, "holdfast_migration: %lld: no such phase: '%.40s'",
                       (long long)r.version, text_of(st, 4));
    snprintf(r.sha256, sizeof r.sha256, "%s", text_of(st, 2));
    snprintf(r.chain, sizeof r.chain, "%s", text_of(st, 3));
    TRY(grow(out, e));
    r.name = strdup(text_of(st, 1));
    r.triggers = none ? NULL : strdup(text_of(st, 7));
    out->at[out->count++] = r;
    return r.name && (none || r.triggers) ? ok()
                                          : err_set(e, RC_NOMEM, "no memory for the history");
}

static rc read_rows(sqlite3 *db, struct records *out, struct err *e) {
    AUTO(finish) sqlite3_stmt *st = NULL;
    int code;
    TRY(prepare(db,
                "SELECT version, name, sha256, chain, phase, phase_ms, breaking, triggers "
                "FROM holdfast_migration ORDER BY version",
                &st, e));
    while ((code = sqlite3_step(st)) == SQLITE_ROW) TRY(take_row(st, out, e));
    return code == SQLITE_DONE ? ok() : sql_error(e, db, code, "the history");
}

static rc read_all(sqlite3 *db, struct records *out, struct err *e) {
    bool there;
    TRY(is_there(db, &there, e));
    if (!there) return ok();
    TRY(read_head(db, out, e));
    return read_rows(db, out, e);
}

rc history_read(sqlite3 *db, struct records *out, struct err *e) {
    struct records got = {0};
    bool own = sqlite3_get_autocommit(db) != 0; /* all of one moment */
    int code = own ? sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) : SQLITE_OK;
    rc r = code == SQLITE_OK ? read_all(db, &got, e) : sql_error(e, db, code, "the history");
    if (own && !sqlite3_get_autocommit(db)) code = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (is_ok(r) && code != SQLITE_OK) r = sql_error(e, db, code, "the history");
    if (is_ok(r)) *out = got;
    else records_deinit(&got);
    return r;
}

void records_deinit(struct records *r) {
    for (size_t i = 0; i < r->count; i++) {
        free(r->at[i].name);
        free(r->at[i].triggers);
    }
    free(r->at);
    *r = (struct records){0};
}

const struct record *records_find(const struct records *r, int64_t version) {
    for (size_t low = 0, high = r->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (r->at[middle].version == version) return &r->at[middle];
        if (r->at[middle].version < version) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

/* ---- writing ---- */

static const char tables[] =
    "CREATE TABLE IF NOT EXISTS holdfast_schema(one INTEGER PRIMARY KEY CHECK (one = 1),"
    " format INTEGER NOT NULL, min_version INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS holdfast_migration(version INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL, sha256 TEXT NOT NULL, chain TEXT NOT NULL, phase TEXT NOT NULL,"
    " phase_ms INTEGER NOT NULL, breaking INTEGER NOT NULL, triggers TEXT);"
    "CREATE TABLE IF NOT EXISTS holdfast_step(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL,"
    " version INTEGER NOT NULL, step TEXT NOT NULL, lock_us INTEGER NOT NULL,"
    " rows INTEGER NOT NULL, others INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS holdfast_backfill(version INTEGER NOT NULL, part INTEGER NOT NULL,"
    " last, rows INTEGER NOT NULL, started_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL,"
    " done INTEGER NOT NULL, PRIMARY KEY(version, part)) WITHOUT ROWID;";

rc history_prepare(struct sconn *c, struct err *e) {
    bool there;
    char head[100];
    TRY(is_there(c->db, &there, e));
    if (there) return ok();
    TRY(sconn_exec(c, tables, e));
    snprintf(head, sizeof head, "INSERT INTO holdfast_schema VALUES (1, %d, 0)", FORMAT);
    return sconn_exec(c, head, e);
}

/* `types`: for each value i (int64_t) or s (a text; NULL is one). */
static int bind(sqlite3_stmt *st, const char *types, va_list values) {
    int code = SQLITE_OK;
    for (int i = 1; *types && code == SQLITE_OK; types++, i++)
        code = *types == 'i'
                   ? sqlite3_bind_int64(st, i, va_arg(values, int64_t))
                   : sqlite3_bind_text(st, i, va_arg(values, const char *), -1, SQLITE_STATIC);
    return code;
}

static rc put(struct sconn *c, struct err *e, const char *sql, const char *types, ...) {
    AUTO(finish) sqlite3_stmt *st = NULL;
    va_list values;
    TRY(prepare(c->db, sql, &st, e));
    va_start(values, types);
    int code = bind(st, types, values);
    va_end(values);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    return code == SQLITE_DONE ? ok() : sconn_error(c, code, NULL, 0, e);
}

rc history_put(struct sconn *c, const struct record *r, struct err *e) {
    return put(c, e, "INSERT OR REPLACE INTO holdfast_migration VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
               "issssiis", r->version, r->name, r->sha256, r->chain, phase_name(r->phase),
               r->phase_ms, (int64_t)r->breaking, r->triggers);
}

rc history_remove(struct sconn *c, int64_t version, struct err *e) {
    TRY(put(c, e, "DELETE FROM holdfast_migration WHERE version = ?", "i", version));
    return put(c, e, "DELETE FROM holdfast_backfill WHERE version = ?", "i", version);
}

rc history_set_min(struct sconn *c, int64_t version, struct err *e) {
    return put(c, e, "UPDATE holdfast_schema SET min_version = ?", "i", version);
}

rc history_log(struct sconn *c, const struct step_row *s, struct err *e) {
    struct env *env = c->schema->env;
    return put(c, e,
               "INSERT INTO holdfast_step(at_ms, version, step, lock_us, rows, others)"
               " VALUES (?, ?, ?, ?, ?, ?)",
               "iisiii", env->unix_ms(env), s->version, s->step, s->lock_us, s->rows,
               (int64_t)s->others);
}
