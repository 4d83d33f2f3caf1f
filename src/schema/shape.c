/* The shape of a database: see the header.
 *
 * Invariants
 *  1. Objects are sorted by type and name, names without regard to case, as SQLite takes them.
 *  2. Two shapes that a comparison calls equal have the same hash, and the other way round.
 */
#include "schema/shape.h"

#include "object/sigv4.h"
#include "schema/canonical.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_SHAPE (256u << 20)

struct object {
    char *type, *name, *sql;
    char *form; /* canonical, and the columns' names */
};
struct shape {
    struct object *at;
    size_t count, capacity;
};

static void object_deinit(struct object *o) {
    free(o->type);
    free(o->name);
    free(o->sql);
    free(o->form);
    *o = (struct object){0};
}

void shape_free(struct shape *s) {
    if (!s) return;
    for (size_t i = 0; i < s->count; i++) object_deinit(&s->at[i]);
    free(s->at);
    free(s);
}

/* ---- reading ---- */

struct reader {
    sqlite3 *db;
    sqlite3_stmt *objects, *known, *known_anywhere, *columns, *owner;
    const char *table; /* of the object at hand: whose columns its text may name; NULL: of any */
    const char *view;  /* the object at hand, if it is one: its own columns, too */
    int failed;        /* SQLite's code; 0: nothing has */
};

static const char objects_sql[] =
    "SELECT type, name, tbl_name, sql FROM main.sqlite_master WHERE sql IS NOT NULL "
    "AND tbl_name <> 'holdfast' COLLATE NOCASE AND tbl_name NOT LIKE 'holdfast\\_%' ESCAPE '\\' "
    "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
    "AND NOT (type = 'table' AND name = 'DBX' COLLATE NOCASE) "
    "AND NOT (type = 'index' AND name LIKE 'hf\\_kv\\_%' ESCAPE '\\') ";

static const char known_sql[] =
    "SELECT EXISTS(SELECT 1 FROM main.sqlite_master WHERE name = ?2 COLLATE NOCASE) "
    "OR EXISTS(SELECT 1 FROM pragma_table_xinfo(?1, 'main') WHERE name = ?2 COLLATE NOCASE) "
    "OR EXISTS(SELECT 1 FROM pragma_foreign_key_list(?1, 'main') f, "
    "          pragma_table_xinfo(f.\"table\", 'main') x WHERE x.name = ?2 COLLATE NOCASE)";

static const char known_anywhere_sql[] =
    "SELECT EXISTS(SELECT 1 FROM main.sqlite_master WHERE name = ?2 COLLATE NOCASE) "
    "OR EXISTS(SELECT 1 FROM main.sqlite_master t, pragma_table_xinfo(t.name, 'main') x "
    "          WHERE t.type = 'table' AND t.rootpage > 0 AND x.name = ?2 COLLATE NOCASE)";

static const char columns_sql[] =
    "SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1";

/* Is ?1 a table that a virtual table has made for itself? */
static const char owner_sql[] =
    "WITH suffix(module, name) AS (VALUES "
    "('fts3', 'content'), ('fts3', 'segments'), ('fts3', 'segdir'), ('fts3', 'docsize'), "
    "('fts3', 'stat'), ('fts4', 'content'), ('fts4', 'segments'), ('fts4', 'segdir'), "
    "('fts4', 'docsize'), ('fts4', 'stat'), ('fts5', 'data'), ('fts5', 'idx'), "
    "('fts5', 'content'), ('fts5', 'docsize'), ('fts5', 'config'), ('rtree', 'node'), "
    "('rtree', 'rowid'), ('rtree', 'parent'), ('geopoly', 'node'), ('geopoly', 'rowid'), "
    "('geopoly', 'parent')) "
    "SELECT EXISTS(SELECT 1 FROM main.sqlite_master v, suffix "
    "WHERE v.type = 'table' AND v.rootpage = 0 AND ?1 = v.name || '_' || suffix.name COLLATE "
    "NOCASE "
    "AND v.sql LIKE '%USING%' || suffix.module || '%')";

