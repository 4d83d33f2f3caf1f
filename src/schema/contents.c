/* The contents of a database in a hash: what undo, revert and down must bring back.
 *
 * Why not the bytes of the file: a VACUUM, or a table that was made and dropped, changes those and
 * nothing that anybody has stored. Why not rowids: they are data only where a column is one.
 *
 * Invariants
 *  1. All of it is of one moment: one read transaction.
 *  2. Every value is hashed with its type and its length, so no two different rows read alike.
 */
#include "object/sigv4.h"
#include "schema/shape.h"

#include <stdlib.h>
#include <string.h>

#define HEX (SHA256_HEX_SIZE - 1)
#define FOLD_BYTES (64u << 10)

/* SHA-256 in links of a chain: each is of the one before and the next 64 KiB. */
struct digest {
    struct buf pending;
    char hex[SHA256_HEX_SIZE];
    bool failed;
};

static void digest_begin(struct digest *d) {
    d->failed = false;
    buf_clear(&d->pending);
}

static void fold(struct digest *d) {
    if (d->pending.failed || !sha256_hex(d->pending.bytes, d->pending.size, d->hex))
        d->failed = true;
    buf_clear(&d->pending);
    buf_put(&d->pending, d->hex, HEX);
}

static void feed(struct digest *d, const void *bytes, size_t n) {
    const char *from = bytes;
    for (size_t at = 0; at < n;) {
        size_t room = HEX + FOLD_BYTES - d->pending.size, part = n - at < room ? n - at : room;
        buf_put(&d->pending, from + at, part);
        at += part;
        if (d->pending.size >= HEX + FOLD_BYTES || d->pending.failed) fold(d);
        if (d->failed) return;
    }
}

static void feed_u64(struct digest *d, uint64_t v) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(v >> (56 - 8 * i));
    feed(d, bytes, sizeof bytes);
}

static void feed_sized(struct digest *d, char type, const void *bytes, size_t n) {
    feed(d, &type, 1);
    feed_u64(d, n);
    if (n) feed(d, bytes, n);
}

static void feed_value(struct digest *d, sqlite3_stmt *st, int i) {
    double real;
    uint64_t bits;
    switch (sqlite3_column_type(st, i)) {
    case SQLITE_INTEGER:
        feed(d, "i", 1);
        feed_u64(d, (uint64_t)sqlite3_column_int64(st, i));
        return;
    case SQLITE_FLOAT:
        real = sqlite3_column_double(st, i);
        memcpy(&bits, &real, sizeof bits);
        feed(d, "r", 1);
        feed_u64(d, bits);
        return;
    case SQLITE_TEXT: {
        const unsigned char *text = sqlite3_column_text(st, i);
        if (!text) d->failed = true;
        else feed_sized(d, 't', text, (size_t)sqlite3_column_bytes(st, i));
        return;
    }
    case SQLITE_BLOB: {
        const void *blob = sqlite3_column_blob(st, i);
        int n = sqlite3_column_bytes(st, i);
        if (!blob && n > 0) d->failed = true;
        else feed_sized(d, 'b', blob, (size_t)n);
        return;
    }
    default: feed(d, "n", 1);
    }
}

/* ---- one table ---- */

static rc said(sqlite3 *db, int code, struct err *e) {
    struct sconn c = {.db = db, .path = "the contents"};
    return sconn_error(&c, code, NULL, 0, e);
}

static rc prepare(sqlite3 *db, char *sql, sqlite3_stmt **out, struct err *e) {
    if (!sql) return err_set(e, RC_NOMEM, "no memory");
    int code = sqlite3_prepare_v2(db, sql, -1, out, NULL);
    sqlite3_free(sql);
    return code == SQLITE_OK ? ok() : said(db, code, e);
}

/* How one table is read. */
struct reading {
    sqlite3_str *columns, *key;
    bool rowid_taken, underscored_taken, oid_taken; /* by a column of that name */
};

static void reading_init(struct reading *r, sqlite3 *db) {
    *r = (struct reading){.columns = sqlite3_str_new(db), .key = sqlite3_str_new(db)};
}

static void reading_deinit(struct reading *r) {
    sqlite3_free(sqlite3_str_finish(r->columns));
    sqlite3_free(sqlite3_str_finish(r->key));
}

static void see_name(struct reading *r, const char *name) {
    r->rowid_taken |= sqlite3_stricmp(name, "rowid") == 0;
    r->underscored_taken |= sqlite3_stricmp(name, "_rowid_") == 0;
    r->oid_taken |= sqlite3_stricmp(name, "oid") == 0;
}

