/* The key of a backfill: is it one column that finds each row once, and where does it begin?
 *
 * Why a column that may be NULL or empty is asked for its rows and not only for its declaration: a
 * TEXT PRIMARY KEY is both to SQLite, and most of them hold neither.
 *
 * Names come from the database, as it writes them: a quoted name that no column has would be a text
 * to SQLite.
 */
#include "schema/backfill_key.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
    struct sconn *c;
    const struct migration *m;
    const struct section *s;
    char *table, *key;
    bool is_text, moves;
};

rc backfill_refuse(const struct migration *m, const struct section *s, struct err *e,
                   const char *fmt, ...) {
    char words[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    return err_set(e, RC_USAGE, "%s:%d: backfill: %s", m->name, s->line, words);
}

static rc failed(const struct search *b, int code, struct err *e) {
    if (code == SQLITE_NOMEM) return err_set(e, RC_NOMEM, "no memory");
    return sconn_error(b->c, code, b->m, b->s->line, e);
}

/* The first column of the first row, of a query with one or two texts bound; NULL: no row, or a
 * null in it. */
static rc ask(const struct search *b, const char *sql, const char *a, const char *second,
              char **out, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(b->c->db, sql, -1, &st, NULL);
    *out = NULL;
    if (code == SQLITE_OK) code = sqlite3_bind_text(st, 1, a, -1, SQLITE_STATIC);
    if (code == SQLITE_OK && second) code = sqlite3_bind_text(st, 2, second, -1, SQLITE_STATIC);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    const char *text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (text && !(*out = strdup(text))) code = SQLITE_NOMEM;
    rc r = code == SQLITE_ROW || code == SQLITE_DONE ? ok() : failed(b, code, e);
    sqlite3_finalize(st);
    return r;
}

static rc ask_if(const struct search *b, const char *sql, const char *a, const char *second,
                 bool *out, struct err *e) {
    char *text = NULL;
    rc r = ask(b, sql, a, second, &text, e);
    *out = text && strcmp(text, "0") != 0;
    free(text);
    return r;
}

static rc ask_of_rows(const struct search *b, const char *condition, bool *out, struct err *e) {
    char *sql = sqlite3_mprintf("SELECT EXISTS (SELECT 1 FROM \"%w\" WHERE \"%w\".\"%w\" %s), ?1",
                                b->table, b->table, b->key, condition);
    rc r = sql ? ask_if(b, sql, "", NULL, out, e) : failed(b, SQLITE_NOMEM, e);
    sqlite3_free(sql);
    return r;
}

static rc find_table(struct search *b, struct err *e) {
    bool is_view, is_virtual;
    if (!b->s->table || !b->s->key)
        return backfill_refuse(b->m, b->s, e, "table= and key= are needed: table=user key=id");
    TRY(ask_if(b, "SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?1 COLLATE NOCASE",
               b->s->table, NULL, &is_view, e));
    if (is_view)
        return backfill_refuse(b->m, b->s, e, "%s is a view: name the table that is below it",
                               b->s->table);
    TRY(ask(b, "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
            b->s->table, NULL, &b->table, e));
    if (!b->table) return backfill_refuse(b->m, b->s, e, "there is no table %s", b->s->table);
    TRY(ask_if(b,
               "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1"
               " AND sql LIKE 'CREATE VIRTUAL%'",
               b->table, NULL, &is_virtual, e));
    return is_virtual ? backfill_refuse(b->m, b->s, e, "%s is a virtual table, which has no keys",
                                        b->table)
                      : ok();
}

/* "write key=id". */
static rc refuse_key(const struct search *b, const char *why, struct err *e) {
    char *better;
    bool without_rowid;
    TRY(ask(b,
            "SELECT name FROM pragma_table_xinfo(?1) WHERE pk ="
            " (SELECT max(pk) FROM pragma_table_xinfo(?1)) AND pk = 1",
            b->table, NULL, &better, e));
    rc r = ask_if(b,
                  "SELECT 1 FROM pragma_index_list(?1) AS l WHERE origin = 'pk' AND NOT EXISTS"
                  " (SELECT 1 FROM sqlite_master AS m WHERE m.name = l.name)",
                  b->table, NULL, &without_rowid, e);
    if (is_ok(r) && better && strcmp(better, b->s->key) != 0)
        r = backfill_refuse(b->m, b->s, e, "table %s: %s: write key=%s", b->table, why, better);
    else if (is_ok(r) && !without_rowid)
        r = backfill_refuse(b->m, b->s, e, "table %s: %s: write key=rowid", b->table, why);
    else if (is_ok(r))
        r = backfill_refuse(b->m, b->s, e,
                            "table %s: %s: it needs a column that is UNIQUE and NOT NULL", b->table,
                            why);
    free(better);
    return r;
}

/* Of what its name says, as SQLite does. A key in text begins with '', a number with -infinity, and
 * so does one that may be anything, since numbers come before all else. */
static bool is_text_type(const char *type) {
    char upper[64] = "";
    for (size_t i = 0; i < sizeof upper - 1 && type[i]; i++)
        upper[i] = (char)(type[i] >= 'a' && type[i] <= 'z' ? type[i] - 32 : type[i]);
    return !strstr(upper, "INT") &&
           (strstr(upper, "CHAR") || strstr(upper, "CLOB") || strstr(upper, "TEXT"));
}

static bool is_rowid(const char *name) {
    static const char *const names[] = {"rowid", "oid", "_rowid_"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sqlite3_stricmp(name, names[i]) == 0) return true;
    return false;
}

/* Without INTEGER PRIMARY KEY: VACUUM numbers the rows anew. */
static rc check_rowid(struct search *b, struct err *e) {
    bool stays;
    TRY(ask_if(b,
               "SELECT 1 FROM pragma_table_xinfo(?1) WHERE pk = 1"
               " AND (SELECT max(pk) FROM pragma_table_xinfo(?1)) = 1"
               " AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')",
               b->table, NULL, &stays, e));
    b->moves = !stays;
    if (stays || b->s->where) return ok();
    return backfill_refuse(
        b->m, b->s, e,
        "VACUUM changes the rowids of %s, which has no INTEGER PRIMARY KEY: say which rows"
        " are still to be done: where=\"... IS NULL\"",
        b->table);
}

static rc take_rowid(struct search *b, struct err *e) {
    sqlite3_stmt *st = NULL;
    char *sql = sqlite3_mprintf("SELECT \"%w\".rowid FROM \"%w\"", b->table, b->table);
    int code = sql ? sqlite3_prepare_v2(b->c->db, sql, -1, &st, NULL) : SQLITE_NOMEM;
    sqlite3_finalize(st);
    sqlite3_free(sql);
    if (code == SQLITE_ERROR) return refuse_key(b, "it is WITHOUT ROWID", e);
    if (code != SQLITE_OK) return failed(b, code, e);
    b->key = strdup("rowid");
    return b->key ? check_rowid(b, e) : failed(b, SQLITE_NOMEM, e);
}

static rc check_unique(const struct search *b, bool *alias, struct err *e) {
    char why[200];
    bool indexed;
    TRY(ask_if(b,
               "SELECT 1 FROM pragma_table_xinfo(?1) WHERE name = ?2 AND pk = 1"
               " AND (SELECT max(pk) FROM pragma_table_xinfo(?1)) = 1"
               " AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')",
               b->table, b->key, alias, e));
    TRY(ask_if(b,
               "SELECT 1 FROM pragma_index_list(?1) AS l WHERE l.\"unique\" AND NOT l.partial"
               " AND (SELECT count(*) FROM pragma_index_info(l.name)) = 1"
               " AND (SELECT name FROM pragma_index_info(l.name)) = ?2",
               b->table, b->key, &indexed, e));
    snprintf(why, sizeof why, "column %.100s is not unique", b->key);
    return *alias || indexed ? ok() : refuse_key(b, why, e);
}

static rc check_values(const struct search *b, struct err *e) {
    char why[200];
    bool null = false, first = false;
    TRY(ask_of_rows(b, "IS NULL", &null, e));
    snprintf(why, sizeof why, "column %.100s is NULL in a row", b->key);
    if (null) return refuse_key(b, why, e);
    TRY(ask_of_rows(b, b->is_text ? "= ''" : "= -9e999", &first, e));
    snprintf(why, sizeof why, "column %.100s is %s in a row, and nothing comes before that", b->key,
             b->is_text ? "''" : "-infinity");
    return first ? refuse_key(b, why, e) : ok();
}

static rc find_column(struct search *b, struct err *e) {
    char *type, why[200];
    bool alias;
    TRY(ask(b, "SELECT name FROM pragma_table_xinfo(?1) WHERE name = ?2 COLLATE NOCASE", b->table,
            b->s->key, &b->key, e));
    if (!b->key && is_rowid(b->s->key)) return take_rowid(b, e);
    snprintf(why, sizeof why, "it has no column %.100s", b->s->key);
    if (!b->key) return refuse_key(b, why, e);
    TRY(check_unique(b, &alias, e));
    TRY(ask(b, "SELECT type FROM pragma_table_xinfo(?1) WHERE name = ?2", b->table, b->key, &type,
            e));
    b->is_text = type && is_text_type(type);
    free(type);
    return alias ? ok() : check_values(b, e);
}

rc backfill_key_find(struct sconn *c, const struct migration *m, const struct section *s,
                     struct backfill_key *out, struct err *e) {
    struct search b = {.c = c, .m = m, .s = s};
    rc r = find_table(&b, e);
    if (is_ok(r)) r = find_column(&b, e);
    *out = (struct backfill_key){
        .table = b.table, .name = b.key, .is_text = b.is_text, .moves = b.moves};
    if (is_ok(r)) out->sql = sqlite3_mprintf("\"%w\".\"%w\"", b.table, b.key);
    if (is_ok(r) && !out->sql) r = failed(&b, SQLITE_NOMEM, e);
    if (!is_ok(r)) backfill_key_deinit(out);
    return r;
}

void backfill_key_deinit(struct backfill_key *k) {
    free(k->table);
    free(k->name);
    sqlite3_free(k->sql);
    *k = (struct backfill_key){0};
}
