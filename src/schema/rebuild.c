/* A table made anew under its old name.
 *
 * The new form is made under a name of its own, filled, and takes the place of the old one:
 *
 *     what compiles? how many rows?       rebuild_guard.h
 *     CREATE TABLE new                    the old text, edited (rebuild_sql.h), or the migration's
 *     INSERT INTO new SELECT FROM old     rowids and all, in the order in which they are stored
 *     DROP TABLE old, RENAME new TO old   as legacy_alter_table has it: nobody's text is changed
 *     sqlite_sequence, indexes, triggers  as they were; what ANALYZE found out, too
 *     what compiles? how many rows?
 *
 * Why not the old one renamed out of the way, which would keep the new text to the letter: then a
 * `fill` would be asked when the old name means the new table, and a subquery or a view in it would
 * see no rows. The price is that SQLite writes the name in quotes.
 *
 * Why legacy_alter_table: without it RENAME compiles every view first, and those on the table fail
 * while it is gone. With it no text of another object is changed, of a child's REFERENCES neither,
 * since foreign keys are off (conn.h). What RENAME would have found the guards find.
 *
 * Invariants
 *  1. Behind an error the transaction is to be rolled back, and nothing else is to be done in it.
 *  2. Behind any return the connection is set as it was before.
 *  3. A row is copied or the rebuild fails: OR ABORT overrules what the table says of conflicts.
 *
 * Source: https://sqlite.org/lang_altertable.html, section 7
 */
#include "schema/rebuild.h"

#include "schema/rebuild_guard.h"
#include "schema/rebuild_sql.h"

#include <stdlib.h>
#include <string.h>

struct work {
    struct sconn *c;
    const struct rebuild *rebuild;
    char *name, *sql;   /* as the database has them */
    char *form;         /* the new CREATE TABLE */
    char temp[40];      /* its name meanwhile */
    json_t *old, *now;  /* columns */
    json_t *lost;       /* of the old ones */
    json_t *objects;    /* its indexes and triggers: type, name, sql */
    json_t *sequence;   /* AUTOINCREMENT's number; no row: it had none */
    json_t *statistics; /* of ANALYZE: index or null, numbers */
    struct before before;
};

static void work_deinit(struct work *w) {
    json_t *const lists[] = {w->old, w->now, w->lost, w->objects, w->sequence, w->statistics};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) json_decref(lists[i]);
    before_deinit(&w->before);
    sqlite3_free(w->name);
    sqlite3_free(w->sql);
    sqlite3_free(w->form);
}

static rc no_memory(struct err *e) {
    return err_set(e, RC_NOMEM, "no memory");
}

/* ---- settings ---- */

static const int settings[] = {SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, SQLITE_DBCONFIG_DQS_DDL,
                               SQLITE_DBCONFIG_DQS_DML};
#define SETTINGS (sizeof settings / sizeof *settings)

static void set_up(struct sconn *c, int was[SETTINGS]) {
    for (size_t i = 0; i < SETTINGS; i++) {
        sqlite3_db_config(c->db, settings[i], -1, &was[i]);
        sqlite3_db_config(c->db, settings[i], i == 0, (int *)NULL);
    }
}

static void set_back(struct sconn *c, const int was[SETTINGS]) {
    for (size_t i = 0; i < SETTINGS; i++)
        sqlite3_db_config(c->db, settings[i], was[i], (int *)NULL);
}

/* ---- the table as it is, and its new form ---- */

static rc no_table(struct sconn *c, const char *name, struct err *e) {
    json_t *tables AUTO(rows_free) = NULL;
    TRY(rows_ask(c, sqlite3_mprintf("SELECT name FROM sqlite_master WHERE type='table'"), &tables,
                 e));
    return rows_lack(tables, "table", name, e);
}

static bool is_ours(const char *name) {
    return sqlite3_strnicmp(name, "holdfast_", 9) == 0 || sqlite3_stricmp(name, "DBX") == 0;
}

