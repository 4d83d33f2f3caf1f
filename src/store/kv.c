/* Keys and values: get, put, delete, compare and put, scan.
 *
 * DBX is a table like any other, which plain SQL may write at any time; so nothing about its rows
 * is kept outside of it, and each call here is one or two statements, kept prepared.
 *
 * Why JSON is checked by the statement that stores it: what JSON is, SQLite's own functions decide
 * later, when an index or a query looks into the value; no other parser would agree in all cases.
 *
 * Invariants
 *  1. A row is written only in the file that its key's prefix names.
 *  2. What is stored as hf_json is text for which json_valid holds, valid UTF-8, without NUL.
 *  3. Every statement is given back before its call returns, also on failure: it forgets what was
 *     bound, so that no view outlives the caller's bytes.
 */
#include "store/kv.h"

#include <stdlib.h>
#include <string.h>

hf_value hf_json(const char *text) {
    return (hf_value){.type = HF_JSON, .data = text, .bytes = text ? strlen(text) : 0};
}

hf_value hf_text(const char *text) {
    return (hf_value){.type = HF_TEXT, .data = text, .bytes = text ? strlen(text) : 0};
}

hf_value hf_blob(const void *data, size_t bytes) {
    return (hf_value){.type = HF_BLOB, .data = data, .bytes = bytes};
}

hf_value hf_int(int64_t i) {
    return (hf_value){.type = HF_INT, .i = i};
}

hf_value hf_real(double r) {
    return (hf_value){.type = HF_REAL, .r = r};
}

/* ---- statements ---- */

static const struct kv *kv_of(const hf_tx *tx) {
    return store_kv(tx_store(tx));
}

rc kv_public(int code, struct err *e) {
    if (code == HF_OK) return ok();
    return err_set(e, (enum rc_code)code, "%s", hf_errmsg());
}

rc kv_rows(hf_tx *tx, const char *sql, struct kv_rows *out, struct err *e) {
    out->tx = tx;
    out->it = NULL;
    return tx_prepare(tx, sql, &out->it, e);
}

rc kv_next(struct kv_rows *rows, struct err *e) {
    bool row = false;
    rc r = tx_step(rows->tx, rows->it, &row, e);
    if (is_ok(r) && row) return ok();
    rows->it = NULL; /* the store has it back */
    return is_ok(r) ? (rc){RC_NOTFOUND} : r;
}

void kv_rows_end(struct kv_rows *rows) {
    if (rows->it) tx_release(rows->tx, rows->it);
    rows->it = NULL;
}

static rc rows_of_key(hf_tx *tx, const char *sql, const char *key, struct kv_rows *out,
                      struct err *e) {
    TRY(kv_rows(tx, sql, out, e));
    sqlite3_bind_text(out->it, 1, key, -1, SQLITE_STATIC);
    return ok();
}

/* The key is one, and this transaction reaches its file. */
static rc begin_key(hf_tx *tx, const char *key, bool write, enum kv_file *out, struct err *e) {
    TRY(tx_check(tx, e));
    TRY(kv_check_key(key, "key", e));
    const struct kv *kv = kv_of(tx);
    *out = kv_file_of(kv, key);
    return kv_reach(kv, tx, *out, write, key, e);
}

static rc not_found(const char *key, struct err *e) {
    return err_set(e, RC_NOTFOUND, "'%.200s': no such key", key);
}

/* ---- get ---- */

/* The row with its Value, if it has one. */
static rc find_value(hf_tx *tx, enum kv_file file, const char *key, struct kv_rows *out,
                     struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("SELECT Value FROM ", ".DBX WHERE Key=?1 AND Value IS NOT NULL");
    TRY(rows_of_key(tx, sql[file], key, out, e));
    rc r = kv_next(out, e);
    return r.code == RC_NOTFOUND ? not_found(key, e) : r;
}

static rc copy_column(sqlite3_stmt *s, int column, char **out, size_t *bytes, struct err *e) {
    const void *data = sqlite3_column_blob(s, column);
    size_t n = (size_t)sqlite3_column_bytes(s, column);
    char *copy = n && !data ? NULL : malloc(n + 1);
    if (!copy) return err_set(e, RC_NOMEM, "no memory for a value of %zu bytes", n);
    if (n) memcpy(copy, data, n);
    copy[n] = 0;
    *out = copy;
    if (bytes) *bytes = n;
    return ok();
}

static rc get(hf_tx *tx, const char *key, char **out, size_t *bytes, struct err *e) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    enum kv_file file;
    if (!out) return err_set(e, RC_USAGE, "'%.200s': where to put the value is NULL", key);
    TRY(begin_key(tx, key, false, &file, e));
    TRY(find_value(tx, file, key, &rows, e));
    return copy_column(rows.it, 0, out, bytes, e);
}

int hf_kv_get(hf_tx *tx, const char *key, char **value, size_t *bytes) {
    struct err e;
    return done(get(tx, key, value, bytes, &e), &e);
}

/* ---- put and delete ---- */

