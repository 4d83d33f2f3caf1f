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
 *  2. hf_kv_find runs no query whose plan is not a search of the index that it names.
 */
#include "store/kv.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_PREFIX "hf_kv_"
#define BEFORE_PATH "ON DBX(json_extract(Value,"
#define BEFORE_PREFIX " AND Key>="

struct index {
    enum kv_file file;
    char name[32];
    char prefix[LIMIT_KV_KEY + 1], path[LIMIT_JSON_PATH];
    bool unique;
};

static rc index_init(struct index *x, enum kv_file file, const char *prefix, const char *path,
                     struct err *e) {
    TRY(kv_check_key(prefix, "prefix", e));
    TRY(kv_path(path, x->path, e));
    snprintf(x->prefix, sizeof x->prefix, "%s", prefix);
    uint64_t sum = crc64(crc64(0, x->prefix, strlen(x->prefix) + 1), x->path, strlen(x->path));
    snprintf(x->name, sizeof x->name, NAME_PREFIX "%016" PRIx64, sum);
    x->file = file;
    x->unique = false;
    return ok();
}

/* ---- texts ---- */

static void free_text(char **text) {
    sqlite3_free(*text);
}

static void free_index(struct index **x) {
    free(*x);
}

static rc text_of(char *text, char **out, struct err *e) {
    *out = text;
    return text ? ok() : err_set(e, RC_NOMEM, "no memory");
}

/* The terms that the index and every query on it share, word for word. */
static rc terms(const struct index *x, char **out, struct err *e) {
    char upper[LIMIT_KV_KEY + 8];
    bool bounded = kv_upper(x->prefix, upper);
    char *end = bounded ? sqlite3_mprintf("%Q", upper) : sqlite3_mprintf("x''");
    if (!end) return err_set(e, RC_NOMEM, "no memory");
    char *text = sqlite3_mprintf(
        "typeof(Value)='text' AND json_valid(Value)" BEFORE_PREFIX "%Q AND Key<%s", x->prefix, end);
    sqlite3_free(end);
    return text_of(text, out, e);
}

/* From the name on, as SQLite keeps it in its schema. */
static rc definition(const struct index *x, char **out, struct err *e) {
    char *shared AUTO(free_text) = NULL;
    TRY(terms(x, &shared, e));
    return text_of(sqlite3_mprintf("%s " BEFORE_PATH "%Q)) WHERE %s", x->name, x->path, shared),
                   out, e);
}

