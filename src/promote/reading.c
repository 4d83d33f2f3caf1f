/* See the header. The connection is of its own, so that the settings of a store's do not matter. It
 * could write, as the last to close a database must tidy up behind it; query_only keeps it from
 * that. */
#include "promote/reading.h"

#include "store/internal.h"

#include <string.h>

#define LOCK_MS 10000

static rc begin(struct reading *r, struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    struct buf sql AUTO(buf_deinit) = {0};
    bool row;
    buf_init(&sql, 200);
    sqlite3_busy_timeout(r->db, LOCK_MS);
    int code = sqlite3_exec(r->db, "PRAGMA query_only = ON; BEGIN", NULL, NULL, NULL);
    if (code != SQLITE_OK) return sql_error(e, r->db, code, r->path);
    buf_text(&sql,
             "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'DBX' COLLATE NOCASE");
    TRY(reading_ask(r, &sql, &st, e));
    TRY(reading_next(r, st, &row, e));
    r->has_keys = row;
    return ok();
}

rc reading_open(struct env *env, const char *path, bool noise, struct reading *out, struct err *e) {
    struct file_stat st;
    struct reading r = {.path = path, .noise = noise};
    rc found = env->files->stat(env, path, &st, e);
    if (found.code == RC_NOTFOUND) return err_set(e, RC_NOTFOUND, "%s: no such database", path);
    TRY(found);
    if (!st.is_regular) return err_set(e, RC_USAGE, "%s: it is not a file", path);
    int code = sqlite3_open_v2(path, &r.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE, NULL);
    rc did = code == SQLITE_OK ? begin(&r, e) : sql_error(e, r.db, code, path);
    if (!is_ok(did) && r.db && (sqlite3_errcode(r.db) & 0xff) == SQLITE_READONLY)
        did = err_set(e, RC_IO,
                      "%s: it is in WAL mode, and this user may not write the files beside it that "
                      "a reader needs",
                      path);
    if (is_ok(did)) *out = r;
    else reading_close(&r);
    return did;
}

void reading_close(struct reading *r) {
    sqlite3_close_v2(r->db);
    r->db = NULL;
}

rc reading_ask(struct reading *r, struct buf *sql, sqlite3_stmt **out, struct err *e) {
    TRY(buf_check(sql, "a query", e));
    int code = sqlite3_prepare_v2(r->db, (const char *)sql->bytes, (int)sql->size, out, NULL);
    return code == SQLITE_OK ? ok() : sql_error(e, r->db, code, r->path);
}

void end_query(sqlite3_stmt **st) {
    sqlite3_finalize(*st);
}

rc reading_next(struct reading *r, sqlite3_stmt *st, bool *row, struct err *e) {
    int code = sqlite3_step(st);
    *row = code == SQLITE_ROW;
    return *row || code == SQLITE_DONE ? ok() : sql_error(e, r->db, code, r->path);
}

rc reading_count(struct reading *r, struct buf *sql, int64_t *out, struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    bool row;
    TRY(reading_ask(r, sql, &st, e));
    TRY(reading_next(r, st, &row, e));
    *out = row ? sqlite3_column_int64(st, 0) : 0;
    return ok();
}

const char *text_at(sqlite3_stmt *st, int column) {
    const char *text = (const char *)sqlite3_column_text(st, column);
    return text ? text : "";
}

rc packed(json_t *made, json_t **out, struct err *e) {
    *out = made;
    return made ? ok() : err_set(e, RC_NOMEM, "no memory for the answer");
}
