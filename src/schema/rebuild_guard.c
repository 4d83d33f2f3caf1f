/* What a rebuild must leave as it was: see the header.
 *
 * A view is compiled by a SELECT on it; triggers by statements that would fire them, of which none
 * is run. What did not compile before is not looked at again: it was useless before.
 *
 * SQLite takes a name in double quotes for a text where no column is called so: a view on a column
 * that is gone would go on and give its name. So all is compiled with that switched off; what needs
 * it on, and did before, must not have a lost column in such quotes.
 *
 * Rows are counted, not believed: count(*) reads the smallest index of each table. It finds what
 * foreign keys that were on have deleted, and a conflict clause that threw a row away.
 */
#include "schema/rebuild_guard.h"

#include "schema/rebuild_sql.h"

#include <string.h>

void before_deinit(struct before *b) {
    json_decref(b->broken);
    json_decref(b->counts);
}

static rc no_memory(struct err *e) {
    return err_set(e, RC_NOMEM, "no memory");
}

/* ---- rows ---- */

static rc count_rows(struct sconn *c, json_t **counts, struct err *e) {
    json_t *tables AUTO(rows_free) = NULL;
    TRY(rows_ask(c,
                 sqlite3_mprintf("SELECT name FROM sqlite_master WHERE type='table' AND "
                                 "name NOT LIKE 'sqlite\\_%%' ESCAPE '\\' AND "
                                 "sql NOT LIKE 'CREATE VIRTUAL%%'"),
                 &tables, e));
    if (!*counts && !(*counts = json_object())) return no_memory(e);
    for (size_t i = 0; i < json_array_size(tables); i++) {
        const char *name = rows_cell(tables, i, 0);
        char *sql = sqlite3_mprintf("SELECT count(*) FROM \"%w\"", name);
        int64_t n = 0;
        rc r = sql ? sconn_int(c, sql, &n, e) : no_memory(e);
        sqlite3_free(sql);
        TRY(r);
        if (json_object_set_new_nocheck(*counts, name, json_integer(n))) return no_memory(e);
    }
    return ok();
}

static rc compare_rows(struct sconn *c, json_t *were, struct err *e) {
    json_t *are AUTO(rows_free) = NULL, *n;
    const char *name;
    TRY(count_rows(c, &are, e));
    json_object_foreach(were, name, n) {
        json_int_t was = json_integer_value(n), is;
        is = json_integer_value(json_object_get(are, name));
        if (was != is)
            return err_set(e, RC_CONFLICT, "table %s would have %lld rows, and has %lld", name,
                           (long long)is, (long long)was);
    }
    return ok();
}

/* ---- views and triggers ---- */

/* A statement that compiles what is on `name`. */
struct probe {
    const char *kind, *name; /* "view", "INSERT", "UPDATE", "DELETE" */
    char *sql;
};
struct visit {
    struct sconn *c;
    const char *table;
    const json_t *lost;
    const struct before *before;
    rc (*each)(struct visit *, const struct probe *, struct err *);
};

static void texts_allowed(struct sconn *c, int on) {
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DML, on, (int *)NULL);
}

/* *said: SQLite's words, until the next call; NULL: it compiles. An error: nobody knows. */
typedef rc compiler(struct sconn *, const char *sql, const char **said, struct err *);

static rc compile(struct sconn *c, const char *sql, const char **said, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    sqlite3_finalize(st);
    *said = code == SQLITE_OK ? NULL : sqlite3_errmsg(c->db);
    return code == SQLITE_OK || (code & 0xff) == SQLITE_ERROR ? ok()
                                                              : sconn_error(c, code, NULL, 0, e);
}

static rc compile_with_texts(struct sconn *c, const char *sql, const char **said, struct err *e) {
    texts_allowed(c, 1);
    rc r = compile(c, sql, said, e);
    texts_allowed(c, 0);
    return r;
}

static rc probe_one(struct visit *v, const char *kind, const char *name, char *sql, struct err *e) {
    struct probe p = {kind, name, sql};
    rc r = sql ? v->each(v, &p, e) : no_memory(e);
    sqlite3_free(sql);
    return r;
}