static rc find_table(struct work *w, struct err *e) {
    json_t *found AUTO(rows_free) = NULL;
    const char *name = w->rebuild->table;
    TRY(rows_ask(w->c,
                 sqlite3_mprintf("SELECT name, sql, type FROM sqlite_master WHERE "
                                 "type IN ('table','view') AND name=%Q COLLATE NOCASE",
                                 name),
                 &found, e));
    if (!json_array_size(found)) return no_table(w->c, name, e);
    const char *sql = rows_cell(found, 0, 1);
    if (strcmp(rows_cell(found, 0, 2), "view") == 0)
        return err_set(e, RC_USAGE, "it is a view: drop it and make it anew");
    if (!sql || sqlite3_strnicmp(sql, "CREATE VIRTUAL", 14) == 0)
        return err_set(e, RC_USAGE, "it is a virtual table");
    if (is_ours(name) || sqlite3_strnicmp(name, "sqlite_", 7) == 0)
        return err_set(e, RC_USAGE, "it is no table of the application's");
    w->name = sqlite3_mprintf("%s", rows_cell(found, 0, 0));
    w->sql = sqlite3_mprintf("%s", sql);
    return w->name && w->sql ? ok() : no_memory(e);
}

static rc make_form(struct work *w, struct err *e) {
    TRY(find_table(w, e));
    const char *create = w->rebuild->create;
    if (create) TRY(create_check(create, w->name, e));
    return create_edit(create ? create : w->sql, w->rebuild, &w->form, e);
}

rc rebuild_sql(struct sconn *c, const struct rebuild *rebuild, char **out, struct err *e) {
    struct work w AUTO(work_deinit) = {.c = c, .rebuild = rebuild};
    rc r = make_form(&w, e);
    if (!is_ok(r)) return err_prefix(e, r, "rebuild %s", rebuild->table);
    *out = w.form;
    w.form = NULL;
    return r;
}

static rc choose_temp(struct work *w, struct err *e) {
    json_t *all AUTO(rows_free) = NULL;
    TRY(rows_ask(w->c, sqlite3_mprintf("SELECT name FROM sqlite_master"), &all, e));
    int i = 0;
    do sqlite3_snprintf(sizeof w->temp, w->temp, "holdfast_new_%d", ++i);
    while (rows_has(all, w->temp) || strstr(w->name, w->temp));
    return ok();
}

static rc read_statistics(struct work *w, struct err *e) {
    json_t *table AUTO(rows_free) = NULL;
    TRY(rows_ask(w->c, sqlite3_mprintf("SELECT 1 FROM sqlite_master WHERE name='sqlite_stat1'"),
                 &table, e));
    if (!json_array_size(table)) return ok();
    return rows_ask(w->c,
                    sqlite3_mprintf("SELECT idx, stat FROM sqlite_stat1 WHERE tbl=%Q", w->name),
                    &w->statistics, e);
}

static rc look(struct work *w, struct err *e) {
    TRY(make_form(w, e));
    TRY(choose_temp(w, e));
    TRY(rows_columns(w->c, w->name, &w->old, e));
    TRY(rows_ask(w->c,
                 sqlite3_mprintf("SELECT type, name, sql FROM sqlite_master WHERE "
                                 "type IN ('index','trigger') AND sql IS NOT NULL AND "
                                 "tbl_name=%Q COLLATE NOCASE ORDER BY rowid",
                                 w->name),
                 &w->objects, e));
    if (sql_has(w->sql, "autoincrement"))
        TRY(rows_ask(w->c,
                     sqlite3_mprintf("SELECT seq FROM sqlite_sequence WHERE name=%Q", w->name),
                     &w->sequence, e));
    TRY(read_statistics(w, e));
    return before_look(w->c, w->name, &w->before, e);
}

/* ---- texts in double quotes ---- */

/* SQLite takes a name in double quotes for a text where no column is called so: an index or a CHECK
 * on a column that is gone would go on, and compare with its name. So that is off here, and allowed
 * again only for what needs it and has no lost column in such quotes. */
static rc run_with_texts(struct work *w, const char *sql, struct err *e) {
    sqlite3_db_config(w->c->db, SQLITE_DBCONFIG_DQS_DDL, 1, (int *)NULL);
    rc r = sconn_exec(w->c, sql, e);
    sqlite3_db_config(w->c->db, SQLITE_DBCONFIG_DQS_DDL, 0, (int *)NULL);
    return r;
}

static const char *quoted_lost(const struct work *w, const char *sql) {
    for (size_t i = 0; i < json_array_size(w->lost); i++)
        if (sql_quotes(sql, rows_cell(w->lost, i, 0))) return rows_cell(w->lost, i, 0);
    return NULL;
}

/* ---- the new form ---- */