static rc said(struct reader *r, int code, struct err *e) {
    struct sconn c = {.db = r->db, .path = "the schema"};
    return sconn_error(&c, code, NULL, 0, e);
}

static int bind(sqlite3_stmt *st, int i, const char *text) {
    return text ? sqlite3_bind_text(st, i, text, -1, SQLITE_STATIC) : SQLITE_OK;
}

static void rewind_it(sqlite3_stmt *st) {
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

static int step(sqlite3_stmt *st, const char *first, const char *second, bool *yes) {
    int code = bind(st, 1, first);
    if (code == SQLITE_OK) code = bind(st, 2, second);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    *yes = code == SQLITE_ROW && sqlite3_column_int(st, 0);
    rewind_it(st);
    return code;
}

static bool ask(struct reader *r, sqlite3_stmt *st, const char *first, const char *second) {
    bool yes;
    int code = step(st, first, second, &yes);
    if (code != SQLITE_ROW && !r->failed) r->failed = code;
    return yes;
}

/* A view that does not compile has no columns. */
static bool does_not_compile(int code) {
    return (code & 0xff) == SQLITE_ERROR;
}

static bool is_of_view(struct reader *r, const char *word) {
    bool yes;
    int code = step(r->known, r->view, word, &yes);
    if (code != SQLITE_ROW && !does_not_compile(code) && !r->failed) r->failed = code;
    return yes;
}

static bool is_known(void *arg, const char *word) {
    struct reader *r = arg;
    if (r->table) return ask(r, r->known, r->table, word);
    return ask(r, r->known_anywhere, NULL, word) || (r->view && is_of_view(r, word));
}

/* As programs see them. */
static void put_columns(struct reader *r, const char *table, struct buf *out) {
    int code = bind(r->columns, 1, table);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(r->columns);
        if (code != SQLITE_ROW) break;
        const char *name = (const char *)sqlite3_column_text(r->columns, 0);
        buf_text(out, "\n");
        if (name) buf_text(out, name);
        else out->failed = true;
    }
    if (code != SQLITE_DONE && !does_not_compile(code) && !r->failed) r->failed = code;
    rewind_it(r->columns);
}

/* None of them is NULL. */
static char *text_of(struct reader *r, int i) {
    const char *text = (const char *)sqlite3_column_text(r->objects, i);
    return text ? strdup(text) : NULL;
}

static char *form_of(struct reader *r, const struct object *o, const char *table) {
    bool of_table = strcmp(o->type, "table") == 0, of_view = strcmp(o->type, "view") == 0;
    struct buf form AUTO(buf_deinit);
    buf_init(&form, LIMIT_SHAPE);
    r->table = of_table || strcmp(o->type, "index") == 0 ? table : NULL;
    r->view = of_view ? o->name : NULL;
    canonical(o->sql, is_known, r, &form);
    if (of_table || of_view) put_columns(r, o->name, &form);
    buf_u8(&form, 0);
    return form.failed ? NULL : strdup((const char *)form.bytes);
}

/* Takes `o` when it succeeds. */
static bool add(struct shape *s, const struct object *o) {
    if (s->count == s->capacity) {
        size_t capacity = s->capacity * 2;
        struct object *at = realloc(s->at, capacity * sizeof *at);
        if (!at) return false;
        s->at = at;
        s->capacity = capacity;
    }
    s->at[s->count++] = *o;
    return true;
}

/* False: no memory. */
static bool read_object(struct reader *r, struct shape *s) {
    struct object o = {.type = text_of(r, 0), .name = text_of(r, 1), .sql = text_of(r, 3)};
    char *table = text_of(r, 2);
    bool whole = o.type && o.name && o.sql && table;
    bool skip = whole && strcmp(o.type, "table") == 0 && ask(r, r->owner, o.name, NULL);
    if (whole && !skip) whole = (o.form = form_of(r, &o, table)) && add(s, &o);
    if (!whole || skip) object_deinit(&o);
    free(table);
    return whole;
}

