/* Indexes over the values under a prefix, by a path in their JSON, and finding by them.
 *
 * An index is SQLite's own: partial, on an expression, with all of its declaration in its text, so
 * that nothing beside it has to be kept in step:
 *
 *     CREATE INDEX hf_kv_<hash> ON DBX(json_extract(Value,'$.user.id'))
 *     WHERE typeof(Value)='text' AND json_valid(Value) AND Key>='node/' AND Key<'node0'
 *
 * Why the guards, in this order: without them each later put of a value that is not JSON fails
 * ("malformed JSON"), by whomever. AND is evaluated from the left, so json_extract never sees one.
 *
 * Why prefix and path are literals, in the query too: SQLite uses such an index only for a query
 * that repeats its terms word for word; with a bound path it scans, and says nothing. INDEXED BY
 * makes that an error instead, and EXPLAIN QUERY PLAN is asked when an index is made and at each
 * open.
 *
 * An index that cannot be used does not keep the store from opening: what is stored is not touched
 * by it, and a service that does not start is worse. The event "kv.index_unused" names it,
 * hf_kv_find refuses (it never scans), and hf_kv_index makes it anew.
 *
 * Invariants
 *  1. The name is a function of prefix and path; the text is one of name, prefix, path, uniqueness.
 *  2. hf_kv_find runs no query but with INDEXED BY.
 */
#include "store/kv_index.h"

#include <stdlib.h>
#include <string.h>

static rc run_made(hf_tx *tx, char *sql, struct err *e) {
    if (!sql) return err_set(e, RC_NOMEM, "no memory");
    rc r = tx_exec(tx, sql, e);
    sqlite3_free(sql);
    return r;
}

/* The first row of a made query; the query is freed. RC_NOTFOUND: it has none. */
static rc first_row(hf_tx *tx, char *sql, struct kv_rows *out, struct err *e) {
    if (!sql) return err_set(e, RC_NOMEM, "no memory");
    rc r = kv_rows(tx, sql, out, e);
    sqlite3_free(sql);
    return is_ok(r) ? kv_next(out, e) : r;
}

static rc any_value(hf_tx *tx, const struct index *x, struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("SELECT 1 FROM ", ".DBX WHERE Key>=?1 AND Key<?2 LIMIT 1");
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(tx, sql[x->file], &rows, e));
    kv_bind_prefix(rows.it, 1, x->prefix);
    return kv_next(&rows, e);
}

/* Values are there, and none of them has the path: a mistake, more likely than not. */
static rc check_path(hf_tx *tx, const struct index *x, struct err *e) {
    char *shared AUTO(sql_free) = NULL;
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(index_terms(x, &shared, e));
    rc r = first_row(tx,
                     sqlite3_mprintf("SELECT 1 FROM %s.DBX WHERE %s AND "
                                     "json_type(Value,%Q) IS NOT NULL LIMIT 1",
                                     kv_file_name(x->file), shared, x->path),
                     &rows, e);
    if (r.code != RC_NOTFOUND) return r;
    r = any_value(tx, x, e);
    if (r.code == RC_NOTFOUND) return ok();
    TRY(r);
    return err_set(e, RC_NOTFOUND,
                   "no value under '%.200s' has %s (HF_ABSENT: make the index all the same)",
                   x->prefix, x->path);
}

static rc name_doubles(hf_tx *tx, const struct index *x, struct err *e) {
    char *shared AUTO(sql_free) = NULL;
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(index_terms(x, &shared, e));
    rc r = first_row(tx,
                     sqlite3_mprintf("SELECT min(Key), max(Key) FROM %s.DBX WHERE %s AND "
                                     "json_extract(Value,%Q) IS NOT NULL "
                                     "GROUP BY json_extract(Value,%Q) HAVING count(*)>1 LIMIT 1",
                                     kv_file_name(x->file), shared, x->path, x->path),
                     &rows, e);
    if (!is_ok(r)) return err_set(e, RC_CONFLICT, "two values have the same %s", x->path);
    return err_set(e, RC_CONFLICT,
                   "'%.200s' and '%.200s' have the same %s: no unique index can be made",
                   sqlite3_column_text(rows.it, 0), sqlite3_column_text(rows.it, 1), x->path);
}

static rc create(hf_tx *tx, const struct index *x, int flags, struct err *e) {
    char *text AUTO(sql_free) = NULL;
    if (!(flags & HF_ABSENT)) TRY(check_path(tx, x, e));
    TRY(index_definition(x, &text, e));
    TRY(run_made(tx, sqlite3_mprintf("DROP INDEX IF EXISTS %s.%s", kv_file_name(x->file), x->name),
                 e));
    rc r = run_made(tx,
                    sqlite3_mprintf("CREATE %sINDEX %s.%s", flags & HF_UNIQUE ? "UNIQUE " : "",
                                    kv_file_name(x->file), text),
                    e);
    if (r.code == RC_CONFLICT) return name_doubles(tx, x, e);
    TRY(r);
    return index_prove(tx, x, e);
}