static rc find_lost(struct work *w, struct err *e) {
    TRY(rows_columns(w->c, w->temp, &w->now, e));
    if (!(w->lost = json_array())) return no_memory(e);
    for (size_t i = 0; i < json_array_size(w->old); i++)
        if (!rows_has(w->now, rows_cell(w->old, i, 0)) &&
            json_array_append(w->lost, json_array_get(w->old, i)))
            return no_memory(e);
    return ok();
}

/* What is lost is known when it is made. */
static rc run_form(struct work *w, const char *sql, struct err *e) {
    rc without = sconn_exec(w->c, sql, e);
    if (without.code != RC_USAGE) TRY(without);
    if (!is_ok(without)) TRY(run_with_texts(w, sql, e));
    TRY(find_lost(w, e));
    const char *lost = quoted_lost(w, sql);
    if (is_ok(without) || !lost) return ok();
    return err_set(e, RC_CONFLICT, "the new form would take \"%s\" for a text", lost);
}

static rc make_new(struct work *w, struct err *e) {
    char *sql;
    TRY(create_named(w->form, w->name, w->temp, &sql, e));
    rc r = run_form(w, sql, e);
    sqlite3_free(sql);
    return r;
}

/* ---- the rows ---- */

static const struct rebuild_op *fill_of(const struct work *w, const char *column) {
    for (size_t i = 0; i < w->rebuild->op_count; i++) {
        const struct rebuild_op *op = &w->rebuild->ops[i];
        if (op->kind == REBUILD_FILL && sqlite3_stricmp(op->column, column) == 0) return op;
    }
    return NULL;
}

/* What goes into each column of the new form; NULL: its DEFAULT. */
struct sources {
    char **at;
    size_t count, filled;
};

static void sources_deinit(struct sources *s) {
    for (size_t i = 0; i < s->count; i++) sqlite3_free(s->at[i]);
    free(s->at);
}

static rc source_of(const struct work *w, size_t i, char **out, struct err *e) {
    const char *name = rows_cell(w->now, i, 0);
    const struct rebuild_op *fill = fill_of(w, name);
    *out = NULL;
    if (fill && rows_is_generated(w->now, i))
        return err_set(e, RC_USAGE, "fill: column '%s' is generated", name);
    if (fill) TRY(expression_check(fill->value, e));
    if (rows_is_generated(w->now, i) || (!fill && !rows_has(w->old, name))) return ok();
    *out = fill ? sqlite3_mprintf("(%s\n)", fill->value) /* it may end with a comment */
                : sqlite3_mprintf("\"%w\"", name);
    return *out ? ok() : no_memory(e);
}

static rc sources_find(const struct work *w, struct sources *s, struct err *e) {
    size_t columns = json_array_size(w->now);
    for (size_t i = 0; i < w->rebuild->op_count; i++) {
        const struct rebuild_op *op = &w->rebuild->ops[i];
        if (op->kind == REBUILD_FILL && !rows_has(w->now, op->column))
            return err_prefix(e, rows_lack(w->now, "column", op->column, e), "fill");
    }
    if (!(s->at = calloc(columns + 1, sizeof *s->at))) return no_memory(e);
    for (; s->count < columns; s->count++) {
        TRY(source_of(w, s->count, &s->at[s->count], e));
        s->filled += s->at[s->count] != NULL;
    }
    if (s->filled) return ok();
    return err_set(e, RC_USAGE, "no column of the new form is in the old one, or has a fill=");
}

/* In the list of those that are filled, from 1; 0: it is not. */
static int place_of(const struct work *w, const struct sources *s, const char *column) {
    int place = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!s->at[i]) continue;
        place++;
        if (sqlite3_stricmp(rows_cell(w->now, i, 0), column) == 0) return place;
    }
    return 0;
}

/* Under which name the table has its rowid, and `other` no column. NULL: WITHOUT ROWID, or hidden
 * behind columns of all three names. */
static rc rowid_of(struct sconn *c, const char *table, const json_t *columns, const json_t *other,
                   const char **out, struct err *e) {
    static const char *const names[] = {"rowid", "_rowid_", "oid"};
    *out = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !*out; i++) {
        json_t *none AUTO(rows_free) = NULL;
        if (rows_has(columns, names[i]) || rows_has(other, names[i])) continue;
        rc r = rows_ask(c, sqlite3_mprintf("SELECT %s FROM \"%w\" LIMIT 0", names[i], table), &none,
                        e);
        if (is_ok(r)) *out = names[i];
        else if (r.code != RC_USAGE) return r; /* no such column */
    }
    return ok();
}

