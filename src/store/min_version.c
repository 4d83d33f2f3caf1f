/* Which programs may still write a database: see the header. */
#include "store/min_version.h"

#include <stdio.h>
#include <string.h>

static const char *file_of(sqlite3 *db, const char *schema) {
    const char *path = sqlite3_db_filename(db, schema), *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path && *path ? path : schema;
}

/* *there: there is the table, whatever it looks like. */
static rc look_for_table(sqlite3 *db, const char *schema, bool *there, struct err *e) {
    char sql[200];
    sqlite3_stmt *st = NULL;
    snprintf(sql, sizeof sql, "SELECT 1 FROM %s.sqlite_master WHERE name = 'holdfast_schema'",
             schema);
    int code = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    *there = code == SQLITE_ROW;
    rc r = code == SQLITE_ROW || code == SQLITE_DONE
               ? ok()
               : err_set(e, (code & 0xff) == SQLITE_BUSY ? RC_BUSY : RC_IO, "%s: %s",
                         file_of(db, schema), sqlite3_errmsg(db));
    sqlite3_finalize(st);
    return r;
}

static rc refuse_format(const char *file, struct err *e) {
    return err_set(e, RC_UNFIT,
                   "%s: its migrations were applied by a newer Holdfast than this (%s)", file,
                   HOLDFAST_VERSION);
}

static rc judge(sqlite3_stmt *st, const char *file, const char *app, int64_t version,
                struct err *e) {
    int64_t least = sqlite3_column_int64(st, 1);
    bool named = app && *app;
    if (sqlite3_column_int64(st, 0) > SCHEMA_FORMAT) return refuse_format(file, e);
    if (least <= version) return ok();
    return err_set(e, RC_UNFIT,
                   "%s: its schema is newer: %lld was contracted; this program%s%s%s knows up to"
                   " %lld: start a newer one",
                   file, (long long)least, named ? " ('" : "", named ? app : "", named ? "')" : "",
                   (long long)version);
}

rc min_version_check(sqlite3 *db, const char *schema, const char *app, int64_t version,
                     struct err *e) {
    char sql[200];
    bool there;
    sqlite3_stmt *st = NULL;
    snprintf(sql, sizeof sql, "SELECT format, min_version FROM %s.holdfast_schema", schema);
    int code = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    rc r = ok();
    if (code == SQLITE_ROW) r = judge(st, file_of(db, schema), app, version, e);
    sqlite3_finalize(st);
    if (code == SQLITE_ROW || code == SQLITE_DONE) return r;
    TRY(look_for_table(db, schema, &there, e));
    return there ? refuse_format(file_of(db, schema), e) : ok();
}
