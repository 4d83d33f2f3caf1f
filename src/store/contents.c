/* What a store has in each of its files: the table of marks, DBX, and the application's tables.
 *
 * The marks are rows of holdfast(name, value). In main: `format`, and `noise`, the name of the file
 * that was last its noise. In noise: `format`, `role`, and `dirty`, see noise.c.
 *
 * Invariant: an open that finds all made writes nothing, so it uploads nothing.
 */
#include "store/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 1

static const char *file_of(const struct conn *c) {
    return c->scope == HF_NOISE ? c->store->noise : c->store->path;
}

rc mark_get(struct conn *c, const char *name, char *out, size_t size, struct err *e) {
    char sql[100];
    sqlite3_stmt *st = NULL;
    *out = 0;
    snprintf(sql, sizeof sql, "SELECT value FROM %s.holdfast WHERE name = ?", file_schema(c));
    int code = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (code == SQLITE_ERROR) return ok(); /* no such table */
    if (code == SQLITE_OK) code = sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    if (code == SQLITE_ROW && sqlite3_column_text(st, 0))
        snprintf(out, size, "%s", (const char *)sqlite3_column_text(st, 0));
    rc r = code == SQLITE_ROW || code == SQLITE_DONE ? ok() : conn_error(c, code, file_of(c), e);
    sqlite3_finalize(st);
    return r;
}

rc mark_set(struct conn *c, const char *name, const char *value, struct err *e) {
    char *sql =
        value ? sqlite3_mprintf("INSERT OR REPLACE INTO %s.holdfast VALUES (%Q, %Q)",
                                file_schema(c), name, value)
              : sqlite3_mprintf("DELETE FROM %s.holdfast WHERE name = %Q", file_schema(c), name);
    if (!sql) return err_set(e, RC_NOMEM, "no memory for a mark");
    rc r = conn_exec(c, sql, true, e);
    sqlite3_free(sql);
    return r;
}

static rc check_marks(struct conn *c, bool *made, struct err *e) {
    char format[32], role[32];
    const char *file = file_of(c);
    TRY(mark_get(c, "format", format, sizeof format, e));
    TRY(mark_get(c, "role", role, sizeof role, e));
    long long written = strtoll(format, NULL, 10);
    *made = written == FORMAT;
    if (written > FORMAT)
        return err_set(e, RC_UNFIT,
                       "%s: written by a newer library: format %lld, and this one (%s) knows %d",
                       file, written, HOLDFAST_VERSION, FORMAT);
    if (c->scope == HF_MAIN && *made && strcmp(role, "noise") == 0)
        return err_set(e, RC_USAGE, "%s: the noise of a store: it cannot be a main", file);
    if (c->scope == HF_NOISE && *made && strcmp(role, "noise") != 0)
        return err_set(e, RC_USAGE, "%s: the main of a store: it cannot be a noise", file);
    return ok();
}

static rc make_marks(struct conn *c, struct err *e) {
    const char *schema = file_schema(c);
    char sql[512];
    snprintf(sql, sizeof sql,
             "CREATE TABLE %s.holdfast(name TEXT PRIMARY KEY, value);"
             "INSERT INTO %s.holdfast VALUES ('format', %d), ('role', '%s');"
             "CREATE TABLE IF NOT EXISTS %s.DBX(Key TEXT PRIMARY KEY, Value TEXT);",
             schema, schema, FORMAT, schema, schema);
    return conn_exec(c, sql, true, e);
}

static rc fill_in_transaction(struct conn *c, const char *schema, struct err *e) {
    bool made;
    TRY(check_marks(c, &made, e)); /* another process may have made them meanwhile */
    if (!made) TRY(make_marks(c, e));
    rc r = schema ? conn_exec(c, schema, false, e) : ok();
    return is_ok(r) ? r : err_prefix(e, r, "the schema of %s", file_schema(c));
}

rc fill_file(struct conn *c, const char *schema, struct err *e) {
    bool made;
    TRY(check_marks(c, &made, e));
    if (made && !schema) return ok();
    TRY(turn_lock(c, "open", c->store->env->mono_ns(c->store->env), e));
    rc r = fill_in_transaction(c, schema, e);
    if (is_ok(r)) r = conn_exec(c, "COMMIT", true, e);
    if (!sqlite3_get_autocommit(c->db)) conn_run(c, c->rollback);
    return r;
}