/* The columns by which the rows of the new form are stored: INTEGER PRIMARY KEY, or the key of
 * WITHOUT ROWID. Any other key has an index of its own. */
static rc stored_by(const struct work *w, bool by_rowid, json_t **out, struct err *e) {
    return rows_ask(w->c,
                    sqlite3_mprintf("SELECT name FROM pragma_table_xinfo(%Q) WHERE pk>0 AND (%d "
                                    "OR NOT EXISTS (SELECT 1 FROM pragma_index_list(%Q) "
                                    "WHERE origin='pk')) ORDER BY pk",
                                    w->temp, !by_rowid, w->temp),
                    out, e);
}

static void add_columns(sqlite3_str *sql, const struct work *w, const struct sources *s) {
    const char *comma = "";
    for (size_t i = 0; i < s->count; i++) {
        if (!s->at[i]) continue;
        sqlite3_str_appendf(sql, "%s\"%w\"", comma, rows_cell(w->now, i, 0));
        comma = ", ";
    }
}

static void add_sources(sqlite3_str *sql, const struct sources *s) {
    const char *comma = "";
    for (size_t i = 0; i < s->count; i++) {
        if (!s->at[i]) continue;
        sqlite3_str_appendf(sql, "%s%s", comma, s->at[i]);
        comma = ", ";
    }
}

static void add_order(sqlite3_str *sql, const struct work *w, const struct sources *s,
                      const json_t *key) {
    const char *by = " ORDER BY";
    for (size_t i = 0; i < json_array_size(key); i++) {
        int place = place_of(w, s, rows_cell(key, i, 0));
        if (!place) return;
        sqlite3_str_appendf(sql, "%s %d", by, place);
        by = ",";
    }
}

/* NOT INDEXED: by an index that covers all that is asked for rows would come in its order. */
static rc copy_sql(const struct work *w, const struct sources *s, char **out, struct err *e) {
    json_t *key AUTO(rows_free) = NULL;
    const char *rowid;
    TRY(rowid_of(w->c, w->temp, w->now, w->now, &rowid, e));
    TRY(stored_by(w, rowid != NULL, &key, e));
    TRY(rowid_of(w->c, w->name, w->old, w->now, &rowid, e));
    if (json_array_size(key)) rowid = NULL;
    sqlite3_str *sql = sqlite3_str_new(w->c->db);
    sqlite3_str_appendf(sql, "INSERT OR ABORT INTO \"%w\"(", w->temp);
    add_columns(sql, w, s);
    if (rowid) sqlite3_str_appendf(sql, ", %s", rowid);
    sqlite3_str_appendall(sql, ") SELECT ");
    add_sources(sql, s);
    if (rowid) sqlite3_str_appendf(sql, ", %s", rowid);
    sqlite3_str_appendf(sql, " FROM \"%w\" NOT INDEXED", w->name);
    if (rowid) sqlite3_str_appendf(sql, " ORDER BY %s", rowid);
    add_order(sql, w, s, key);
    *out = sqlite3_str_finish(sql);
    return *out ? ok() : no_memory(e);
}

/* "first is NULL in 3 rows": what SQLite says names a table that nobody knows. */
static rc name_nulls(const struct work *w, const struct sources *s, rc r, struct err *e) {
    for (size_t i = 0; i < s->count; i++) {
        const char *name = rows_cell(w->now, i, 0);
        int64_t n = 0;
        struct err ignored;
        if (strcmp(rows_cell(w->now, i, 2), "0") == 0 || rows_is_generated(w->now, i)) continue;
        if (!s->at[i] && !rows_cell(w->now, i, 4))
            return err_set(e, r.code, "column %s is NOT NULL: say fill=%s:EXPRESSION", name, name);
        char *sql = sqlite3_mprintf("SELECT count(*) FROM \"%w\" WHERE %s IS NULL", w->name,
                                    s->at[i] ? s->at[i] : "0");
        if (sql && !is_ok(sconn_int(w->c, sql, &n, &ignored))) n = 0;
        sqlite3_free(sql);
        if (n)
            return err_set(e, r.code, "column %s is NOT NULL, and would be NULL in %lld rows", name,
                           (long long)n);
    }
    return r;
}