static rc not_json(const char *key, struct err *e) {
    return err_set(e, RC_USAGE, "'%.200s': its value is not JSON; other text is put with hf_text",
                   key);
}

static rc bind_value(sqlite3_stmt *s, int at, const hf_value *v, const char *key, struct err *e) {
    const void *data = v->data ? v->data : "";
    int code;
    if (v->type != HF_JSON && v->type != HF_TEXT && v->type != HF_BLOB)
        return err_set(e, RC_USAGE,
                       "'%.200s': a value is hf_json, hf_text or hf_blob (a number: hf_json)", key);
    if (!v->data && (v->bytes || v->type != HF_BLOB))
        return err_set(e, RC_USAGE, "'%.200s': its value is a null pointer", key);
    if (v->type != HF_BLOB && !utf8_valid(data, v->bytes))
        return err_set(e, RC_USAGE, "'%.200s': its value is not UTF-8; bytes are put with hf_blob",
                       key);
    if (v->type == HF_JSON && memchr(data, 0, v->bytes)) return not_json(key, e);
    code = v->type == HF_BLOB
               ? sqlite3_bind_blob64(s, at, data, v->bytes, SQLITE_STATIC)
               : sqlite3_bind_text64(s, at, data, v->bytes, SQLITE_STATIC, SQLITE_UTF8);
    if (code == SQLITE_OK) return ok();
    return err_set(e, code == SQLITE_TOOBIG ? RC_USAGE : RC_NOMEM, "'%.200s': a value of %zu bytes",
                   key, v->bytes);
}

rc kv_store_value(hf_tx *tx, enum kv_file file, const char *key, const hf_value *v, bool replace,
                  struct err *e) {
#define UPSERT " ON CONFLICT(Key) DO UPDATE SET Value=excluded.Value"
#define INSERT(which) "INSERT INTO " which ".DBX(Key, Value) SELECT ?1, ?2 WHERE "
    static const char *const sql[KV_FILES][2][2] = {
        {{INSERT("main") "true", INSERT("main") "json_valid(?2)"},
         {INSERT("main") "true" UPSERT, INSERT("main") "json_valid(?2)" UPSERT}},
        {{INSERT("noise") "true", INSERT("noise") "json_valid(?2)"},
         {INSERT("noise") "true" UPSERT, INSERT("noise") "json_valid(?2)" UPSERT}}};
#undef UPSERT
#undef INSERT
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(rows_of_key(tx, sql[file][replace][v->type == HF_JSON], key, &rows, e));
    TRY(bind_value(rows.it, 2, v, key, e));
    sqlite3 *db = sqlite3_db_handle(rows.it);
    int before = sqlite3_total_changes(db);
    rc r = kv_next(&rows, e);
    if (r.code == RC_NOTFOUND) return sqlite3_total_changes(db) == before ? not_json(key, e) : ok();
    if (r.code == RC_CONFLICT) kv_index_explain(tx, file, e);
    return err_prefix(e, r, "'%.200s'", key);
}

static rc put(hf_tx *tx, const char *key, const hf_value *v, struct err *e) {
    enum kv_file file;
    TRY(begin_key(tx, key, true, &file, e));
    return kv_store_value(tx, file, key, v, true, e);
}

int hf_kv_put(hf_tx *tx, const char *key, hf_value v) {
    struct err e;
    return done(put(tx, key, &v, &e), &e);
}

static rc delete (hf_tx *tx, const char *key, struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("DELETE FROM ", ".DBX WHERE Key=?1 AND Value IS NOT NULL");
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    enum kv_file file;
    TRY(begin_key(tx, key, true, &file, e));
    TRY(rows_of_key(tx, sql[file], key, &rows, e));
    sqlite3 *db = sqlite3_db_handle(rows.it);
    int before = sqlite3_total_changes(db);
    rc r = kv_next(&rows, e);
    if (r.code != RC_NOTFOUND) return r;
    return sqlite3_total_changes(db) == before ? not_found(key, e) : ok();
}

int hf_kv_delete(hf_tx *tx, const char *key) {
    struct err e;
    return done(delete (tx, key, &e), &e);
}

/* ---- compare and put ---- */

static bool same(sqlite3_stmt *s, const hf_value *v) {
    int type = v->type == HF_BLOB ? SQLITE_BLOB : SQLITE_TEXT;
    const void *data = sqlite3_column_blob(s, 0);
    size_t n = (size_t)sqlite3_column_bytes(s, 0);
    return sqlite3_column_type(s, 0) == type && n == v->bytes &&
           (n == 0 || (data && memcmp(data, v->data, n) == 0));
}

static rc compare(hf_tx *tx, enum kv_file file, const char *key, const hf_value *expected,
                  struct err *e) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    rc r = find_value(tx, file, key, &rows, e);
    if (r.code == RC_NOTFOUND)
        return expected ? err_set(e, RC_CONFLICT, "'%.200s': it has no value", key) : ok();
    TRY(r);
    if (!expected) return err_set(e, RC_CONFLICT, "'%.200s': it has a value already", key);
    if (!same(rows.it, expected))
        return err_set(e, RC_CONFLICT, "'%.200s': its value is another", key);
    return ok();
}