/* Each column to itself, so that every trigger on some of them is in it. */
static char *update_of(const char *name, const json_t *columns) {
    sqlite3_str *s = sqlite3_str_new(NULL);
    const char *before = " SET ";
    sqlite3_str_appendf(s, "UPDATE \"%w\"", name);
    for (size_t i = 0; i < json_array_size(columns); i++) {
        const char *column = rows_cell(columns, i, 0);
        if (rows_is_generated(columns, i)) continue;
        sqlite3_str_appendf(s, "%s\"%w\"=\"%w\"", before, column, column);
        before = ", ";
    }
    return sqlite3_str_finish(s);
}

static rc probe_triggers(struct visit *v, const char *name, struct err *e) {
    json_t *columns AUTO(rows_free) = NULL;
    TRY(probe_one(v, "INSERT", name, sqlite3_mprintf("INSERT INTO \"%w\" DEFAULT VALUES", name),
                  e));
    TRY(probe_one(v, "DELETE", name, sqlite3_mprintf("DELETE FROM \"%w\"", name), e));
    rc r = rows_columns(v->c, name, &columns, e);
    if (r.code == RC_USAGE) return ok(); /* of a view that was broken */
    TRY(r);
    return probe_one(v, "UPDATE", name, update_of(name, columns), e);
}

/* A view before those that are on it, and the table's own triggers before others which fire them,
 * so that the first that fails is the one at fault. */
static rc probe_all(struct visit *v, struct err *e) {
    json_t *names AUTO(rows_free) = NULL;
    TRY(rows_ask(v->c,
                 sqlite3_mprintf("SELECT name FROM sqlite_master WHERE type='view' "
                                 "ORDER BY rowid"),
                 &names, e));
    for (size_t i = 0; i < json_array_size(names); i++)
        TRY(probe_one(v, "view", rows_cell(names, i, 0),
                      sqlite3_mprintf("SELECT * FROM \"%w\"", rows_cell(names, i, 0)), e));
    TRY(rows_ask(v->c,
                 sqlite3_mprintf("SELECT tbl_name FROM sqlite_master WHERE type='trigger' "
                                 "GROUP BY tbl_name COLLATE NOCASE "
                                 "ORDER BY tbl_name<>%Q COLLATE NOCASE, min(rowid)",
                                 v->table),
                 &names, e));
    for (size_t i = 0; i < json_array_size(names); i++)
        TRY(probe_triggers(v, rows_cell(names, i, 0), e));
    return ok();
}

enum { FINE, FINE_WITH_TEXTS, BROKEN };

/* Not by the statement: an UPDATE lists the columns, which will be others. */
static char *key_of(const struct probe *p) {
    return sqlite3_mprintf("%s %s", p->kind, p->name);
}

static rc note(struct visit *v, const struct probe *p, struct err *e) {
    const char *said;
    TRY(compile(v->c, p->sql, &said, e));
    if (!said) return ok();
    TRY(compile_with_texts(v->c, p->sql, &said, e));
    int state = said ? BROKEN : FINE_WITH_TEXTS;
    char *key = key_of(p);
    int failed = !key || json_object_set_new_nocheck(v->before->broken, key, json_integer(state));
    sqlite3_free(key);
    return failed ? no_memory(e) : ok();
}

static rc state_before(struct visit *v, const struct probe *p, int *out, struct err *e) {
    char *key = key_of(p);
    if (!key) return no_memory(e);
    *out = (int)json_integer_value(json_object_get(v->before->broken, key));
    sqlite3_free(key);
    return ok();
}

/* A view without a trigger for it: "cannot modify v because it is a view". */
static bool is_read_only(const char *said) {
    return strncmp(said, "cannot modify", strlen("cannot modify")) == 0;
}