static rc copy_rows(struct work *w, struct err *e) {
    struct sources s AUTO(sources_deinit) = {0};
    char *sql;
    TRY(sources_find(w, &s, e));
    TRY(copy_sql(w, &s, &sql, e));
    rc r = sconn_exec(w->c, sql, e);
    sqlite3_free(sql);
    if (r.code != RC_CONFLICT || sqlite3_extended_errcode(w->c->db) != SQLITE_CONSTRAINT_NOTNULL)
        return r;
    return name_nulls(w, &s, r, e);
}

/* In SQLite's words the new table has its own name. */
static rc in_its_name(const struct work *w, rc r, struct err *e) {
    const char *at = is_ok(r) || !*w->temp ? NULL : strstr(e->text, w->temp);
    if (!at) return r;
    struct err was = *e;
    at = was.text + (at - e->text);
    return err_set(e, r.code, "%.*s%s%s", (int)(at - was.text), was.text, w->name,
                   at + strlen(w->temp));
}

/* ---- in the place of the old one ---- */

static rc keep_sequence(struct work *w, struct err *e) {
    if (!w->sequence || !sql_has(w->form, "autoincrement")) return ok();
    TRY(rows_run(w->c, sqlite3_mprintf("DELETE FROM sqlite_sequence WHERE name=%Q", w->name), e));
    if (!json_array_size(w->sequence)) return ok();
    return rows_run(w->c,
                    sqlite3_mprintf("INSERT INTO sqlite_sequence VALUES (%Q, CAST(%Q AS INTEGER))",
                                    w->name, rows_cell(w->sequence, 0, 0)),
                    e);
}

/* DROP TABLE took them. The index of a UNIQUE or a key may be another under the same name. */
static rc keep_statistics(struct work *w, struct err *e) {
    for (size_t i = 0; i < json_array_size(w->statistics); i++) {
        const char *index = rows_cell(w->statistics, i, 0);
        TRY(rows_run(w->c,
                     sqlite3_mprintf("INSERT INTO sqlite_stat1(tbl, idx, stat) SELECT %Q, %Q, %Q "
                                     "WHERE %Q IS NULL OR EXISTS (SELECT 1 FROM sqlite_master "
                                     "WHERE type='index' AND name=%Q AND sql IS NOT NULL)",
                                     w->name, index, rows_cell(w->statistics, i, 1), index, index),
                     e));
    }
    return ok();
}

static rc make_object(struct work *w, size_t i, struct err *e) {
    const char *sql = rows_cell(w->objects, i, 2);
    rc r = sconn_exec(w->c, sql, e);
    if (r.code == RC_USAGE && !quoted_lost(w, sql)) r = run_with_texts(w, sql, e);
    if (is_ok(r)) return r;
    return err_prefix(e, r, "%s %s", rows_cell(w->objects, i, 0), rows_cell(w->objects, i, 1));
}

/* RENAME reads the text again, with texts in double quotes or not. */
static rc rename_new(struct work *w, struct err *e) {
    char *sql = sqlite3_mprintf("ALTER TABLE \"%w\" RENAME TO \"%w\"", w->temp, w->name);
    rc r = sql ? run_with_texts(w, sql, e) : no_memory(e);
    sqlite3_free(sql);
    return r;
}

static rc take_place(struct work *w, struct err *e) {
    TRY(rows_run(w->c, sqlite3_mprintf("DROP TABLE \"%w\"", w->name), e));
    TRY(rename_new(w, e));
    TRY(keep_sequence(w, e));
    for (size_t i = 0; i < json_array_size(w->objects); i++) TRY(make_object(w, i, e));
    return keep_statistics(w, e);
}

static rc make_anew(struct work *w, struct err *e) {
    TRY(look(w, e));
    rc r = make_new(w, e);
    if (is_ok(r)) r = copy_rows(w, e);
    TRY(in_its_name(w, r, e));
    TRY(take_place(w, e));
    return before_compare(w->c, w->name, w->lost, &w->before, e);
}

rc rebuild_run(struct sconn *c, const struct migration *m, const struct statement *st,
               int64_t *rows, struct err *e) {
    struct work w AUTO(work_deinit) = {.c = c, .rebuild = st->rebuild};
    int was[SETTINGS];
    ENSURE(!sqlite3_get_autocommit(c->db));
    set_up(c, was);
    rc r = make_anew(&w, e);
    set_back(c, was);
    if (!is_ok(r))
        return err_prefix(e, r, "%s:%d: rebuild %s", m->name, st->line, st->rebuild->table);
    *rows = json_integer_value(json_object_get(w.before.counts, w.name));
    return r;
}
