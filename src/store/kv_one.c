/* One key, one transaction: and the table itself, made and looked at when a store opens.
 *
 * What DBX looks like is checked once, at open: plain SQL may have made it before us. If it is not
 * what the functions here rely on (another collation would break every range), the store opens, and
 * they refuse.
 */
#include "store/kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the table ---- */

static rc one_text(hf_tx *tx, const char *sql, char *out, size_t size, struct err *e) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    out[0] = 0;
    TRY(kv_rows(tx, sql, &rows, e));
    rc r = kv_next(&rows, e);
    if (r.code == RC_NOTFOUND) return ok();
    TRY(r);
    const char *text = (const char *)sqlite3_column_text(rows.it, 0);
    snprintf(out, size, "%s", text ? text : "");
    return ok();
}

static bool column_is(sqlite3 *db, enum kv_file file, const char *column, bool key) {
    const char *type = NULL, *collation = NULL;
    int notnull, primary = 0, increments;
    if (sqlite3_table_column_metadata(db, kv_file_name(file), "DBX", column, &type, &collation,
                                      &notnull, &primary, &increments) != SQLITE_OK)
        return false;
    return type && strcasecmp(type, "TEXT") == 0 && strcasecmp(collation, "BINARY") == 0 &&
           (bool)primary == key;
}

/* Why the table cannot serve, or "". */
static rc look(hf_tx *tx, sqlite3 *db, enum kv_file file, char *why, size_t size, struct err *e) {
    static const char *const sql[KV_FILES] = KV_SQL("PRAGMA ", ".encoding");
    char encoding[16];
    why[0] = 0;
    TRY(one_text(tx, sql[file], encoding, sizeof encoding, e));
    if (strcmp(encoding, "UTF-8") != 0)
        snprintf(why, size, "%s is in %s: keys and values need a database in UTF-8",
                 kv_file_name(file), encoding);
    else if (!column_is(db, file, "Key", true) || !column_is(db, file, "Value", false))
        snprintf(why, size, "the table DBX of %s is not DBX(Key TEXT PRIMARY KEY, Value TEXT)",
                 kv_file_name(file));
    return ok();
}

static rc is_there(hf_tx *tx, enum kv_file file, bool *out, struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("SELECT 'yes' FROM ", ".sqlite_master WHERE lower(name)='dbx'");
    char yes[4];
    TRY(one_text(tx, sql[file], yes, sizeof yes, e));
    *out = yes[0];
    return ok();
}

static rc make(hf_store *s, enum kv_file file, struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("CREATE TABLE IF NOT EXISTS ", ".DBX(Key TEXT PRIMARY KEY, Value TEXT)");
    hf_tx *tx;
    TRY(kv_public(hf_begin(s, kv_scope(file), "make the key-value table", &tx), e));
    rc r = tx_exec(tx, sql[file], e);
    if (is_ok(r)) return kv_public(hf_commit(tx), e);
    hf_rollback(tx);
    return r;
}

/* A prefix became one of noise while main still has keys under it: nobody will find those. */
static rc look_for_misplaced(struct kv *kv, hf_tx *tx, const char *prefix, struct err *e) {
    static const char sql[] = "SELECT Key FROM main.DBX WHERE Key>=?1 AND Key<?2 LIMIT 1";
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(tx, sql, &rows, e));
    kv_bind_prefix(rows.it, 1, prefix);
    rc r = kv_next(&rows, e);
    if (r.code == RC_NOTFOUND) return ok();
    TRY(r);
    const char *key = (const char *)sqlite3_column_text(rows.it, 0);
    const char *pairs[] = {"prefix", prefix, "key", key ? key : "", "in", "main"};
    store_event(kv->store, "kv.misplaced", pairs, 6);
    return ok();
}

static rc look_at_all(struct kv *kv, hf_tx *tx, bool missing[KV_FILES], struct err *e) {
    for (int f = 0; f < (kv->noise ? 2 : 1); f++) {
        bool there;
        TRY(is_there(tx, (enum kv_file)f, &there, e));
        missing[f] = !there;
        if (there)
            TRY(look(tx, hf_sqlite(tx), (enum kv_file)f, kv->refused[f], sizeof kv->refused[f], e));
        if (there && !kv->refused[f][0]) TRY(kv_index_open(kv, tx, (enum kv_file)f, e));
    }
    bool main_serves = !missing[KV_MAIN] && !kv->refused[KV_MAIN][0];
    for (const char *const *p = kv->noise_prefixes; main_serves && p && *p; p++)
        TRY(look_for_misplaced(kv, tx, *p, e));
    return ok();
}