/* Takes triggers away until it compiles: the last one was it. */
static rc blame(struct visit *v, const struct probe *p, compiler *compiles, const char *said,
                struct err *e) {
    json_t *triggers AUTO(rows_free) = NULL;
    char words[300];
    sqlite3_snprintf(sizeof words, words, "%s", said);
    TRY(rows_ask(v->c,
                 sqlite3_mprintf("SELECT name FROM sqlite_master WHERE type='trigger' AND "
                                 "tbl_name=%Q COLLATE NOCASE ORDER BY rowid",
                                 p->name),
                 &triggers, e));
    for (size_t i = 0; i < json_array_size(triggers); i++) {
        const char *name = rows_cell(triggers, i, 0);
        TRY(rows_run(v->c, sqlite3_mprintf("DROP TRIGGER \"%w\"", name), e));
        TRY(compiles(v->c, p->sql, &said, e));
        if (!said || is_read_only(said))
            return err_set(e, RC_CONFLICT, "trigger %s on %s would break: %s", name, p->name,
                           words);
        sqlite3_snprintf(sizeof words, words, "%s", said);
    }
    return err_set(e, RC_CONFLICT, "%s of %s would break: %s", p->kind, p->name, words);
}

/* Of what has texts in double quotes: is one of them a column that is gone? */
static rc check_texts(struct visit *v, const struct probe *p, struct err *e) {
    json_t *texts AUTO(rows_free) = NULL;
    TRY(rows_ask(v->c,
                 sqlite3_mprintf("SELECT type, name, sql FROM sqlite_master WHERE "
                                 "(type='view' AND name=%Q) OR (type='trigger' AND tbl_name=%Q)",
                                 p->name, p->name),
                 &texts, e));
    for (size_t i = 0; i < json_array_size(texts); i++)
        for (size_t k = 0; k < json_array_size(v->lost); k++)
            if (sql_quotes(rows_cell(texts, i, 2), rows_cell(v->lost, k, 0)))
                return err_set(e, RC_CONFLICT, "%s %s would take \"%s\" for a text",
                               rows_cell(texts, i, 0), rows_cell(texts, i, 1),
                               rows_cell(v->lost, k, 0));
    return ok();
}

static rc compare(struct visit *v, const struct probe *p, struct err *e) {
    int was = FINE;
    TRY(state_before(v, p, &was, e));
    if (was == BROKEN) return ok();
    compiler *compiles = was == FINE ? compile : compile_with_texts;
    const char *said;
    TRY(compiles(v->c, p->sql, &said, e));
    if (!said) return was == FINE ? ok() : check_texts(v, p, e);
    if (strcmp(p->kind, "view") != 0) return blame(v, p, compiles, said, e);
    return err_set(e, RC_CONFLICT, "view %s would break: %s", p->name, said);
}

/* UPDATE OF a column that is gone compiles, and never fires. */
static rc check_watched(struct visit *v, struct err *e) {
    json_t *triggers AUTO(rows_free) = NULL;
    TRY(rows_ask(v->c,
                 sqlite3_mprintf("SELECT name, sql FROM sqlite_master WHERE type='trigger' AND "
                                 "tbl_name=%Q COLLATE NOCASE",
                                 v->table),
                 &triggers, e));
    for (size_t i = 0; i < json_array_size(triggers); i++)
        for (size_t k = 0; k < json_array_size(v->lost); k++)
            if (trigger_watches(rows_cell(triggers, i, 1), rows_cell(v->lost, k, 0)))
                return err_set(e, RC_CONFLICT, "trigger %s would break: it is on UPDATE OF %s",
                               rows_cell(triggers, i, 0), rows_cell(v->lost, k, 0));
    return ok();
}

/* ---- both ---- */

rc before_look(struct sconn *c, const char *table, struct before *out, struct err *e) {
    if (!(out->broken = json_object())) return no_memory(e);
    struct visit v = {c, table, NULL, out, note};
    TRY(probe_all(&v, e));
    return count_rows(c, &out->counts, e);
}

rc before_compare(struct sconn *c, const char *table, const json_t *lost, const struct before *b,
                  struct err *e) {
    struct visit v = {c, table, lost, b, compare};
    TRY(probe_all(&v, e));
    TRY(check_watched(&v, e));
    return compare_rows(c, b->counts, e);
}