/* *made: it is there, and as declared. */
static rc is_made(hf_tx *tx, const struct index *x, int flags, bool *made, struct err *e) {
    struct index *found AUTO(index_free) = malloc(sizeof *found);
    bool known = false;
    *made = false;
    if (!found) return err_set(e, RC_NOMEM, "no memory");
    rc r = index_load(tx, x->file, x->name, found, &known, e);
    if (r.code == RC_NOTFOUND) return ok();
    TRY(r);
    if (!known) return ok(); /* made anew */
    if (strcmp(found->prefix, x->prefix) != 0 || strcmp(found->path, x->path) != 0)
        return err_set(e, RC_CONFLICT, "%s is the name of the index on %s of '%.200s', too",
                       x->name, found->path, found->prefix);
    if (found->unique != !!(flags & HF_UNIQUE))
        return err_set(e, RC_CONFLICT,
                       "the index on %s of '%.200s' is there and is %s: hf_kv_unindex it first",
                       x->path, x->prefix, found->unique ? "unique" : "not unique");
    r = index_prove(tx, x, e);
    *made = is_ok(r);
    return r.code == RC_UNFIT ? ok() : r;
}

struct declaration {
    const struct kv *kv;
    struct index index;
    int flags;
    bool made;
    struct err *e;
    rc r;
};

static int look_tx(hf_tx *tx, void *arg) {
    struct declaration *d = arg;
    d->r = kv_reach(d->kv, tx, d->index.file, false, d->index.prefix, d->e);
    if (is_ok(d->r)) d->r = is_made(tx, &d->index, d->flags, &d->made, d->e);
    return (int)d->r.code;
}

static int create_tx(hf_tx *tx, void *arg) {
    struct declaration *d = arg;
    look_tx(tx, arg); /* somebody may have been faster */
    if (is_ok(d->r) && !d->made) d->r = create(tx, &d->index, d->flags, d->e);
    return (int)d->r.code;
}

static int drop_tx(hf_tx *tx, void *arg) {
    struct declaration *d = arg;
    const struct index *x = &d->index;
    struct index *found AUTO(index_free) = malloc(sizeof *found);
    bool known;
    d->r = found ? index_load(tx, x->file, x->name, found, &known, d->e)
                 : err_set(d->e, RC_NOMEM, "no memory");
    if (d->r.code == RC_NOTFOUND)
        d->r = err_set(d->e, RC_NOTFOUND, "no index on %s of '%.200s'", x->path, x->prefix);
    if (is_ok(d->r))
        d->r =
            run_made(tx, sqlite3_mprintf("DROP INDEX %s.%s", kv_file_name(x->file), x->name), d->e);
    return (int)d->r.code;
}

/* What fn said, or else what kept it from running or committing. */
static rc said(struct declaration *d, int code) {
    return is_ok(d->r) ? kv_public(code, d->e) : d->r;
}

static rc declare(struct declaration *d, hf_store *s, const char *prefix, const char *path,
                  struct err *e) {
    enum kv_file file;
    TRY(store_check(s, "this store", e));
    if (!prefix) return err_set(e, RC_USAGE, "prefix: it is NULL; \"\" is all keys");
    if (d->flags & ~(HF_UNIQUE | HF_ABSENT))
        return err_set(e, RC_USAGE, "hf_kv_index: flags %d", d->flags);
    d->kv = store_kv(s);
    d->e = e;
    TRY(kv_file_of_prefix(d->kv, prefix, &file, e));
    return index_init(&d->index, file, prefix, path, e);
}

static rc make_index(hf_store *s, struct declaration *d, const char *prefix, const char *path,
                     struct err *e) {
    TRY(declare(d, s, prefix, path, e));
    TRY(said(d, hf_read(s, "hf_kv_index: look", look_tx, d)));
    if (d->made) return ok();
    return said(d, hf_write(s, kv_scope(d->index.file), "hf_kv_index", create_tx, d));
}

static rc drop_index(hf_store *s, struct declaration *d, const char *prefix, const char *path,
                     struct err *e) {
    TRY(declare(d, s, prefix, path, e));
    return said(d, hf_write(s, kv_scope(d->index.file), "hf_kv_unindex", drop_tx, d));
}

int hf_kv_index(hf_store *s, const char *prefix, const char *path, int flags) {
    struct err e;
    struct declaration d = {.flags = flags, .r = ok()};
    return done(make_index(s, &d, prefix, path, &e), &e);
}

int hf_kv_unindex(hf_store *s, const char *prefix, const char *path) {
    struct err e;
    struct declaration d = {.r = ok()};
    return done(drop_index(s, &d, prefix, path, &e), &e);
}