static rc look_in_read(struct kv *kv, bool missing[KV_FILES], struct err *e) {
    hf_tx *tx;
    TRY(kv_public(hf_begin(kv->store, HF_READ, "look at the key-value table", &tx), e));
    rc r = look_at_all(kv, tx, missing, e);
    hf_rollback(tx);
    return r;
}

static rc check_noise_prefixes(const struct kv *kv, struct err *e) {
    for (const char *const *p = kv->noise_prefixes; p && *p; p++) {
        if (!**p)
            return err_set(e, RC_USAGE, "noise_prefixes: an empty one would leave main no key");
        TRY(kv_check_key(*p, "prefix", e));
    }
    return ok();
}

static rc open_kv(struct kv *kv, struct err *e) {
    bool missing[KV_FILES] = {false, false};
    TRY(check_noise_prefixes(kv, e));
    TRY(look_in_read(kv, missing, e));
    for (int f = 0; f < KV_FILES; f++)
        if (missing[f]) TRY(make(kv->store, (enum kv_file)f, e));
    if (missing[KV_MAIN] || missing[KV_NOISE]) TRY(look_in_read(kv, missing, e));
    return watches_new(kv, &kv->watches, e);
}

rc kv_open(hf_store *s, struct kv **out, struct err *e) {
    struct kv *kv = calloc(1, sizeof *kv);
    if (!kv) return err_set(e, RC_NOMEM, "no memory");
    kv->store = s;
    kv->noise = store_has_noise(s);
    kv->noise_prefixes = store_noise_prefixes(s);
    rc r = open_kv(kv, e);
    if (is_ok(r)) *out = kv;
    else kv_close(kv);
    return r;
}

void kv_close(struct kv *kv) {
    if (!kv) return;
    watches_free(kv->watches);
    free(kv);
}

/* ---- one key ---- */

static int get_in(hf_tx *tx, const char *key, char **value, size_t *bytes) {
    int code = hf_kv_get(tx, key, value, bytes);
    tx_rollback(tx, code == HF_NOTFOUND ? HF_OK : code);
    return code;
}

/* SQLite says BUSY to a read while the log is recovered, or its last user closes it: then in a
 * transaction, which waits for that. */
int hf_get(hf_store *s, const char *key, char **value, size_t *bytes) {
    struct err e;
    hf_tx *tx;
    rc r = tx_begin_one(s, "hf_get", &tx, &e);
    if (!is_ok(r)) return done(r, &e);
    int code = get_in(tx, key, value, bytes);
    if (code != HF_BUSY) return code;
    r = tx_begin(s, HF_READ, "hf_get", 0, &tx, &e);
    return is_ok(r) ? get_in(tx, key, value, bytes) : done(r, &e);
}

struct one {
    const char *key;
    hf_value value;
};

static int put_one(hf_tx *tx, void *arg) {
    struct one *one = arg;
    return hf_kv_put(tx, one->key, one->value);
}

static int delete_one(hf_tx *tx, void *arg) {
    return hf_kv_delete(tx, ((struct one *)arg)->key);
}

static int write_one(hf_store *s, const char *why, int (*fn)(hf_tx *, void *), struct one *one) {
    struct err e;
    rc r = kv_check_key(one->key, "key", &e);
    if (!is_ok(r)) return done(r, &e);
    r = store_check(s, "this store", &e);
    if (!is_ok(r)) return done(r, &e);
    const struct kv *kv = store_kv(s);
    return hf_write(s, kv_scope(kv_file_of(kv, one->key)), why, fn, one);
}

int hf_put(hf_store *s, const char *key, hf_value v) {
    return write_one(s, "hf_put", put_one, &(struct one){key, v});
}

int hf_delete(hf_store *s, const char *key) {
    return write_one(s, "hf_delete", delete_one, &(struct one){.key = key});
}