/* `equals`: an SQL expression. */
static rc query(const struct index *x, const char *equals, char **out, struct err *e) {
    char *shared AUTO(free_text) = NULL;
    TRY(terms(x, &shared, e));
    return text_of(sqlite3_mprintf("SELECT Key, Value FROM %s.DBX INDEXED BY %s WHERE %s AND "
                                   "json_extract(Value,%Q)=%s LIMIT ?2",
                                   kv_file_name(x->file), x->name, shared, x->path, equals),
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
    char *wanted AUTO(free_text) = NULL;
    if (!is_ok(definition(x, &wanted, NULL))) return false;
    return strcmp(sql + (x->unique ? 20 : 13), wanted) == 0; /* "CREATE UNIQUE INDEX " */
}

/* ---- what is there ---- */

/* What the index of this name declares. RC_NOTFOUND: there is none. `*known`: parse() */
static rc load(hf_tx *tx, enum kv_file file, const char *name, struct index *out, bool *known,
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

/* RC_UNFIT: no query would use the index. */
static rc prove(hf_tx *tx, const struct index *x, struct err *e) {
    char *sql AUTO(free_text) = NULL, *explain AUTO(free_text) = NULL;
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    struct err why = {0};
    TRY(query(x, "?1", &sql, e));
    TRY(text_of(sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql), &explain, e));
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

static rc for_each_index(hf_tx *tx, enum kv_file file,
                         rc (*fn)(void *, hf_tx *, const char *name, const struct index *,
                                  struct err *),
                         void *arg, struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("SELECT name, sql FROM ",
               ".sqlite_master WHERE type='index' AND name GLOB '" NAME_PREFIX "*' ORDER BY name");
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    struct index *x AUTO(free_index) = malloc(sizeof *x);
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
    rc r = x ? prove(tx, x, e)
             : err_set(e, RC_UNFIT, "its definition is not as this library writes it");
    if (r.code != RC_UNFIT) return r;
    tell_unused(arg, name, e);
    return ok();
}

rc kv_index_open(struct kv *kv, hf_tx *tx, enum kv_file file, struct err *e) {
    return for_each_index(tx, file, prove_or_tell, kv, e);
}

/* ---- making one ---- */

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
    char *shared AUTO(free_text) = NULL;
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(terms(x, &shared, e));
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
    char *shared AUTO(free_text) = NULL;
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(terms(x, &shared, e));
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
    char *text AUTO(free_text) = NULL;
    if (!(flags & HF_ABSENT)) TRY(check_path(tx, x, e));
    TRY(definition(x, &text, e));
    TRY(run_made(tx, sqlite3_mprintf("DROP INDEX IF EXISTS %s.%s", kv_file_name(x->file), x->name),
                 e));
    rc r = run_made(tx,
                    sqlite3_mprintf("CREATE %sINDEX %s.%s", flags & HF_UNIQUE ? "UNIQUE " : "",
                                    kv_file_name(x->file), text),
                    e);
    if (r.code == RC_CONFLICT) return name_doubles(tx, x, e);
    TRY(r);
    return prove(tx, x, e);
}

/* *made: it is there, and as declared. */
static rc is_made(hf_tx *tx, const struct index *x, int flags, bool *made, struct err *e) {
    struct index *found AUTO(free_index) = malloc(sizeof *found);
    bool known = false;
    *made = false;
    if (!found) return err_set(e, RC_NOMEM, "no memory");
    rc r = load(tx, x->file, x->name, found, &known, e);
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
    r = prove(tx, x, e);
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
    struct index *found AUTO(free_index) = malloc(sizeof *found);
    bool known;
    d->r = found ? load(tx, x->file, x->name, found, &known, d->e)
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

/* ---- finding ---- */

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
    TRY(for_each_index(tx, x->file, add_name, &n, e));
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
    char *sql AUTO(free_text) = NULL;
    struct err why;
    bool known;
    TRY(query(x, "?1", &sql, e));
    rc r = kv_rows(tx, sql, rows, &why);
    if (is_ok(r)) return ok();
    if (r.code != RC_USAGE) return err_set(e, r.code, "%s", why.text);
    struct index *found AUTO(free_index) = malloc(sizeof *found);
    if (!found) return err_set(e, RC_NOMEM, "no memory");
    r = load(tx, x->file, x->name, found, &known, e);
    if (r.code == RC_NOTFOUND) return not_declared(tx, x, e);
    TRY(r);
    return err_set(e, RC_UNFIT,
                   "the index on %s of '%.200s' cannot be used: %.300s; hf_kv_index makes it anew",
                   x->path, x->prefix, why.text);
}

static rc find(hf_tx *tx, const hf_find *given, hf_each *fn, void *arg, int *stopped,
               struct err *e) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    struct index *x AUTO(free_index) = malloc(sizeof *x);
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
    struct index *x AUTO(free_index) = malloc(sizeof *x);
    char name[32];
    const char *at = strstr(e->text, "index '" NAME_PREFIX);
    bool known = false;
    if (!at || sscanf(at, "index '%31[a-z0-9_]'", name) != 1) return;
    if (!x || !is_ok(load(tx, file, name, x, &known, NULL)) || !known) return;
    err_fill(e, RC_CONFLICT, "another key under '%.200s' has the same %s, and the index is unique",
             x->prefix, x->path);
}
