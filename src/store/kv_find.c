/* Finding keys by an index that was declared; and what is said when a unique one refuses a put.
 *
 * Why it never falls back to a scan: a find that is quick on the day it is written and slow a year
 * later is a fault that nobody sees coming.
 */
#include "store/kv_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct names {
    const char *prefix;
    char text[400];
};

static rc add_name(void *arg, hf_tx *tx, const char *name, const struct index *x, struct err *e) {
    struct names *n = arg;
    (void)tx, (void)name, (void)e;
    if (!x || strcmp(x->prefix, n->prefix) != 0) return ok();
    size_t at = strlen(n->text);
    snprintf(n->text + at, sizeof n->text - at, "%s%.100s", at ? ", " : "", x->path);
    return ok();
}

static rc not_declared(hf_tx *tx, const struct index *x, struct err *e) {
    struct names n = {.prefix = x->prefix};
    TRY(index_for_each(tx, x->file, add_name, &n, e));
    return err_set(e, RC_NOTFOUND, "no index on %s of '%.200s'; declared for it: %s", x->path,
                   x->prefix, n.text[0] ? n.text : "none");
}

static rc bind_equals(sqlite3_stmt *s, const hf_value *v, struct err *e) {
    switch (v->type) {
    case HF_INT: sqlite3_bind_int64(s, 1, v->i); return ok();
    case HF_REAL: sqlite3_bind_double(s, 1, v->r); return ok();
    case HF_TEXT:
        if (!v->data) return err_set(e, RC_USAGE, "hf_find: equals is a null pointer");
        if (sqlite3_bind_text64(s, 1, v->data, v->bytes, SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK)
            return ok();
        return err_set(e, RC_NOMEM, "hf_find: equals of %zu bytes", v->bytes);
    default: return err_set(e, RC_USAGE, "hf_find: equals is hf_text, hf_int or hf_real");
    }
}

/* The query, or why there is none: INDEXED BY is an error where SQLite cannot use the index. */
static rc prepare_find(hf_tx *tx, const struct index *x, struct kv_rows *rows, struct err *e) {
    char *sql AUTO(sql_free) = NULL;
    struct err why;
    bool known;
    TRY(index_query(x, &sql, e));
    rc r = kv_rows(tx, sql, rows, &why);
    if (is_ok(r)) return ok();
    if (r.code != RC_USAGE) return err_set(e, r.code, "%s", why.text);
    struct index *found AUTO(index_free) = malloc(sizeof *found);
    if (!found) return err_set(e, RC_NOMEM, "no memory");
    r = index_load(tx, x->file, x->name, found, &known, e);
    if (r.code == RC_NOTFOUND) return not_declared(tx, x, e);
    TRY(r);
    return err_set(e, RC_UNFIT,
                   "the index on %s of '%.200s' cannot be used: %.300s; hf_kv_index makes it anew",
                   x->path, x->prefix, why.text);
}

static rc find(hf_tx *tx, const hf_find *given, hf_each *fn, void *arg, int *stopped,
               struct err *e) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    struct index *x AUTO(index_free) = malloc(sizeof *x);
    enum kv_file file;
    hf_find o;
    if (!x) return err_set(e, RC_NOMEM, "no memory");
    TRY(tx_check(tx, e));
    TRY(take_options(given, &o, sizeof o, "hf_find", e));
    if (!fn) return err_set(e, RC_USAGE, "hf_kv_find: the function is NULL");
    if (!o.prefix) return err_set(e, RC_USAGE, "prefix: it is NULL; \"\" is all keys");
    if (o.limit < 0) return err_set(e, RC_USAGE, "hf_find: limit %lld", (long long)o.limit);
    const struct kv *kv = store_kv(tx_store(tx));
    TRY(kv_file_of_prefix(kv, o.prefix, &file, e));
    TRY(index_init(x, file, o.prefix, o.path, e));
    TRY(kv_reach(kv, tx, file, false, o.prefix, e));
    TRY(prepare_find(tx, x, &rows, e));
    TRY(bind_equals(rows.it, &o.equals, e));
    sqlite3_bind_int64(rows.it, 2, o.limit ? o.limit : -1);
    return kv_each(&rows, fn, arg, stopped, e);
}

int hf_kv_find(hf_tx *tx, const hf_find *o, hf_each *fn, void *arg) {
    struct err e;
    int stopped = 0;
    rc r = find(tx, o, fn, arg, &stopped, &e);
    return is_ok(r) ? stopped : done(r, &e);
}

/* ---- a put that a unique index refused ---- */

void kv_index_explain(hf_tx *tx, enum kv_file file, struct err *e) {
    struct index *x AUTO(index_free) = malloc(sizeof *x);
    char name[32];
    const char *at = strstr(e->text, "index '" INDEX_NAME_PREFIX);
    bool known = false;
    if (!at || sscanf(at, "index '%31[a-z0-9_]'", name) != 1) return;
    if (!x || !is_ok(index_load(tx, file, name, x, &known, NULL)) || !known) return;
    err_fill(e, RC_CONFLICT, "another key under '%.200s' has the same %s, and the index is unique",
             x->prefix, x->path);
}