static int compare(const struct object *a, const struct object *b) {
    int by_type = strcmp(a->type, b->type);
    return by_type ? by_type : sqlite3_stricmp(a->name, b->name);
}

static int by_name(const void *a, const void *b) {
    return compare(a, b);
}

static rc read_objects(struct reader *r, struct shape *s, struct err *e) {
    int code;
    while ((code = sqlite3_step(r->objects)) == SQLITE_ROW && !r->failed)
        if (!read_object(r, s)) return err_set(e, RC_NOMEM, "no memory for the schema");
    if (r->failed) code = r->failed;
    if (code != SQLITE_DONE) return said(r, code, e);
    if (s->count) qsort(s->at, s->count, sizeof *s->at, by_name);
    return ok();
}

static rc prepare(struct reader *r, const char *sql, sqlite3_stmt **out, struct err *e) {
    int code = sqlite3_prepare_v2(r->db, sql, -1, out, NULL);
    return code == SQLITE_OK ? ok() : said(r, code, e);
}

static void reader_deinit(struct reader *r) {
    sqlite3_finalize(r->objects);
    sqlite3_finalize(r->known);
    sqlite3_finalize(r->known_anywhere);
    sqlite3_finalize(r->columns);
    sqlite3_finalize(r->owner);
}

rc shape_read(sqlite3 *db, struct shape **out, struct err *e) {
    struct reader r AUTO(reader_deinit) = {.db = db};
    TRY(prepare(&r, objects_sql, &r.objects, e));
    TRY(prepare(&r, known_sql, &r.known, e));
    TRY(prepare(&r, known_anywhere_sql, &r.known_anywhere, e));
    TRY(prepare(&r, columns_sql, &r.columns, e));
    TRY(prepare(&r, owner_sql, &r.owner, e));
    struct shape *s = calloc(1, sizeof *s);
    if (s) s->at = calloc(1, sizeof *s->at); /* never NULL */
    if (s && s->at) s->capacity = 1;
    rc result =
        s && s->at ? read_objects(&r, s, e) : err_set(e, RC_NOMEM, "no memory for the schema");
    if (is_ok(result)) *out = s;
    else shape_free(s);
    return result;
}

/* ---- comparing ---- */

static void put_name(struct buf *b, const char *name) {
    for (; *name; name++) buf_u8(b, (uint8_t)(*name >= 'A' && *name <= 'Z' ? *name + 32 : *name));
    buf_u8(b, 0);
}

rc shape_hash(const struct shape *s, char out[65], struct err *e) {
    struct buf all AUTO(buf_deinit);
    buf_init(&all, LIMIT_SHAPE);
    for (size_t i = 0; i < s->count; i++) {
        put_name(&all, s->at[i].type);
        put_name(&all, s->at[i].name);
        buf_put(&all, s->at[i].form, strlen(s->at[i].form) + 1);
    }
    TRY(buf_check(&all, "the schema", e));
    return sha256_hex(all.bytes, all.size, out) ? ok() : err_set(e, RC_NOMEM, "no memory");
}

rc shape_compare(const struct shape *should, const struct shape *is, shape_each *each, void *arg,
                 struct err *e) {
    size_t i = 0, j = 0;
    while (i < should->count || j < is->count) {
        int order = i == should->count ? 1
                    : j == is->count   ? -1
                                       : compare(&should->at[i], &is->at[j]);
        const struct object *a = &should->at[i], *b = &is->at[j];
        if (order <= 0) i++;
        if (order >= 0) j++;
        if (order < 0) TRY(each(arg, a->type, a->name, "missing", a->sql, NULL, e));
        else if (order > 0) TRY(each(arg, b->type, b->name, "extra", NULL, b->sql, e));
        else if (strcmp(a->form, b->form) != 0)
            TRY(each(arg, a->type, a->name, "changed", a->sql, b->sql, e));
    }
    return ok();
}
