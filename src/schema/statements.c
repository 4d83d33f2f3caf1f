/* The statements of a section, one after the other.
 *
 * Why the transaction is looked at behind each: ON CONFLICT ROLLBACK, RAISE(ROLLBACK) and some
 * errors end it, and what came behind would commit by itself.
 *
 * Why foreign keys are not looked at for each step: PRAGMA foreign_key_check reads every row of
 * every table that has one, twice, under the write lock; a column that is added would cost what a
 * rebuild does.
 */
#include "schema/statements.h"
#include "schema/guard.h"
#include "schema/lint.h"
#include "schema/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rc still_open(struct sconn *c, const struct migration *m, const struct statement *s,
                     struct err *e) {
    if (!sqlite3_get_autocommit(c->db)) return ok();
    return err_set(e, RC_CONFLICT, "%s:%d: it rolled the transaction back", m->name, s->line);
}

static int step_to_end(sqlite3_stmt *st) {
    int code;
    while ((code = sqlite3_step(st)) == SQLITE_ROW) continue;
    return code;
}

/* The parser has split them; what it may have left in one is run all the same. */
static int run_text(struct sconn *c, const char *sql) {
    int code = SQLITE_OK;
    while (*sql && code == SQLITE_OK) {
        sqlite3_stmt *st = NULL;
        code = sqlite3_prepare_v2(c->db, sql, -1, &st, &sql);
        if (code == SQLITE_OK && st) code = step_to_end(st);
        if (code == SQLITE_DONE) code = SQLITE_OK;
        sqlite3_finalize(st);
    }
    return code;
}

static rc run_sql(struct sconn *c, const struct migration *m, const struct statement *s,
                  int64_t *rows, struct err *e) {
    struct guard g;
    unsigned before = (unsigned)sqlite3_total_changes(c->db);
    guard_set(c, &g);
    int code = run_text(c, s->sql);
    rc r =
        code == SQLITE_OK ? ok() : guard_error(c, &g, code, m, statement_error_line(c->db, s), e);
    guard_lift(c);
    *rows += (unsigned)sqlite3_total_changes(c->db) - before; /* an int that wraps */
    return is_ok(r) ? still_open(c, m, s, e) : r;
}

static rc run_rebuild(struct sconn *c, const struct migration *m, const struct statement *s,
                      int64_t *rows, struct err *e) {
    int64_t rebuilt = 0;
    TRY(rebuild_run(c, m, s, &rebuilt, e));
    *rows += rebuilt;
    return ok();
}

static rc run_each(struct sconn *c, const struct migration *m, const struct section *section,
                   int64_t *rows, struct err *e) {
    for (size_t i = 0; i < section->count; i++) {
        const struct statement *s = &section->statements[i];
        TRY(s->rebuild ? run_rebuild(c, m, s, rows, e) : run_sql(c, m, s, rows, e));
    }
    return ok();
}

rc statements_run(struct sconn *c, const struct migration *m, const struct section *section,
                  int64_t *rows, struct err *e) {
    if (m->legacy_alter) sqlite3_db_config(c->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1, NULL);
    rc r = run_each(c, m, section, rows, e);
    if (m->legacy_alter) sqlite3_db_config(c->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 0, NULL);
    return r;
}

/* ---- verification ---- */

static rc compare(sqlite3_stmt *st, const struct migration *m, const struct statement *s,
                  const char *expect, struct err *e) {
    const char *is = (const char *)sqlite3_column_text(st, 0);
    if (is && strcmp(is, expect) == 0) return ok();
    return err_set(e, RC_CONFLICT, "%s:%d: the verification gives %.200s and not %.200s", m->name,
                   s->line, is ? is : "NULL", expect);
}

static rc take_value(sqlite3_stmt *st, const struct migration *m, const struct statement *s,
                     const char *expect, int *code, struct err *e) {
    *code = sqlite3_step(st);
    if (*code == SQLITE_DONE)
        return err_set(e, RC_CONFLICT, "%s:%d: the verification gives no row", m->name, s->line);
    if (*code != SQLITE_ROW) return ok();
    TRY(compare(st, m, s, expect, e));
    *code = sqlite3_step(st);
    if (*code != SQLITE_ROW) return ok();
    return err_set(e, RC_USAGE, "%s:%d: the verification gives more than one row", m->name,
                   s->line);
}

static rc check_form(sqlite3_stmt *st, const struct migration *m, const struct statement *s,
                     struct err *e) {
    if (sqlite3_stmt_readonly(st) && sqlite3_column_count(st) == 1) return ok();
    return err_set(e, RC_USAGE, "%s:%d: a verification is a SELECT of one value", m->name, s->line);
}

static rc verify_one(struct sconn *c, const struct migration *m, const struct statement *s,
                     const char *expect, struct err *e) {
    struct guard g;
    sqlite3_stmt *st = NULL;
    guard_set(c, &g);
    int code = sqlite3_prepare_v2(c->db, s->sql, -1, &st, NULL);
    rc r = ok();
    if (code == SQLITE_OK) r = check_form(st, m, s, e);
    if (code == SQLITE_OK && is_ok(r)) r = take_value(st, m, s, expect, &code, e);
    if (is_ok(r) && code != SQLITE_OK && code != SQLITE_DONE)
        r = guard_error(c, &g, code, m, statement_error_line(c->db, s), e);
    sqlite3_finalize(st);
    guard_lift(c);
    return r;
}

rc statements_verify(struct sconn *c, const struct migration *m, const struct section *section,
                     struct err *e) {
    const char *expect = section->expect ? section->expect : "0";
    for (size_t i = 0; i < section->count; i++) {
        const struct statement *s = &section->statements[i];
        if (!s->sql)
            return err_set(e, RC_USAGE, "%s:%d: a verification changes nothing", m->name, s->line);
        TRY(verify_one(c, m, s, expect, e));
    }
    return ok();
}

/* ---- parents ---- */

/* A column with a default that refers to another table has it in every row at once. */
static bool refers(const char *at) {
    for (struct token t; (t = token_next(&at)).length;)
        if (token_is(t, "REFERENCES")) return true;
    return false;
}

bool statement_may_orphan(const struct statement *s) {
    const char *at = s->sql;
    if (!at) return true;
    struct token verb = token_next(&at), what = token_next(&at);
    if (token_is(verb, "CREATE")) return false;
    if (token_is(verb, "DROP")) return token_is(what, "TABLE");
    if (!token_is(verb, "ALTER")) return true;
    for (struct token t; (t = token_next(&at)).length;)
        if (token_is(t, "ADD")) return refers(at);
    return true;
}