static rc swap(hf_tx *tx, const char *key, const hf_value *expected, const hf_value *v,
               struct err *e) {
    enum kv_file file;
    TRY(begin_key(tx, key, true, &file, e));
    if (expected && expected->type != HF_JSON && expected->type != HF_TEXT &&
        expected->type != HF_BLOB)
        return err_set(e, RC_USAGE, "'%.200s': what is expected is hf_json, hf_text or hf_blob",
                       key);
    if (expected && expected->bytes && !expected->data)
        return err_set(e, RC_USAGE, "'%.200s': what is expected is a null pointer", key);
    TRY(compare(tx, file, key, expected, e));
    return kv_store_value(tx, file, key, v, true, e);
}

int hf_kv_swap(hf_tx *tx, const char *key, const hf_value *expected, hf_value v) {
    struct err e;
    return done(swap(tx, key, expected, &v, &e), &e);
}

/* ---- scan ---- */

void kv_bind_prefix(sqlite3_stmt *s, int at, const char *prefix) {
    char upper[LIMIT_KV_KEY + 8];
    sqlite3_bind_text(s, at, prefix ? prefix : "", -1, SQLITE_STATIC);
    if (prefix && kv_upper(prefix, upper))
        sqlite3_bind_text(s, at + 1, upper, -1, SQLITE_TRANSIENT);
    else sqlite3_bind_zeroblob(s, at + 1, 0); /* every text is less than any blob */
}

static rc take_pair(sqlite3_stmt *s, hf_pair *out, struct err *e) {
    const void *value = sqlite3_column_blob(s, 1);
    *out = (hf_pair){.key = (const char *)sqlite3_column_text(s, 0),
                     .value = value ? value : "",
                     .bytes = (size_t)sqlite3_column_bytes(s, 1)};
    if (!out->key || (!value && out->bytes)) return err_set(e, RC_NOMEM, "no memory for a value");
    if (strlen(out->key) == (size_t)sqlite3_column_bytes(s, 0)) return ok();
    return err_set(
        e, RC_CORRUPT,
        "a key that begins with '%.80s' has a NUL in it: it was put by plain SQL, and has "
        "to be renamed or deleted by it",
        out->key);
}

rc kv_each(struct kv_rows *rows, hf_each *fn, void *arg, int *stopped, struct err *e) {
    for (hf_pair pair;;) {
        rc r = kv_next(rows, e);
        if (r.code == RC_NOTFOUND) return ok();
        TRY(r);
        TRY(take_pair(rows->it, &pair, e));
        *stopped = fn(arg, &pair);
        if (*stopped) return ok();
    }
}

static rc scan_file(hf_tx *tx, enum kv_file file, const hf_scan *o, hf_each *fn, void *arg,
                    int *stopped, struct err *e) {
#define SCAN(op)                                                                                   \
    KV_SQL("SELECT Key, Value FROM ", ".DBX WHERE Key" op "?1 AND Key<?2 AND Value IS NOT NULL "   \
                                      "ORDER BY Key LIMIT ?3")
    static const char *const from[KV_FILES] = SCAN(">="), *const behind[KV_FILES] = SCAN(">");
#undef SCAN
    bool goes_on = o->after && strcmp(o->after, o->prefix ? o->prefix : "") >= 0;
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(tx, goes_on ? behind[file] : from[file], &rows, e));
    kv_bind_prefix(rows.it, 1, o->prefix);
    if (goes_on) sqlite3_bind_text(rows.it, 1, o->after, -1, SQLITE_STATIC);
    sqlite3_bind_int64(rows.it, 3, o->limit ? o->limit : -1);
    return kv_each(&rows, fn, arg, stopped, e);
}

static rc scan(hf_tx *tx, const hf_scan *given, hf_each *fn, void *arg, int *stopped,
               struct err *e) {
    enum kv_file file;
    hf_scan o;
    TRY(tx_check(tx, e));
    const struct kv *kv = kv_of(tx);
    if (!fn) return err_set(e, RC_USAGE, "hf_kv_scan: the function is NULL");
    TRY(take_options(given, &o, sizeof o, "hf_scan", e));
    TRY(kv_file_of_prefix(kv, o.prefix, &file, e));
    if (o.after) TRY(kv_check_key(o.after, "after", e));
    if (o.limit < 0) return err_set(e, RC_USAGE, "hf_scan: limit %lld", (long long)o.limit);
    TRY(kv_reach(kv, tx, file, false, o.prefix ? o.prefix : "", e));
    return scan_file(tx, file, &o, fn, arg, stopped, e);
}

int hf_kv_scan(hf_tx *tx, const hf_scan *o, hf_each *fn, void *arg) {
    struct err e;
    int stopped = 0;
    rc r = scan(tx, o, fn, arg, &stopped, &e);
    return is_ok(r) ? stopped : done(r, &e);
}
