/* What an index is called and how it is spelled, and whether those that are there are used.
 *
 * The text that SQLite keeps in its schema is read back into prefix, path and uniqueness, and
 * counts only if it is, word for word, what would be written now.
 */
#include "store/kv_index.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEFORE_PATH "ON DBX(json_extract(Value,"
#define BEFORE_PREFIX " AND Key>="

rc index_init(struct index *x, enum kv_file file, const char *prefix, const char *path,
              struct err *e) {
    TRY(kv_check_key(prefix, "prefix", e));
    TRY(kv_path(path, x->path, e));
    snprintf(x->prefix, sizeof x->prefix, "%s", prefix);
    uint64_t sum = crc64(crc64(0, x->prefix, strlen(x->prefix) + 1), x->path, strlen(x->path));
    snprintf(x->name, sizeof x->name, INDEX_NAME_PREFIX "%016" PRIx64, sum);
    x->file = file;
    x->unique = false;
    return ok();
}

/* ---- texts ---- */

void sql_free(char **text) {
    sqlite3_free(*text);
}

void index_free(struct index **x) {
    free(*x);
}

rc sql_text(char *text, char **out, struct err *e) {
    *out = text;
    return text ? ok() : err_set(e, RC_NOMEM, "no memory");
}

rc index_terms(const struct index *x, char **out, struct err *e) {
    char upper[LIMIT_KV_KEY + 8];
    bool bounded = kv_upper(x->prefix, upper);
    char *end = bounded ? sqlite3_mprintf("%Q", upper) : sqlite3_mprintf("x''");
    if (!end) return err_set(e, RC_NOMEM, "no memory");
    char *text = sqlite3_mprintf(
        "typeof(Value)='text' AND json_valid(Value)" BEFORE_PREFIX "%Q AND Key<%s", x->prefix, end);
    sqlite3_free(end);
    return sql_text(text, out, e);
}

rc index_definition(const struct index *x, char **out, struct err *e) {
    char *shared AUTO(sql_free) = NULL;
    TRY(index_terms(x, &shared, e));
    return sql_text(sqlite3_mprintf("%s " BEFORE_PATH "%Q)) WHERE %s", x->name, x->path, shared),
                    out, e);
}

rc index_query(const struct index *x, char **out, struct err *e) {
    char *shared AUTO(sql_free) = NULL;
    TRY(index_terms(x, &shared, e));
    return sql_text(sqlite3_mprintf("SELECT Key, Value FROM %s.DBX INDEXED BY %s WHERE %s AND "
                                    "json_extract(Value,%Q)=?1 LIMIT ?2",
                                    kv_file_name(x->file), x->name, shared, x->path),
                    out, e);
}

/* The SQL literal behind `marker`, unquoted; NULL: there is none, or it is too long. */
static const char *literal(const char *sql, const char *marker, char *out, size_t size) {
    const char *at = strstr(sql, marker);
    if (!at || *(at += strlen(marker)) != '\'') return NULL;
    for (size_t n = 0; n < size; n++) {
        if (*++at == '\'' && *++at != '\'') {
            out[n] = 0;
            return at;
        }
        if (!*at) return NULL;
        out[n] = *at;
    }
    return NULL;
}

/* What an index of the schema declares. False: it is not as this library writes it. */
static bool parse(const char *name, const char *sql, enum kv_file file, struct index *x) {
    char path[LIMIT_JSON_PATH], prefix[LIMIT_KV_KEY + 1];
    const char *rest = literal(sql, BEFORE_PATH, path, sizeof path);
    if (!rest || !literal(rest, BEFORE_PREFIX, prefix, sizeof prefix)) return false;
    if (!is_ok(index_init(x, file, prefix, path, NULL)) || strcmp(x->name, name) != 0) return false;
    x->unique = strncmp(sql, "CREATE UNIQUE ", 14) == 0;
    char *wanted AUTO(sql_free) = NULL;
    if (!is_ok(index_definition(x, &wanted, NULL))) return false;
    return strcmp(sql + (x->unique ? 20 : 13), wanted) == 0; /* "CREATE UNIQUE INDEX " */
}

/* ---- what is there ---- */

rc index_load(hf_tx *tx, enum kv_file file, const char *name, struct index *out, bool *known,
              struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("SELECT sql FROM ", ".sqlite_master WHERE type='index' AND name=?1");
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(tx, sql[file], &rows, e));
    sqlite3_bind_text(rows.it, 1, name, -1, SQLITE_STATIC);
    TRY(kv_next(&rows, e));
    const char *text = (const char *)sqlite3_column_text(rows.it, 0);
    *known = text && parse(name, text, file, out);
    return ok();
}

static bool names_search(sqlite3_stmt *s, const char *name) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "USING INDEX %s (", name);
    const char *detail = (const char *)sqlite3_column_text(s, 3);
    return detail && strncmp(detail, "SEARCH ", 7) == 0 && strstr(detail, wanted);
}

rc index_prove(hf_tx *tx, const struct index *x, struct err *e) {
    char *sql AUTO(sql_free) = NULL, *explain AUTO(sql_free) = NULL;
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    struct err why = {0};
    TRY(index_query(x, &sql, e));
    TRY(sql_text(sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql), &explain, e));
    rc r = kv_rows(tx, explain, &rows, &why);
    if (is_ok(r)) r = kv_next(&rows, &why);
    if (is_ok(r) && names_search(rows.it, x->name)) return ok();
    if (!is_ok(r) && r.code != RC_USAGE) return err_set(e, r.code, "%s", why.text);
    return err_set(e, RC_UNFIT, "index %s on %s of '%.200s': SQLite %s does not use it: %.300s",
                   x->name, x->path, x->prefix, sqlite3_libversion(),
                   is_ok(r) ? "it scans" : why.text);
}

static void tell_unused(struct kv *kv, const char *name, const struct err *why) {
    const char *pairs[] = {"index", name, "why", why->text};
    store_event(kv->store, "kv.index_unused", pairs, 4);
}

rc index_for_each(hf_tx *tx, enum kv_file file, index_each *fn, void *arg, struct err *e) {
    static const char *const sql[KV_FILES] = KV_SQL(
        "SELECT name, sql FROM ",
        ".sqlite_master WHERE type='index' AND name GLOB '" INDEX_NAME_PREFIX "*' ORDER BY name");
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    struct index *x AUTO(index_free) = malloc(sizeof *x);
    if (!x) return err_set(e, RC_NOMEM, "no memory");
    TRY(kv_rows(tx, sql[file], &rows, e));
    for (;;) {
        rc r = kv_next(&rows, e);
        if (r.code == RC_NOTFOUND) return ok();
        TRY(r);
        const char *name = (const char *)sqlite3_column_text(rows.it, 0),
                   *text = (const char *)sqlite3_column_text(rows.it, 1);
        TRY(fn(arg, tx, name, text && parse(name, text, file, x) ? x : NULL, e));
    }
}

static rc prove_or_tell(void *arg, hf_tx *tx, const char *name, const struct index *x,
                        struct err *e) {
    rc r = x ? index_prove(tx, x, e)
             : err_set(e, RC_UNFIT, "its definition is not as this library writes it");
    if (r.code != RC_UNFIT) return r;
    tell_unused(arg, name, e);
    return ok();
}

rc kv_index_open(struct kv *kv, hf_tx *tx, enum kv_file file, struct err *e) {
    return index_for_each(tx, file, prove_or_tell, kv, e);
}