static rc list_columns(sqlite3 *db, const char *table, const char *which, struct reading *r,
                       sqlite3_str *into, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code;
    TRY(prepare(db,
                sqlite3_mprintf("SELECT name FROM pragma_table_xinfo(%Q, 'main') %s", table, which),
                &st, e));
    while ((code = sqlite3_step(st)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(st, 0);
        if (!name) code = SQLITE_NOMEM;
        if (!name) break;
        see_name(r, name);
        sqlite3_str_appendf(into, "%s\"%w\"", sqlite3_str_length(into) ? ", " : "", name);
    }
    rc result = code == SQLITE_DONE ? ok() : said(db, code, e);
    sqlite3_finalize(st);
    return result;
}

static const char *rowid_name(const struct reading *r) {
    return !r->rowid_taken         ? "rowid"
           : !r->underscored_taken ? "_rowid_"
           : !r->oid_taken         ? "oid"
                                   : NULL;
}

/* By rowid; WITHOUT ROWID: by the primary key. Where columns have taken all three names of the
 * rowid there is no way to ask for its order, and it is the one in which a table is scanned. */
static rc open_rows(sqlite3 *db, const char *table, const struct reading *r, sqlite3_stmt **out,
                    struct err *e) {
    const char *columns = sqlite3_str_value(r->columns), *key = sqlite3_str_value(r->key);
    const char *rowid = rowid_name(r);
    if (!columns) return err_set(e, RC_NOMEM, "no memory");
    if (rowid &&
        is_ok(prepare(
            db, sqlite3_mprintf("SELECT %s FROM main.\"%w\" ORDER BY %s", columns, table, rowid),
            out, e)))
        return ok();
    return prepare(db,
                   sqlite3_mprintf("SELECT %s FROM main.\"%w\" NOT INDEXED %s%s", columns, table,
                                   rowid && key ? "ORDER BY " : "", rowid && key ? key : ""),
                   out, e);
}

static rc hash_rows(sqlite3 *db, sqlite3_stmt *st, struct digest *d, int64_t *rows, struct err *e) {
    int code, columns = sqlite3_column_count(st);
    *rows = 0;
    for (int i = 0; i < columns; i++) {
        const char *name = sqlite3_column_name(st, i);
        if (!name) return err_set(e, RC_NOMEM, "no memory");
        feed_sized(d, 'c', name, strlen(name));
    }
    while ((code = sqlite3_step(st)) == SQLITE_ROW) {
        feed(d, "+", 1);
        for (int i = 0; i < columns; i++) feed_value(d, st, i);
        ++*rows;
        if (d->failed) return err_set(e, RC_NOMEM, "no memory");
    }
    return code == SQLITE_DONE ? ok() : said(db, code, e);
}

static rc hash_table(sqlite3 *db, const char *table, struct digest *d, int64_t *rows,
                     struct err *e) {
    sqlite3_stmt *st = NULL;
    struct reading how AUTO(reading_deinit);
    reading_init(&how, db);
    digest_begin(d);
    rc r = list_columns(db, table, "ORDER BY lower(name), name", &how, how.columns, e);
    if (is_ok(r)) r = list_columns(db, table, "WHERE pk > 0 ORDER BY pk", &how, how.key, e);
    if (is_ok(r)) r = open_rows(db, table, &how, &st, e);
    if (is_ok(r)) r = hash_rows(db, st, d, rows, e);
    sqlite3_finalize(st);
    fold(d);
    if (!is_ok(r)) return err_prefix(e, r, "table %s", table);
    return d->failed ? err_set(e, RC_NOMEM, "no memory") : ok();
}

/* ---- all of them ---- */

static rc each_table(sqlite3 *db, json_t *all, struct digest *d, struct err *e) {
    sqlite3_stmt *st = NULL;
    rc r = prepare(db,
                   sqlite3_mprintf("SELECT name FROM main.sqlite_master "
                                   "WHERE type = 'table' AND rootpage > 0 AND name <> 'holdfast' "
                                   "AND name NOT LIKE 'sqlite\\_%%' ESCAPE '\\' "
                                   "AND name NOT LIKE 'holdfast\\_%%' ESCAPE '\\'"),
                   &st, e);
    int code = SQLITE_DONE;
    while (is_ok(r) && (code = sqlite3_step(st)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(st, 0);
        int64_t rows = 0;
        r = name ? hash_table(db, name, d, &rows, e) : err_set(e, RC_NOMEM, "no memory");
        if (is_ok(r) && json_object_set_new(all, name,
                                            json_pack("{s:I, s:s}", "rows", (json_int_t)rows,
                                                      "sha256", d->hex)) != 0)
            r = err_set(e, RC_NOMEM, "no memory");
    }
    if (is_ok(r) && code != SQLITE_DONE) r = said(db, code, e);
    sqlite3_finalize(st);
    return r;
}

/* The end is prepared before the begin: without memory none could be, and a transaction would stay
 * open. */
static rc in_one_moment(sqlite3 *db, json_t *all, struct digest *d, struct err *e) {
    sqlite3_stmt *end = NULL;
    TRY(prepare(db, sqlite3_mprintf("RELEASE holdfast_contents"), &end, e));
    int code = sqlite3_exec(db, "SAVEPOINT holdfast_contents", NULL, NULL, NULL);
    rc r = code == SQLITE_OK ? each_table(db, all, d, e) : said(db, code, e);
    if (code == SQLITE_OK && (code = sqlite3_step(end)) != SQLITE_DONE && is_ok(r))
        r = said(db, code, e);
    sqlite3_finalize(end);
    return r;
}

rc contents_tables(sqlite3 *db, json_t **out, struct err *e) {
    struct digest d = {.failed = false};
    json_t *all = json_object();
    if (!all) return err_set(e, RC_NOMEM, "no memory");
    buf_init(&d.pending, HEX + FOLD_BYTES + 1);
    rc r = in_one_moment(db, all, &d, e);
    buf_deinit(&d.pending);
    if (is_ok(r)) *out = all;
    else json_decref(all);
    return r;
}

rc contents_hash(sqlite3 *db, char out[65], int64_t *rows, struct err *e) {
    json_t *all = NULL, *table;
    const char *name;
    TRY(contents_tables(db, &all, e));
    char *text = json_dumps(all, JSON_SORT_KEYS | JSON_COMPACT);
    bool whole = text && sha256_hex(text, strlen(text), out);
    if (rows) *rows = 0;
    json_object_foreach(all, name, table) {
        if (rows) *rows += json_integer_value(json_object_get(table, "rows"));
    }
    free(text);
    json_decref(all);
    return whole ? ok() : err_set(e, RC_NOMEM, "no memory");
}
